"""Pictures that are enrolled under two subject ids: a mistake in the gallery, told by files and hashes, not faces."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.gallery.store import PICTURE, Gallery
from leakmatch.hashing.algorithms import DHASH, PHASH
from leakmatch.hashing.evidence import HashIndex
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.records import HashBatch

_PART: Final = 1024  # pictures that are looked up at a time


@dataclass(frozen=True, slots=True)
class Shared:
    """One picture under two subjects: its ``enrolments`` there. ``distance``: bits of 128 in which the two hashes
    differ; ``None`` for the very same file."""

    enrolments: tuple[int, int]
    distance: int | None

    @property
    def why(self) -> str:
        """In words."""
        return "the same file" if self.distance is None else f"the same picture: {self.distance} of 128 bits differ"


def shared_pictures(gallery: Gallery, subjects: SubjectTemplates) -> dict[tuple[int, int], Shared]:
    """Every two subjects with a picture in common, and the strongest evidence of it: the same file, else the nearest
    hashes, by the rule for whole pictures (:mod:`leakmatch.hashing.evidence`).

    By the rows of the subjects in ``subjects``, the lower first; ``enrolments`` are in the same order.
    """
    enrolments, row = subjects.by_enrolment()
    found: dict[tuple[int, int], Shared] = {}
    for pair, distance in _same_pictures(gallery):
        a, b = row[np.searchsorted(enrolments, pair)].tolist()
        if a == b:
            continue
        key, ordered = ((a, b), pair) if a < b else ((b, a), (pair[1], pair[0]))
        before = found.get(key)
        if before is None or (before.distance is not None and distance is not None and distance < before.distance):
            found[key] = Shared(ordered, distance)
    return found


def _same_pictures(gallery: Gallery) -> Iterator[tuple[tuple[int, int], int | None]]:
    """Pairs of enrolments with the same file, then those with near hashes and their distance."""
    for pair in gallery.same_files():
        yield pair, None
    hashes = gallery.hashes(PICTURE)
    if not hashes:
        return
    index, ids = HashIndex.of_pictures(hashes), hashes[PHASH].enrolment_id
    for first in range(0, len(ids), _PART):
        part = slice(first, first + _PART)
        place = np.zeros(len(ids[part]), np.int32)
        probe = [HashBatch(name, hashes[name].bits[part], hashes[name].quality[part], place) for name in (PHASH, DHASH)]
        for match in index.matches([probe])[0]:
            enrolment = int(ids[first + match.row])
            if enrolment < match.enrolment_id:
                yield (enrolment, match.enrolment_id), match.distance

"""What a case is made of: keys, source files, candidates, and the totals its figures rest on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from leakmatch.database import Row
from leakmatch.errors import IntegrityError
from leakmatch.locator import Locator
from leakmatch.records import Evidence


class Key(NamedTuple):
    """Where an item is in a case: the source file, its position in the walk of that file, the frame (0: itself)."""

    file: int
    position: int
    frame: int = 0


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A file on disk below one of the source arguments, as it was when the case began."""

    file: int
    source: int
    locator: Locator
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """One subject who may be in one item. ``score`` has 4 decimals; the schema says what each field holds."""

    key: Key
    face: int | None
    subject_id: str
    enrolment: int
    rank: int
    score: float | None
    chance: float | None
    chance_low: float | None
    chance_high: float | None
    looks: int
    evidence: Evidence
    hash_distance: int | None = None
    picture_chance: float | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What the figures of a case rest on.

    ``searches`` counts face templates compared with the gallery, ``pictures`` pictures whose hash was compared; a
    duplicate counts once. ``gallery_people`` (one template each) and ``gallery_pictures`` are the other side of each
    comparison. ``resolution``: the rarest chance that the calibration's data shows; 0 where there is none.
    """

    searches: int
    pictures: int
    gallery_people: int
    gallery_pictures: int
    resolution: float = 0.0

    @property
    def face_pairs(self) -> int:
        """The number of pairs of faces that were compared."""
        return self.searches * self.gallery_people

    @property
    def picture_pairs(self) -> int:
        """The number of pairs of pictures that were compared."""
        return self.pictures * self.gallery_pictures

    def expected_false(self, candidate: Candidate, chance: float | None) -> float | None:
        """How many candidates this strong chance alone would give in the whole scan; ``None`` if unknown.

        ``chance``: that of the face, or a limit of it. Where the face and the picture both speak, the stronger of the
        two counts. Hashes are compared per picture and per face crop; the larger number of pairs is taken for both.
        """
        by_face = None if chance is None else chance * self.face_pairs
        hashed = max(self.pictures, self.searches) * self.gallery_pictures
        by_picture = None if candidate.picture_chance is None else candidate.picture_chance * hashed
        known = [value for value in (by_face, by_picture) if value is not None]
        return min(known, default=None)


_CANDIDATE: Final = (
    *("file", "position", "frame", "face", "subject_id", "enrolment", "rank", "score", "chance", "chance_low"),
    *("chance_high", "looks", "evidence", "hash_distance", "picture_chance"),
)
#: The columns of a candidate, as :func:`as_candidate` takes them.
CANDIDATE: Final = ", ".join(_CANDIDATE)


def columns_of(table: str) -> str:
    """:data:`CANDIDATE` of a table by that name, for a query that joins it with others."""
    return ", ".join(f"{table}.{column}" for column in _CANDIDATE)


def as_candidate(path: Path, row: Row) -> Candidate:
    """The candidate in a row of :data:`CANDIDATE` of the case at ``path``.

    Raises :class:`IntegrityError` for an unknown kind of evidence.
    """
    fields = dict(zip(_CANDIDATE, row, strict=True))
    key = Key(*(fields.pop(name) for name in Key._fields))
    try:
        return Candidate(key, **(fields | {"evidence": Evidence(fields["evidence"])}))
    except ValueError as error:
        raise IntegrityError(f"{path}: damaged: {error}. Restore it from a copy.") from error

"""The rule that calls two pictures the same picture by their hashes, and how often chance alone would satisfy it.

Two 64-bit hashes are compared, straight and mirrored, whole pictures also turned by quarters, and their distances
added: phash bits plus dhash bits, of 128. Their sum separates copies from other pictures better than a limit on each.
Where a face is at hand, :mod:`leakmatch.hashing.copies` looks closer: it finds copies that hashes miss, and overrules
hashes of crops that call two photos of one person the same picture.

Source of every figure: ``benchmarks/hash_collisions.py`` on 6,151 portraits of Labeled Faces in the Wild (250x250,
the part in folds 0 to 4), centred alike and so a hard case. 18.9 million pairs, each compared in every way.
Nine pairs are the same photo twice, four of them under two names, and were left out after looking at them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np

from leakmatch.arrays import BoolArray, ByteArray, FloatArray, LongArray
from leakmatch.errors import IntegrityError
from leakmatch.hashing.algorithms import (
    CONTRAST_SIGNS,
    DECODE,
    DHASH,
    DHASH_MIRROR,
    DHASH_TURNED,
    HASH_BYTES,
    PHASH,
    PHASH_MIRROR,
    PHASH_TURNED,
)
from leakmatch.hashing.join import HammingIndex
from leakmatch.records import HashBatch


@dataclass(frozen=True, slots=True)
class Rule:
    """When two pictures are the same picture.

    ``max_distance``: phash plus dhash bits. ``min_quality``: of both hashes of both pictures. ``chance_at_20``: the
    share of pairs of two people that were within 20 bits; ``per_bit``: the factor by which it falls with each bit
    less. ``pairs``: how many pairs that was measured on.
    """

    max_distance: int
    min_quality: float
    chance_at_20: float
    per_bit: float
    pairs: int

    @property
    def unseen_bound(self) -> float:
        """Upper 95 % limit of the chance at a distance where no pair was seen: three in the pairs (rule of three)."""
        return 3.0 / self.pairs


#: Below this a hash has too few bits that mean something, and the chances given here do not hold. Of portraits cut out
#: and laid on one plain ground, as identity photos are, 99.4 % have a dhash quality below it, and one pair in 2,000 is
#: within 8 bits (none in 18.9 million as photographed). They are recognised by their face crops instead.
MIN_QUALITY: Final = 0.75

#: Whole pictures. Nearest pair of two people: 13 bits; of one person: 10 (two portraits of one sitting). Within 8 bits
#: stay 99 % or more of copies at JPEG quality 30, half or double size, mirrored, turned by quarters, as PNG or WebP,
#: gray, and 20 % brighter or darker; 5 % of those cropped by 5 %, none cropped by 10 %.
WHOLE_PICTURE: Final = Rule(max_distance=8, min_quality=MIN_QUALITY, chance_at_20=5.1e-6, per_bit=1.6, pairs=18_824_334)

#: Aligned face crops. Nearest pair of two people: 12 bits; of one person: 9. What a copy keeps depends on how alike
#: the face is aligned in it: within 8 bits stay 72 to 90 % of copies with the same pixel grid (JPEG quality 30, WebP,
#: brighter, darker), 17 to 23 % cropped by 5 or 10 %, 8 to 10 % cropped by 25 %, resized or mirrored.
FACE_CROP: Final = Rule(max_distance=8, min_quality=MIN_QUALITY, chance_at_20=6.5e-5, per_bit=1.8, pairs=18_855_011)


def same_picture(phash_distance: LongArray, dhash_distance: LongArray, quality: FloatArray, rule: Rule) -> BoolArray:
    """Whether pairs are the same picture: bool[K].

    ``phash_distance`` and ``dhash_distance`` int64[K] in bits, both straight or both mirrored; ``quality`` float32[K],
    the least of the four hashes of a pair.
    """
    near: BoolArray = phash_distance + dhash_distance <= rule.max_distance
    return near & (quality >= rule.min_quality)


def collision_probability(distance: int, rule: Rule) -> float:
    """The chance that pictures of two people, compared in every way, are at most ``distance`` bits apart.

    ``distance``: phash plus dhash bits, 0 to 20. A first estimate: the share measured at 20 bits, falling by a
    constant factor with each bit less, so chosen that no count from 20 bits down to the nearest pair exceeds it. Such
    tails fall ever steeper towards 0, so below that it errs on the safe side, for pictures like those measured.
    :attr:`Rule.unseen_bound` is the limit that the measurement alone supports there.

    Raises ``ValueError`` for a distance outside of 0 to 20.
    """
    if not 0 <= distance <= 20:
        raise ValueError(f"a distance of {distance} bits is outside of what was measured")
    return float(rule.chance_at_20 * rule.per_bit ** (distance - 20))


class StoredHashes(Protocol):
    """Hashes of one algorithm as a gallery holds them."""

    @property
    def bits(self) -> ByteArray:
        """uint8[M,8]."""

    @property
    def quality(self) -> FloatArray:
        """float32[M]."""

    @property
    def enrolment_id(self) -> LongArray:
        """int64[M], the same in every algorithm."""


@dataclass(frozen=True, slots=True)
class HashMatch:
    """One probe hash that is the same picture as an enrolled one.

    ``row``: its row in the probe's batch (the face, for crops). ``distance``: phash plus dhash bits. ``chance``: see
    :func:`collision_probability`.
    """

    row: int
    enrolment_id: int
    distance: int
    chance: float


def require_current(algorithms: Collection[str], gallery: str) -> None:
    """Raise :class:`IntegrityError` unless the hash ``algorithms`` of a gallery are those that are used now.

    One hash of another decode is one photo whose copies would not be found; so is one without a contrast map, as those
    of galleries from before there were any. ``gallery`` is what the error calls it.
    """
    _require_decode(algorithms, gallery)
    if algorithms and CONTRAST_SIGNS not in algorithms:
        raise IntegrityError(
            f"{gallery}: enrolled by an older version of LeakMatch, without the contrast maps of its faces: cropped "
            "copies of its photos would not be found. Enrol the photos into a new gallery."
        )


def _require_decode(algorithms: Collection[str], gallery: str) -> None:
    if any(not algorithm.endswith(f"/{DECODE}") for algorithm in algorithms):
        raise IntegrityError(
            f"{gallery}: its picture hashes were made by another decode, that of another version of LeakMatch: copies "
            "of its photos would not be found. Enrol the photos into a new gallery."
        )


class HashIndex:
    """The gallery's hashes of one scope, to be searched by :meth:`matches`."""

    def __init__(self, hashes: Mapping[str, StoredHashes], rule: Rule) -> None:
        """``hashes`` by algorithm; none at all make an index that matches nothing.

        Raises :class:`IntegrityError` where they are of another decode, or their rows do not belong together.
        """
        self._rule = rule
        _require_decode(hashes, "The gallery")
        if hashes and not {PHASH, DHASH} <= hashes.keys():
            raise IntegrityError("The gallery's picture hashes are not complete. Restore it from a copy.")
        pairs = ((PHASH, DHASH), (PHASH_MIRROR, DHASH_MIRROR))
        self._ways = tuple(_paired(hashes[p], hashes[d], rule) for p, d in pairs if p in hashes and d in hashes)

    @classmethod
    def of_pictures(cls, hashes: Mapping[str, StoredHashes]) -> HashIndex:
        """An index of hashes of whole pictures."""
        return cls(hashes, WHOLE_PICTURE)

    @classmethod
    def of_faces(cls, hashes: Mapping[str, StoredHashes]) -> HashIndex:
        """An index of hashes of aligned face crops."""
        return cls(hashes, FACE_CROP)

    def matches(self, probes: Sequence[Sequence[HashBatch]]) -> list[list[HashMatch]]:
        """For each probe (its batches by any algorithms; none for a picture that was not read) what it is a copy of.

        The nearest of all ways, once for each row and enrolment, sorted by these two.
        """
        found: list[dict[tuple[int, int], int]] = [{} for _ in probes]
        owner, row, phash, dhash, quality = _stacked(probes)
        for way in self._ways:
            pairs = way.near.join(phash)
            probe, stored = pairs.probe_index, pairs.gallery_index
            phash_distance = pairs.distance.astype(np.int64)
            dhash_distance = np.bitwise_count(dhash[probe] ^ way.dhash[stored]).sum(axis=1, dtype=np.int64)
            least = np.minimum(quality[probe], way.quality[stored])
            total = phash_distance + dhash_distance
            for k in np.flatnonzero(same_picture(phash_distance, dhash_distance, least, self._rule)):
                key = int(row[probe[k]]), int(way.enrolment_id[stored[k]])
                nearest = found[owner[probe[k]]]
                nearest[key] = min(nearest.get(key, 128), int(total[k]))
        return [
            [HashMatch(*key, best[key], collision_probability(best[key], self._rule)) for key in sorted(best)]
            for best in found
        ]


@dataclass(frozen=True, slots=True)
class _Way:
    """Stored hashes, straight or mirrored, that pass the quality gate.

    ``near`` finds phashes within the rule's distance: the two hashes together are no nearer than one of them.
    """

    dhash: ByteArray
    quality: FloatArray
    enrolment_id: LongArray
    near: HammingIndex


def _paired(phash: StoredHashes, dhash: StoredHashes, rule: Rule) -> _Way:
    if not np.array_equal(phash.enrolment_id, dhash.enrolment_id):
        raise IntegrityError("The gallery does not hold both hashes of every photo.")
    quality = np.minimum(phash.quality, dhash.quality)
    keep = np.flatnonzero(quality >= rule.min_quality)
    near = HammingIndex(phash.bits[keep], rule.max_distance)
    return _Way(dhash.bits[keep], quality[keep], phash.enrolment_id[keep], near)


def _stacked(
    probes: Sequence[Sequence[HashBatch]],
) -> tuple[LongArray, LongArray, ByteArray, ByteArray, FloatArray]:
    """All rows of all probes, as they are and turned: probe int64[N], row in it int64[N], phash and dhash uint8[N,8],
    quality float32[N]."""
    owner: list[int] = []
    row: list[int] = []
    quality: list[float] = []
    phash, dhash = [np.zeros((0, HASH_BYTES[PHASH]), np.uint8)], [np.zeros((0, HASH_BYTES[DHASH]), np.uint8)]
    for i, batches in enumerate(probes):
        by_algorithm = {batch.algorithm: batch for batch in batches}
        for names in zip((PHASH, *PHASH_TURNED), (DHASH, *DHASH_TURNED), strict=True):
            p, d = (by_algorithm.get(name) for name in names)
            if p is None or d is None:
                continue
            owner += [i] * len(p.bits)
            row += range(len(p.bits))
            phash.append(p.bits)
            dhash.append(d.bits)
            quality += np.minimum(p.quality, d.quality).tolist()
    return (
        np.array(owner, np.int64),
        np.array(row, np.int64),
        np.concatenate(phash),
        np.concatenate(dhash),
        np.array(quality, np.float32),
    )

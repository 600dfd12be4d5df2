"""All pairs of near hashes: exact, in blocks, trusted side only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.arrays import ByteArray, IntArray, LongArray, check

HASH_BYTES: Final = 8

# Gallery hashes compared with one probe at a time: with their distances they fit the second-level cache.
_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True)
class HashPairs:
    """Pairs of near hashes, sorted by probe, then gallery index.

    ``probe_index`` int32[K], ``gallery_index`` int64[K], ``distance`` uint8[K] in bits.
    """

    probe_index: IntArray
    gallery_index: LongArray
    distance: ByteArray

    def __post_init__(self) -> None:
        n = len(self.distance)
        check(self.probe_index, (n,), np.int32, "probe_index")
        check(self.gallery_index, (n,), np.int64, "gallery_index")
        check(self.distance, (n,), np.uint8, "distance")

    def __len__(self) -> int:
        return len(self.distance)


def hamming_join(probes: ByteArray, gallery: ByteArray, max_distance: int) -> HashPairs:
    """Every pair of ``probes`` uint8[P,8] and ``gallery`` uint8[G,8] that differs in at most ``max_distance`` bits.

    Compares all with all, about 2,000 million pairs a second and core; memory grows only with the pairs found. P or G
    may be 0. Raises ``ValueError`` for another shape or type.
    """
    left, right = _words(probes, "probes"), _words(gallery, "gallery")
    found: list[tuple[IntArray, LongArray, ByteArray]] = []
    for start in range(0, len(right), _BLOCK):
        block = right[start : start + _BLOCK]
        for probe, word in enumerate(left):
            distance = np.bitwise_count(block ^ word)
            near = np.flatnonzero(distance <= max_distance)
            if len(near):
                found.append((np.full(len(near), probe, np.int32), near.astype(np.int64) + start, distance[near]))
    if not found:
        return HashPairs(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint8))
    probe_index, gallery_index, distances = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((gallery_index, probe_index))
    return HashPairs(probe_index[order], gallery_index[order], distances[order])


def naive_hamming_join(probes: ByteArray, gallery: ByteArray, max_distance: int) -> HashPairs:
    """The readable reference of :func:`hamming_join`, one pair at a time."""
    pairs = [
        (i, j, distance)
        for i, probe in enumerate(probes)
        for j, other in enumerate(gallery)
        if (distance := sum(int(a ^ b).bit_count() for a, b in zip(probe, other, strict=True))) <= max_distance
    ]
    columns = list(zip(*pairs, strict=True)) or [(), (), ()]
    return HashPairs(np.array(columns[0], np.int32), np.array(columns[1], np.int64), np.array(columns[2], np.uint8))


def _words(hashes: ByteArray, name: str) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    check(hashes, (None, HASH_BYTES), np.uint8, name)
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(-1)

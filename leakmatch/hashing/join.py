"""All pairs of near hashes, exactly: by comparing all, or by an index for lists of millions. Trusted side only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from leakmatch.arrays import ByteArray, IntArray, LongArray, check

HASH_BYTES: Final = 8

Words = np.ndarray[tuple[int], np.dtype[np.uint64]]

# Gallery hashes compared with one probe at a time: with their distances they fit the second-level cache.
_BLOCK: Final = 1 << 15

_CHUNKS: Final = 4
_CHUNK_BITS: Final = 64 // _CHUNKS
_CHUNK_VALUES: Final = 1 << _CHUNK_BITS
_LOOKUPS: Final = 1 << 13  # lookups done at a time
_CANDIDATES: Final = 1 << 14  # candidates compared at a time: few enough to stay in the cache


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


class HammingIndex:
    """Hashes to be joined with many batches of probes, within a fixed distance.

    A hash is four chunks of 16 bits. Hashes within d bits have some chunk within a few: chunk c within r[c], if
    the sum of all r[c] + 1 exceeds d (else the distances of the chunks added up to more than d). So each chunk of a
    probe is looked up with every way to flip up to r[c] of its bits, and only what shares that chunk is compared: one
    hash in 350 for 8 bits. For far distances, or few hashes, all are compared.
    """

    def __init__(self, hashes: ByteArray, max_distance: int) -> None:
        """``hashes`` uint8[G,8]; ``max_distance`` in bits, below 0 finds nothing. Indexing takes 16 bytes a hash, and
        as long as comparing about 200 probes with all. Raises ``ValueError`` for another shape or type."""
        self._words = _words(hashes, "hashes")
        self._most = max_distance
        self._flips = _flips(max_distance)
        self._indexed = _worth_indexing(len(hashes), max_distance)
        self._tables = [_table(self._words, chunk) for chunk in range(_CHUNKS)] if self._indexed else []

    def join(self, probes: ByteArray) -> HashPairs:
        """Every pair of ``probes`` uint8[P,8] and the hashes that differs in at most ``max_distance`` bits."""
        left = _words(probes, "probes")
        parts = self._looked_up(left) if self._indexed else _compared(left, self._words, self._most)
        return _collected(list(parts))

    def _looked_up(self, probes: Words) -> Iterator[_Found]:
        step = max(1, _LOOKUPS // max(len(flips) for flips in self._flips))
        for begin in range(0, len(probes), step):
            some = probes[begin : begin + step]
            chunks = some.view(np.uint16).reshape(-1, _CHUNKS)
            for chunk, (flips, table) in enumerate(zip(self._flips, self._tables, strict=True)):
                if len(flips):
                    values = (chunks[:, chunk, None] ^ flips).reshape(-1)
                    for lookup, stored in table.candidates(values):
                        probe = lookup // len(flips)
                        distance = np.bitwise_count(some[probe] ^ self._words[stored])
                        near = np.flatnonzero(distance <= self._most)
                        yield probe[near] + begin, stored[near].astype(np.int64), distance[near]


_Found = tuple[LongArray, LongArray, ByteArray]


@dataclass(frozen=True, slots=True)
class _Table:
    """The hashes by one chunk: those whose chunk is v are ``order[starts[v]:starts[v + 1]]``."""

    order: np.ndarray[Any, np.dtype[np.uint32]]
    starts: LongArray

    def candidates(self, values: np.ndarray[Any, np.dtype[np.uint16]]) -> Iterator[tuple[LongArray, Any]]:
        """Pairs of an index into ``values`` and a hash with that chunk, a bounded number at a time."""
        first = self.starts[values]
        ends = np.cumsum(self.starts[values.astype(np.int64) + 1] - first)
        total = int(ends[-1]) if len(ends) else 0
        # Candidate k of lookup i is at k less all before that lookup, from where its hashes begin.
        offset = first - np.concatenate([[0], ends[:-1]])
        for begin in range(0, total, _CANDIDATES):
            end = min(begin + _CANDIDATES, total)
            low, high = np.searchsorted(ends, [begin, end - 1], side="right")
            bounds = np.minimum(ends[low : high + 1], end)
            lookup = np.repeat(np.arange(low, high + 1), np.diff(bounds, prepend=begin))
            yield lookup, self.order[np.arange(begin, end) + offset[lookup]]


def _table(words: Words, chunk: int) -> _Table:
    values = np.ascontiguousarray(words.view(np.uint16).reshape(-1, _CHUNKS)[:, chunk])
    counts = np.bincount(values, minlength=_CHUNK_VALUES)
    order = np.argsort(values, kind="stable").astype(np.uint32)
    return _Table(order, np.concatenate([[0], np.cumsum(counts)]))


def _radii(max_distance: int) -> list[int]:
    """How many bits may differ in each chunk that is looked up; -1: the chunk is not looked up."""
    each, more = divmod(max_distance + 1, _CHUNKS)
    return [each - 1 + (chunk < more) for chunk in range(_CHUNKS)]


def _flips(max_distance: int) -> list[np.ndarray[Any, np.dtype[np.uint16]]]:
    """For each chunk every pattern of at most its radius of bits."""
    if max_distance > _FARTHEST:
        return []
    return [
        np.array(
            [sum(1 << bit for bit in bits) for n in range(radius + 1) for bits in combinations(range(_CHUNK_BITS), n)],
            np.uint16,
        )
        for radius in _radii(max_distance)
    ]


# Measured beside faiss's comparison of all, for 64 probes: a million hashes within 12 bits 1.3 times as fast, within 14
# bits 0.7 times; 50,000 within 8 bits 1.9 times.
_FARTHEST: Final = 12
_FEWEST: Final = 50_000


def _worth_indexing(count: int, max_distance: int) -> bool:
    return count >= _FEWEST and 0 <= max_distance <= _FARTHEST


def hamming_join(probes: ByteArray, gallery: ByteArray, max_distance: int) -> HashPairs:
    """Every pair of ``probes`` uint8[P,8] and ``gallery`` uint8[G,8] that differs in at most ``max_distance`` bits.

    Memory grows only with the pairs found, and 16 bytes a gallery hash for an index where that pays. P or G may be 0.
    Raises ``ValueError`` for another shape or type.
    """
    if len(probes) >= _PROBES_TO_INDEX and _worth_indexing(len(gallery), max_distance):
        return HammingIndex(gallery, max_distance).join(probes)
    left, right = _words(probes, "probes"), _words(gallery, "gallery")
    if len(left) * len(right) >= _PAIRS_FOR_FAISS and max_distance >= 0:
        return _flat(probes, gallery, max_distance)
    return _collected(list(_compared(left, right, max_distance)))


_PROBES_TO_INDEX: Final = 200


_PAIRS_FOR_FAISS: Final = 1 << 24  # it compares twice as fast, but is to be loaded first


def _flat(probes: ByteArray, gallery: ByteArray, max_distance: int) -> HashPairs:
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(8 * HASH_BYTES)
    index.add(np.ascontiguousarray(gallery))
    ends, distance, stored = index.range_search(np.ascontiguousarray(probes), max_distance + 1)
    probe = np.repeat(np.arange(len(probes)), np.diff(ends.astype(np.int64)))
    return _collected([(probe, stored, distance.astype(np.uint8))])


def _compared(probes: Words, gallery: Words, most: int) -> Iterator[_Found]:
    for start in range(0, len(gallery), _BLOCK):
        block = gallery[start : start + _BLOCK]
        for probe, word in enumerate(probes):
            distance = np.bitwise_count(block ^ word)
            near = np.flatnonzero(distance <= most)
            if len(near):
                yield np.full(len(near), probe), near + start, distance[near]


def _collected(found: list[_Found]) -> HashPairs:
    """The pairs in order, each once: an index finds a pair by every chunk that is near enough."""
    if not found:
        return HashPairs(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.uint8))
    probe, stored, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((stored, probe))
    probe, stored, distance = probe[order], stored[order], distance[order]
    new = np.ones(len(probe), bool)
    new[1:] = (probe[1:] != probe[:-1]) | (stored[1:] != stored[:-1])
    return HashPairs(probe[new].astype(np.int32), stored[new], distance[new])


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


def _words(hashes: ByteArray, name: str) -> Words:
    check(hashes, (None, HASH_BYTES), np.uint8, name)
    return np.ascontiguousarray(hashes).view(np.uint64).reshape(-1)

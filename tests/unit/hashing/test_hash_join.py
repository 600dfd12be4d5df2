"""All pairs of near hashes."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.hashing import join
from leakmatch.hashing.join import HammingIndex, HashPairs, hamming_join, naive_hamming_join


def random(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8), np.uint8)


def same(one: HashPairs, other: HashPairs) -> bool:
    columns = ("probe_index", "gallery_index", "distance")
    return all(np.array_equal(getattr(one, column), getattr(other, column)) for column in columns)


@pytest.mark.parametrize(("probes", "gallery"), [(0, 0), (0, 5), (5, 0)])
def test_nothing_to_compare(probes, gallery):
    pairs = hamming_join(random(probes, 1), random(gallery, 2), 64)
    assert len(pairs) == 0


def test_borders_of_the_distance():
    gallery = np.zeros((3, 8), np.uint8)
    gallery[1, 0], gallery[2] = 0b111, 255
    probe = np.zeros((1, 8), np.uint8)
    assert hamming_join(probe, gallery, 2).gallery_index.tolist() == [0]
    assert hamming_join(probe, gallery, 3).gallery_index.tolist() == [0, 1]
    assert hamming_join(probe, gallery, 64).distance.tolist() == [0, 3, 64]
    assert len(hamming_join(probe, gallery, -1)) == 0


def test_blocks_do_not_show(monkeypatch):
    probes, gallery = random(9, 3), random(50, 4)
    gallery[[7, 31, 49]] = probes[[2, 2, 8]]
    expected = naive_hamming_join(probes, gallery, 24)
    assert len(expected) > 3
    for block in (1, 7, 49, 50, 51):
        monkeypatch.setattr(join, "_BLOCK", block)
        assert same(hamming_join(probes, gallery, 24), expected)


def test_views_are_compared_as_they_look():
    wide = random(20, 5)
    assert same(hamming_join(wide[::2], wide[::-1], 20), naive_hamming_join(wide[::2], wide[::-1], 20))


@pytest.mark.parametrize("bad", [np.zeros((2, 4), np.uint8), np.zeros((2, 8), np.int64), np.zeros(8, np.uint8)])
def test_other_shapes_are_refused(bad):
    with pytest.raises(ValueError, match="probes"):
        hamming_join(bad, random(2, 6), 3)
    with pytest.raises(ValueError, match="gallery"):
        hamming_join(random(2, 6), bad, 3)


def near(seed: int, hashes: np.ndarray, share: float) -> np.ndarray:
    turned = np.random.default_rng(seed).random((len(hashes), 64)) < share
    return hashes ^ np.packbits(turned, axis=1)


@pytest.mark.parametrize("most", [0, 1, 3, 4, 7, 8, 10, 12])
def test_an_index_finds_every_pair(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(join, "_FEWEST", 0)
    monkeypatch.setattr(join, "_CANDIDATES", 100)
    monkeypatch.setattr(join, "_LOOKUPS", 500)
    stored = random(400, 1)
    stored[50:60] = stored[50]
    probes = np.concatenate([near(2, stored[:60], most / 64), stored[:3], random(5, 3)])
    index = HammingIndex(stored, most)
    assert index._indexed
    expected = naive_hamming_join(probes, stored, most)
    assert len(expected) > 3
    assert same(index.join(probes), expected)
    assert len(index.join(probes[:0])) == 0


def test_worst_placed_differences_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bits spread over the chunks so that each differs by as much as it can."""
    monkeypatch.setattr(join, "_FEWEST", 0)
    probe = np.zeros((1, 8), np.uint8)
    for spread in ((2, 2, 2, 2), (3, 2, 2, 1), (8, 0, 0, 0), (0, 4, 4, 0), (1, 2, 2, 3), (4, 2, 1, 1)):
        chunks = np.array([[(1 << bits) - 1 for bits in spread]], np.uint16)
        assert len(HammingIndex(chunks.view(np.uint8), 8).join(probe)) == 1, spread
        assert len(HammingIndex(chunks.view(np.uint8), 7).join(probe)) == 0, spread


def test_long_lists_take_every_way_and_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = random(60_000, 1)
    probes = near(2, stored[:300], 0.06)
    found = hamming_join(probes, stored, 8)
    assert HammingIndex(stored, 8)._indexed
    assert len(found) > 200
    monkeypatch.setattr(join, "_FEWEST", 1 << 62)
    by_faiss = hamming_join(probes, stored, 8)
    monkeypatch.setattr(join, "_PAIRS_FOR_FAISS", 1 << 62)
    assert same(found, by_faiss)
    assert same(found, hamming_join(probes, stored, 8))


def test_an_index_of_many_equal_hashes_or_none() -> None:
    assert len(HammingIndex(np.zeros((60_000, 8), np.uint8), 8).join(np.zeros((2, 8), np.uint8))) == 120_000
    assert len(HammingIndex(np.zeros((0, 8), np.uint8), 8).join(np.zeros((2, 8), np.uint8))) == 0
    assert len(HammingIndex(random(9, 1), -1).join(random(9, 1))) == 0

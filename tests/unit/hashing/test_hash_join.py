"""All pairs of near hashes."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.hashing import join
from leakmatch.hashing.join import HashPairs, hamming_join, naive_hamming_join


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

"""The batch hashes equal imagehash, and the block join equals comparing pair by pair."""

from __future__ import annotations

import imagehash
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image, ImageOps

from leakmatch.arrays import ByteArray
from leakmatch.hashing.algorithms import DHASH_TURNED, PHASH_TURNED
from leakmatch.hashing.join import hamming_join, naive_hamming_join
from leakmatch.hashing.perceptual import picture_hashes


def reference(bgr: ByteArray) -> list[bytes]:
    """imagehash's phash and dhash, straight and mirrored."""
    image = Image.fromarray(np.ascontiguousarray(bgr[..., ::-1]))
    ways = (image, ImageOps.mirror(image))
    return [np.packbits(f(way).hash).tobytes() for way in ways for f in (imagehash.phash, imagehash.dhash)]


@st.composite
def pictures(draw: st.DrawFn) -> ByteArray:
    """Noise, smooth, flat, or a gradient; from 1x1 to very long."""
    height, width = draw(
        st.one_of(
            st.tuples(st.integers(1, 80), st.integers(1, 80)),
            st.sampled_from([(1, 1), (1, 900), (900, 1), (2, 300), (40, 3)]),
        )
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(["noise", "smooth", "flat", "gradient", "dark"]))
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    if kind == "dark":
        return rng.integers(0, 3, (height, width, 3), np.uint8)
    if kind == "gradient":
        return np.ascontiguousarray(
            np.broadcast_to(np.linspace(0, 255, width)[None, :, None], (height, width, 3))
        ).astype(np.uint8)
    small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@settings(max_examples=60, deadline=None)
@given(st.lists(pictures(), max_size=4))
def test_equal_to_imagehash(images):
    batches = picture_hashes(images, mirrored=True)
    for i, image in enumerate(images):
        assert [batch.bits[i].tobytes() for batch in batches] == reference(image)
        for batch in batches:
            assert 0 <= batch.quality[i] <= 1


@settings(max_examples=40, deadline=None)
@given(st.lists(pictures(), min_size=1, max_size=3))
def test_turned_as_imagehash_but_for_rounding(images):
    batches = {batch.algorithm: batch for batch in picture_hashes(images, mirrored=True, turned=True)}
    straight = picture_hashes(images, mirrored=True)
    assert list(batches)[:4] == [batch.algorithm for batch in straight]
    for batch in straight:
        assert np.array_equal(batch.bits, batches[batch.algorithm].bits)
    for turns, names in enumerate(zip(PHASH_TURNED, DHASH_TURNED, strict=True), start=1):
        for i, image in enumerate(images):
            expected = reference(np.ascontiguousarray(np.rot90(image, turns)))[:2]
            for name, bits in zip(names, expected, strict=True):
                differing = int(np.bitwise_count(batches[name].bits[i] ^ np.frombuffer(bits, np.uint8)).sum())
                unsure = 64 * (1 - float(batches[name].quality[i]))
                assert differing <= unsure + 1


def hashes(count: int) -> st.SearchStrategy[ByteArray]:
    # Few byte values, so that near pairs are common.
    return arrays.arrays(np.uint8, (count, 8), elements=st.sampled_from([0, 1, 3, 255]))


@settings(max_examples=40, deadline=None)
@given(hashes(5), hashes(7), st.integers(-1, 64))
def test_join_equals_comparing_pair_by_pair(probes, gallery, most):
    found, expected = hamming_join(probes, gallery, most), naive_hamming_join(probes, gallery, most)
    for column in ("probe_index", "gallery_index", "distance"):
        assert getattr(found, column).tolist() == getattr(expected, column).tolist()

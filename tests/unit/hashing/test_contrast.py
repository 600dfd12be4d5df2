"""Contrast maps, and how copies of a face are told from other pictures by them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from leakmatch.hashing.algorithms import CONTRAST_LEVELS, CONTRAST_SIGNS, HASH_BYTES, MAP_SIDE
from leakmatch.hashing.contrast import contrast_maps
from leakmatch.hashing.copies import (
    BITS,
    COPY_DISTANCE,
    OTHER_DISTANCE,
    copy_distances,
    copy_probability,
)
from leakmatch.records import HashBatch


def crop(seed: int) -> np.ndarray:
    """112x112 pixels with detail of every size, as a face has: blurred noise of several widths."""
    rng = np.random.default_rng(seed)
    detail = sum(
        width * cv2.GaussianBlur(rng.standard_normal((112, 112, 3)).astype(np.float32), (0, 0), width)
        for width in (1.5, 3.0, 6.0, 12.0)
    )
    return np.clip(128 + 40 * detail / detail.std(), 1, 255).astype(np.uint8)


def moved(image: np.ndarray, turn: float = 0.0, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((55.5, 55.5), turn, scale)
    matrix[:, 2] += x, y
    return cv2.warpAffine(image, matrix, (112, 112), borderMode=cv2.BORDER_REFLECT)


def maps(crops: np.ndarray, enrolled: bool, inside: np.ndarray | None = None) -> HashBatch:
    """The maps of ``crops`` uint8[N,S,S,3]; all of them inside of the picture, unless told otherwise."""
    shown = np.ones((len(crops), MAP_SIDE, MAP_SIDE), np.bool_)
    return contrast_maps(crops, shown if inside is None else shown & inside, enrolled=enrolled)


def distance(scanned: np.ndarray, *enrolled: np.ndarray, inside: np.ndarray | None = None) -> list[int | None]:
    levels = maps(scanned[None], False, inside).bits[0]
    return copy_distances(levels, maps(np.stack(enrolled), True).bits)


def recompressed(image: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)


COPIES = {
    "itself": lambda image: image,
    "mirrored": lambda image: np.ascontiguousarray(image[:, ::-1]),
    "recompressed": lambda image: recompressed(image, 30),
    "half size": lambda image: cv2.resize(cv2.resize(image, (56, 56), interpolation=cv2.INTER_AREA), (112, 112)),
    "gray": lambda image: cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "brighter": lambda image: cv2.convertScaleAbs(image, alpha=1.3),
    "darker": lambda image: cv2.convertScaleAbs(image, alpha=0.6),
    "aligned otherwise": lambda image: moved(image, turn=3.0, scale=1.04, x=2.5, y=-3.0),
    "mirrored, aligned otherwise": lambda image: moved(image[:, ::-1], turn=-3.0, scale=0.96, x=-2.0, y=2.5),
}


@pytest.mark.parametrize("copy", COPIES)
def test_copies_are_near(copy):
    for seed in range(5):
        (found,) = distance(COPIES[copy](crop(seed)), crop(seed))
        assert found is not None
        assert found <= COPY_DISTANCE


def test_others_are_far():
    for found in distance(crop(0), *(crop(seed) for seed in range(1, 5))):
        assert found is None or found > OTHER_DISTANCE


def test_of_many_the_ones_that_agree_best_are_compared():
    others = [crop(seed) for seed in range(1, 30)]
    found = distance(moved(crop(40), x=2.0), *others, crop(40), *others)
    assert found[29] is not None
    assert found[29] <= COPY_DISTANCE
    assert sum(value is not None for value in found) == 4
    assert all(value is None or value > OTHER_DISTANCE for i, value in enumerate(found) if i != 29)


def test_the_maps_are_of_the_sizes_that_are_sent_and_stored():
    crops = np.stack([crop(1), crop(2), crop(3)])
    for enrolled, name in ((True, CONTRAST_SIGNS), (False, CONTRAST_LEVELS)):
        batch = maps(crops, enrolled)
        assert (batch.algorithm, batch.bits.shape) == (name, (3, HASH_BYTES[name]))
        assert batch.image_index.tolist() == [0, 1, 2]
        assert (batch.quality > 0.9).all()
        assert maps(crops[:0], enrolled).bits.shape == (0, HASH_BYTES[name])


def test_signs_are_those_of_the_levels():
    crops = crop(1)[None]
    levels = maps(crops, False).bits
    signs = np.unpackbits(maps(crops, True).bits, axis=1).astype(bool)
    assert np.array_equal(signs[levels != 128], levels[levels != 128] > 128)
    assert np.isclose(levels.astype(float).std(), 32, atol=1)


def test_brightness_and_size_do_not_matter():
    levels = maps(crop(1)[None], False).bits.astype(int)
    dimmed = maps((crop(1) // 2)[None], False).bits.astype(int)
    assert np.abs(levels - dimmed).max() <= 3
    larger = cv2.resize(crop(1), (224, 224), interpolation=cv2.INTER_NEAREST)[None]
    assert np.abs(levels - maps(larger, False).bits).max() <= 1


def test_the_outside_of_the_picture_says_nothing():
    inside = np.zeros((MAP_SIDE, MAP_SIDE), np.bool_)
    inside[10:, 4:] = True
    black = crop(1)
    cell = 112 / MAP_SIDE
    black[: round(10 * cell)] = 0
    black[:, : round(4 * cell)] = 0
    levels = maps(black[None], False, inside).bits.reshape(MAP_SIDE, MAP_SIDE)
    assert (levels[:13] == 128).all()
    assert (levels[:, :7] == 128).all()
    assert (levels[16:, 10:] != 128).mean() > 0.95
    (found,) = distance(black, crop(1), inside=inside)
    assert found is not None
    assert found <= COPY_DISTANCE
    assert distance(crop(1), crop(1), inside=np.zeros_like(inside)) == [None]


@pytest.mark.parametrize("gray", [0, 130, 255])
def test_nothing_is_said_of_a_flat_crop(gray):
    flat = np.full((112, 112, 3), gray, np.uint8)
    assert maps(flat[None], False).quality.tolist() == [0]
    assert distance(flat, crop(1)) == [None]
    (found,) = distance(crop(1), flat)
    assert found is not None
    assert found > OTHER_DISTANCE


def test_nobody_is_enrolled():
    levels = maps(crop(1)[None], False).bits[0]
    assert copy_distances(levels, np.zeros((0, HASH_BYTES[CONTRAST_SIGNS]), np.uint8)) == []


def test_other_shapes_are_refused():
    levels = maps(crop(1)[None], False).bits[0]
    signs = maps(crop(1)[None], True).bits
    for bad in ((levels[:-1], signs), (levels.astype(np.int16), signs), (levels, signs[:, 1:]), (levels, signs[0])):
        with pytest.raises(ValueError, match=r"levels|signs"):
            copy_distances(*bad)
    shown = np.ones((1, MAP_SIDE, MAP_SIDE), np.bool_)
    for crops, inside in ((crop(1), shown), (crop(1)[None], shown[0]), (crop(1)[None], shown.astype(np.uint8))):
        with pytest.raises(ValueError, match=r"crops|inside"):
            contrast_maps(crops, inside, enrolled=True)


def test_chances_fall_with_the_distance_and_the_score():
    chances = [copy_probability(distance, None) for distance in range(BITS + 1)]
    assert chances == sorted(chances)
    assert 0 < chances[COPY_DISTANCE] < 1e-4
    assert chances[-1] == 1
    assert copy_probability(8, 1e-6) == pytest.approx(chances[8] * 1e-6)

"""The rule for "same picture", its chances, and the index that applies it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from leakmatch.errors import IntegrityError
from leakmatch.hashing.algorithms import CONTRAST_SIGNS, DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.hashing.evidence import (
    FACE_CROP,
    WHOLE_PICTURE,
    HashIndex,
    collision_probability,
    require_current,
    same_picture,
)
from leakmatch.hashing.perceptual import picture_hashes

RULES = [WHOLE_PICTURE, FACE_CROP]


@dataclass(frozen=True)
class Stored:
    bits: np.ndarray
    quality: np.ndarray
    enrolment_id: np.ndarray


def picture(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)


def stored(images: list[np.ndarray], mirrored: bool = True) -> dict[str, Stored]:
    ids = np.arange(100, 100 + len(images), dtype=np.int64)
    return {batch.algorithm: Stored(batch.bits, batch.quality, ids) for batch in picture_hashes(images, mirrored)}


def matches(index: HashIndex, *images: np.ndarray) -> list[list[tuple[int, int]]]:
    found = index.matches([picture_hashes([image], mirrored=False) for image in images])
    return [[(match.enrolment_id, match.distance) for match in each] for each in found]


@pytest.mark.parametrize("rule", RULES)
def test_rule_at_its_limits(rule):
    phash, dhash = np.array([0, 8, 8, 0, 0]), np.array([0, 0, 1, 8, 9])
    good = np.full(5, 0.75, np.float32)
    assert same_picture(phash, dhash, good, rule).tolist() == [True, True, False, True, False]
    assert not same_picture(phash, dhash, good - 0.01, rule).any()
    assert same_picture(np.zeros(0, int), np.zeros(0, int), np.zeros(0, np.float32), rule).tolist() == []


# Pairs of two people at most so many bits apart, however compared: the counts of benchmarks/hash_collisions.py.
MEASURED = {
    WHOLE_PICTURE: {12: 0, 14: 4, 16: 14, 18: 31, 20: 96},
    FACE_CROP: {10: 0, 12: 2, 14: 12, 16: 106, 18: 368, 20: 1208},
}


@pytest.mark.parametrize("rule", RULES)
def test_chances_are_not_below_what_was_counted(rule):
    for distance, count in MEASURED[rule].items():
        assert collision_probability(distance, rule) >= count / rule.pairs


@pytest.mark.parametrize("rule", RULES)
def test_chances_fall_with_the_distance(rule):
    chances = [collision_probability(distance, rule) for distance in range(21)]
    assert chances == sorted(chances)
    assert 0 < chances[0] < chances[rule.max_distance] < rule.unseen_bound < chances[20] < 1e-4


@pytest.mark.parametrize("distance", [-1, 21])
def test_chances_beyond_the_measurement_are_refused(distance):
    with pytest.raises(ValueError, match="outside"):
        collision_probability(distance, WHOLE_PICTURE)


def test_copies_are_found_and_others_are_not():
    index = HashIndex.of_pictures(stored([picture(seed) for seed in range(20)]))
    original = picture(7)
    copies = {
        "itself": original,
        "half size": cv2.resize(original, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
        "recompressed": cv2.imdecode(cv2.imencode(".jpg", original, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 1),
        "mirrored": np.ascontiguousarray(original[:, ::-1]),
        "darker": (original * 0.8).astype(np.uint8),
    }
    for name, copy in copies.items():
        ((match, *others),) = index.matches([picture_hashes([copy], mirrored=False)])
        assert (match.enrolment_id, others) == (107, []), name
        assert match.chance == collision_probability(match.distance, WHOLE_PICTURE)
    assert matches(index, original, picture(50), picture(3)) == [[(107, 0)], [], [(103, 0)]]


def test_mirrored_copies_need_mirrored_hashes():
    index = HashIndex.of_pictures(stored([picture(1)], mirrored=False))
    assert matches(index, picture(1), np.ascontiguousarray(picture(1)[:, ::-1])) == [[(100, 0)], []]


def test_enrolled_both_ways_is_found_both_ways():
    both = [picture(1), np.ascontiguousarray(picture(1)[:, ::-1])]
    assert matches(HashIndex.of_pictures(stored(both)), *both) == [[(100, 0), (101, 0)]] * 2


def test_flat_pictures_match_nothing():
    flat = np.full((90, 90, 3), 128, np.uint8)
    assert matches(HashIndex.of_pictures(stored([flat, picture(1)])), flat) == [[]]


def test_rows_of_a_batch_are_told_apart():
    index = HashIndex.of_faces(stored([picture(1), picture(2)]))
    (found, nothing) = index.matches([picture_hashes([picture(9), picture(2), picture(1)], mirrored=False), ()])
    assert [(match.row, match.enrolment_id) for match in found] == [(1, 101), (2, 100)]
    assert nothing == []


def test_empty_gallery():
    assert matches(HashIndex.of_pictures({}), picture(1)) == [[]]
    assert HashIndex.of_pictures(stored([picture(1)])).matches([]) == []


def test_hashes_of_another_decode_are_refused():
    other = {algorithm.replace("rgb8/2", "rgb8/0"): hashes for algorithm, hashes in stored([picture(1)]).items()}
    with pytest.raises(IntegrityError, match="another decode"):
        HashIndex.of_pictures(other)


def test_rows_that_do_not_belong_together_are_refused():
    hashes = stored([picture(1)])
    hashes[DHASH] = replace(hashes[DHASH], enrolment_id=np.array([5]))
    with pytest.raises(IntegrityError, match="both hashes"):
        HashIndex.of_pictures(hashes)
    assert {PHASH, PHASH_MIRROR, DHASH_MIRROR} < hashes.keys()


def test_galleries_without_contrast_maps_are_refused():
    require_current([PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR, CONTRAST_SIGNS], "x.gallery")
    require_current([], "a gallery of imported templates")
    with pytest.raises(IntegrityError, match=r"x\.gallery.*older version.*Enrol the photos into a new gallery"):
        require_current([PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR], "x.gallery")


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_copies_are_found_with_turned_hashes(turns, mirrored):
    index = HashIndex.of_pictures(stored([picture(seed) for seed in range(20)]))
    copy = np.ascontiguousarray(np.rot90(picture(7)[:, ::-1] if mirrored else picture(7), turns))
    plain, turned = (picture_hashes([copy], mirrored=False, turned=turned) for turned in (False, True))
    nothing, ((match, *others),) = index.matches([plain]), index.matches([turned])
    assert nothing == [[]]
    assert (match.row, match.enrolment_id, others) == (0, 107, [])

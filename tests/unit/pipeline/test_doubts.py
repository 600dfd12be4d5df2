"""Doubts about a gallery, against loops over pairs; and that they are bounded, ordered and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, gallery_of, pack, people
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.arrays import FloatArray, LongArray
from leakmatch.errors import UsageError
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.normalisation import unit
from leakmatch.pipeline import doubts as module
from leakmatch.pipeline.doubts import find_doubts, misfits, quick_doubts, split
from leakmatch.settings import load


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return Calibration.load(pack().calibration)


def plain_mean(sums: np.ndarray, counts: LongArray) -> FloatArray:
    return unit(sums)


def normalised_means(shots: list[Shot], calibration: Calibration) -> dict[str, FloatArray]:
    means = {}
    for subject in dict.fromkeys(shot.subject for shot in shots):
        mine = np.stack([shot.vector for shot in shots if shot.subject == subject])
        photos = calibration.normalisation.apply(mine)
        means[subject] = calibration.normalisation.mean_template(
            photos.sum(axis=0, dtype=np.float64)[None], np.array([len(mine)])
        )[0]
    return means


def test_two_ids_of_one_person_are_found_as_a_loop_finds_them(tmp_path: Path, calibration: Calibration) -> None:
    shots = people(np.random.default_rng(3), 60, [1, 2, 5] * 20)
    renamed = {"p0007": "p0003", "p0020": "p0050"}
    of = {shot.subject: shot for shot in shots}
    near = np.random.default_rng(0).normal(size=128).astype(np.float32) / 40
    for copy, original in renamed.items():
        vector = of[original].vector + near
        vector /= np.linalg.norm(vector)
        shots = [replace(s, vector=vector) if s.subject == copy else s for s in shots]
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        found = find_doubts(gallery, calibration)
    means, pairs = normalised_means(shots, calibration), 60 * 59 / 2
    slow = {}
    for a, one in means.items():
        for b, other in means.items():
            score = round(float(one.astype(np.float64) @ other.astype(np.float64)), 4)
            if a < b and calibration.fmr(score) * pairs <= 0.1:
                slow[a, b] = score
    assert slow.keys() >= {("p0003", "p0007"), ("p0020", "p0050")}
    assert {tuple(sorted(pair.subjects)): pair.score for pair in found.alike} == slow
    assert [pair.score for pair in found.alike] == sorted(slow.values(), reverse=True)
    assert found.alike_found == len(slow)
    for pair in found.alike:
        assert pair.expected == pytest.approx(float(calibration.fmr(pair.score)) * pairs, rel=0.01)
        assert pair.expected <= 0.1
        assert pair.shared == ""


def test_a_picture_in_common_is_told_whatever_the_score(tmp_path: Path, calibration: Calibration) -> None:
    shots = people(np.random.default_rng(3), 9, 5)
    shots[7] = replace(shots[7], content=shots[22].content, vector=shots[22].vector)
    bits = np.arange(8, dtype=np.uint8)
    shots[12], shots[40] = replace(shots[12], bits=bits), replace(shots[40], bits=bits)
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        found = find_doubts(gallery, calibration)
    told = {pair.subjects: (pair.shared, pair.photos) for pair in found.alike if pair.shared}
    assert any(pair.shared and pair.score < found.thresholds[0] for pair in found.alike)
    assert told == {
        ("p0001", "p0004"): ("the same file", ("p0001/22.jpg", "p0004/22.jpg")),
        ("p0002", "p0008"): ("the same picture: 0 of 128 bits differ", ("p0002/12.jpg", "p0008/40.jpg")),
    }
    assert found.alike_found == len(found.alike)
    assert [(m.subject, m.photos, m.others) for m in found.misfits] == [("p0001", ("p0001/22.jpg",), 4)]


def test_the_list_is_bounded_and_the_rest_counted(
    tmp_path: Path, calibration: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(5)
    one, other = people(random, 1)[0], people(random, 1)[0]
    crowd = []
    for i in range(40):  # one person under forty ids, each with a photo of somebody else
        vector = one.vector + np.float32(0.001 * i) * random.normal(size=128).astype(np.float32)
        crowd.append(Shot(f"c{i:02}", vector / np.linalg.norm(vector), 2 * i))
        if i < 12:
            crowd.append(Shot(f"c{i:02}", people(random, 1)[0].vector, 2 * i + 1))
    with gallery_of(tmp_path / "a.gallery", crowd) as gallery:
        everything = find_doubts(gallery, calibration)
        monkeypatch.setattr(module, "MOST", 7)
        monkeypatch.setattr(module, "_PART", 5)
        steps: list[tuple[int, int]] = []
        some = find_doubts(gallery, calibration, lambda done, total: steps.append((done, total)))
    assert everything.alike_found > 7
    assert everything.misfits_found == len(everything.misfits) == 12
    assert (some.alike_found, some.misfits_found) == (everything.alike_found, 12)
    assert some.alike == everything.alike[:7]
    assert some.misfits == everything.misfits[:7]
    assert steps == [(done, 40) for done in range(5, 41, 5)]
    assert other.subject == "p0000"


@pytest.mark.parametrize("photos", [0, 1])
def test_nobody_and_one_person_leave_no_doubt(tmp_path: Path, calibration: Calibration, photos: int) -> None:
    with gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 1, photos)) as gallery:
        found = find_doubts(gallery, calibration)
    assert (found.people, found.photos, found.alike, found.misfits) == (photos, photos, (), ())


# One subject like two


def slow_misfits(photos: FloatArray, limit: float) -> list[bool]:
    """Photos that are unlike the mean of the others, one by one."""
    return [
        len(photos) > 1
        and round(float(photos[i] @ unit(np.delete(photos, i, 0).sum(0)[None].astype(float))[0]), 4) < limit
        for i in range(len(photos))
    ]


@given(st.integers(1, 3), st.integers(0, 2**31), st.floats(-0.5, 0.9))
def test_few_photos_are_told_one_by_one(count: int, seed: int, limit: float) -> None:
    photos = unit(np.random.default_rng(seed).normal(size=(count, 6)))
    slow = slow_misfits(photos, limit)
    found = misfits(photos, plain_mean, limit)
    assert (found[0].tolist() if found else [False] * count) == slow


@given(st.integers(4, 12), st.integers(0, 2**31), st.floats(-0.5, 0.9))
def test_of_more_photos_no_misfit_is_missed(count: int, seed: int, limit: float) -> None:
    photos = unit(np.random.default_rng(seed).normal(size=(count, 6)))
    found = misfits(photos, plain_mean, limit)
    if any(slow_misfits(photos, limit)):
        assert found is not None
    if found is not None:
        assert 0 < found[0].sum() <= count
        assert found[1] < limit


@given(st.integers(2, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_two_people_in_one_folder_are_split_into_the_two(many: int, few: int, seed: int) -> None:
    many, few = max(many, few), min(many, few)
    random = np.random.default_rng(seed)
    middle = np.eye(64)[:2]
    whose = np.array([0] * many + [1] * few)
    photos = unit(middle[whose] + 0.05 * random.normal(size=(many + few, 64)))
    order = random.permutation(many + few)
    found = misfits(photos[order], plain_mean, 0.3)
    assert found is not None
    named = found[0]
    if many == few == 1:
        assert named.all()
    elif many == few:
        assert len(set(whose[order][named])) == 1
        assert named.sum() == few
    else:
        assert named.tolist() == (whose[order] == 1).tolist()


@given(st.integers(2, 20), st.integers(0, 2**31), st.booleans())
def test_a_split_is_neither_all_nor_none_and_the_smaller_part(count: int, seed: int, same: bool) -> None:
    random = np.random.default_rng(seed)
    photos = unit(np.ones((count, 5)) if same else random.normal(size=(count, 5)))
    group = split(photos)
    assert 0 < group.sum() <= count / 2


def test_photos_of_one_person_fit() -> None:
    random = np.random.default_rng(0)
    for count in range(2, 30):
        photos = unit(np.eye(64)[:1] + 0.1 * random.normal(size=(count, 64)))
        assert misfits(photos, plain_mean, 0.3) is None


# As commands ask


def test_a_large_gallery_is_not_compared_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 3)).close()
    monkeypatch.setattr(module, "QUICK_PEOPLE", 2)
    with pytest.raises(UsageError, match="3 people are more than"):
        quick_doubts(tmp_path / "a.gallery", load({}))


def test_without_any_calibration_it_says_how_to_make_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(pack(), folder=tmp_path)
    monkeypatch.setattr(module, "load_pack", lambda name: bare)
    gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 3)).close()
    with pytest.raises(UsageError, match="leakmatch gallery calibrate"):
        module.doubts(tmp_path / "a.gallery", load({}))

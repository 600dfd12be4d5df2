"""A gallery's own calibration: what it is made of, who is left out, and when it is used."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, add, gallery_of, pack, people
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.packs import Pack
from leakmatch.gallery.store import Gallery
from leakmatch.matching.calibration import LEAST_PAIRS, Calibration
from leakmatch.matching.impostors import GRID
from leakmatch.pipeline import calibrate as module
from leakmatch.pipeline.calibrate import (
    PHOTOS_EACH,
    SHOWN_RATES,
    calibrate,
    calibration_for,
    describe,
    has_changed,
    judged_by,
    make_own,
    own_calibration,
    remove_calibration,
)
from leakmatch.settings import load

PEOPLE = 130


@pytest.fixture
def general() -> Calibration:
    return Calibration.load(pack().calibration)


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    shots = people(np.random.default_rng(1), PEOPLE, [1, 2] * (PEOPLE // 2))
    return gallery_of(tmp_path / "a.gallery", shots)


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> Pack:
    """The default pack, whose model files are not needed."""
    default = pack()
    monkeypatch.setattr(module, "load_pack", lambda name: default)
    return default


def all_scores(gallery: Gallery, general: Calibration | None) -> list[float]:
    """Each photo with the mean of each other subject: a loop."""
    normalisation = general and general.normalisation
    by_subject: dict[str, list[np.ndarray]] = {}
    templates = gallery.templates()
    for enrolment, vector in zip(templates.enrolment_id, templates[:], strict=True):
        compared = vector if normalisation is None else normalisation.apply(vector[None])[0]
        by_subject.setdefault(gallery.subject_of(int(enrolment)), []).append(compared)
    scores = []
    for subject, photos in by_subject.items():
        for other, others in by_subject.items():
            if subject == other:
                continue
            mean = np.sum(others, axis=0, dtype=np.float64)
            length = 1 if normalisation is None else 1 - normalisation.shortening * (1 - 1 / len(others))
            mean *= length / np.linalg.norm(mean)
            scores += [float(photo @ mean) for photo in photos]
    return scores


@pytest.mark.parametrize("with_pack", [True, False])
def test_its_rates_are_the_shares_of_all_pairs(gallery: Gallery, general: Calibration, with_pack: bool) -> None:
    beside = general if with_pack else None
    made = make_own(gallery, beside)
    scores = np.array(all_scores(gallery, beside))
    assert made.own.pairs == len(scores) // 2
    body = made.own.tail.start > GRID
    slow = [(scores >= score - 1e-6).mean() for score in GRID[body]]
    assert made.own.fmr(GRID[body]) == pytest.approx(slow, abs=2 / len(scores), rel=1e-3)  # written in 4 digits
    if with_pack:
        assert made.own.tail.shape == pytest.approx(general.tail.shape, rel=1e-4)
        assert made.own.about["pack_calibration"] == general.sha256
    else:
        assert made.own.about["pack_calibration"] is None
        assert made.used is made.own


def test_it_says_what_it_was_made_of(gallery: Gallery, general: Calibration) -> None:
    about = make_own(gallery, general).own.about
    assert about["name"] == "the gallery's own people"
    assert (about["people"], about["photos"]) == (PEOPLE, PEOPLE * 3 // 2)
    assert about["gallery"]["digest"] == gallery.digest
    assert about["gallery"]["enrolled_state"] == gallery.enrolled_state()
    assert about["left_out"] == []
    assert "thresholds_with_nobody_left_out" not in about


def test_the_same_people_make_the_same_calibration(gallery: Gallery, general: Calibration) -> None:
    one, other = (json.loads(make_own(gallery, general).content) for _ in range(2))
    for body in (one, other):
        assert body["data"].pop("date")
    assert one == other


def test_the_thresholds_side_by_side(gallery: Gallery, general: Calibration) -> None:
    made = make_own(gallery, general)
    rows = made.thresholds()
    assert [row["fmr"] for row in rows] == list(SHOWN_RATES)
    for row in rows:
        assert row["own"]["low"] <= row["own"]["score"] <= row["own"]["high"]
        assert row["own"]["extrapolated"] == (row["fmr"] < 1 / made.own.pairs)
        assert row["used"] == max(row["own"]["score"], row["pack"]["score"])
        for calibration, told in ((made.own, row["own"]), (general, row["pack"])):
            grid = np.round(np.arange(-1, 1.0001, 1e-4), 4)
            for limits, score in zip(calibration.interval(grid), (told["low"], told["high"]), strict=True):
                assert score == grid[np.argmax(limits <= row["fmr"])]
    assert json.loads(json.dumps(made.to_json()))["pairs"] == made.own.pairs


def test_pairs_with_a_picture_in_common_are_left_out_and_named_others_never(
    tmp_path: Path, general: Calibration
) -> None:
    shots = people(np.random.default_rng(2), PEOPLE)
    bits = np.arange(8, dtype=np.uint8)
    shots[5] = replace(shots[5], vector=shots[90].vector, content=shots[90].content)
    shots[6], shots[7] = replace(shots[6], bits=bits), replace(shots[7], bits=bits, vector=shots[6].vector)
    shots[8] = replace(shots[8], vector=shots[9].vector)  # as alike as can be, and nothing else
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        made = make_own(gallery, general)
    assert made.own.about["left_out"] == [
        {"a": "p0005", "a_photo": "p0005/90.jpg", "b": "p0090", "b_photo": "p0090/90.jpg", "why": "the same file"},
        {
            "a": "p0006",
            "a_photo": "p0006/6.jpg",
            "b": "p0007",
            "b_photo": "p0007/7.jpg",
            "why": "the same picture: 0 of 128 bits differ",
        },
    ]
    pairs = PEOPLE * (PEOPLE - 1) // 2
    assert (made.own.pairs, made.with_everybody.pairs) == (pairs - 2, pairs)
    kept = made.own.about["thresholds_with_nobody_left_out"]
    assert kept == {f"{rate:g}": made.with_everybody.threshold(rate) for rate in SHOWN_RATES}
    assert made.own.threshold(1e-6) < made.with_everybody.threshold(1e-6)


def test_of_many_some_are_drawn_the_same_each_time(
    gallery: Gallery, general: Calibration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PEOPLE", 110)
    one, other = make_own(gallery, general), make_own(gallery, general)
    assert one.own.about["people"] == 110
    assert one.own.about["gallery"]["people"] == PEOPLE
    assert one.own.threshold(1e-4) == other.own.threshold(1e-4)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(0, 99))
def test_of_each_person_a_few_photos_are_taken(counts: list[int], seed: int) -> None:
    whose = np.repeat(np.arange(len(counts)), counts)
    keep = module._some_of_each(whose, np.random.default_rng(seed))
    assert np.bincount(whose[keep], minlength=len(counts)).tolist() == [min(n, PHOTOS_EACH) for n in counts]


@pytest.mark.parametrize(
    ("count", "photos", "needed"), [(0, 1, 101), (1, 1, 101), (100, 1, 101), (30, 3, 59), (45, 9, 51)]
)
def test_too_few_people_are_told_how_many_it_takes(
    tmp_path: Path, shipped: Pack, count: int, photos: int, needed: int
) -> None:
    path = tmp_path / "few.gallery"
    with gallery_of(path, people(np.random.default_rng(0), count, photos)) as gallery:
        before = gallery.digest
    with pytest.raises(UsageError, match=f"takes {LEAST_PAIRS:,} pairs of two people, some {needed:,} people"):
        calibrate(path, load({}))
    with Gallery.open(path) as gallery:
        assert gallery.digest == before
    with gallery_of(tmp_path / "enough.gallery", people(np.random.default_rng(0), needed, min(photos, 4))) as enough:
        assert make_own(enough, None).own.pairs >= LEAST_PAIRS


# What is used


def test_scores_are_judged_by_the_stricter_of_both(gallery: Gallery, shipped: Pack, general: Calibration) -> None:
    assert judged_by(gallery, shipped).sha256 == general.sha256
    assert describe(gallery) is None
    gallery.close()
    made = calibrate(gallery.path, load({}))
    with Gallery.open(gallery.path) as opened:
        opened.verify()
        used = judged_by(opened, shipped)
        told = describe(opened)
    scores = np.linspace(-1, 1, 999)
    assert (used.fmr(scores) == np.maximum(general.fmr(scores), made.own.fmr(scores))).all()
    assert used.about["gallery"]["people"] == PEOPLE
    assert told is not None
    assert (told["people"], told["pairs"], told["enrolments_changed_since"]) == (PEOPLE, made.own.pairs, False)
    assert remove_calibration(gallery.path)
    assert not remove_calibration(gallery.path)
    with Gallery.open(gallery.path) as opened:
        opened.verify()
        assert opened.calibration() is None


def test_a_pack_without_a_calibration(gallery: Gallery, shipped: Pack, tmp_path: Path) -> None:
    bare = replace(shipped, folder=tmp_path)
    with pytest.raises(UsageError, match=r"leakmatch gallery calibrate .* or give --threshold"):
        calibration_for(gallery, bare, load({}))
    assert calibration_for(gallery, bare, load({"threshold": 0.5})) is None
    made = make_own(gallery, None)
    gallery.put_calibration(made.content)
    alone = calibration_for(gallery, bare, load({}))
    assert alone is not None
    assert (alone.sha256, alone.normalisation) == (made.own.sha256, None)


def test_a_calibration_beside_another_one_of_the_pack_is_refused(
    gallery: Gallery, shipped: Pack, tmp_path: Path
) -> None:
    """Its scores are of other templates: the pack's calibration says how they are normalised."""
    gallery.put_calibration(make_own(gallery, None).content)
    with pytest.raises(UsageError, match=r"beside another calibration of the model pack.*gallery calibrate"):
        calibration_for(gallery, shipped, load({}))
    gallery.put_calibration(make_own(gallery, Calibration.load(shipped.calibration)).content)
    with pytest.raises(UsageError, match="beside another calibration"):
        calibration_for(gallery, replace(shipped, folder=tmp_path), load({}))


def test_a_calibration_of_another_version_says_what_to_do(gallery: Gallery) -> None:
    gallery.put_calibration(b'{"format": 1}')
    with pytest.raises(IntegrityError, match=r"gallery calibrate .*not a calibration of this version"):
        own_calibration(gallery)


def test_it_warns_where_others_are_enrolled_since(
    gallery: Gallery, shipped: Pack, general: Calibration, caplog: pytest.LogCaptureFixture
) -> None:
    gallery.put_calibration(make_own(gallery, general).content)
    with caplog.at_level(logging.WARNING, logger="leakmatch"):
        calibration_for(gallery, shipped, load({}))
        assert not caplog.records
        add(gallery, [Shot("new", people(np.random.default_rng(9), 1)[0].vector, 9_999)])
        calibration_for(gallery, shipped, load({}))
    assert "others are enrolled than when it was calibrated" in caplog.text
    assert describe(gallery)["enrolments_changed_since"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("ar"), st.integers(0, 4)), max_size=12))
def test_a_change_of_enrolments_is_never_overlooked(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[str, int]]
) -> None:
    """Against the set of enrolment ids itself, whatever is added and removed."""
    shot = people(np.random.default_rng(0), 1)[0]
    seen: dict[tuple[int, ...], list[int]] = {}
    with gallery_of(tmp_path_factory.mktemp("g") / "a.gallery", []) as gallery:
        for number, (change, person) in enumerate(changes):
            if change == "a":
                add(gallery, [Shot(f"s{person}", shot.vector, number)])
            elif any(s["subject_id"] == f"s{person}" for s in gallery.subjects()):
                gallery.remove(f"s{person}")
            ids = tuple(gallery.templates().enrolment_id.tolist())
            seen[ids] = gallery.enrolled_state()
        states = [tuple(state) for ids, state in seen.items() if ids]
    assert len(set(states)) == len(states)


def test_has_changed_only_asks_for_enrolments(gallery: Gallery, general: Calibration) -> None:
    made = make_own(gallery, general)
    gallery.put_calibration(made.content)
    assert not has_changed(gallery, made.own)

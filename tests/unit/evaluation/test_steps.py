"""How a gallery and probes become scores: against one pair at a time, and against the pipeline's own classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.case.decisions import Judge
from leakmatch.case.rows import Candidate, Key, Totals
from leakmatch.evaluation.figures import NOT_COMPARED
from leakmatch.evaluation.photos import Face, Photo
from leakmatch.evaluation.steps import (
    DEFAULT,
    PLAIN,
    SecondLook,
    Step,
    Templates,
    best_photo,
    mean_of_photos,
    steps,
)
from leakmatch.evaluation.trial import ALL, Protocol, Subject, Trial, draw
from leakmatch.gallery.store import Enrolment, Gallery
from leakmatch.gallery.store import Photo as Enrolled
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.pipeline.matcher import Matcher
from leakmatch.pipeline.second_look import is_near
from leakmatch.records import Evidence, Outcome
from leakmatch.settings import Settings

DIMENSION = 16
MEAN = np.linspace(0, 1, DIMENSION)


def units(rng: np.random.Generator, n: int, about: np.ndarray | float = 0.0, spread: float = 1.0) -> np.ndarray:
    vectors = (about + spread * rng.normal(size=(n, DIMENSION))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    """From 200 people with two photos each, whose templates lie about a mean that is not 0."""
    rng = np.random.default_rng(1)
    faces = units(rng, 200, MEAN)
    people = np.repeat(np.arange(200), 2)
    vectors = units(rng, 400, np.repeat(faces, 2, axis=0), 0.15)
    normalisation = replace(Normalisation.learn(vectors, people), shortening=0.05)
    normal = normalisation.apply(vectors)
    impostors = Impostors.of(normal, people, normal, people)
    return Calibration.parse(make_calibration("model", impostors, {"name": "made up"}, normalisation), "here")


def people(seed: int, several: int = 12, single: int = 20) -> dict[str, list[Photo]]:
    """Photos of each person, the mirrored template a little nearer to the person's own direction than the plain one."""
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(several + single):
        face, name = units(rng, 1, MEAN), f"p{number:02}"
        count = int(rng.integers(2, 5)) if number < several else 1
        plain, mirrored = units(rng, count, face, 0.25), units(rng, count, face, 0.18)
        found[name] = [
            Photo(f"{name}/{n}", Outcome.DONE, face=Face(plain[n], mirrored[n]), sha256=f"{name}{n}".encode())
            for n in range(count)
        ]
    return found


# --- the parts


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 9))
def test_fusions_are_what_they_say_subject_by_subject(photos: list[int], probes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(len(photos)), photos).astype(np.int32)
    gallery, searched = units(rng, len(subject)), units(rng, probes)
    best, fused = (fusion(gallery, subject, searched, None) for fusion in (best_photo, mean_of_photos))
    assert best.shape == fused.shape == (probes, len(photos))
    for p in range(probes):
        for s in range(len(photos)):
            own = gallery[subject == s].astype(np.float64)
            middle = own.mean(axis=0)
            assert np.isclose(best[p, s], max(float(searched[p] @ row) for row in own), atol=1e-5)
            assert np.isclose(fused[p, s], float(searched[p] @ middle) / np.linalg.norm(middle), atol=1e-4)


def test_steps_take_the_kind_of_template_that_they_name() -> None:
    plain, mirrored = np.eye(3, dtype=np.float32)[:1], np.eye(3, dtype=np.float32)[1:2]
    both = Templates(plain, mirrored)
    kinds = {step.name: (step.enrolled(both), step.searched(both)) for step in steps(None, None, several_photos=True)}
    for name, (gallery, probe) in kinds.items():
        assert (gallery is plain) == (name == "plain")
        assert (probe is mirrored) == (name == "mirrored-both")


def test_templates_are_normalised_on_both_sides(calibration: Calibration) -> None:
    chosen = {step.name: step for step in steps(calibration, 1.0, several_photos=True)}
    both = Templates(*units(np.random.default_rng(2), 6, MEAN).reshape(2, 3, DIMENSION))
    norm = calibration.normalisation
    assert norm is not None
    for name in ("normalised", DEFAULT):
        assert np.array_equal(chosen[name].enrolled(both), norm.apply(both.mirrored))
        assert np.array_equal(chosen[name].searched(both), norm.apply(both.plain))
    assert np.array_equal(chosen[DEFAULT].again.searched(both), norm.apply(both.mirrored))
    assert chosen[DEFAULT].again.second_look is None
    assert chosen["mirrored-both"].normalisation is None


def test_the_plain_step_is_first_and_the_pipelines_own_last(calibration: Calibration) -> None:
    for several in (False, True):
        chosen = steps(calibration, 1.0, several_photos=several)
        assert (chosen[0], chosen[-1].name) == (PLAIN, DEFAULT)
        assert len({step.name for step in chosen}) == len(chosen) == (6 if several else 5)


def test_what_a_pack_cannot_do_is_said(calibration: Calibration) -> None:
    bare = {step.name: step for step in steps(None, 1.0, several_photos=False)}
    assert bare["normalised"].normalisation is bare[DEFAULT].normalisation is bare[DEFAULT].second_look is None
    assert "the pack has no normalisation" in bare["normalised"].what
    assert "no second look" in bare[DEFAULT].what
    raw = steps(calibration, None, several_photos=False)[-1]  # a raw threshold was told
    assert raw.normalisation is calibration.normalisation
    assert raw.second_look is None
    assert "no second look" in raw.what


def test_near_is_from_a_tenth_of_what_is_accepted_to_the_end_of_the_review_band(calibration: Calibration) -> None:
    look, comparisons = SecondLook(calibration, 0.1), 30_000
    scores = np.round(np.linspace(-0.2, 0.99, 400), 4)
    near = look.near(scores, comparisons)
    expected = calibration.fmr(scores) * comparisons
    assert near.tolist() == ((expected >= 0.01) & (expected <= 10)).tolist()
    assert 0 < near.sum() < 400
    assert not look.near(np.array([NOT_COMPARED]), comparisons).any()
    few = look.near(scores, 10)  # 100 X are fewer than what is likelier than one in a hundred, which is never stored
    assert (calibration.fmr(scores[few]) <= 0.01).all()


# --- against the pipeline's own classes


def gallery_of(subjects: list[Subject], path: Path) -> Gallery:
    gallery = Gallery.create(path, "pack", "model", DIMENSION)
    photos = [(subject.name, photo) for subject in subjects for photo in subject.gallery]
    enrolments = [
        Enrolment(Enrolled(name, photo.path, photo.sha256, "", "", 1.0), photo.face.mirrored, (), ())
        for name, photo in np.random.default_rng(3).permutation(np.array(photos, object)).tolist()
    ]
    gallery.add(enrolments, [], {})
    return gallery


def scanned(stored: Matcher, everything: Matcher, judge: Judge, probe: Photo) -> tuple[dict[str, float], bool]:
    """Scores by subject as a scan finds them with its first look, and a second one where it takes it.

    ``stored`` keeps the candidates that a scan keeps, ``everything`` all of them.
    """
    assert probe.face is not None
    first = [verdict for _, verdict in stored.compare(probe.face.plain[None], [0])]
    again = False
    if first:
        top = max(first, key=lambda verdict: verdict.score or -1)
        score, chance = top.score, top.chance
        key, kind = Key(0, 0, 0), Evidence.SAME_FACE
        best = Candidate(key, 0, top.subject_id, top.enrolment, 1, score, chance, None, None, 1, kind)
        again = is_near(best, judge)
    vector = probe.face.mirrored if again else probe.face.plain
    found = [verdict for _, verdict in everything.compare(vector[None], [0])]
    return {verdict.subject_id: verdict.score for verdict in found if verdict.score is not None}, again


@pytest.mark.parametrize("accepted", [0.0001, 0.01, 1.0])
@pytest.mark.parametrize("enrol", [1, 3])
def test_the_default_step_finds_what_a_scan_finds(
    calibration: Calibration, tmp_path: Path, accepted: float, enrol: int
) -> None:
    mated, non_mated = draw(people(4), Protocol(enrol))
    trial = Trial(mated, non_mated)
    found = trial.search(steps(calibration, accepted, several_photos=True)[-1])
    with gallery_of(mated, tmp_path / "g") as gallery:
        stored = Matcher(gallery, calibration, Settings(expected_false=accepted), searches=32)
        everything = Matcher(gallery, calibration, Settings(threshold=-1.0))
        judge = Judge(Totals(32, 32, stored.people, 0), accepted, accepted, None)
        assert judge.totals.face_pairs == trial.comparisons
        looked = [(s, *scanned(stored, everything, judge, s.probes[0])) for s in (*mated, *non_mated)]
    own = [(scores[s.name], max(v for n, v in scores.items() if n != s.name)) for s, scores, _ in looked[: len(mated)]]
    assert found.mate.tolist() == [mate for mate, _ in own]
    assert found.rival.tolist() == [rival for _, rival in own]
    assert found.stranger.tolist() == [max(scores.values()) for _, scores, _ in looked[len(mated) :]]
    again = [again for *_, again in looked]
    assert found.again == (sum(again[: len(mated)]), sum(again[len(mated) :]))


def test_second_looks_are_taken_and_change_scores(calibration: Calibration) -> None:
    mated, non_mated = draw(people(4), Protocol())
    trial = Trial(mated, non_mated)
    *_, normalised, default = steps(calibration, 0.01, several_photos=False)
    first, both = trial.search(normalised), trial.search(default)
    assert first.again is None
    assert both.again is not None
    assert 0 < sum(both.again) < 32
    assert 0 < (first.mate != both.mate).sum() + (first.stranger != both.stranger).sum() <= sum(both.again)


def test_a_photo_enrolled_itself_is_looked_at_again_by_its_other_photos(calibration: Calibration) -> None:
    """Leave-one-out: the photo itself in the gallery would be a clear match, and never near."""
    given = people(5)
    look = SecondLook(calibration, 0.01)
    step = steps(calibration, 0.01, several_photos=True)[-1]
    all_in = Trial(*draw(given, Protocol(ALL, all_probes=True)))
    found = all_in.search(step)
    for place, (number, photo) in enumerate(all_in.mated):
        mated, non_mated = draw(given, Protocol(ALL, all_probes=True))
        without = [
            Subject(s.name, tuple(p for p in s.gallery if p is not photo), (photo,) if n == number else ())
            for n, s in enumerate(mated)
        ]
        alone = Trial(without, non_mated)
        first = alone.search(steps(calibration, None, several_photos=True)[-1])
        best = np.maximum(first.mate, first.rival)
        again = look.near(best, all_in.comparisons)[0]
        expected = alone.search(Step("one", "", normalisation=calibration.normalisation, probe=_kind(again)))
        assert (found.mate[place], found.rival[place]) == (expected.mate[0], expected.rival[0])


def _kind(again: bool) -> str:
    return "mirrored" if again else "plain"

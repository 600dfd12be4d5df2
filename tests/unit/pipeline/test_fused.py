"""One template a subject: against a loop over photos, whatever order they were enrolled in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.matching.normalisation import Normalisation
from leakmatch.pipeline import fused
from leakmatch.pipeline.fused import SubjectTemplates

DIMENSION = 8


def vector(seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=DIMENSION)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def gallery_of(path: Path, subjects: list[str]) -> Gallery:
    """A gallery with one photo after the other, of these subjects."""
    gallery = Gallery.create(path, "test", "m", DIMENSION)
    photos = [Photo(s, f"{s}/{i}.jpg", i.to_bytes(32, "big"), "", "", 0.5) for i, s in enumerate(subjects)]
    gallery.add([Enrolment(photo, vector(i), (), ()) for i, photo in enumerate(photos)], [], {})
    return gallery


@pytest.fixture(scope="module")
def normalisation() -> Normalisation:
    people = np.repeat(np.arange(60), 5)
    learned = Normalisation.learn(np.stack([vector(1000 + i) for i in range(300)]), people)
    assert learned.shortening >= 0
    return Normalisation.of(learned.mean, learned.within, 0.03)


def slow_means(subjects: list[str], normalisation: Normalisation | None) -> dict[str, np.ndarray]:
    means = {}
    for subject in dict.fromkeys(subjects):
        mine = [vector(i) for i, s in enumerate(subjects) if s == subject]
        if normalisation is not None:
            mine = [normalisation.apply(one[None])[0] for one in mine]
        total = sum(one.astype(np.float64) for one in mine)
        length = 1.0 if normalisation is None else 1 - 0.03 * (1 - 1 / len(mine))
        means[subject] = length * total / np.linalg.norm(total)
    return means


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=14), st.booleans(), st.integers(1, 5))
def test_they_are_the_means_of_a_loop(
    tmp_path_factory: pytest.TempPathFactory,
    normalisation: Normalisation,
    subjects: list[str],
    plain: bool,
    part: int,
) -> None:
    used = None if plain else normalisation
    before, fused.PART = fused.PART, part
    try:
        with gallery_of(tmp_path_factory.mktemp("fused") / "g", subjects) as gallery:
            rows = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), used)
            expected = slow_means(subjects, used)
            assert rows.shape == (len(expected), DIMENSION)
            names = [gallery.subject_of(int(first)) for first in rows.subject]
            assert names == list(expected)
            assert np.allclose(rows[:], np.stack(list(expected.values())), atol=1e-6)
            some = np.array([len(names) - 1, 0])
            # The last digit depends on how many rows a matrix product has.
            assert np.allclose(rows[some], rows[:][some], rtol=0, atol=1e-6)
            assert np.allclose(rows[0:2], rows[:][:2], rtol=0, atol=1e-6)
    finally:
        fused.PART = before


def test_the_closest_photo_is_named(tmp_path: Path, normalisation: Normalisation) -> None:
    subjects = list("abacab")
    with gallery_of(tmp_path / "g", subjects) as gallery:
        rows = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), normalisation)
        for photo in range(6):
            probe = rows.normalised(vector(photo)[None])[0]
            first = next(int(f) for f in rows.subject if gallery.subject_of(int(f)) == subjects[photo])
            assert rows.closest(first, probe) == gallery.templates().enrolment_id[photo]


def test_the_photos_of_a_subject_are_those_of_any_of_them(tmp_path: Path, normalisation: Normalisation) -> None:
    subjects = list("abacab")
    with gallery_of(tmp_path / "g", subjects) as gallery:
        rows = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), normalisation)
        numbers = gallery.templates().enrolment_id
        for photo, subject in enumerate(subjects):
            enrolments, vectors = rows.photos(int(numbers[photo]))
            mine = [i for i, other in enumerate(subjects) if other == subject]
            assert enrolments.tolist() == numbers[mine].tolist()
            assert np.array_equal(vectors, np.stack([vector(i) for i in mine]))


def test_an_empty_gallery_has_no_rows(tmp_path: Path) -> None:
    with Gallery.create(tmp_path / "g", "test", "m", DIMENSION) as gallery:
        rows = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), None)
        assert len(rows) == 0
        assert rows[:].shape == (0, DIMENSION)

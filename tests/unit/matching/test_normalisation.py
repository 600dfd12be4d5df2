"""Normalised templates: against the textbook, and what they are for."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.matching.normalisation import POWER, SHRINKAGE, Normalisation, unit


def people_and_photos(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """300 people with 1 to 4 photos in 12 dimensions; photos of one person vary along the first axis most."""
    generator = np.random.default_rng(seed)
    people = np.repeat(np.arange(300), generator.integers(1, 5, 300))
    spread = np.array([1.5] + [0.4] * 11)
    vectors = 0.8 + generator.normal(size=(300, 12))[people] + spread * generator.normal(size=(len(people), 12))
    return unit(vectors), people


def test_it_is_the_reference_written_out() -> None:
    vectors, people = people_and_photos()
    mean, within, freedom = np.zeros(12), np.zeros((12, 12)), 0.0
    for person in range(300):
        mine = [v.astype(np.float64) for v, p in zip(vectors, people, strict=True) if p == person]
        centre = sum(mine) / len(mine)
        mean += centre / 300
        for one in mine:
            within += np.outer(one - centre, one - centre) / len(mine)
        freedom += 1 - 1 / len(mine)
    within /= freedom
    even = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / 12 * np.eye(12)
    values, axes = np.linalg.eigh(even)
    expected = unit((vectors - mean) @ (axes @ np.diag(values**-POWER) @ axes.T))
    assert np.allclose(Normalisation.learn(vectors, people).apply(vectors), expected, atol=1e-4)


def test_strangers_score_nothing_on_average_and_people_more_than_before() -> None:
    vectors, people = people_and_photos()
    after = Normalisation.learn(vectors, people).apply(vectors)
    same = (people[:, None] == people) & ~np.eye(len(people), dtype=bool)
    other = people[:, None] != people

    def apart(templates: np.ndarray) -> float:
        scores = templates @ templates.T
        return float((scores[same].mean() - scores[other].mean()) / scores[other].std())

    assert abs(float((after @ after.T)[other].mean())) < 0.02
    assert float((vectors @ vectors.T)[other].mean()) > 0.2
    assert apart(after) > 1.1 * apart(vectors)


def test_templates_are_of_unit_norm_or_nothing() -> None:
    vectors, people = people_and_photos()
    normalisation = Normalisation.learn(vectors, people)
    assert np.allclose(np.linalg.norm(normalisation.apply(vectors), axis=1), 1, atol=1e-6)
    assert normalisation.apply(vectors[:0]).shape == (0, 12)
    assert unit(np.zeros((1, 12))).tolist() == [[0.0] * 12]


def test_it_is_the_same_after_it_was_written() -> None:
    vectors, people = people_and_photos()
    normalisation = Normalisation.learn(vectors, people)
    again = Normalisation.from_json(normalisation.to_json())
    assert np.array_equal(again.apply(vectors), normalisation.apply(vectors))


def test_what_is_no_covariance_is_refused() -> None:
    with pytest.raises(ValueError, match="two photos"):
        Normalisation.learn(np.eye(4, dtype=np.float32), np.arange(4))
    with pytest.raises(ValueError, match="not positive"):
        Normalisation.of(np.zeros(2), np.diag([1.0, -3.0]))
    with pytest.raises(ValueError, match="dimensions"):
        Normalisation.of(np.zeros(2), np.eye(3))
    with pytest.raises(ValueError, match="not symmetric"):
        Normalisation.of(np.zeros(2), np.array([[1.0, 2.0], [0.0, 1.0]]))

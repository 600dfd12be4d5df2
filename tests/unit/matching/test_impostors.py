"""Counting impostor pairs, against a loop over pairs; the bootstrap's weights; how often a stranger comes again."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.matching.impostors import GRID, KEPT_RATE, Impostors, Repeat, count_at_or_above


def drawn(seed: int, photos: int = 60, people: int = 12, dimension: int = 4) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    vectors = generator.normal(size=(photos, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), generator.integers(0, people, photos)


def test_counts_are_a_plain_count() -> None:
    some = np.random.default_rng(1).uniform(-1, 1, 500).astype(np.float32)
    some[:5] = [-1, 1, 0, 0.0025, -2]
    slow = [((some.astype(np.float64) + 1e-7 >= score) & (some > -1.5)).sum() for score in GRID]
    assert count_at_or_above(some).tolist() == slow


def test_pairs_are_those_of_a_loop() -> None:
    probes, probe_people = drawn(0)
    enrolled, enrolled_people = drawn(1, photos=40)
    left_out = {(2, 5), (0, 11)}
    found = Impostors.of(probes, probe_people, enrolled, enrolled_people, left_out)
    slow = []
    for i, a in enumerate(probe_people):
        for j, b in enumerate(enrolled_people):
            if a != b and (min(a, b), max(a, b)) not in left_out:
                slow.append((float(probes[i] @ enrolled[j]), a, b, j))
    assert found.counts[0] == len(slow)
    assert found.pairs(np.ones(found.people)) == len(slow)
    best = sorted(slow, reverse=True)[: len(found.score)]
    assert len(found.score) >= 0.5 * KEPT_RATE * len(slow)
    assert found.score.tolist() == [round(score, 4) for score, *_ in best]
    assert set(zip(found.probe, found.enrolled, found.template, strict=True)) == {row[1:] for row in best}


def test_a_weight_is_a_number_of_copies() -> None:
    """Pairs with person 3 counted twice are the pairs of a population in which person 3 is there twice."""
    probes, people = drawn(2)
    twin = np.concatenate([people, np.full((people == 3).sum(), 12)])
    doubled = np.concatenate([probes, probes[people == 3]])
    weights = np.ones(12)
    weights[3] = 2
    once = Impostors.of(probes, people, probes, people)
    twice = Impostors.of(doubled, twin, doubled, twin, {(3, 12)})
    assert once.pairs(weights) == twice.pairs(np.ones(13))


def test_rates_follow_the_counts_and_fall(seed: int = 3) -> None:
    probes, people = drawn(seed, photos=900, people=300, dimension=16)
    found = Impostors.of(probes, people, probes, people)
    rates = found.rates(np.ones(found.people))
    assert (np.diff(rates) <= 0).all()
    body = found.counts > 0.02 * found.counts[0]
    assert np.allclose(rates[body], found.counts[body] / found.counts[0], rtol=0.02)
    low, high = found.interval(seed=0)
    assert (low[body] <= high[body]).all()


def test_photos_of_one_stranger_come_again_more_often_than_chance() -> None:
    generator = np.random.default_rng(4)
    people = np.repeat(np.arange(200), 4)
    vectors = generator.normal(size=(200, 16))[people] + 0.7 * generator.normal(size=(800, 16))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    found = Impostors.of(vectors, people, vectors, people)
    rates = found.rates(np.ones(200))
    repeat = Repeat.of(found, rates, seed=0)
    threshold = GRID[np.argmax(rates <= 1e-2)]
    scores = vectors @ vectors.T
    again = first = 0.0
    for template in range(800):
        for stranger in range(200):
            if stranger == people[template]:
                continue
            hits = int((scores[people == stranger, template] >= threshold - 1e-7).sum())
            again, first = again + hits * (hits - 1) / 3, first + hits
    assert repeat.again[0] == pytest.approx(again / first, rel=0.02)
    assert (repeat.again <= repeat.high).all()
    assert repeat.again[0] > 0.05

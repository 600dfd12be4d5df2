"""How a gallery and probes become scores: against one pair at a time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from leakmatch.evaluation.steps import DEFAULT, PLAIN, Templates, best_photo, mean_of_photos, steps


def units(rng: np.random.Generator, n: int) -> np.ndarray:
    vectors = rng.normal(size=(n, 6)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 4), st.integers(0, 9))
def test_fusions_are_what_they_say_subject_by_subject(photos: list[int], probes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    subject = np.repeat(np.arange(len(photos)), photos).astype(np.int32)
    gallery, searched = units(rng, len(subject)), units(rng, probes)
    best, fused = (fusion(gallery, subject, searched) for fusion in (best_photo, mean_of_photos))
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
    none, one = np.zeros(1, np.int32), {step.name: step for step in steps(several_photos=True)}
    gallery_only = Templates(mirrored, plain)  # what is mirrored in the gallery is plain in the probe
    assert one["plain"].scores(both, none, both)[0, 0] == 1
    assert one["mirrored-gallery"].scores(both, none, both)[0, 0] == 0
    assert one["mirrored-gallery"].scores(both, none, gallery_only)[0, 0] == 1
    assert one["mirrored-both"].scores(both, none, gallery_only)[0, 0] == 0


def test_the_plain_step_is_first_and_the_pipelines_own_last() -> None:
    for several in (False, True):
        chosen = steps(several_photos=several)
        assert (chosen[0], chosen[-1]) == (PLAIN, DEFAULT)
        assert len({step.name for step in chosen}) == len(chosen) == (5 if several else 4)

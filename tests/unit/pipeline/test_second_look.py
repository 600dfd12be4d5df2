"""Which faces are looked at again, and what becomes of their candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest

from leakmatch.case.decisions import Judge
from leakmatch.case.rows import Candidate, Key, Totals
from leakmatch.matching.verdict import Verdict
from leakmatch.pipeline.second_look import Face, is_near, look_again
from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import Entry, Evidence, FaceBatch, ImageAnalysis, Outcome, TemplateBatch

KEY = Key(0, 1)
TOTALS = Totals(searches=1000, pictures=1000, gallery_people=100, gallery_pictures=100, resolution=1e-7)


def candidate(chance: float | None, subject: str = "a", evidence: Evidence = Evidence.SAME_FACE) -> Candidate:
    distance, picture = (None, None) if evidence is Evidence.SAME_FACE else (3, 1e-9)
    return Candidate(KEY, 0, subject, 1, 1, 0.4, chance, chance, chance, 1, evidence, distance, picture)


@pytest.mark.parametrize(("expected", "near"), [(0.09, False), (0.11, True), (1.0, True), (99.0, True), (101.0, False)])
def test_a_face_is_near_from_a_tenth_to_a_hundred_times_what_is_accepted(expected: float, near: bool) -> None:
    judge = Judge(TOTALS, 1.0, 1.0, None)
    assert is_near(candidate(expected / TOTALS.face_pairs), judge) is near
    assert is_near(candidate(2 * expected / TOTALS.face_pairs), Judge(TOTALS, 2.0, 2.0, None)) is near


def test_a_raw_threshold_or_an_unknown_figure_takes_no_second_look() -> None:
    assert not is_near(candidate(1e-5), Judge(TOTALS, 1.0, 1.0, 0.4))
    assert not is_near(candidate(None), Judge(TOTALS, 1.0, 1.0, None))


class _Executor:
    """Makes the template that each crop says, or loses it."""

    def look_again(self, crops: Iterable[tuple[FileTask, Entry, bytes]], sink: Sink) -> None:
        for task, entry, crop in crops:
            if crop == b"lost":
                sink.lost(task, entry, "two workers were lost over it")
                continue
            valid = np.array([crop != b"black"])
            vectors = np.eye(1, 4, dtype=np.float32) * valid[:, None]
            templates = TemplateBatch(vectors.astype(np.float32), np.zeros(1, np.float32), valid, "m")
            faces = FaceBatch(
                np.zeros(1, np.int32),
                np.zeros((1, 4), np.float32),
                np.zeros((1, 5, 2), np.float32),
                np.ones(1, np.float32),
            )
            sink.looked(task, entry, [ImageAnalysis(0, Outcome.DONE, "", 112, 112, (), faces, templates, (), (b"",))])
            sink.tick()


class _Matcher:
    """Always finds the same two people."""

    def compare(self, probes: np.ndarray, faces: list[int], looks: int) -> Iterable[tuple[int, Verdict]]:
        assert probes.shape == (1, 4)
        yield 0, Verdict(faces[0], "b", 7, 0.6, 1e-8, 1e-9, 1e-7, looks)
        yield 0, Verdict(faces[0], "a", 3, 0.5, 1e-6, 1e-7, 1e-5, looks)


def test_new_scores_replace_the_old_and_evidence_of_pictures_stays() -> None:
    found: dict[int, list[Verdict]] = {}
    copy = replace(candidate(1e-5, "a", Evidence.SAME_PICTURE), face=2)
    faces = [
        Face(KEY, 0, b"crop", (candidate(1e-5), candidate(1e-4, "c"))),
        Face(KEY, 1, b"lost", (candidate(1e-5),)),
        Face(KEY, 2, b"crop", (copy,)),
        Face(KEY, 3, b"black", (candidate(1e-5),)),
    ]
    look_again(faces, _Executor(), _Matcher(), lambda face, verdicts: found.__setitem__(face.face, verdicts))
    assert found.keys() == {0, 2}, "a crop without a template keeps what it has"
    assert [(v.subject_id, v.rank, v.looks) for v in found[0]] == [("b", 1, 2), ("a", 2, 2)]
    assert [(v.subject_id, str(v.evidence), v.hash_distance) for v in found[2]] == [
        ("a", "same-picture", 3),
        ("b", "same-face", None),
    ]

"""From pairs to ranked candidates."""

from __future__ import annotations

from leakmatch.matching.verdict import PictureMatch, Verdict, combine
from leakmatch.records import Evidence


def face(number: int, subject: str, score: float, enrolment: int = 1) -> Verdict:
    return Verdict(number, subject, enrolment, score, 1e-6)


def picture(subject: str, evidence: Evidence, face: int | None = None, chance: float = 0.0) -> PictureMatch:
    distance = None if evidence is Evidence.SAME_FILE else 3
    return PictureMatch(face, subject, 9, evidence, distance, chance)


def test_the_best_of_several_photos_counts_and_subjects_are_ranked_per_face() -> None:
    found = combine([face(0, "a", 0.5), face(0, "a", 0.7, 2), face(0, "b", 0.6), face(1, "b", 0.4)], [])
    assert [(v.face, v.subject_id, v.score, v.enrolment, v.rank) for v in found] == [
        (0, "a", 0.7, 2, 1),
        (0, "b", 0.6, 1, 2),
        (1, "b", 0.4, 1, 1),
    ]


def test_a_picture_is_joined_to_the_subjects_best_face_and_ranks_first() -> None:
    found = combine(
        [face(0, "a", 0.9), face(0, "b", 0.3), face(1, "b", 0.8), face(1, "c", 0.95)],
        [picture("b", Evidence.SAME_PICTURE, chance=1e-9)],
    )
    assert [(v.face, v.subject_id, str(v.evidence), v.rank) for v in found] == [
        (0, "a", "same-face", 1),
        (0, "b", "same-face", 2),
        (1, "b", "same-picture", 1),
        (1, "c", "same-face", 2),
    ]


def test_a_picture_without_a_face_stands_alone() -> None:
    (found,) = combine([], [picture("a", Evidence.SAME_FILE)])
    assert (found.face, found.score, found.evidence, found.rank, found.picture_chance) == (
        None,
        None,
        Evidence.SAME_FILE,
        1,
        0.0,
    )


def test_the_strongest_evidence_stands() -> None:
    matches = [picture("a", Evidence.SAME_PICTURE, 0, 1e-8), picture("a", Evidence.SAME_FILE)]
    (found,) = combine([face(0, "a", 1.0)], matches)
    assert (found.evidence, found.hash_distance, found.score) == (Evidence.SAME_FILE, None, 1.0)


def test_a_crop_that_matches_without_a_score_is_a_candidate_for_its_face() -> None:
    (found,) = combine([], [picture("a", Evidence.SAME_PICTURE, 2, 1e-8)])
    assert (found.face, found.evidence, found.score) == (2, Evidence.SAME_PICTURE, None)


def test_nothing_gives_nothing() -> None:
    assert combine([], []) == []

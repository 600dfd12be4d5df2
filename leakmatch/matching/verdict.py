"""From scored pairs to candidates: one per face and subject, ranked, each with the strongest evidence that holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from leakmatch.records import Evidence

_STRENGTH = {Evidence.SAME_FILE: 0, Evidence.SAME_PICTURE: 1, Evidence.SAME_FACE: 2}


@dataclass(frozen=True, slots=True)
class Verdict:
    """One subject who may be in one picture. ``face`` and ``score`` are ``None`` where only the picture matched.

    ``enrolment``: the enrolled photo that the evidence is about: the same file or picture, else the one most alike.
    ``chance``: how likely a pair of two people scores so, with its 95 % interval; ``None`` where it is not known.
    ``looks``: 2 where the score is from a closer second look (:mod:`leakmatch.pipeline.second_look`).
    """

    face: int | None
    subject_id: str
    enrolment: int
    score: float | None
    chance: float | None
    chance_low: float | None = None
    chance_high: float | None = None
    looks: int = 1
    evidence: Evidence = Evidence.SAME_FACE
    hash_distance: int | None = None
    picture_chance: float | None = None
    rank: int = 0


@dataclass(frozen=True, slots=True)
class PictureMatch:
    """Evidence from the file or from hashes. ``face`` is ``None`` where it concerns the whole picture."""

    face: int | None
    subject_id: str
    enrolment: int
    evidence: Evidence
    hash_distance: int | None
    chance: float


def combine(faces: Iterable[Verdict], pictures: Iterable[PictureMatch]) -> list[Verdict]:
    """The candidates of one picture.

    ``faces`` are scored pairs (several per face and subject where a subject has several photos: the best counts).
    A match of a face crop is joined to that face; a match of the whole picture to the subject's best face in it, or
    stands alone where no face was comparable. Ranks count subjects per face, from 1: stronger evidence first, then
    score.
    """
    best: dict[tuple[int | None, str], Verdict] = {}
    for verdict in faces:
        key = (verdict.face, verdict.subject_id)
        if key not in best or (verdict.score or -1.0) > (best[key].score or -1.0):
            best[key] = verdict
    for match in sorted(pictures, key=_match_order):
        key = (match.face, match.subject_id)
        if match.face is None:
            key = _best_face(best, match.subject_id) or key
        known = best.get(key)
        if known is None:
            known = Verdict(key[0], match.subject_id, match.enrolment, None, None)
        if known.evidence is Evidence.SAME_FACE:  # else a stronger match, which came first, stands
            known = replace(
                known,
                enrolment=match.enrolment,
                evidence=match.evidence,
                hash_distance=match.hash_distance,
                picture_chance=match.chance,
            )
        best[key] = known
    return _ranked(best)


def _match_order(match: PictureMatch) -> tuple[int, float, bool, int]:
    return (_STRENGTH[match.evidence], match.chance, match.face is None, match.enrolment)


def _best_face(best: Mapping[tuple[int | None, str], Verdict], subject_id: str) -> tuple[int | None, str] | None:
    keys = [key for key in best if key[1] == subject_id]
    return min(keys, key=lambda key: (-(best[key].score or -1.0), key[0] is None, key[0] or 0), default=None)


def _ranked(best: Mapping[tuple[int | None, str], Verdict]) -> list[Verdict]:
    by_face: dict[int | None, list[Verdict]] = {}
    for verdict in best.values():
        by_face.setdefault(verdict.face, []).append(verdict)
    ranked: list[Verdict] = []
    for face in sorted(by_face, key=lambda f: (f is None, f or 0)):
        group = sorted(by_face[face], key=lambda v: (_STRENGTH[v.evidence], -(v.score or -1.0), v.subject_id))
        ranked += [replace(verdict, rank=rank) for rank, verdict in enumerate(group, start=1)]
    return ranked

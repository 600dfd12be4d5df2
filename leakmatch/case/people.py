"""What a case says about each person: all candidates of a person, fused. The mathematics is in docs/joint.md.

One pass over the stored candidates, weak ones too; then, over the ledger, only the folders in which someone has several
pictures are counted. Memory grows with people and their candidates, not with items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.case.decisions import Judge, rounded
from leakmatch.case.joint import Joint, together
from leakmatch.case.places import folder, folder_path, places
from leakmatch.case.rows import Candidate, as_candidate, columns_of
from leakmatch.case.store import Case
from leakmatch.records import Decision, Evidence, ItemKind

#: A picture: source file and position, or for all frames of a video together its locator.
Picture = tuple[int, int, str]

STRENGTH: Final = {kind: order for order, kind in enumerate(Evidence)}
BAND: Final = {band: order for order, band in enumerate(Decision)}

#: Pictures of one person whose hashes (phash and dhash) differ in so many of 128 bits count as one picture.
SAME_PICTURE_BITS: Final = 8

_STORED: Final = f"""SELECT {columns_of("r")}, i.locator, i.hash, i.kind
    FROM candidates r CROSS JOIN items i ON i.file = r.file AND i.position = r.position AND i.frame = r.frame
    ORDER BY r.file, r.position, r.frame"""

_SEARCHED: Final = """SELECT file, position, frame, locator, kind FROM items WHERE primary_file IS NULL AND searches > 0
    ORDER BY file, position, frame"""


@dataclass(slots=True)
class Seen:
    """A picture in which a person may be: the best of its candidates, over all of its faces and frames. A video, like
    an animation, counts as one picture.

    ``best`` has the lowest chance (of those with none, the highest score); ``decision`` and ``evidence`` are the
    strongest of any; ``by_picture`` is the figure of the same file or picture, ``None`` without such evidence.
    """

    best: Candidate
    locator: str
    folder: str
    hash: bytes | None
    decision: Decision
    evidence: Evidence
    by_picture: float | None
    score: float | None

    @property
    def item(self) -> tuple[int, int]:
        """File and position of the picture."""
        return self.best.key.file, self.best.key.position

    def add(self, other: Seen) -> None:
        """Another candidate of the same person in the same picture."""
        self.decision = min(self.decision, other.decision, key=BAND.__getitem__)
        self.evidence = min(self.evidence, other.evidence, key=STRENGTH.__getitem__)
        self.by_picture = _least(self.by_picture, other.by_picture)
        self.score = max((s for s in (self.score, other.score) if s is not None), default=None)
        if _order(other) < _order(self):
            self.best, self.locator, self.hash = other.best, other.locator, other.hash


@dataclass(frozen=True, slots=True)
class Person:
    """All that speaks for one person. Figures and their 95 % ``interval`` have 6 digits, or are ``None``.

    ``expected_false``: how many people chance alone would give evidence as strong for, in the whole scan. ``shown``:
    the same if no chance is taken to be rarer than the calibration's data shows; a match needs it to be low enough.

    ``rests_on``: the pictures that ``shown`` rests on, strongest first: one, or several of ``folder`` (source, path),
    of whose ``folder_pictures`` searched pictures they are. ``joint``: how it was computed; ``None`` where the same
    file or picture gave it, or there is none. ``files`` counts the places (copies too), and ``pictures`` the different
    pictures, that it rests on or in which a candidate is decided match or review.
    """

    subject_id: str
    decision: Decision
    evidence: Evidence
    score: float | None
    expected_false: float | None
    shown: float | None
    interval: tuple[float | None, float | None]
    files: int
    pictures: int
    folder: tuple[str, str]
    folder_pictures: int
    rests_on: tuple[Seen, ...]
    joint: Joint | None

    @property
    def extrapolated(self) -> bool:
        """Whether the figure rests on a chance that the calibration's data does not show."""
        return self.expected_false != self.shown


def people(case: Case, judge: Judge) -> list[Person]:
    """Everybody with a stored candidate: best decision first, then lowest figure."""
    seen = _seen(case, judge)
    pictures = [picture for mine in seen.values() for picture in mine]
    sizes = _sizes(case, {picture.folder for picture in pictures})
    copies = Counter(_copies(case, {picture.item for picture in pictures}))
    place = places(case)
    found = [_person(who, mine, judge, sizes, copies, place) for who, mine in seen.items()]
    return sorted(found, key=lambda p: (BAND[p.decision], unknown_last(p.expected_false), p.subject_id))


def _seen(case: Case, judge: Judge) -> dict[str, list[Seen]]:
    """The pictures of each person, in source order."""
    found: dict[str, dict[Picture, Seen]] = {}
    for *fields, locator, hash_, kind in case.select(_STORED):
        candidate = as_candidate(case.path, tuple(fields))
        place = folder(case, locator, kind == ItemKind.FRAME)
        by_picture = None if candidate.picture_chance is None else judge.totals.expected_false(candidate, None)
        now = Seen(
            candidate,
            locator,
            place,
            hash_,
            judge.decision(candidate),
            candidate.evidence,
            by_picture,
            candidate.score,
        )
        known = found.setdefault(candidate.subject_id, {}).setdefault(_picture(*candidate.key, locator, kind), now)
        if known is not now:
            known.add(now)
    return {who: list(pictures.values()) for who, pictures in found.items()}


def _sizes(case: Case, wanted: set[str]) -> Counter[str]:
    """In each of the ``wanted`` folders, the pictures of which a face was searched; frames of one count once."""
    sizes: Counter[str] = Counter()
    before = None
    for file, position, frame, locator, kind in case.select(_SEARCHED):
        picture = _picture(file, position, frame, locator, kind)
        if picture != before:
            before = picture
            key = folder(case, locator, kind == ItemKind.FRAME)
            if key in wanted:
                sizes[key] += 1
    return sizes


def _picture(file: int, position: int, frame: int, locator: str, kind: str) -> Picture:
    """What tells pictures apart: of a frame of a video, which has a position of its own, the video it is of."""
    # In the JSON of a locator this can only be the border between two links: in a name the quote is escaped.
    video = locator.rpartition(',["')[0] if kind == ItemKind.FRAME and not frame else ""
    return file, -1 if video else position, video


def _copies(case: Case, items: set[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    for file, position in case.select(
        "SELECT primary_file, primary_position FROM items WHERE primary_file IS NOT NULL"
    ):
        if (file, position) in items:
            yield file, position


def distinct(pictures: Iterable[Seen]) -> list[Seen]:
    """Best first, without those whose hash is near that of a better one."""
    ranked = sorted(pictures, key=_order)
    kept: list[Seen] = []
    hashes = np.empty((len(ranked), 16), np.uint8)
    number = 0
    for picture in ranked:
        if picture.hash is not None and len(picture.hash) == hashes.shape[1]:
            bits = np.frombuffer(picture.hash, np.uint8)
            if (np.bitwise_count(hashes[:number] ^ bits).sum(axis=1) <= SAME_PICTURE_BITS).any():
                continue
            hashes[number], number = bits, number + 1
        kept.append(picture)
    return kept


def _person(
    who: str,
    pictures: list[Seen],
    judge: Judge,
    sizes: Mapping[str, int],
    copies: Mapping[tuple[int, int], int],
    place: Callable[..., tuple[str, str, str]],
) -> Person:
    groups: dict[str, list[Seen]] = {}
    for picture in pictures:
        if picture.best.chance is not None:
            groups.setdefault(picture.folder, []).append(picture)
    folders = [(sizes[key], distinct(group)) for key, group in groups.items()]
    same = min(pictures, key=lambda p: (unknown_last(p.by_picture), _order(p)))

    def figure(chance: Callable[[Candidate], float | None]) -> float | None:
        """The person's figure by faces with that chance of each candidate, or by a picture where that is stronger."""
        found = _by_face(judge, folders, chance)
        return rounded(_least(None if found is None else found[0].expected_false, same.by_picture))

    expected = figure(lambda c: c.chance)
    by_face = _by_face(judge, folders, lambda c: max(c.chance or 0.0, judge.totals.resolution))
    joint: Joint | None = None
    rests_on: tuple[Seen, ...] = (same,)
    if by_face is not None and by_face[0].expected_false < unknown_last(same.by_picture):
        joint, rests_on = by_face[0], tuple(by_face[1][: by_face[0].hits])
    shown = rounded(same.by_picture if joint is None else joint.expected_false)
    interval: tuple[float | None, float | None] = (None, None)
    if expected != rounded(same.by_picture):
        interval = figure(lambda c: c.chance_low), figure(lambda c: c.chance_high)
    decision = min((p.decision for p in pictures), key=BAND.__getitem__)
    if judge.threshold is None:
        decision = min(decision, judge.band(expected, shown), key=BAND.__getitem__)
    basis = {picture.item for picture in rests_on}
    counted = [p for p in pictures if p.decision is not Decision.WEAK or p.item in basis]
    source, path, _ = place(rests_on[0].folder)
    return Person(
        subject_id=who,
        decision=decision,
        evidence=min((p.evidence for p in pictures), key=STRENGTH.__getitem__),
        score=max((p.score for p in pictures if p.score is not None), default=None),
        expected_false=expected,
        shown=shown,
        interval=interval,
        files=sum(1 + copies[p.item] for p in counted),
        pictures=len(distinct(counted)),
        folder=(source, folder_path(path)),
        folder_pictures=max(sizes[rests_on[0].folder], len(rests_on)),
        rests_on=rests_on,
        joint=joint,
    )


def _by_face(
    judge: Judge, folders: Sequence[tuple[int, list[Seen]]], chance: Callable[[Candidate], float | None]
) -> tuple[Joint, list[Seen]] | None:
    """The strongest evidence of faces in one folder, and the pictures of that folder; ``None`` where there is none.

    ``folders``: how many pictures were searched, and the person's different ones, best first. ``chance``: which chance
    of a candidate to take; one that lacks it counts as 1.
    """
    found = []
    for size, group in folders:
        chances = [1.0 if value is None else value for value in (chance(picture.best) for picture in group)]
        found.append((together(chances, size, judge.totals.face_pairs, judge.resemblance), group))
    return min(found, key=lambda pair: pair[0].expected_false, default=None)


def _order(picture: Seen) -> tuple[object, ...]:
    """Lowest chance first; without one, highest score."""
    best = picture.best
    return unknown_last(best.chance), -(best.score or 0.0), best.key, -1 if best.face is None else best.face


def _least(a: float | None, b: float | None) -> float | None:
    return min((value for value in (a, b) if value is not None), default=None)


def unknown_last(value: float | None) -> float:
    """``value`` for a comparison in which the lowest is best."""
    return float("inf") if value is None else value

"""Who is enrolled and who is searched for in an identification, and what a step finds there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray, FloatArray, IntArray
from leakmatch.errors import UsageError
from leakmatch.evaluation.figures import NOT_COMPARED, Scores
from leakmatch.evaluation.open_set import Found, Searches
from leakmatch.evaluation.photos import Photo
from leakmatch.evaluation.steps import Step, Templates
from leakmatch.matching.join import DECIMALS

ALL: Final = 0  # photos to enrol: all but the one searched for

_BLOCK: Final = 1024  # probes compared at once


# --- who is enrolled, and who is searched for ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Protocol:
    """``enrol`` photos of each mated subject, or :data:`ALL`. One probe per subject, or ``all_probes``: then with
    ``ALL`` each of a subject's photos is searched for among the others. ``strangers``: the share of subjects with
    several photos that are not enrolled either."""

    enrol: int = 1
    all_probes: bool = False
    seed: int = 1
    strangers: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "enrol": self.enrol or "all",
            "probes": "all" if self.all_probes else 1,
            "seed": self.seed,
            "strangers": self.strangers,
        }


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose photos are enrolled, and which are searched for: none, or none other, may be in ``gallery``. A photo in
    both is left out of the gallery for its own search."""

    name: str
    gallery: tuple[Photo, ...]
    probes: tuple[Photo, ...]


def draw(photos: Mapping[str, Sequence[Photo]], protocol: Protocol) -> tuple[list[Subject], list[Subject]]:
    """The mated and the non-mated subjects among ``photos`` by subject, in the order of their names."""
    several = [name for name in photos if len(photos[name]) > 1]
    out = set(_in_order(several, protocol.seed)[: round(protocol.strangers * len(several))])
    mated, non_mated = [], []
    for name in sorted(photos):
        by_path = {f"{name}/{photo.path}": photo for photo in photos[name]}
        own = [by_path[path] for path in _in_order(by_path, protocol.seed)]
        if name in out or len(own) < 2:
            non_mated.append(Subject(name, (), tuple(own if protocol.all_probes else own[:1])))
        elif protocol.enrol == ALL:
            mated.append(Subject(name, tuple(own), tuple(own)) if protocol.all_probes else _split(name, own, len(own)))
        else:
            mated.append(_split(name, own, protocol.enrol, all_probes=protocol.all_probes))
    return mated, non_mated


def _split(name: str, own: Sequence[Photo], enrol: int, *, all_probes: bool = False) -> Subject:
    """The first photo is searched for, whatever ``enrol`` is; the last ones are enrolled."""
    cut = max(1, len(own) - enrol)
    return Subject(name, tuple(own[cut:]), tuple(own[: cut if all_probes else 1]))


def _in_order(names: Iterable[str], seed: int) -> list[str]:
    """``names`` shuffled: two keep their order whoever else is there."""
    return sorted(names, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())


# --- the searches -------------------------------------------------------------------------------------------------


class Trial:
    """The templates of everyone drawn, to be searched by any step.

    A step sees the subjects that could be enrolled and the probes that have a template; what is missing is entered as
    :data:`NOT_COMPARED`.
    """

    def __init__(self, mated: Sequence[Subject], non_mated: Sequence[Subject]) -> None:
        enrolled = [
            (number, photo)
            for number, subject in enumerate(mated)
            for photo in subject.gallery
            if photo.face is not None and not photo.refusal
        ]
        self.mated = [(number, photo) for number, subject in enumerate(mated) for photo in subject.probes]
        self.non_mated = [(number, photo) for number, subject in enumerate(non_mated) for photo in subject.probes]
        self.searches = Searches(_numbers(self.mated), _numbers(self.non_mated))
        self.enrolled = sorted({number for number, _ in enrolled})
        self.photos = len(enrolled)
        if not enrolled:
            raise UsageError("No photo could be enrolled, so that no one can be found.")
        self._column = {number: column for column, number in enumerate(self.enrolled)}
        self._subject = np.array([self._column[number] for number, _ in enrolled], np.int32)
        self._gallery = _templates([photo for _, photo in enrolled])
        self._row = {photo.path: row for row, (_, photo) in enumerate(enrolled)}
        usable = sum(photo.face is not None for _, photo in (*self.mated, *self.non_mated))
        self.comparisons = usable * len(self.enrolled)

    def search(self, step: Step) -> Found:
        """What ``step`` finds in every search."""
        gallery = step.enrolled(self._gallery)
        mate, rival = np.full((2, len(self.mated)), NOT_COMPARED)
        stranger = np.full(len(self.non_mated), NOT_COMPARED)
        mated_again, non_mated_again = np.zeros(len(mate), np.bool_), np.zeros(len(stranger), np.bool_)
        for places, photos in _blocks(self.mated):
            scores, mated_again[places] = self._looked(step, gallery, photos)
            for place, row in zip(places, scores, strict=True):
                column = self._column.get(self.mated[place][0])
                if column is not None:
                    mate[place], row[column] = row[column], NOT_COMPARED
                rival[place] = row.max()
        for places, photos in _blocks(self.non_mated):
            scores, non_mated_again[places] = self._looked(step, gallery, photos)
            stranger[places] = scores.max(axis=1)
        again = None if step.second_look is None else (int(mated_again.sum()), int(non_mated_again.sum()))
        return Found(mate, rival, stranger, again)

    def _looked(self, step: Step, gallery: FloatArray, probes: Sequence[Photo]) -> tuple[Scores, BoolArray]:
        """Scores float64[P,S] of ``probes``, and which of them bool[P] were looked at again."""
        scores = self._compared(step, gallery, probes)
        if step.second_look is None:
            return scores, np.zeros(len(probes), np.bool_)
        again = step.second_look.near(scores.max(axis=1), self.comparisons)
        if again.any():
            scores[again] = self._compared(step.again, gallery, [probes[i] for i in np.flatnonzero(again).tolist()])
        return scores, again

    def _compared(self, step: Step, gallery: FloatArray, probes: Sequence[Photo]) -> Scores:
        """Scores float64[P,S]; of a subject who has the probe in the gallery, of its other photos."""
        searched = step.searched(_templates(probes))
        scores = step.scores(gallery, self._subject, searched)
        for number, photo in enumerate(probes):
            own = self._row.get(photo.path)
            if own is not None:
                column = self._subject[own]
                others = self._rows_of(column)
                others = others[others != own]
                alone = np.zeros(len(others), np.int32)
                scores[number, column] = (
                    step.scores(gallery[others], alone, searched[number : number + 1])[0, 0]
                    if len(others)
                    else NOT_COMPARED
                )
        return np.round(scores, DECIMALS)

    def _rows_of(self, column: int) -> NDArray[np.intp]:
        first, end = np.searchsorted(self._subject, [column, column + 1])
        return np.arange(first, end)


def _blocks(searches: Sequence[tuple[int, Photo]]) -> Iterator[tuple[list[int], list[Photo]]]:
    """The searches whose probe has a template, some at a time, with their places in ``searches``."""
    usable = [place for place, (_, photo) in enumerate(searches) if photo.face is not None]
    for first in range(0, len(usable), _BLOCK):
        places = usable[first : first + _BLOCK]
        yield places, [searches[place][1] for place in places]


def _numbers(searches: Sequence[tuple[int, Photo]]) -> IntArray:
    return np.array([number for number, _ in searches], np.int32)


def _templates(photos: Sequence[Photo]) -> Templates:
    """Of photos with a face."""
    faces = [photo.face for photo in photos if photo.face is not None]
    mirrored = [face.plain if face.mirrored is None else face.mirrored for face in faces]
    return Templates(np.stack([face.plain for face in faces]), np.stack(mirrored))

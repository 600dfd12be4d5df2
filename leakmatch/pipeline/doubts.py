"""Doubts about a gallery: two subjects who look like one person, and one subject whose photos look like two.

Both are mistakes that nobody sees in a list of names, and that cost: a person under two ids is found twice, a photo in
the wrong folder makes of two people a template that is like neither. What is found is a question to somebody who knows
the people. Nothing here changes a gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.arrays import BoolArray, FloatArray, LongArray
from leakmatch.errors import UsageError
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.join import DECIMALS, TemplateIndex
from leakmatch.matching.policy import score_for
from leakmatch.pipeline.calibrate import judged_by
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.pipeline.shared import Shared, shared_pictures
from leakmatch.records import LARGEST_CHANCE
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

#: Two subjects are doubted from the score on that chance alone would give so many pairs of people in the whole gallery.
EXPECTED_PAIRS: Final = 0.1
#: A subject's photos are doubted below the score that this share of pairs of *two* people reach: of the 801 people with
#: several photos in `lfw_dev` four have such photos, and these do show two people (docs/galleries.md).
STRANGERS: Final = LARGEST_CHANCE

#: Up to so many people all are compared with each other in some ten seconds.
QUICK_PEOPLE: Final = 20_000

#: More are counted, not told.
MOST: Final = 1_000

_PART: Final = (
    256  # subjects that are compared with all at a time; so many of one look that all reach the score still fit
)
_SPLIT_FROM: Final = 4  # photos; of fewer, one against the others is every split
_ROUNDS: Final = 10


@dataclass(frozen=True, slots=True)
class Alike:
    """Two subjects who look like one person. ``score`` of their mean templates.

    ``expected``: how many pairs of different people of such a score chance would give in a gallery of this size.
    ``shared``: how a photo of one is a photo of the other (``photos``: where the two were enrolled from), else empty.
    """

    subjects: tuple[str, str]
    score: float
    expected: float
    shared: str = ""
    photos: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Misfit:
    """A subject whose photos look like two people: ``photos`` (paths) do not fit the ``others`` (how many).

    ``score`` of the mean template of the ones with that of the others, or the lowest of single photos with the others.
    Where no photo fits, all are named and there are no others; so of two photos, of which it cannot be told which is
    wrong. ``strangers``: the share of pairs of two people that are as much alike or more.
    """

    subject: str
    photos: tuple[str, ...]
    others: int
    score: float
    strangers: float


@dataclass(frozen=True, slots=True)
class Doubts:
    """What was found, the clearest first, and how many there are in all. ``thresholds``: of two subjects, of photos."""

    people: int
    photos: int
    alike: tuple[Alike, ...]
    alike_found: int
    misfits: tuple[Misfit, ...]
    misfits_found: int
    thresholds: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def no_count(done: int, total: int) -> None:
    """Keeps quiet."""


def doubts(
    path: Path,
    settings: Settings,
    progress: Callable[[int, int], None] = no_count,
    *,
    keys: Keys | None = None,
    most: int | None = None,
) -> Doubts:
    """The doubts about the gallery at ``path``, which ``keys`` open. ``progress``: subjects done, and all.

    Raises :class:`UsageError` where neither the pack nor the gallery has a calibration, and for a gallery of more than
    ``most`` people.
    """
    pack = load_pack(settings.pack)
    with Gallery.open(path, keys=keys, steady=True, action="doubts") as gallery:
        gallery.require_model(pack.model_id)
        people = gallery.info()["enrolled"]
        if most is not None and people > most:
            raise UsageError(
                f"{path}: {people:,} people are more than are compared with each other without being asked."
            )
        calibration = judged_by(gallery, pack)
        if calibration is None:
            raise UsageError(
                f"The model pack {pack.name} has no calibration, so it is not known which scores are rare. Make one of "
                f"the gallery's own people: leakmatch gallery calibrate {path}"
            )
        return find_doubts(gallery, calibration, progress)


def quick_doubts(path: Path, settings: Settings, *, keys: Keys | None = None) -> Doubts:
    """As :func:`doubts`, where that takes seconds: raises :class:`UsageError` for a gallery of more people."""
    return doubts(path, settings, keys=keys, most=QUICK_PEOPLE)


def find_doubts(gallery: Gallery, calibration: Calibration, progress: Callable[[int, int], None] = no_count) -> Doubts:
    """Every two subjects are compared, and all photos of each subject."""
    templates = gallery.templates()
    subjects = SubjectTemplates(templates, gallery.first_enrolments(), calibration.normalisation)
    pairs = max(len(subjects) * (len(subjects) - 1) // 2, 1)
    limits = score_for(calibration, EXPECTED_PAIRS, pairs), calibration.threshold(STRANGERS)
    alike, alike_found = _alike(gallery, subjects, limits[0], progress)
    unfit = sorted(_misfits(subjects, limits[1]), key=lambda found: (found[2], found[0]))
    return Doubts(
        people=len(subjects),
        photos=len(templates),
        alike=tuple(
            Alike(
                (_subject(gallery, subjects, a), _subject(gallery, subjects, b)),
                score,
                float(f"{float(calibration.fmr(score)) * pairs:.3g}"),
                shared.why if shared else "",
                tuple(map(gallery.path_of, shared.enrolments)) if shared else (),
            )
            for a, b, score, shared in alike
        ),
        alike_found=alike_found,
        misfits=tuple(
            Misfit(
                _subject(gallery, subjects, row),
                tuple(map(gallery.path_of, photos)),
                others,
                score,
                float(f"{float(calibration.fmr(score)):.3g}"),
            )
            for row, photos, score, others in unfit[:MOST]
        ),
        misfits_found=len(unfit),
        thresholds=limits,
    )


def _subject(gallery: Gallery, subjects: SubjectTemplates, row: int) -> str:
    return gallery.subject_of(int(subjects.subject[row]))


# Two subjects like one person


def _alike(
    gallery: Gallery, subjects: SubjectTemplates, limit: float, progress: Callable[[int, int], None]
) -> tuple[list[tuple[int, int, float, Shared | None]], int]:
    """Pairs of rows that reach ``limit`` or share a picture, the highest score first, and how many there are."""
    shared = shared_pictures(gallery, subjects)
    index = TemplateIndex(subjects, np.arange(len(subjects)))
    found: list[tuple[float, int, int]] = []
    count = 0
    for first in range(0, len(subjects), _PART):
        reached = index.join(subjects[first : first + _PART], limit)
        probe, other = reached.probe_index.astype(np.int64) + first, reached.enrolment_id
        once = probe < other
        count += int(once.sum())
        rows = zip((-reached.score[once]).tolist(), probe[once].tolist(), other[once].tolist(), strict=True)
        found = sorted([*found, *rows])[:MOST]
        progress(min(first + _PART, len(subjects)), len(subjects))
    reached_too = {(a, b) for _, a, b in found}
    for a, b in sorted(shared.keys() - reached_too)[:MOST]:
        score = _cosine(*subjects[np.array([a, b])])
        if score < limit:  # else it is one of those that are counted, not told
            count += 1
            found.append((-score, a, b))
    return [(a, b, round(-score, DECIMALS), shared.get((a, b))) for score, a, b in sorted(found)[:MOST]], count


# One subject like two people


def _misfits(subjects: SubjectTemplates, limit: float) -> Iterator[tuple[int, list[int], float, int]]:
    """Subjects by row, the enrolments that do not fit, their score with the others, and how many others there are."""
    for first in range(0, len(subjects), _PART):
        rows = np.arange(first, min(first + _PART, len(subjects)))
        vectors, owner, enrolments = subjects.of_photos(rows)
        for row, mine in zip(rows.tolist(), _groups(owner, len(rows)), strict=True):
            found = misfits(vectors[mine], subjects.mean_of, limit)
            if found is not None:
                yield row, enrolments[mine][found[0]].tolist(), found[1], int(np.count_nonzero(~found[0]))


def _groups(owner: LongArray, count: int) -> list[slice]:
    ends = np.searchsorted(owner, np.arange(1, count + 1)).tolist()
    return [slice(start, end) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


Mean = Callable[[NDArray[np.float64], LongArray], FloatArray]


def misfits(photos: FloatArray, mean_of: Mean, limit: float) -> tuple[BoolArray, float] | None:
    """Which of one subject's ``photos`` float32[N,D] do not fit the others: bool[N], and their score, below ``limit``.

    First they are split in two groups, as unlike each other as they come: if these are like two people, it is the
    smaller one. Else it is every photo that is unlike the mean of all others, with the lowest of their scores; all of
    them, where none fits (always so of two). ``None`` where all fit. ``mean_of`` makes mean templates, as
    :meth:`SubjectTemplates.mean_of` does.
    """
    count = len(photos)
    if count < 2:
        return None
    if count >= _SPLIT_FROM:
        smaller = split(photos)
        score = _against(photos, smaller, mean_of)
        if score < limit:
            return smaller, score
    rest = mean_of(photos.sum(axis=0, dtype=np.float64) - photos, np.full(count, count - 1))
    scores = np.einsum("ij,ij->i", photos.astype(np.float64), rest.astype(np.float64)).round(DECIMALS)
    alone: BoolArray = scores < limit
    return (alone, float(scores.min())) if alone.any() else None


def split(photos: FloatArray) -> BoolArray:
    """The smaller of the two groups in which ``photos`` float32[N,D], N at least 2, fall: bool[N], not all, not none.

    By the sign of the first principal component, then each photo to the nearer of both means until none moves (k-means
    with k = 2 on the sphere; Dhillon & Modha, Machine Learning 42, 2001).
    """
    centred = photos.astype(np.float64) - photos.mean(axis=0, dtype=np.float64)
    along = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    group: BoolArray = along > 0
    if group.all() or not group.any():  # photos that are all the same
        group = np.arange(len(photos)) == 0
    for _ in range(_ROUNDS):
        one, other = (photos[side].mean(axis=0) for side in (group, ~group))
        moved: BoolArray = photos @ (one / np.linalg.norm(one)) > photos @ (other / np.linalg.norm(other))
        if moved.all() or not moved.any() or np.array_equal(moved, group):
            break
        group = moved
    return group if 2 * np.count_nonzero(group) <= len(photos) else ~group


def _against(photos: FloatArray, some: BoolArray, mean_of: Mean) -> float:
    """The score of the mean template of ``some`` photos with that of the others."""
    sums = np.stack([photos[side].sum(axis=0, dtype=np.float64) for side in (some, ~some)])
    return _cosine(*mean_of(sums, np.array([np.count_nonzero(some), np.count_nonzero(~some)])))


def _cosine(a: FloatArray, b: FloatArray) -> float:
    return round(float(a.astype(np.float64) @ b.astype(np.float64)), DECIMALS)

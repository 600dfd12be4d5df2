"""Identification (1:N): who of the enrolled is found, and who is found that was never enrolled?

An open-set experiment as in ISO/IEC 19795-1 and NIST FRTE 1:N. Of a subject with two photos or more some are enrolled
and others are searched for: *mated* searches. Photos of the other subjects are *non-mated* searches: all that they
return is false. Which photo is which depends on the seed and on names only, not on the other subjects, the order of
files or what is seen in a photo. A photo that enrolment refuses is a failure to enrol, one without a usable face a
failure to acquire; both stay in every count, as misses.

Several ways to compare (:mod:`leakmatch.evaluation.steps`) are measured on the same searches. On the photos from which
the pack's calibration was made, the steps that use it are flattered: their figures are *in-sample*.
:mod:`leakmatch.evaluation.open_set` defines the figures.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from leakmatch.arrays import IntArray
from leakmatch.errors import UsageError
from leakmatch.evaluation.open_set import (
    TARGETS,
    Curve,
    Found,
    Resampled,
    Searches,
    det,
    interval,
    mean,
    missed,
    resample,
    threshold_at,
)
from leakmatch.evaluation.photos import Failure, Photo, PhotoSink, failures, inside
from leakmatch.evaluation.slices import Dimension, Labels, Slice, labelled, measured, read_labels, sliced
from leakmatch.evaluation.steps import DEFAULT, Step, steps
from leakmatch.evaluation.trial import Protocol, Subject, Trial, draw
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.locator import SEPARATOR, Locator, printable
from leakmatch.matching.calibration import Calibration
from leakmatch.pipeline.calibrate import pack_calibration
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.start import start
from leakmatch.pipeline.subjects import Labelled, label
from leakmatch.pipeline.tasks import FileTask
from leakmatch.records import Entry, ItemKind, Outcome
from leakmatch.settings import Settings

# --- the result ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % bootstrap interval over subjects."""

    value: float
    interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"value": self.value, "interval_95": self.interval}


@dataclass(frozen=True, slots=True)
class OperatingFigures:
    """What a step misses at the threshold that gives FPIR ``target``.

    ``fpir`` is reached there. ``fnir`` counts a mate below the threshold, ``fnir_first`` also one that does not rank
    first. ``to_plain``: ``fnir`` less that of the plain step, ``None`` for the plain step itself; ``plain``: its FNIR.
    """

    target: float
    threshold: float
    fpir: float
    fnir: Estimate
    fnir_first: float
    to_plain: Estimate | None
    plain: float

    @property
    def spared(self) -> float | None:
        """The share of the plain step's misses that this one does not have; ``None`` where there is none to spare."""
        return 1 - self.fnir.value / self.plain if self.plain else None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "at_fpir": self.target,
            "threshold": self.threshold,
            "fpir": self.fpir,
            "fnir": self.fnir.to_json(),
            "fnir_below_threshold_or_not_first": self.fnir_first,
            "difference_to_plain": None if self.to_plain is None else self.to_plain.to_json(),
            "misses_spared": None if self.to_plain is None else self.spared,
        }


@dataclass(frozen=True, slots=True)
class StepResult:
    """One step: its figures by target FPIR (``None``: too few non-mated subjects), and all it found.

    ``again``: the share of the mated and of the non-mated searches whose face was looked at again; ``None`` where none
    ever is.
    """

    step: Step
    rank_1: Estimate
    at: Mapping[float, OperatingFigures | None]
    curve: Curve
    found: Found

    @property
    def again(self) -> tuple[float, float] | None:
        """See above."""
        if self.found.again is None:
            return None
        mated, non_mated = self.found.again
        return mated / len(self.found.mate), non_mated / len(self.found.stranger)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        curve = self.curve.thinned(100)
        points = zip(curve.threshold.tolist(), curve.fpir.tolist(), curve.fnir.tolist(), strict=True)
        return {
            "step": self.step.name,
            "what": self.step.what,
            "rank_1": self.rank_1.to_json(),
            "looked_at_again": self.again and dict(zip(("mated", "non_mated"), self.again, strict=True)),
            "fnir": [
                {"at_fpir": fpir, "too_few_searches": True} if figures is None else figures.to_json()
                for fpir, figures in self.at.items()
            ],
            "det": [{"threshold": t, "fpir": p, "fnir": n} for t, p, n in points],
        }


@dataclass(frozen=True, slots=True)
class Identification:
    """The result. ``failures_to_enrol`` are photos of the gallery's side that enrolment refuses, ``not_enrolled`` the
    subjects of whom none was left; ``failures_to_acquire`` photos searched for without a face. ``repeated`` photos were
    left out, for the subject has them already; ``unplaced`` are photos of no subject and what could not be read.
    ``calibration`` is the pack's, if it has one; ``in_sample``: it was made from the archive that is measured here.
    ``accepted`` false candidates decide what is looked at again, ``None`` where a raw threshold was told.
    """

    pack: Mapping[str, object]
    calibration: Mapping[str, object] | None
    in_sample: bool
    accepted: float | None
    protocol: Protocol
    photos: int
    repeated: int
    enrolled: int
    enrolled_photos: int
    not_enrolled: tuple[str, ...]
    searches: Searches
    failures_to_enrol: tuple[Failure, ...]
    failures_to_acquire: tuple[Failure, ...]
    unplaced: tuple[Failure, ...]
    complete: bool
    steps: tuple[StepResult, ...]
    slices: tuple[Slice, ...]

    @property
    def default(self) -> StepResult:
        """The pipeline's own step."""
        return next(result for result in self.steps if result.step.name == DEFAULT)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: rates in [0, 1], with their 95 % intervals."""
        return {
            "pack": dict(self.pack),
            "calibration": self.calibration,
            "in_sample": self.in_sample,
            "expected_false": self.accepted,
            "protocol": self.protocol.to_json(),
            "photos": self.photos,
            "repeated_photos": self.repeated,
            "enrolled": {"subjects": self.enrolled, "photos": self.enrolled_photos},
            "mated": {"subjects": _subjects(self.searches.mated), "searches": len(self.searches.mated)},
            "non_mated": {"subjects": _subjects(self.searches.non_mated), "searches": len(self.searches.non_mated)},
            "failures_to_enrol": [asdict(failure) for failure in self.failures_to_enrol],
            "subjects_not_enrolled": list(self.not_enrolled),
            "failures_to_acquire": [asdict(failure) for failure in self.failures_to_acquire],
            "unplaced": [asdict(failure) for failure in self.unplaced],
            "steps": [result.to_json() for result in self.steps],
            "slices_of": DEFAULT,
            "slices": [part.to_json() for part in self.slices],
        }


def _subjects(searches: IntArray) -> int:
    return len(np.unique(searches))


# --- the run ------------------------------------------------------------------------------------------------------


def identify(
    images: Path,
    settings: Settings,
    protocol: Protocol | None = None,
    labels: Path | None = None,
    progress: Progress = no_progress,
) -> Identification:
    """Open-set identification among the photos ``images``: as for enrolment a folder or archive with one folder per
    subject, or a CSV ``subject_id,path``.

    ``labels``: a CSV for slices (:func:`~leakmatch.evaluation.slices.read_labels`). Raises :class:`UsageError` where
    there is no one to enrol, or no one who is not enrolled.
    """
    protocol = protocol or Protocol()
    table = Labels() if labels is None else read_labels(labels)
    pack = load_pack(settings.pack)
    calibration = pack_calibration(pack)
    accepted = settings.expected_false if settings.threshold is None else None
    given = label([images])
    asked = _Asked(given)
    sink = PhotoSink(asked, pack.model_id, given.inventory, progress)
    runtime = make_ready(pack, settings.engine)
    with closing(start(runtime, settings, given.inventory, mirrored=True)) as executor:
        executor.run(given.tasks(), sink)
    for row, why in given.missing:
        path = printable(str(row.path))
        sink.photos[path] = Photo(path, Outcome.UNREADABLE, why)
        asked.subject[path] = row.subject_id
    by_subject, repeated = _by_subject(sink.photos, asked.subject)
    mated, non_mated = draw(by_subject, protocol)
    if not mated or not non_mated:
        raise UsageError(_nobody(images, protocol, len(mated), len(by_subject), asked.unplaced))
    trial = Trial(mated, non_mated)
    several = any(len(subject.gallery) > 1 for subject in mated)
    results = compare(trial, steps(calibration, accepted, several_photos=several), protocol.seed)
    refused = [photo for subject in mated for photo in subject.gallery if photo.refusal or photo.face is None]
    return Identification(
        pack=runtime.describe(),
        calibration=None if calibration is None else _described(calibration),
        in_sample=calibration is not None and calibration.about.get("sha256") in asked.containers,
        accepted=accepted,
        protocol=protocol,
        photos=len(sink.photos),
        repeated=repeated,
        enrolled=len(trial.enrolled),
        enrolled_photos=trial.photos,
        not_enrolled=tuple(mated[i].name for i in range(len(mated)) if i not in set(trial.enrolled)),
        searches=trial.searches,
        failures_to_enrol=tuple(Failure(p.path, p.outcome, p.refusal or p.detail) for p in refused),
        failures_to_acquire=failures(photo for _, photo in (*trial.mated, *trial.non_mated)),
        unplaced=tuple(asked.unplaced),
        complete=not asked.unplaced and all(photo.read for photo in sink.photos.values()),
        steps=tuple(results),
        slices=tuple(_slices(trial, results[-1], mated, non_mated, table)),
    )


def _described(calibration: Calibration) -> dict[str, Any]:
    about = calibration.describe()
    return {key: about.get(key) for key in ("dataset", "people", "photos", "sha256")}


class _Asked:
    """Asks for every photo of a subject; ``subject`` of each by path, ``unplaced`` what belongs to none, ``containers``
    the SHA-256 (hexadecimal) of every archive."""

    def __init__(self, given: Labelled) -> None:
        self.containers: set[str] = set()
        self.subject: dict[str, str] = {}
        self.unplaced: list[Failure] = []
        self._given = given

    def __call__(self, task: FileTask, entry: Entry) -> str:
        path = self._path(task, entry.locator)
        if entry.kind is ItemKind.CONTAINER and entry.sha256 is not None:
            self.containers.add(entry.sha256.hex())
        if entry.kind is ItemKind.CONTAINER and entry.outcome is not Outcome.WALKED:
            self.unplaced.append(Failure(path, entry.outcome or Outcome.UNREADABLE, entry.detail))
        if entry.kind is not ItemKind.IMAGE:
            return ""
        subject = self._given.subject(task, entry.locator)
        if not subject:
            why = "lies in no folder; put each subject's photos into a folder named for the subject"
            self.unplaced.append(Failure(path, Outcome.NOT_IMAGE, why))
            return ""
        self.subject.setdefault(path, subject)
        return path

    def _path(self, task: FileTask, locator: Locator) -> str:
        """As labels name it: inside IMAGES; on disk, where IMAGES is a CSV."""
        if task.file not in self._given.subjects:
            return inside(locator)
        return printable(SEPARATOR.join([str(task.path), *(link.name for link in list(locator.chain())[1:])]))


def _by_subject(photos: Mapping[str, Photo], subject: Mapping[str, str]) -> tuple[dict[str, list[Photo]], int]:
    """The photos of each subject, by path; of files with equal bytes the first. And how many were left out."""
    found: dict[str, dict[bytes, Photo]] = defaultdict(dict)
    for path in sorted(photos):
        photo = photos[path]
        found[subject[path]].setdefault(photo.sha256 or path.encode(), photo)
    kept = {name: list(own.values()) for name, own in found.items()}
    return kept, len(photos) - sum(map(len, kept.values()))


def _nobody(images: Path, protocol: Protocol, mated: int, subjects: int, unplaced: Sequence[Failure]) -> str:
    if not subjects:
        why = f" {unplaced[0].path}: {printable(unplaced[0].detail)}." if unplaced else ""
        return f"{images}: holds no photo of a subject.{why}"
    if not mated:
        return f"{images}: no one is left to enrol: it takes subjects with two photos or more."
    return (
        f"{images}: each of its {subjects:,} subjects is enrolled, so that nothing is known of false positives. "
        "Leave some of them out of the gallery: --strangers 0.3."
    )


def compare(trial: Trial, chosen: Sequence[Step], seed: int) -> list[StepResult]:
    """The figures of every step on the same searches; the differences are to the first one."""
    found = [trial.search(step) for step in chosen]
    drawn = resample(found, trial.searches, seed)
    results: list[StepResult] = []
    for step, one, resampled in zip(chosen, found, drawn, strict=True):
        plain = (results[0], drawn[0]) if results else None
        at = {fpir: _at(fpir, one, resampled, trial.searches, plain) for fpir in TARGETS}
        rank_1 = Estimate(mean(one.first, trial.searches.mated_weight), interval(resampled.rank_1))
        results.append(StepResult(step, rank_1, at, det(one, trial.searches), one))
    return results


def _at(
    fpir: float, found: Found, resampled: Resampled, searches: Searches, plain: tuple[StepResult, Resampled] | None
) -> OperatingFigures | None:
    mated, non_mated = searches.mated_weight, searches.non_mated_weight
    threshold = threshold_at(found.stranger, non_mated, fpir)
    if threshold is None:
        return None
    fnir = Estimate(mean(missed(found, threshold), mated), interval(resampled.fnir[fpir]))
    of_plain, to_plain = fnir.value, None
    if plain is not None:
        at_plain = plain[0].at[fpir]
        of_plain = at_plain.fnir.value if at_plain else fnir.value
        difference = resampled.fnir[fpir] - plain[1].fnir[fpir]
        to_plain = Estimate(fnir.value - of_plain, interval(difference))
    reached = mean(found.stranger >= threshold, non_mated)
    first = mean(missed(found, threshold, first=True), mated)
    return OperatingFigures(fpir, threshold, reached, fnir, first, to_plain, of_plain)


def _slices(
    trial: Trial, result: StepResult, mated: Sequence[Subject], non_mated: Sequence[Subject], labels: Labels
) -> list[Slice]:
    sides = [[photo for _, photo in side] for side in (trial.mated, trial.non_mated)]
    named = [
        [(photo.path, subjects[number].name) for number, photo in side]
        for side, subjects in ((trial.mated, mated), (trial.non_mated, non_mated))
    ]
    dimensions: list[Dimension] = [*labelled(labels, *named), *measured(*sides)]
    thresholds = {fpir: figures.threshold for fpir, figures in result.at.items() if figures}
    return sliced(
        dimensions,
        trial.searches.mated_weight,
        trial.searches.non_mated_weight,
        {fpir: missed(result.found, threshold) for fpir, threshold in thresholds.items()},
        {fpir: result.found.stranger >= threshold for fpir, threshold in thresholds.items()},
    )

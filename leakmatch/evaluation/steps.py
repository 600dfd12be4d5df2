"""The steps of the pipeline that an identification compares: how a gallery and probes become comparison scores.

A step is a function of the templates alone, so that every step is measured on the same searches of the same photos. The
last one is what ``enroll`` and ``scan`` do; a test holds its scores to those of :mod:`leakmatch.pipeline.matcher`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from leakmatch.arrays import BoolArray, FloatArray, IntArray
from leakmatch.evaluation.figures import Scores
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.normalisation import Normalisation, unit
from leakmatch.matching.policy import score_for
from leakmatch.pipeline.second_look import near
from leakmatch.records import STORED_BAND

#: ``plain``: of the face as it is. ``mirrored``: the mean with that of the mirrored face.
Kind = Literal["plain", "mirrored"]


@dataclass(frozen=True, slots=True)
class Templates:
    """Both kinds of template of the same N photos, row by row: ``plain`` and ``mirrored`` float32[N,D], unit norm."""

    plain: FloatArray
    mirrored: FloatArray

    def __len__(self) -> int:
        return len(self.plain)

    def of(self, kind: Kind) -> FloatArray:
        """Those of one kind."""
        return self.plain if kind == "plain" else self.mirrored


# --- several photos of a subject -----------------------------------------------------------------------------------

#: From ``gallery`` float32[G,D], ``subject`` int32[G] and ``probes`` float32[P,D], as they are compared, to the scores
#: float64[P,S]. ``subject``, ascending, says whose the gallery's templates are: each of 0 to S-1 has one or more. The
#: score of a subject does not depend on the templates of another. The last argument: what the templates went through.
Fusion = Callable[[FloatArray, IntArray, FloatArray, Normalisation | None], Scores]


def mean_of_photos(
    gallery: FloatArray, subject: IntArray, probes: FloatArray, normalisation: Normalisation | None
) -> Scores:
    """One template per subject, the mean of its photos', as :mod:`leakmatch.pipeline.fused` makes it."""
    starts = _starts(subject)
    sums = np.add.reduceat(gallery.astype(np.float64), starts, axis=0)
    if normalisation is None:
        return _cosines(probes, unit(sums))
    return _cosines(probes, normalisation.mean_template(sums, np.diff(starts, append=len(subject)).astype(np.int64)))


def best_photo(gallery: FloatArray, subject: IntArray, probes: FloatArray, _: Normalisation | None) -> Scores:
    """A subject's score is the highest of its photos'."""
    best: Scores = np.maximum.reduceat(_cosines(probes, gallery), _starts(subject), axis=1)
    return best


def _cosines(probes: FloatArray, gallery: FloatArray) -> Scores:
    """In float64, as scans score a pair: a float32 product may differ in the fourth decimal."""
    return probes.astype(np.float64) @ gallery.astype(np.float64).T


def _starts(subject: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(subject, prepend=-1)).astype(np.int32)


# --- the second look -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SecondLook:
    """Which probes a scan would look at again (:mod:`leakmatch.pipeline.second_look`): those whose best candidate is
    stored, and near a decision. ``accepted`` is the number of false candidates that the user accepts."""

    calibration: Calibration
    accepted: float

    def near(self, best: Scores, comparisons: int) -> BoolArray:
        """Whether each probe is, bool[P], by its highest score ``best`` float64[P], minus infinity where it was not
        compared. ``comparisons``: of all probes of the experiment with all subjects, as those of a whole scan."""
        stored = best >= score_for(self.calibration, STORED_BAND * self.accepted, comparisons)
        return stored & near(self.calibration.fmr(best) * comparisons, self.accepted)


# --- the steps -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """A way to compare. ``what``: in a sentence, for the user.

    ``gallery`` and ``probe``: the kind of template of each side. ``normalisation`` is applied to every template,
    ``None`` compares them as they are. ``second_look``: which probes are compared anew by their mirrored template; its
    scores replace the first ones.
    """

    name: str
    what: str
    gallery: Kind = "mirrored"
    probe: Kind = "plain"
    normalisation: Normalisation | None = None
    fusion: Fusion = mean_of_photos
    second_look: SecondLook | None = None

    def scores(self, gallery: FloatArray, subject: IntArray, probes: FloatArray) -> Scores:
        """float64[P,S] of what :meth:`enrolled` and :meth:`searched` give; ``subject`` as :data:`Fusion` has it."""
        return self.fusion(gallery, subject, probes, self.normalisation)

    def enrolled(self, templates: Templates) -> FloatArray:
        """Templates of the gallery's photos, float32[G,D], as they are compared."""
        return self._comparable(templates.of(self.gallery))

    def searched(self, templates: Templates) -> FloatArray:
        """Templates of probes, float32[P,D], as they are compared."""
        return self._comparable(templates.of(self.probe))

    @property
    def again(self) -> Step:
        """How a probe is compared that is looked at again."""
        return replace(self, probe="mirrored", second_look=None)

    def _comparable(self, vectors: FloatArray) -> FloatArray:
        return vectors if self.normalisation is None else self.normalisation.apply(vectors)


PLAIN: Final = Step("plain", "the template of each photo's face, nothing else", gallery="plain")
MIRRORED_GALLERY: Final = Step("mirrored-gallery", "gallery templates averaged with those of the mirrored faces")
MIRRORED_BOTH: Final = Step(
    "mirrored-both", "probe templates averaged with those of the mirrored faces, too", probe="mirrored"
)
BEST_PHOTO: Final = Step(
    "best-photo", "as mirrored-gallery, but a subject's score is that of its best photo", fusion=best_photo
)

#: The name of what ``enroll`` and ``scan`` do.
DEFAULT: Final = "default"


def steps(calibration: Calibration | None, accepted: float | None, *, several_photos: bool) -> tuple[Step, ...]:
    """The steps to compare: the plain one first, the pipeline's own last.

    ``calibration`` of the pack; without it, or without a normalisation in it, a scan compares templates as they are.
    ``accepted``: false candidates in a whole scan, ``None`` for a raw threshold; without it nothing is looked at again.
    How photos of one subject are fused is asked only where some subject has several.
    """
    fused = (BEST_PHOTO,) if several_photos else ()
    normalisation = None if calibration is None else calibration.normalisation
    normalised = Step(
        "normalised",
        "as mirrored-gallery, templates normalised by the pack's calibration"
        if normalisation
        else "as mirrored-gallery: the pack has no normalisation",
        normalisation=normalisation,
    )
    look = None if calibration is None or accepted is None else SecondLook(calibration, accepted)
    what = "as normalised, and a second look" if look else "as normalised, no second look: no figure tells what is near"
    default = replace(normalised, name=DEFAULT, what=f"what enroll and scan do: {what}", second_look=look)
    return (PLAIN, MIRRORED_GALLERY, MIRRORED_BOTH, *fused, normalised, default)

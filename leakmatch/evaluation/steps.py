"""The steps of the pipeline that an identification compares: how a gallery and probes become comparison scores.

A step is a function of the templates alone, so that every step is measured on the same searches of the same photos.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from leakmatch.arrays import FloatArray, IntArray
from leakmatch.faces.embed import normalised


@dataclass(frozen=True, slots=True)
class Templates:
    """Both kinds of template of the same N photos, row by row: ``plain`` and ``mirrored`` float32[N,D], unit norm."""

    plain: FloatArray
    mirrored: FloatArray

    def __len__(self) -> int:
        return len(self.plain)

    def take(self, rows: IntArray | slice) -> Templates:
        """Those of these rows."""
        return Templates(self.plain[rows], self.mirrored[rows])


#: ``scores(gallery, subject, probes)``: float32[P,S], how well each of P probes compares with each of S subjects.
#: ``subject`` int32[G], ascending, says whose the gallery's templates are: each of 0 to S-1 has one or more.
#: The score of a subject must not depend on the templates of another.
Scores = Callable[[Templates, IntArray, Templates], FloatArray]

#: From ``gallery`` float32[G,D], ``subject`` int32[G] and ``probes`` float32[P,D] to float32[P,S].
Fusion = Callable[[FloatArray, IntArray, FloatArray], FloatArray]


@dataclass(frozen=True, slots=True)
class Step:
    """A way to compare. ``what``: in a sentence, for the user."""

    name: str
    what: str
    scores: Scores


def mean_of_photos(gallery: FloatArray, subject: IntArray, probes: FloatArray) -> FloatArray:
    """One template per subject: the mean of its photos' templates, at unit norm."""
    return probes @ normalised(np.add.reduceat(gallery, _starts(subject), axis=0))[0].T


def best_photo(gallery: FloatArray, subject: IntArray, probes: FloatArray) -> FloatArray:
    """A subject's score is the highest of its photos'."""
    best: FloatArray = np.maximum.reduceat(probes @ gallery.T, _starts(subject), axis=1)
    return best


def _starts(subject: IntArray) -> IntArray:
    return np.flatnonzero(np.diff(subject, prepend=-1)).astype(np.int32)


def _compared(gallery_kind: str, probe_kind: str, fusion: Fusion) -> Scores:
    def scores(gallery: Templates, subject: IntArray, probes: Templates) -> FloatArray:
        return fusion(getattr(gallery, gallery_kind), subject, getattr(probes, probe_kind))

    return scores


PLAIN: Final = Step(
    "plain", "the template of each photo's face, nothing else", _compared("plain", "plain", mean_of_photos)
)
MIRRORED_GALLERY: Final = Step(
    "mirrored-gallery",
    "gallery templates averaged with those of the mirrored faces",
    _compared("mirrored", "plain", mean_of_photos),
)
MIRRORED_BOTH: Final = Step(
    "mirrored-both",
    "probe templates averaged with those of the mirrored faces, too",
    _compared("mirrored", "mirrored", mean_of_photos),
)
BEST_PHOTO: Final = Step(
    "best-photo",
    "as mirrored-gallery, but a subject's score is that of its best photo",
    _compared("mirrored", "plain", best_photo),
)
#: What ``enroll`` and ``scan`` do.
DEFAULT: Final = Step(
    "default", "what enroll and scan do: mirrored-gallery, the best photo", _compared("mirrored", "plain", best_photo)
)


def steps(*, several_photos: bool) -> tuple[Step, ...]:
    """The steps to compare: the plain one first, the pipeline's own last. How photos of one subject are fused is asked
    only where some subject has several."""
    fused = (BEST_PHOTO,) if several_photos else ()
    return (PLAIN, MIRRORED_GALLERY, MIRRORED_BOTH, *fused, DEFAULT)

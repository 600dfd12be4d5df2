"""The stages a picture passes, top to bottom: bytes, image, hashes, faces, templates.

Runs in untrusted workers over hostile bytes. Nothing here starts a thread, opens a queue or knows a gallery.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.errors import ItemError
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.geometry import inside_picture
from leakmatch.faces.picture import Picture, View
from leakmatch.faces.quality import sharpness
from leakmatch.hashing.algorithms import MAP_SIDE
from leakmatch.hashing.contrast import contrast_maps
from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.decode import decode, decode_larger
from leakmatch.records import Budget, DecodedImage, FaceBatch, ImageAnalysis, Outcome

_DITHER: Final = 1.0  # pixels: a blur that makes grays of black and white dots (docs/detection.md)
_UNSEEN: Final = 0.4  # the quality, at most, of a face that the detector did not see
CROP_QUALITY: Final = 90  # JPEG quality of the face crops kept as evidence


class Looker:
    """Looks at one picture after another.

    ``mirrored`` is for the gallery's side: mirror images are hashed, too, and averaged into the templates; templates
    without them are given beside these. A scanned picture is hashed in its four turns instead, so that the two meet in
    all eight ways.
    """

    def __init__(self, engine: FaceEngine, budget: Budget, *, mirrored: bool) -> None:
        self._engine = engine
        self._budget = budget
        self._mirrored = mirrored

    def look(self, payload: bytes) -> list[ImageAnalysis]:
        """What is in the image file ``payload``: one analysis per frame looked at, the first frame first.

        Raises no error for bad input: a file that cannot be decoded is one analysis with its outcome.
        """
        analyses: list[ImageAnalysis] = []
        try:
            for image in decode(payload, self._budget):
                analyses.append(self._picture(image, payload))
        except ItemError as error:
            incident = ("imaging", error.code, str(error))
            if not analyses:
                return [_failed(error, incident)]
            first = analyses[0]
            detail = first.detail or f"a later frame: {error}"
            analyses[0] = _with_incident(first, detail, incident)
        broken = next((analysis for analysis in analyses[1:] if analysis.outcome is Outcome.PARTIAL), None)
        if broken is not None and analyses[0].outcome is not Outcome.PARTIAL:
            # The file is the item that the ledger counts: it was not read in full if a frame of it was not.
            analyses[0] = replace(analyses[0], outcome=Outcome.PARTIAL, detail=f"a later frame: {broken.detail}")
        return analyses

    def look_again(self, crop: bytes) -> ImageAnalysis:
        """The template of an aligned crop that was kept as JPEG, averaged with that of its mirror image.

        The crop is the whole picture and its only face. A crop that cannot be decoded has no template.
        """
        try:
            image = next(iter(decode(crop, self._budget)))
        except ItemError as error:
            return _failed(error, ("imaging", error.code, str(error)))
        height, width = image.bgr.shape[:2]
        faces = FaceBatch(
            np.zeros(1, np.int32),
            np.array([[0, 0, width, height]], np.float32),
            np.zeros((1, 5, 2), np.float32),
            np.ones(1, np.float32),
        )
        templates = self._engine.embed_again(image.bgr)
        return ImageAnalysis(0, Outcome.DONE, "", width, height, (), faces, templates, (), (b"",))

    def _picture(self, image: DecodedImage, payload: bytes) -> ImageAnalysis:
        first = View(_undithered(image.bgr) if image.bilevel else image.bgr, image.scale)
        failed: list[ItemError] = []

        def larger(scale: float, colour: bool) -> View:
            if not failed:
                try:
                    return View(*decode_larger(payload, self._budget, scale, colour=colour))
                except ItemError as error:
                    failed.append(error)
            return first

        picture = Picture(first, image.source_size, larger)
        faces, crops = self._engine.find(picture)
        as_it_is = not len(faces) and not self._mirrored
        if as_it_is:
            faces, crops = self._engine.as_aligned(first.pixels)
        templates, plain = self._engine.templates(faces, crops, mirrored=self._mirrored)
        detail = image.detail
        if as_it_is and len(faces):
            templates = replace(templates, quality=np.minimum(templates.quality, np.float32(_UNSEEN)))
            detail = "; ".join(filter(None, (detail, "no face was found; taken for an aligned crop")))
        outcome = Outcome.DONE if len(faces) else Outcome.NO_FACE
        if failed:
            reason = f"not looked at closely, small faces may be missed: {failed[0]}"
            image = replace(image, complete=False, detail="; ".join(filter(None, (image.detail, reason))))
        if not image.complete:
            outcome = Outcome.PARTIAL
        width, height = image.source_size
        inside = inside_picture(faces.landmarks, image.source_size, MAP_SIDE)
        return ImageAnalysis(
            frame=image.frame,
            outcome=outcome,
            detail=detail if image.complete else image.detail,
            width=width,
            height=height,
            picture_hashes=picture_hashes([image.bgr], self._mirrored, turned=not self._mirrored),
            faces=faces,
            templates=templates,
            face_hashes=(
                *picture_hashes(list(crops), self._mirrored),
                contrast_maps(crops, inside, enrolled=self._mirrored),
            ),
            crops=tuple(_jpegs(crops)),
            incidents=tuple(_incidents(image)),
            plain=plain,
            sharpness=sharpness(crops).astype(np.float32) if self._mirrored else None,
            jpeg_quality=image.jpeg_quality,
            seconds=image.seconds,
        )


def _undithered(bgr: ByteArray) -> ByteArray:
    """Grays in the place of black and white dots, which is what a detector knows."""
    return np.asarray(cv2.GaussianBlur(bgr, (0, 0), _DITHER), np.uint8)


def _incidents(image: DecodedImage) -> Iterator[tuple[str, str, str]]:
    if not image.complete:
        yield "imaging", "truncated", image.detail or "the picture ends early"
    elif image.frame == 0 and image.detail:
        yield "imaging", "frames-sampled", image.detail


def _jpegs(crops: ByteArray) -> Iterator[bytes]:
    for crop in crops:
        yield cv2.imencode(".jpg", crop, [cv2.IMWRITE_JPEG_QUALITY, CROP_QUALITY])[1].tobytes()


def _no_faces() -> FaceBatch:
    return FaceBatch(
        np.zeros(0, np.int32), np.zeros((0, 4), np.float32), np.zeros((0, 5, 2), np.float32), np.zeros(0, np.float32)
    )


def _failed(error: ItemError, incident: tuple[str, str, str]) -> ImageAnalysis:
    return ImageAnalysis(0, Outcome(error.outcome), str(error), 0, 0, (), _no_faces(), None, (), (), (incident,))


def _with_incident(analysis: ImageAnalysis, detail: str, incident: tuple[str, str, str]) -> ImageAnalysis:
    incidents = (*analysis.incidents, incident)
    return replace(analysis, outcome=Outcome.PARTIAL, detail=detail, incidents=incidents)

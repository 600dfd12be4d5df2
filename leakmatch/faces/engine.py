"""From a picture to templates: detect, align, embed, rate."""

from __future__ import annotations

from typing import Final

import numpy as np

from leakmatch.arrays import BoolArray, ByteArray, FloatArray
from leakmatch.faces.align import aligned_crops
from leakmatch.faces.detect import detect, open_detector
from leakmatch.faces.embed import Embedder
from leakmatch.faces.geometry import CROP_SIZE, TEMPLATE, similarities
from leakmatch.faces.packs import Pack
from leakmatch.faces.picture import Picture
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.quality import face_quality
from leakmatch.faces.session import ONNXRUNTIME
from leakmatch.records import FaceBatch, TemplateBatch

#: How much larger than its crop a face must be in the view that the crop is made from (docs/detection.md).
_CROP_DETAIL: Final = 1.2

#: Gray levels of contrast below which a picture is nothing that could be compared.
_FLAT: Final = 3.0


class FaceEngine:
    """The models of one pack, run by ``engine`` (:mod:`leakmatch.faces.session`).

    Raises :class:`~leakmatch.errors.IntegrityError` if a model file is not the one the pack declares, or does not
    do what the pack says.
    """

    def __init__(self, pack: Pack, engine: str = ONNXRUNTIME) -> None:
        self.pack = pack
        self.model_id = pack.model_id
        self._detector = open_detector(pack)
        self._embedder = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file, engine), pack.model_id)

    def analyse(
        self, picture: ByteArray | Picture, *, mirrored: bool = False, everywhere: bool = False
    ) -> tuple[FaceBatch, TemplateBatch, ByteArray]:
        """Faces, templates and aligned crops uint8[F,112,112,3] BGR of ``picture``, row by row the same.

        ``picture`` is uint8[H,W,3] BGR, or a :class:`Picture`, which is decoded no larger than its faces need; then
        this raises what decoding raises. Best detector score first; coordinates in pixels of the full size. F = 0 where
        there is no face. A face whose landmarks cannot be aligned has a black crop, and its template is not valid.
        ``mirrored``: templates for a gallery, see :meth:`Embedder.embed`. ``everywhere``: see
        :func:`~leakmatch.faces.detect.detect`.
        """
        faces, crops = self.find(picture, everywhere=everywhere)
        return faces, self.templates(faces, crops, mirrored=mirrored)[0], crops

    def find(self, picture: ByteArray | Picture, *, everywhere: bool = False) -> tuple[FaceBatch, ByteArray]:
        """Faces and aligned crops, as :meth:`analyse` gives them."""
        if not isinstance(picture, Picture):
            picture = Picture.whole(picture)
        faces = detect(self._detector, picture, everywhere=everywhere)
        return faces, _crops(picture, faces.landmarks)

    def as_aligned(self, bgr: ByteArray) -> tuple[FaceBatch, ByteArray]:
        """What :meth:`find` gives, for a picture that is an aligned crop as a whole, although no face is found in it.

        Its score is 0. No face where the picture has another size than such crops, or is nearly flat.
        """
        if bgr.shape != (CROP_SIZE, CROP_SIZE, 3) or float(bgr.std()) < _FLAT:
            return _no_faces()
        faces = FaceBatch(
            np.zeros(1, np.int32),
            np.array([[0, 0, CROP_SIZE, CROP_SIZE]], np.float32),
            TEMPLATE[None].astype(np.float32),
            np.zeros(1, np.float32),
        )
        return faces, bgr[None].copy()

    def templates(
        self, faces: FaceBatch, crops: ByteArray, *, mirrored: bool = False
    ) -> tuple[TemplateBatch, TemplateBatch | None]:
        """Templates of what :meth:`find` gave: the plain ones, and ``None``.

        With ``mirrored`` those for a gallery and, at no further cost, the plain ones.
        """
        quality, aligned = face_quality(faces.landmarks, crops), crops.any(axis=(1, 2, 3))

        def batch(vectors: FloatArray, valid: BoolArray) -> TemplateBatch:
            vectors[~aligned] = 0
            return TemplateBatch(vectors, quality, valid & aligned, self.model_id)

        if not mirrored:
            return batch(*self._embedder.embed(crops)), None
        both, plain = self._embedder.embed_both(crops)
        return batch(*both), batch(*plain)

    def embed_again(self, crop: ByteArray) -> TemplateBatch:
        """The one template of an aligned ``crop`` uint8[112,112,3] BGR, averaged with that of its mirror image.

        Its quality is not judged (0). Not valid for a picture of another size.
        """
        fits = crop.shape == (CROP_SIZE, CROP_SIZE, 3) and bool(crop.any())
        crops = crop[None] if fits else np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
        vectors, valid = self._embedder.embed(crops, mirrored=True)
        if not fits:
            vectors[:] = 0
        return TemplateBatch(vectors, np.zeros(1, np.float32), valid & fits, self.model_id)


def _no_faces() -> tuple[FaceBatch, ByteArray]:
    none = np.zeros(0, np.float32)
    faces = FaceBatch(np.zeros(0, np.int32), none.reshape(0, 4), none.reshape(0, 5, 2), none)
    return faces, np.zeros((0, CROP_SIZE, CROP_SIZE, 3), np.uint8)


def _crops(picture: Picture, landmarks: FloatArray) -> ByteArray:
    """The aligned crop of each face, from the smallest view in which the face is large enough."""
    # The size of the crop relative to the face in the full picture: the scale at which both are of one size.
    matrices = similarities(landmarks)
    wanted = np.nan_to_num(np.hypot(matrices[:, 0, 0], matrices[:, 1, 0]), nan=0.0)
    crops = np.zeros((len(landmarks), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    for i in np.argsort(-wanted):  # the largest view first, which is then at hand for the others
        view = picture.at_least(float(wanted[i]) * _CROP_DETAIL)
        # Whole numbers are the centres of pixels.
        there = (landmarks[i : i + 1] + np.float32(0.5)) * np.float32(view.scale) - np.float32(0.5)
        crops[i] = aligned_crops(view.pixels, similarities(there))[0]
    return crops

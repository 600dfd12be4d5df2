"""From a picture to templates: detect, align, embed, rate."""

from __future__ import annotations

from leakmatch.arrays import ByteArray
from leakmatch.faces.align import aligned_crops
from leakmatch.faces.detect import detect, open_detector
from leakmatch.faces.embed import Embedder
from leakmatch.faces.geometry import similarities
from leakmatch.faces.packs import Pack
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.quality import face_quality
from leakmatch.faces.session import ONNXRUNTIME
from leakmatch.records import FaceBatch, TemplateBatch


class FaceEngine:
    """The models of one pack, run by ``engine`` (:mod:`leakmatch.faces.session`).

    Raises :class:`~leakmatch.errors.IntegrityError` if a model file is not the one the pack declares, or does not
    do what the pack says.
    """

    def __init__(self, pack: Pack, engine: str = ONNXRUNTIME) -> None:
        self.pack = pack
        self.model_id = pack.model_id
        self._detector = open_detector(pack, engine)
        self._embedder = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file, engine), pack.model_id)

    def analyse(self, bgr: ByteArray, *, mirrored: bool = False) -> tuple[FaceBatch, TemplateBatch, ByteArray]:
        """Faces, templates and aligned crops uint8[F,112,112,3] BGR of ``bgr`` uint8[H,W,3], row by row the same.

        Best detector score first; coordinates in pixels of ``bgr``. F = 0 where there is no face. A face whose
        landmarks cannot be aligned has a black crop, and its template is not valid. ``mirrored``: templates for a
        gallery, see :meth:`Embedder.embed`.
        """
        faces = detect(self._detector, bgr)
        matrices = similarities(faces.landmarks)
        crops = aligned_crops(bgr, matrices)
        vectors, valid = self._embedder.embed(crops, mirrored=mirrored)
        aligned = crops.any(axis=(1, 2, 3))
        vectors[~aligned] = 0
        templates = TemplateBatch(vectors, face_quality(faces.landmarks, crops), valid & aligned, self.model_id)
        return faces, templates, crops

"""Faces that are colours: what tests of evaluation look at in place of people."""

from __future__ import annotations

import io
from typing import Final

import numpy as np
from PIL import Image

from leakmatch.arrays import ByteArray
from leakmatch.faces.packs import Pack
from leakmatch.faces.picture import Picture
from leakmatch.matching.calibration import make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.records import FaceBatch, TemplateBatch

ANNA: Final = (220, 10, 10)
BERT: Final = (10, 220, 10)
CLEO: Final = (10, 10, 220)
DORA: Final = (160, 160, 10)
NOBODY: Final = (0, 0, 0)


class Colours:
    """Finds a face in each square of 64 pixels that is not black, last one first; its template is its colour."""

    looked_at = 0

    def __init__(self, pack: Pack, engine: str) -> None:
        self._model_id = pack.model_id

    def find(self, picture: Picture) -> tuple[FaceBatch, ByteArray]:
        bgr = picture.at_least(1.0).pixels
        Colours.looked_at += 1
        squares = [(x, bgr[:64, x : x + 64].mean(axis=(0, 1))) for x in range(0, bgr.shape[1], 64)]
        faces = [(x, colour) for x, colour in reversed(squares) if colour.max() > 20]
        n = len(faces)
        boxes = np.array([(x, 0, x + 64, 64) for x, _ in faces], np.float32).reshape(n, 4)
        crops = np.array([np.full((112, 112, 3), colour) for _, colour in faces], np.uint8).reshape(n, 112, 112, 3)
        points = np.array([[20, 24], [44, 24], [32, 40], [22, 50], [42, 50]], np.float32)
        batch = FaceBatch(np.zeros(n, np.int32), boxes, np.tile(points, (n, 1, 1)), np.ones(n, np.float32))
        return batch, crops

    def as_aligned(self, bgr: ByteArray) -> tuple[FaceBatch, ByteArray]:
        none = np.zeros(0, np.float32)
        batch = FaceBatch(np.zeros(0, np.int32), none.reshape(0, 4), none.reshape(0, 5, 2), none)
        return batch, np.zeros((0, 112, 112, 3), np.uint8)

    def templates(
        self, faces: FaceBatch, crops: ByteArray, *, mirrored: bool
    ) -> tuple[TemplateBatch, TemplateBatch | None]:
        n = len(crops)
        colours = crops[:, 0, 0].astype(np.float32)
        vectors = colours / np.maximum(np.linalg.norm(colours, axis=1, keepdims=True), 1)
        templates = TemplateBatch(vectors, np.ones(n, np.float32), np.ones(n, np.bool_), self._model_id)
        return templates, templates if mirrored else None


def photo(*squares: tuple[int, int, int]) -> bytes:
    pixels = np.concatenate([np.full((64, 64, 3), colour, np.uint8) for colour in squares], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def calibration_of(
    model_id: str, dimension: int, normalisation: Normalisation | None, data: dict[str, object] | None = None
) -> bytes:
    """The bytes of a calibration from 150 people whose templates have any direction."""
    rng = np.random.default_rng(5)
    vectors = rng.normal(size=(150, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    people = np.arange(150)
    impostors = Impostors.of(vectors, people, vectors, people)
    return make_calibration(model_id, impostors, {"name": "made up", **(data or {})}, normalisation)

"""What dense detectors share: a grid of cells over the input, each of which may hold a face."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.packs import COLOURS, DetectorSpec, EmbedderSpec


class Candidates(NamedTuple):
    """Cells that hold a face, in pixels of the input; not yet cleared of repetitions.

    ``boxes`` float32[K,4] xyxy, ``landmarks`` float32[K,5,2], ``scores`` float32[K].
    """

    boxes: FloatArray
    landmarks: FloatArray
    scores: FloatArray


class Detector(Protocol):
    """Finds faces in one input."""

    @property
    def spec(self) -> DetectorSpec:
        """How the detector was declared."""

    def candidates(self, canvas: ByteArray) -> Candidates:
        """Cells at or above the score threshold in ``canvas`` uint8[H,W,3] BGR, H and W multiples of 32."""


class Cells(NamedTuple):
    """``columns_rows`` float32[A,2], the cell of each anchor, and ``strides`` float32[A], the pixels per cell."""

    columns_rows: FloatArray
    strides: FloatArray


# Pictures come in as many shapes as people hold cameras; a grid is cheap to make again.
@lru_cache(maxsize=16)
def cells(height: int, width: int, strides: tuple[int, ...], per_cell: int) -> Cells:
    """The grid over an input of ``height`` x ``width``: strides in order, rows, columns, anchors of a cell."""
    grids = []
    for stride in strides:
        rows, columns = np.mgrid[0 : height // stride, 0 : width // stride]
        grids.append(np.stack([columns.ravel(), rows.ravel()], axis=1).repeat(per_cell, axis=0))
    counts = [len(grid) for grid in grids]
    return Cells(
        np.concatenate(grids).astype(np.float32), np.repeat(np.array(strides, np.float32), counts).astype(np.float32)
    )


def blob(pixels: ByteArray, spec: DetectorSpec | EmbedderSpec) -> FloatArray:
    """The model's input float32[1,3,H,W] for ``pixels`` uint8[H,W,3] BGR, as the pack declares it."""
    order = slice(None) if spec.colour == COLOURS[0] else slice(None, None, -1)
    planes = np.ascontiguousarray(pixels[:, :, order].transpose(2, 0, 1)[None], np.float32)
    if (spec.mean, spec.std) != (0.0, 1.0):
        planes -= np.float32(spec.mean)
        planes *= np.float32(1.0 / spec.std)
    return planes

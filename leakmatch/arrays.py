"""Shape and dtype checks at batch borders: arrays are checked once, where a batch is made."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]
LongArray = NDArray[np.int64]
ByteArray = NDArray[np.uint8]
BoolArray = NDArray[np.bool_]

Array = NDArray[Any]


class Shaped(Protocol):
    """What has the shape and type of an array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def ndim(self) -> int: ...


def check(array: Array | Shaped, shape: tuple[int | None, ...], dtype: DTypeLike, name: str) -> None:
    """Raise ``ValueError`` unless ``array`` has this dtype and shape; ``None`` admits any length."""
    if array.dtype != dtype:
        raise ValueError(f"{name}: dtype {array.dtype}, not {np.dtype(dtype)}")
    have = array.shape
    fits = len(have) == len(shape)
    for wanted, length in zip(shape, have, strict=False):  # a plain loop: the parent of a scan does this most often
        if wanted is not None and length != wanted:
            fits = False
    if not fits:
        raise ValueError(f"{name}: shape {have}, not {shape}")


def check_finite(array: Array, name: str) -> None:
    """Raise ``ValueError`` if ``array`` holds NaN or infinity."""
    if not np.isfinite(array).all():
        raise ValueError(f"{name}: not finite")

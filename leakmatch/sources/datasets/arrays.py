"""Arrays that are pictures: which axes are which, and each picture as the bytes of a small lossless file (PPM or PGM).

Colours are taken as RGB. An array made with OpenCV is BGR, and nothing in it says so.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, cast

import numpy as np
from numpy.typing import NDArray

from leakmatch.sources.guard import over_budget

#: The shortest side of a picture; smaller arrays are numbers of some other kind.
SMALLEST: Final = 16
LARGEST: Final = 1 << 16
_MAX_BYTES: Final = 128 << 20  # of one picture in its array; it is held in memory more than once
_FLAT_RATIO: Final = 3  # of the sides of a single two-dimensional array; a table is longer


@dataclass(frozen=True, slots=True)
class Layout:
    """How an array holds pictures. The first ``outer`` axes number them, the others are ``shape``.

    ``order``: ``HWC``, ``CHW`` or ``HW``.
    """

    outer: tuple[int, ...]
    shape: tuple[int, ...]
    order: str

    @property
    def count(self) -> int:
        """The number of pictures."""
        return int(np.prod(self.outer, dtype=object)) if self.outer else 1

    @property
    def pixels(self) -> int:
        """Of one picture."""
        height, width = self.shape[1:] if self.order == "CHW" else self.shape[:2]
        return height * width

    @property
    def values(self) -> int:
        """Numbers of one picture."""
        return int(np.prod(self.shape, dtype=object))

    def suffix(self, number: int) -> str:
        """What tells a picture from the others in its name, as ``[3]`` or ``[0,12]``; nothing for a single one."""
        if not self.outer:
            return ""
        return "[" + ",".join(str(int(i)) for i in self.index(number)) + "]"

    def index(self, number: int) -> tuple[int, ...]:
        """The outer index of a picture by its number."""
        found = []
        for size in reversed(self.outer):
            number, rest = divmod(number, size)
            found.append(rest)
        return tuple(reversed(found))


def layout(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layout | None:
    """The layout of an array of pictures, or ``None`` where it is none.

    The last axes decide: ``[..., H, W, 3]`` (or 1 or 4), ``[..., 3, H, W]`` (or 1 or 4), ``[..., H, W]`` behind at
    least one other axis; ``[H, W]`` alone only of bytes, and about as wide as high. Sides of at least :data:`SMALLEST`.
    """
    if dtype.kind not in "uifb" or not 2 <= len(shape) <= 8 or 0 in shape:
        return None
    if len(shape) >= 3:
        if shape[-1] in (1, 3, 4) and _sides(shape[-3:-1]):
            return Layout(shape[:-3], shape[-3:], "HWC")
        if shape[-3] in (1, 3, 4) and _sides(shape[-2:]):
            return Layout(shape[:-3], shape[-3:], "CHW")
        return Layout(shape[:-2], shape[-2:], "HW") if _sides(shape[-2:]) else None
    is_flat = dtype.itemsize == 1 and _sides(shape) and max(shape) <= _FLAT_RATIO * min(shape)
    return Layout((), shape, "HW") if is_flat else None


def check_size(found: Layout, dtype: np.dtype[Any], pixels: int) -> None:
    """Raise :class:`ItemError` (``over-budget``) for pictures that are too large to be made."""
    if found.pixels > pixels:
        raise over_budget(f"a picture of more than {pixels:,} pixels")
    if found.values * dtype.itemsize > _MAX_BYTES:
        raise over_budget(f"a picture whose numbers take more than {_MAX_BYTES >> 20} MiB")


def _sides(sides: tuple[int, ...]) -> bool:
    return all(SMALLEST <= side <= LARGEST for side in sides)


def describe(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    """An array in words, for the ledger."""
    return f"{dtype.name[:40]}[{','.join(map(str, shape[:8]))}], not of the shape of pictures"


def picture_file(values: NDArray[Any], order: str) -> BinaryIO:
    """One picture as a PPM (three channels) or PGM (one) file. A fourth channel, transparency, is left out.

    Numbers other than bytes: all within 0 to 1 are multiplied by 255, within -1 to 1 moved there, within 0 to 255 taken
    as they are, whole numbers up to 65,535 divided by 256; anything else is stretched from its least to its greatest.
    """
    if order == "CHW":
        values = np.moveaxis(values, 0, -1)
    if order != "HW" and values.shape[-1] == 1:
        values = values[..., 0]
    pixels = np.ascontiguousarray(to_bytes(values)[..., :3] if values.ndim == 3 else to_bytes(values))
    magic = b"P6" if pixels.ndim == 3 else b"P5"
    height, width = pixels.shape[:2]
    return io.BytesIO(b"%b %d %d 255\n" % (magic, width, height) + pixels.tobytes())


def to_bytes(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Numbers of any kind in 0 to 255, by the rules of :func:`picture_file`. What is no number becomes 0."""
    if values.dtype == np.uint8:
        return cast("NDArray[np.uint8]", values)
    if values.dtype == np.bool_:
        return values.astype(np.uint8) * np.uint8(255)
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(numbers.min()), float(numbers.max())
    whole = values.dtype.kind in "ui"
    if not whole and low >= 0 and high <= 1.001:
        numbers *= 255
    elif not whole and low >= -1.001 and high <= 1.001:
        numbers = (numbers + 1) * 127.5
    elif whole and low >= 0 and 255 < high <= 65_535:
        numbers /= 256
        return numbers.astype(np.uint8)
    elif low < 0 or high > 255.5:
        numbers = (numbers - low) * (255 / max(high - low, 1e-30))
    return np.clip(np.rint(numbers), 0, 255).astype(np.uint8)


def blocks_of(stream: BinaryIO, size: int) -> Iterator[bytes]:
    """Exactly ``size`` bytes of ``stream``. Raises ``EOFError`` where there are fewer."""
    while size:
        data = stream.read(min(size, 1 << 20))
        if not data:
            raise EOFError
        size -= len(data)
        yield data

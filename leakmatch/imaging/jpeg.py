"""How strongly a JPEG was compressed, told from its quantisation table.

Most encoders scale the luminance table of the standard (ITU-T T.81, table K.1) by a quality from 1 to 100, as the
library of the Independent JPEG Group does (``jpeg_quality_scaling`` in its ``jcparam.c``): by 5000 / quality percent
below 50, by 200 - 2 quality percent from there. The estimate is the quality whose table is nearest to the file's.
Encoders with tables of their own get the quality that is most like theirs.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

#: ITU-T T.81, table K.1, row by row.
LUMINANCE: Final = np.array(
    [
        *(16, 11, 10, 16, 24, 40, 51, 61),
        *(12, 12, 14, 19, 26, 58, 60, 55),
        *(14, 13, 16, 24, 40, 57, 69, 56),
        *(14, 17, 22, 29, 51, 87, 80, 62),
        *(18, 22, 37, 56, 68, 109, 103, 77),
        *(24, 35, 55, 64, 81, 104, 113, 92),
        *(49, 64, 78, 87, 103, 121, 120, 101),
        *(72, 92, 95, 98, 112, 100, 103, 99),
    ]
)


def jpeg_quality(image: Image.Image) -> int | None:
    """The quality, 1 to 100, of an opened JPEG; ``None`` for another format, and where it has no sound table."""
    if not isinstance(image, JpegImageFile):
        return None
    table = image.quantization.get(0, ())
    return nearest_quality(tuple(table)) if len(table) == LUMINANCE.size else None


@lru_cache(maxsize=256)  # the files of a collection share a few tables
def nearest_quality(table: tuple[int, ...]) -> int:
    """The quality whose table differs least from ``table``, 64 divisors row by row; of equally near ones the highest.

    Divisors of more than 8 bits count as 255, the most that a baseline file may have.
    """
    difference = np.abs(_TABLES - np.minimum(table, 255)).sum(axis=1)
    return int(100 - np.argmin(difference[::-1]))


def ijg_tables() -> NDArray[np.int64]:
    """The luminance tables of qualities 1 to 100: int64[100,64]."""
    quality = np.arange(1, 101)
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)
    scaled: NDArray[np.int64] = (LUMINANCE * percent[:, None] + 50) // 100
    return scaled.clip(1, 255)


_TABLES: Final = ijg_tables()

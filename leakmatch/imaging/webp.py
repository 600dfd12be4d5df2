"""The part of a truncated WebP that can be had: its decoder refuses the whole file.

The missing bytes are made up, twice and differently. Where both decodes agree the made-up bytes had no say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image

from leakmatch.errors import ItemError
from leakmatch.records import Outcome

# Not 255: long runs of it are refused as an impossible code.
_FILLERS: Final = (0, 1)
# What a header may claim to be missing; WebP pictures have at most 16383 x 16383 pixels.
_MOST_PADDING: Final = 64 << 20
# Lossy WebP predicts, and then smooths, by blocks of 16 rows: a row may agree by accident within the first bad block.
_BLOCK_ROWS: Final = 16


def load_truncated(payload: bytes, load: Callable[[bytes], Image.Image]) -> Image.Image:
    """The picture of a WebP that ends early, with the rows that are not its own in black (or transparent).

    ``load`` decodes bytes with Pillow. Raises :class:`ItemError` where nothing is missing, or not one block of rows
    was there; and whatever ``load`` raises.
    """
    first, second = (load(_padded(payload, filler)) for filler in _FILLERS)
    rows = _agreeing(first, second)
    if rows == 0:
        raise ItemError(Outcome.UNREADABLE, "truncated", "no pixels could be recovered: the data ends early")
    if rows < first.height:
        first.paste(Image.new(first.mode, (first.width, first.height - rows)), (0, rows))
    return first


def _agreeing(first: Image.Image, second: Image.Image) -> int:
    """The rows from the top, in whole blocks, that are the same in both."""
    for top in range(0, first.height, _BLOCK_ROWS):
        block = (0, top, first.width, min(top + _BLOCK_ROWS, first.height))
        if not np.array_equal(np.asarray(first.crop(block)), np.asarray(second.crop(block))):
            return top
    return first.height


def _padded(payload: bytes, filler: int) -> bytes:
    """``payload`` with the chunk in which it stops filled up, and as the last one of the file."""
    end = 12
    while end < len(payload):
        size = int.from_bytes(payload[end + 4 : end + 8], "little")
        end += 8 + size + size % 2
    missing = end - len(payload)
    if not 0 < missing <= _MOST_PADDING:
        raise ItemError(Outcome.UNREADABLE, "corrupt", "no chunk of it is cut off")
    return payload[:4] + (end - 8).to_bytes(4, "little") + payload[8:] + bytes([filler]) * missing

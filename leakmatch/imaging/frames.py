"""Which frames of an animation, and which pages of a document, are looked at.

Frames are counted from the file's structure, in bounded time and without decoding: a file can claim any number of
them, and Pillow's own counting is slow on files that are made to be.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from leakmatch.arrays import ByteArray
from leakmatch.records import Budget
from leakmatch.scenes import SIDE, choose, spread

# Bounds on the counting itself, far beyond any real file: about a second of work each.
_GIF_BLOCKS = 4_000_000
_PNG_CHUNKS = 1_000_000
_TIFF_PAGES = 1024
_TIFF_TAGS = 1024
_MOST_FRAMES = 5_000
_LONGEST = 1e6  # milliseconds of one frame

# Formats whose further frames are pictures of their own. Elsewhere they are layers (PSD), smaller versions (ICO),
# or a second view, depth or gain map (the MPO that phones write), and only the first picture is looked at.
_SEQUENTIAL = frozenset({"GIF", "PNG", "WEBP", "AVIF", "FLI"})
_PAGED = frozenset({"TIFF", "DCX"})

# Formats for which Pillow's frame count is cheap: read from a header or a table, or counted by the decoder itself.
_COUNT_IS_CHEAP = frozenset({"PNG", "WEBP", "AVIF", "FLI", "DCX", "HEIF"})


@dataclass(frozen=True, slots=True)
class FramePlan:
    """``numbers``: frames to look at, from 0, ascending. ``count``: frames in the file. ``seconds``: when each of
    ``numbers`` is shown; empty for what is no animation. ``compared``: of how many frames ``numbers`` are those that
    differ; 0 for what is no animation.

    ``sound`` is false where the file stops before the end that its format prescribes, or fails its own checksums.
    """

    numbers: tuple[int, ...]
    count: int
    sound: bool = True
    seconds: tuple[float, ...] = ()
    compared: int = 0

    @property
    def note(self) -> str:
        """What the ledger should say where not every frame is looked at, else empty."""
        if len(self.numbers) == self.count:
            return ""
        told = f"{len(self.numbers)} of {self.count} frames looked at"
        if not self.compared:
            return told
        whole = "all" if self.compared == self.count else f"the first {self.compared}"
        return f"{told}: those that differ most; {whole} were compared"


def plan(image: ImageFile.ImageFile, payload: bytes, budget: Budget) -> FramePlan:
    """Up to ``budget.frames`` frames of ``image``: of a document evenly spread, with the first and the last.

    Of an animation those that differ (:func:`leakmatch.scenes.choose`): a frame needs all before it to be decoded, so
    all are looked at in small, as far as they do not pass ``budget.pixels`` together. ``image`` is just opened where it
    is an animation, and stands anywhere afterwards.
    """
    count, sound = frame_count(image, payload)
    if count == 1 or image.format not in _SEQUENTIAL | _PAGED:
        return FramePlan((0,), count, sound)
    if image.format in _PAGED:
        return FramePlan(spread(count, budget.frames), count, sound)
    reach = min(count, _MOST_FRAMES, max(1, budget.pixels // (image.width * image.height)))
    thumbnails, begins, failed = _watched(image, reach)
    numbers = choose(thumbnails, budget.frames) if len(thumbnails) else (0,)
    if failed and len(thumbnails):
        # The one that cannot be read, so that reading it tells why.
        numbers, begins = (*numbers[: max(1, budget.frames - 1)], len(thumbnails)), [*begins, begins[-1]]
    seconds = tuple(begins[number] for number in numbers) if begins else ()
    return FramePlan(numbers, count, sound, seconds, len(thumbnails))


def _watched(image: ImageFile.ImageFile, reach: int) -> tuple[ByteArray, list[float], bool]:
    """The first ``reach`` frames in small, uint8[N,SIDE,SIDE], when each is shown, and whether the next one failed."""
    thumbnails: list[ByteArray] = []
    begins: list[float] = []
    now = 0.0
    for number in range(reach):
        try:
            image.seek(number)
            image.load()
            thumbnails.append(np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)))
        except Exception:  # noqa: BLE001 - decoders raise anything; the frame is read again, and then it is told
            return np.array(thumbnails, np.uint8), begins, True
        begins.append(now)
        now += _duration(image)
    return np.array(thumbnails, np.uint8), begins, False


def _duration(image: Image.Image) -> float:
    """Seconds for which the frame that was read is shown; 0 where that is not told."""
    told = image.info.get("duration", 0)
    return min(max(float(told), 0.0), _LONGEST) / 1000 if isinstance(told, int | float) and told == told else 0.0


def frame_count(image: ImageFile.ImageFile, payload: bytes) -> tuple[int, bool]:
    """Frames in the file, and whether the file is sound: see :class:`FramePlan`."""
    claimed = int(getattr(image, "n_frames", 1)) if image.format in _COUNT_IS_CHEAP else 1
    count, sound = claimed, True
    if image.format == "GIF":
        count, sound = gif_frames(payload)
    elif image.format == "TIFF":
        count, sound = tiff_pages(payload)
    elif image.format == "PNG":
        # What the header claims, but no more than there are frame headers and a default picture.
        count, sound = min(claimed, 1 + payload.count(b"fcTL")), png_sound(payload)
    return max(1, count), sound


def gif_frames(data: bytes) -> tuple[int, bool]:
    """The number of image descriptors in a GIF, and whether its trailer was reached (GIF89a specification)."""
    position, frames, blocks = 13 + _colour_table(data[10:11]), 0, 0
    while blocks < _GIF_BLOCKS and position < len(data):
        introducer = data[position]
        blocks += 1
        if introducer == 0x3B:
            return frames, True
        if introducer == 0x21:
            position += 2
        elif introducer == 0x2C and position + 10 < len(data):
            frames += 1
            position += 11 + _colour_table(data[position + 9 : position + 10])
        else:
            position += 1  # stray bytes between blocks, which every decoder skips
            continue
        while blocks < _GIF_BLOCKS and position < len(data) and data[position]:
            position += data[position] + 1
            blocks += 1
        position += 1
    return frames, False


def _colour_table(flags: bytes) -> int:
    """Bytes of the colour table that a GIF's flag byte announces."""
    return 3 << ((flags[0] & 7) + 1) if flags and flags[0] & 0x80 else 0


def png_sound(data: bytes) -> bool:
    """Whether a PNG has all its chunks, and each passes its checksum (Pillow does not look at those of the pixels)."""
    view, position = memoryview(data), 8
    for _ in range(_PNG_CHUNKS):
        end = position + 12 + int.from_bytes(view[position : position + 4], "big")
        if end > len(data) or zlib.crc32(view[position + 4 : end - 4]) != int.from_bytes(view[end - 4 : end], "big"):
            return False
        if data[position + 4 : position + 8] == b"IEND":
            return True
        position = end
    return False


def tiff_pages(data: bytes) -> tuple[int, bool]:
    """The number of image file directories in a TIFF or BigTIFF, and whether the chain of them ends properly."""
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    head, entry, tail = (order + "Q", 20, order + "Q") if big else (order + "H", 12, order + "I")
    pages = 0
    try:
        offset = int(struct.unpack_from(tail, data, 8 if big else 4)[0])
        seen: set[int] = set()
        while offset and offset not in seen:
            seen.add(offset)
            tags = int(struct.unpack_from(head, data, offset)[0])
            if tags > _TIFF_TAGS or pages == _TIFF_PAGES:
                return pages, False
            following = offset + struct.calcsize(head) + entry * tags
            offset = int(struct.unpack_from(tail, data, following)[0])
            pages += 1
    except (struct.error, OverflowError):
        return pages, False
    return pages, True

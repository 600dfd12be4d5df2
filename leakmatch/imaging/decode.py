"""The one decoder: bytes of any picture format to canonical pixels, on the gallery's and the scan's side alike."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

import numpy as np
from PIL import ExifTags, Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from leakmatch.arrays import ByteArray
from leakmatch.errors import ItemError
from leakmatch.imaging import frames, heif
from leakmatch.imaging.colour import to_bgr
from leakmatch.imaging.embedded import largest
from leakmatch.imaging.guard import pillow
from leakmatch.imaging.jpeg import jpeg_quality
from leakmatch.imaging.memory import check_room, needed, room
from leakmatch.imaging.odd import OPENERS, as_meant
from leakmatch.imaging.sniff import DECODABLE, HEAD_BYTES, image_format
from leakmatch.imaging.webp import load_truncated
from leakmatch.records import Budget, DecodedImage, Outcome

#: Names the canonical decode: this module, orientation and :mod:`leakmatch.imaging.colour`. It is part of every hash
#: algorithm id; a change that moves pixels of any format takes a new number.
CANONICAL: Final = "pillow-rgb8/2"

#: The least size (square root of the area, in pixels) to which the canonical decode reduces a JPEG. Part of
#: :data:`CANONICAL`. It is the size of the largest look at a whole picture (the second rung of docs/detection.md).
REDUCED_SIZE: Final = 864

_MOST_EACH_BYTE: Final = 10_000  # pixels that a byte of a damaged file may stand for; deflate reaches 8,256
_MOST_INSIDE: Final = 8  # pictures inside a file that are tried
_RAW_TAGS: Final = {330, 50706}  # of a TIFF: directories below the first, and the version of DNG

# What libjpeg can leave out of a JPEG while it decodes it, by a smaller inverse transform of each block of 8x8.
_REDUCTIONS: Final = (8, 4, 2, 1)

# EXIF 2.32, tag 274: how the stored picture must be turned to stand upright.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Whether columns and rows run backwards, after rows and columns were exchanged where the picture lay on its side.
_MIRRORED: Final = {
    Image.Transpose.FLIP_LEFT_RIGHT: (True, False),
    Image.Transpose.ROTATE_180: (True, True),
    Image.Transpose.FLIP_TOP_BOTTOM: (False, True),
    Image.Transpose.TRANSPOSE: (False, False),
    Image.Transpose.ROTATE_270: (True, False),
    Image.Transpose.TRANSVERSE: (True, True),
    Image.Transpose.ROTATE_90: (False, True),
}
_ON_ITS_SIDE: Final = {_UPRIGHT[number] for number in (5, 6, 7, 8)}


def decode(payload: bytes, budget: Budget) -> Iterator[DecodedImage]:
    """The pictures in ``payload``: one, or up to ``budget.frames`` frames of an animation or pages of a document.

    Raises :class:`ItemError` before the first picture where there is none to give: ``not-image`` (no signature of a
    picture), ``unreadable`` (not a format that is read, or damaged beyond use) or ``over-budget`` (more than
    ``budget.pixels`` pixels; the size is read before memory is given). After that nothing is raised.

    Data that ends early: the first picture is given with ``complete`` false and only its own pixels, the missing
    part in one flat colour, and is the only one; where no pixel could be recovered it is ``unreadable``. A later
    frame that cannot be read, or would take all frames past ``budget.pixels`` together, ends the iteration, and the
    last picture given has ``complete`` false and says in ``detail`` which frame that was. So it does where the file
    lacks its end, or a PNG fails a checksum. Damage within a JPEG or WebP of full length leaves no trace to go by.

    ``detail`` of the first picture says if not every frame is looked at. Time is not limited here: a worker that
    takes longer than ``budget.seconds`` is replaced.

    A JPEG is decoded at 1/2, 1/4 or 1/8, the smallest that is no smaller than :data:`REDUCED_SIZE`, where that is
    below its full size: the size is in its header, and so the same file gives the same pixels on both sides.
    :func:`decode_larger` has the rest. A damaged one is decoded in full.
    """
    name = _known(payload)
    if (inside := _inside(payload, name, budget)) is not None:
        yield inside
        return
    _check_read(name)
    try:
        picture, plan = _first(payload, name, budget)
    except ItemError as error:
        if error.outcome != Outcome.UNREADABLE:
            raise
        code, message = error.code, str(error)
    else:
        yield from _frames(picture, plan, payload, name, budget)
        return
    yield _salvaged(payload, name, budget, code, message)


def decode_larger(payload: bytes, budget: Budget, scale: float, *, colour: bool = True) -> tuple[ByteArray, float]:
    """The JPEG ``payload``, which :func:`decode` gave reduced and complete, at ``scale`` (0 to 1) or a larger one.

    Its pixels, upright, and the scale: uint8[H,W,3] BGR, or without ``colour``, where the file holds it apart, the
    brightness uint8[H,W]. Raises :class:`ItemError`, as where there is not the memory for it.
    """
    name = _known(payload)
    if name != "JPEG":
        payload, name = next(largest(payload), payload), "JPEG"
    image = _open(payload, name, budget)
    with pillow(budget):
        _check_size(image, budget)
        reduction = next((r for r in _REDUCTIONS if 1 / r >= scale), 1)
        # Of the very largest less is enough: at half its size a face is still larger than its crop.
        while reduction < _REDUCTIONS[0] and needed(image, payload, reduction) > room(budget):
            reduction *= 2
        check_room(image, payload, budget, reduction)
        reached = _draft(image, reduction, None if colour else "L")
        image.load()
        turn = _turn(image)
        pixels = np.array(image) if image.mode == "L" and not colour else to_bgr(image)
        image.close()
        return _turned(pixels, turn), reached


def _reduction(image: Image.Image) -> int:
    """By how much the canonical decode reduces a picture of which the header was read."""
    width, height = image.size
    return next((r for r in _REDUCTIONS if width * height >= (r * REDUCED_SIZE) ** 2), 1)


def _inside(payload: bytes, name: str, budget: Budget) -> DecodedImage | None:
    """The picture in a file of a format that is not read, or of a camera's raw file; ``None`` for other files."""
    is_raw = name.endswith("raw") or (name == "TIFF" and _is_raw(payload, budget))
    if name in DECODABLE and not is_raw:
        return None
    for candidate in islice(largest(payload), _MOST_INSIDE):
        try:
            picture = next(decode(candidate, budget))
        except ItemError as error:
            if error.outcome == Outcome.OVER_BUDGET:
                raise
            continue
        width, height = picture.source_size
        told = f"of {name} pictures only a picture inside is looked at: {width} x {height} pixels"
        return replace(picture, complete=picture.complete and is_raw, detail=told)
    return None


def _is_raw(payload: bytes, budget: Budget) -> bool:
    """Whether a TIFF is a camera's raw file: it says so, or its first page is smaller than pictures inside."""
    try:
        with _open(payload, "TIFF", budget) as image:
            tags, pixels = dict(getattr(image, "tag_v2", {})), image.width * image.height
    except ItemError:
        return payload[8:10] == b"CR"
    if not tags.keys() & _RAW_TAGS and payload[8:10] != b"CR":
        return False
    return next(largest(payload, 2 * pixels), None) is not None


def _known(payload: bytes) -> str:
    name = image_format(payload[:HEAD_BYTES])
    if name is None:
        raise ItemError(Outcome.NOT_IMAGE, "unsupported", "no signature of a picture format")
    return name


def _check_read(name: str) -> None:
    if name not in DECODABLE:
        raise ItemError(Outcome.UNREADABLE, "unsupported", f"{name} pictures are not read")
    if name == "FPX" and not Image.registered_extensions().get(".fpx"):
        message = "FlashPix pictures need an optional part of LeakMatch: pip install 'leakmatch[documents]'"
        raise ItemError(Outcome.NEEDS_EXTRA, "extra-missing", message)


def _first(payload: bytes, name: str, budget: Budget) -> tuple[DecodedImage, frames.FramePlan]:
    """The first picture, and which frames to look at. Nothing else holds memory any longer, on failure neither."""
    image = _open(payload, name, budget)
    picture = _picture(image, 0, payload, budget, _reduction(image))
    with pillow(budget):
        count, sound = frames.frame_count(image, payload)
        image.close()
        if count == 1:
            return picture, frames.FramePlan((0,), 1, sound)
        plan = frames.plan(_open(payload, name, budget), payload, budget)
    return replace(picture, detail=plan.note, seconds=plan.seconds[0] if plan.seconds else None), plan


def _open(payload: bytes, name: str, budget: Budget, *, salvage: bool = False) -> ImageFile.ImageFile:
    """Read the header, and nothing else, as the format ``name``."""
    with pillow(budget, salvage=salvage):
        if name == heif.FORMAT:
            heif.register()
        if name in OPENERS:
            return OPENERS[name](payload)
        return Image.open(io.BytesIO(payload), formats=[name])


def _picture(
    image: ImageFile.ImageFile, number: int, payload: bytes, budget: Budget, reduction: int = 1
) -> DecodedImage:
    """Frame ``number`` of ``image``, upright, reduced if its format can do it. Raises :class:`ItemError`.

    The first frame costs ``image`` its pixels, so that they are not held twice.
    """
    with pillow(budget):
        if number:
            image.seek(number)
        _check_size(image, budget)
        check_room(image, payload, budget, reduction, number)
        full = image.size
        scale = _draft(image, reduction) if reduction > 1 else 1.0
        image.load()
        return _canonical(as_meant(image, payload), number, full, scale)


def _draft(image: ImageFile.ImageFile, reduction: int, mode: str | None = None) -> float:
    """Have a JPEG decoded smaller, and as ``mode`` where it can be. Returns the scale; 1 for another format."""
    if not isinstance(image, JpegImageFile):
        return 1.0
    width, height = image.size
    drawn = image.draft(mode, (max(1, width // reduction), max(1, height // reduction)))
    return 1.0 if drawn is None else drawn[1][2] / width


def _salvaged(payload: bytes, name: str, budget: Budget, code: str, message: str) -> DecodedImage:
    """What can be had of a first picture that could not be read as a whole, for the reason given."""
    try:
        with pillow(budget, salvage=True):
            load = partial(_load_what_is_there, name=name, budget=budget)
            image = load_truncated(payload, load) if name == "WEBP" else load(payload)
            full = _open(payload, name, budget, salvage=True).size if name == "JPEG" else image.size
            picture = _canonical(image, 0, full, image.width / full[0])
    except ItemError as error:
        if error.outcome != Outcome.UNREADABLE:
            raise
        code = error.code if error.code == "truncated" else code
        raise ItemError(Outcome.UNREADABLE, code, message) from error
    if _nothing_recovered(picture):
        raise ItemError(Outcome.UNREADABLE, code, f"no pixels could be recovered: {message}")
    return replace(picture, complete=False, detail=f"only a part could be read: {message}")


def _load_what_is_there(payload: bytes, name: str, budget: Budget) -> Image.Image:
    image = _open(payload, name, budget, salvage=True)
    _check_size(image, budget)
    if image.width * image.height > _MOST_EACH_BYTE * len(payload):
        raise ItemError(Outcome.UNREADABLE, "truncated", "no pixels could be recovered")
    reduction = 1
    if isinstance(image, JpegImageFile) and needed(image, payload) > room(budget):
        reduction = _reduction(image)
    check_room(image, payload, budget, reduction)
    _draft(image, reduction)
    try:
        image.load()
    except (OSError, ValueError, EOFError):
        # Some decoders stop at the first bad strip and have kept the good ones: without tiles left to read, Pillow
        # hands out what is in memory, which it had cleared before.
        image.tile = []
        image.load()
    return image


def _nothing_recovered(picture: DecodedImage) -> bool:
    """Whether all but a row, or a block of a JPEG, has the colour of the end that was never reached.

    That is the last pixel, or the first of a format stored from the bottom. A flat picture counts as nothing, too.
    """
    pixels, step = picture.bgr.reshape(-1, 3), 1 << 20
    least = max(picture.bgr.shape[1], 16 * 16)
    for missing in (pixels[-1], pixels[0]):
        unlike = 0
        for at in range(0, len(pixels), step):
            unlike += int((pixels[at : at + step] != missing).any(axis=1).sum())
            if unlike > least:
                break
        if unlike <= least:
            return True
    return False


def _frames(
    first: DecodedImage, plan: frames.FramePlan, payload: bytes, name: str, budget: Budget
) -> Iterator[DecodedImage]:
    """``first`` and the frames planned after it. Each is held until the next is known, to carry its failure."""
    held = first
    left = budget.pixels - _pixels(first)
    image = _open(payload, name, budget) if len(plan.numbers) > 1 else None
    for number, seconds in zip(plan.numbers[1:], plan.seconds[1:] or [None] * len(plan.numbers), strict=False):
        assert image is not None
        try:
            following = _picture(image, number, payload, replace(budget, pixels=max(left, 1)))
            following = replace(following, seconds=seconds)
        except ItemError as error:
            yield _ending(held, f"frame {number}: {error}")
            return
        yield held
        held = following
        left -= _pixels(following)
    yield held if plan.sound else _ending(held, "the file is cut off or damaged")


def _ending(picture: DecodedImage, reason: str) -> DecodedImage:
    return replace(picture, complete=False, detail="; ".join(filter(None, (picture.detail, reason))))


def _pixels(picture: DecodedImage) -> int:
    return picture.source_size[0] * picture.source_size[1]


def _check_size(image: Image.Image, budget: Budget) -> None:
    width, height = image.size
    if width <= 0 or height <= 0:
        raise ItemError(Outcome.UNREADABLE, "corrupt", "a picture without pixels")
    if width * height > budget.pixels:
        message = f"{width} x {height} pixels are more than the {budget.pixels} that the budget allows"
        raise ItemError(Outcome.OVER_BUDGET, "over-budget", message)


def _canonical(image: Image.Image, number: int, full: tuple[int, int], scale: float = 1.0) -> DecodedImage:
    """The loaded ``image``, upright. ``full`` is the size (w, h) of the picture of which it is a view at ``scale``.

    A first or only picture is closed: a picture to turn is then not held three times.
    """
    turn, quality, bilevel, bgr = _turn(image), jpeg_quality(image), _is_bilevel(image), to_bgr(image)
    if not number:
        image.im = Image.new("1", (1, 1)).im
    size = full[::-1] if turn in _ON_ITS_SIDE else full
    return DecodedImage(_turned(bgr, turn), size, scale, frame=number, jpeg_quality=quality, bilevel=bilevel)


def _is_bilevel(image: Image.Image) -> bool:
    """Whether it has two colours only: a fax, or a picture for a printer."""
    return image.mode == "1" or (image.mode in ("L", "P", "RGB") and image.getcolors(2) is not None)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """How a loaded picture is to be turned to stand upright."""
    return _UPRIGHT.get(_orientation(image))


def _turned(pixels: ByteArray, turn: Image.Transpose | None) -> ByteArray:
    if turn is None:
        return pixels
    if turn in _ON_ITS_SIDE:
        pixels = pixels.swapaxes(0, 1)
    across, down = _MIRRORED[turn]
    return np.ascontiguousarray(pixels[:: -1 if down else 1, :: -1 if across else 1])


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation that is still to be applied; 1 (upright) where EXIF is missing or broken.

    Asked after loading: a PNG may have it behind its pixels, and the TIFF and HEIF decoders have applied it and say 1.
    """
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - broken EXIF raises anything, and must not cost the picture
        return 1
    return value if isinstance(value, int) else 1

"""Whatever the bytes, decoding gives pictures or an ItemError, quickly, and puts Pillow's switches back."""

from __future__ import annotations

import io

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from leakmatch.errors import ItemError
from leakmatch.imaging import heif
from leakmatch.imaging.decode import decode
from leakmatch.imaging.sniff import HEAD_BYTES, image_format
from leakmatch.records import INCIDENT_CODES, Budget, Outcome

BUDGET = Budget(pixels=1_000_000)
FORMATS: list[tuple[str, dict[str, object]]] = [
    ("JPEG", {}),
    ("JPEG", {"progressive": True}),
    ("PNG", {}),
    ("PNG", {"save_all": True}),
    ("GIF", {"save_all": True}),
    ("WEBP", {}),
    ("WEBP", {"save_all": True, "lossless": True}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"save_all": True}),
    ("JPEG2000", {}),
    ("AVIF", {"speed": 10}),
    ("HEIF", {}),
    ("PPM", {}),
    ("TGA", {}),
    ("PCX", {}),
    ("SGI", {}),
    ("ICO", {}),
    ("DDS", {}),
    ("QOI", {}),
]


def _samples() -> list[bytes]:
    heif.register()
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (24, 32, 3), np.uint8)) for _ in range(3)]
    samples = []
    for name, options in FORMATS:
        file = io.BytesIO()
        exif = {"exif": b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0"}
        more = {"append_images": frames[1:]} if "save_all" in options else {}
        frames[0].save(file, name, **options, **more, **(exif if name in {"JPEG", "PNG", "WEBP", "TIFF"} else {}))
        samples.append(file.getvalue())
    return samples


SAMPLES = _samples()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A picture file with a few bytes overwritten, cut out or put in."""
    payload = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 4))):
        # Headers are where the trouble is, so half of the damage goes there.
        reach = draw(st.sampled_from([min(64, len(payload)), len(payload)]))
        at = draw(st.integers(0, reach))
        length = draw(st.integers(0, 16))
        payload[at : at + length] = draw(st.binary(max_size=16))
    return bytes(payload)


def check(payload: bytes) -> None:
    switches = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    count = 0
    try:
        for picture in decode(payload, BUDGET):
            height, width = picture.bgr.shape[:2]
            assert picture.source_size == (width, height)
            assert width * height <= BUDGET.pixels
            count += 1
        assert 1 <= count <= BUDGET.frames
    except ItemError as error:
        assert count == 0
        assert error.code in INCIDENT_CODES
        assert error.outcome in (Outcome.UNREADABLE, Outcome.OVER_BUDGET, Outcome.NOT_IMAGE)
        assert (error.outcome == Outcome.NOT_IMAGE) == (image_format(payload[:HEAD_BYTES]) is None)
        assert str(error).isprintable()
    assert switches == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_damaged_pictures(payload):
    check(payload)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([sample[:24] for sample in SAMPLES]), st.binary(max_size=200))
def test_a_signature_and_anything(head, tail):
    check(head + tail)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300))
def test_anything(payload):
    check(payload)

"""The memory that a picture takes while it is decoded is what its header let expect, or it is not decoded."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from PIL import Image

from leakmatch.errors import ItemError
from leakmatch.imaging import heif
from leakmatch.imaging.decode import decode
from leakmatch.imaging.memory import WORKER, needed
from leakmatch.records import Budget, Outcome

ROOM = 240 << 20
SMALL = Budget(memory=WORKER + ROOM)
SLACK = 40 << 20  # libraries that are loaded at the first picture

KINDS: dict[str, tuple[str, str, dict[str, object]]] = {
    "png": ("RGB", "PNG", {"compress_level": 1}),
    "png with alpha": ("RGBA", "PNG", {"compress_level": 1}),
    "gray png of 16 bits": ("I;16", "PNG", {"compress_level": 1}),
    "gray tiff of floats": ("F", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "cmyk tiff": ("CMYK", "TIFF", {"compression": "tiff_lzw"}),
    "gif": ("P", "GIF", {}),
    "webp": ("RGB", "WEBP", {"lossless": True, "quality": 0, "method": 0}),
    "jpeg 2000": ("RGB", "JPEG2000", {}),
    "progressive jpeg": ("RGB", "JPEG", {"progressive": True, "subsampling": 0}),
    "bmp": ("RGB", "BMP", {}),
    "avif": ("RGB", "AVIF", {"speed": 10}),
    "turned png": (
        "RGB",
        "PNG",
        {"compress_level": 1, "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"},
    ),
}


def flat(kind: str, megapixels: float) -> bytes:
    heif.register()
    mode, name, options = KINDS[kind]
    side = int((megapixels * 1e6) ** 0.5)
    file = io.BytesIO()
    Image.new(mode, (side, side), (90,) * len(mode) if mode in ("RGB", "RGBA", "CMYK") else 90).save(
        file, name, **options
    )
    return file.getvalue()


def largest_fitting(kind: str) -> bytes:
    """A picture of which the header says that it just fits."""
    small = flat(kind, 0.25)
    with Image.open(io.BytesIO(small)) as image:
        each = (needed(image, b"") / (image.width * image.height)) + len(small) / (image.width * image.height)
    return flat(kind, 0.9 * ROOM / each / 1e6)


CHILD = """
import json, resource, sys
from leakmatch.errors import ItemError
from leakmatch.imaging.decode import decode
from leakmatch.records import Budget
payload = sys.stdin.buffer.read()
list(decode(open(sys.argv[2], "rb").read(), Budget()))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    pictures = [picture.source_size for picture in decode(payload, Budget(memory=int(sys.argv[1])))]
except ItemError as error:
    pictures = [str(error)]
print(json.dumps([pictures, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_just_fits_takes_no_more_than_the_room(kind, tmp_path):
    warm = tmp_path / "warm"
    warm.write_bytes(flat(kind, 0.01))
    payload = largest_fitting(kind)
    command = [sys.executable, "-c", CHILD, str(SMALL.memory), str(warm)]
    done = subprocess.run(command, input=payload, capture_output=True, check=True)
    pictures, kilobytes = json.loads(done.stdout)
    assert len(pictures) == 1
    assert not isinstance(pictures[0], str), pictures
    assert kilobytes << 10 <= ROOM + SLACK


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_one_is_refused_before_it_is_decoded(kind):
    with pytest.raises(ItemError) as caught:
        list(decode(flat(kind, 2), Budget(memory=WORKER + (4 << 20))))
    assert caught.value.outcome == Outcome.OVER_BUDGET
    assert "need more memory" in str(caught.value)


def test_the_largest_photos_of_phones_fit():
    mode, name, _ = KINDS["progressive jpeg"]
    image = Image.new(mode, (16320, 12240))
    file = io.BytesIO()
    image.save(file, name, quality=10, subsampling=2)
    (picture,) = decode(file.getvalue(), Budget())
    assert picture.source_size == (16320, 12240)


def test_few_bytes_that_claim_many_pixels_are_not_unpacked():
    payload = b"P6 12000 8000 255\n" + bytes(300)
    with pytest.raises(ItemError) as caught:
        list(decode(payload, Budget()))
    assert caught.value.outcome == Outcome.UNREADABLE


def test_a_decoder_that_goes_pixel_by_pixel_is_held_to_the_time(tmp_path):
    payload = b"qoif" + (3000).to_bytes(4, "big") * 2 + b"\3\0" + bytes(100)
    with pytest.raises(ItemError) as caught:
        list(decode(payload, Budget(seconds=10)))
    assert (caught.value.outcome, "time" in str(caught.value)) == (Outcome.OVER_BUDGET, True)

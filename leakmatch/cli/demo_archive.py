"""The demo's input: a folder of two people to protect, and an archive like those that are sold.

Made anew from the sample photos, byte for byte the same each time with the same library versions.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageOps

PEOPLE = {"barack-obama": ("obama.jpg",), "eileen-collins": ("astronaut.png",)}

#: Members of the archive, and what a reader of the report should find there.
EXPECTED = {
    "set_01/0001.jpg": "another photo of Barack Obama: the same face",
    "set_01/0002.jpg": "the enrolled photo of Barack Obama, recompressed: the same picture",
    "set_01/0003.png": "the enrolled photo of Eileen Collins, mirrored: the same picture",
    "set_01/0004.jpg": "a cut-out of the enrolled photo of Barack Obama",
    "set_02/square.jpg": "Eileen Collins, her face 40 pixels wide in a photo of 12 megapixels",
    "set_02/0005.jpg": "Joe Biden, who is not enrolled: no candidate",
    "set_02/inner.zip!/originals/a.png": "the enrolled photo itself: the same file",
    "set_02/inner.zip!/originals/b.jpg": "another photo of Barack Obama, within a zip within the zip",
    "set_02/inner.zip!/readme.txt": "no picture",
    "broken/cut.jpg": "a photo of which the second half is missing: partial",
    "broken/noise.jpg": "begins like a JPEG and is none: unreadable",
}

_BEGAN = (1980, 1, 1, 0, 0, 0)


def build_people(samples: Path, folder: Path) -> None:
    """One folder for each person to protect, with the enrolment photos in it."""
    for subject, photos in PEOPLE.items():
        (folder / subject).mkdir(parents=True, exist_ok=True)
        for photo in photos:
            (folder / subject / photo).write_bytes((samples / photo).read_bytes())


def build_archive(samples: Path, archive: Path) -> None:
    """The archive with the members of :data:`EXPECTED`."""
    obama = (samples / "obama.jpg").read_bytes()
    collins = (samples / "astronaut.png").read_bytes()
    inner = _zip(
        {
            "originals/a.png": collins,
            "originals/b.jpg": (samples / "obama3.jpg").read_bytes(),
            "readme.txt": b"5,000 faces, sorted by person\n",
        }
    )
    members = {
        "set_01/0001.jpg": (samples / "obama2.jpg").read_bytes(),
        "set_01/0002.jpg": _encoded(_opened(obama), "JPEG", quality=40),
        "set_01/0003.png": _encoded(ImageOps.mirror(_opened(collins)), "PNG"),
        "set_01/0004.jpg": (samples / "obama_partial_face2.jpg").read_bytes(),
        "set_02/square.jpg": _encoded(_in_a_crowd(_opened(collins)), "JPEG", quality=88),
        "set_02/0005.jpg": (samples / "biden.jpg").read_bytes(),
        "set_02/inner.zip": inner,
        "broken/cut.jpg": obama[: len(obama) // 2],
        "broken/noise.jpg": b"\xff\xd8\xff\xe0" + bytes(range(256)) * 8,
    }
    archive.parent.mkdir(parents=True, exist_ok=True)
    archive.write_bytes(_zip(members))


def _opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def _encoded(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def _in_a_crowd(portrait: Image.Image) -> Image.Image:
    """The portrait as a small part of a photo of 12 megapixels; the rest is a plain gradient."""
    photo = Image.merge("RGB", [Image.linear_gradient("L").resize((4000, 3000))] * 3)
    small = portrait.resize((220, 220), Image.Resampling.LANCZOS)
    photo.paste(small, (2710, 1830))
    return photo


def _zip(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _BEGAN), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()

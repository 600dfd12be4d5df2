"""PDF, OLE and RTF: pictures and files inside, damage, and documents that lie."""

from __future__ import annotations

import io
import random
import struct

import cv2
import documents
import numpy as np
import pypdf
import pytest
from archives import picture, walked, zip_of

from leakmatch.records import Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.documents.carve import pictures
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.registry import detect, open_container

PHOTO = np.random.default_rng(2).integers(0, 256, (20, 30, 3), dtype=np.uint8)
RGB = picture_file(PHOTO, "HWC").read()
JPEG = cv2.imencode(".jpg", PHOTO)[1].tobytes()
PNG = cv2.imencode(".png", PHOTO)[1].tobytes()


def content(data: bytes, passwords: Passwords | None = None) -> dict[str, bytes]:
    opening = Opening(detect(data[:36864]), io.BytesIO(data), len(data), "a.pdf", passwords=passwords or Passwords())
    return {m.name: m.open().read() for m in open_container(opening).members()}


# PDF


def test_pictures_as_they_are():
    jpeg = documents.image(30, 20, JPEG, more=b"/Filter /DCTDecode")
    twice = documents.image(30, 20, documents.flate(JPEG), more=b"/Filter [/FlateDecode /DCTDecode]")
    hexed = documents.image(30, 20, JPEG.hex().encode() + b">", more=b"/Filter [/ASCIIHexDecode /DCTDecode]")
    found = content(documents.pdf({4: jpeg, 5: twice, 6: hexed}))
    assert found == {"image 4": JPEG, "image 5": JPEG, "image 6": JPEG}


def test_pictures_of_bare_samples():
    flate = b"/Filter /FlateDecode"
    gray = PHOTO[..., 0]
    bits = np.packbits(gray > 127, axis=1)
    cmyk = np.concatenate([255 - PHOTO, np.zeros((20, 30, 1), np.uint8)], axis=2)
    wide = np.repeat(PHOTO[..., None], 2, axis=3)
    objects = {
        4: documents.image(30, 20, documents.flate(PHOTO.tobytes()), more=flate),
        5: documents.image(30, 20, gray.tobytes(), b"/DeviceGray"),
        6: documents.image(30, 20, bits.tobytes(), b"/DeviceGray", 1),
        7: documents.image(30, 20, documents.flate(cmyk.tobytes()), b"/DeviceCMYK", more=flate),
        8: documents.image(30, 20, gray.tobytes(), b"[/Indexed /DeviceRGB 255 9 0 R]"),
        9: documents.stream(b"", PHOTO.reshape(-1)[:768].tobytes()),
        10: documents.image(30, 20, wide.tobytes(), b"[/ICCBased 11 0 R]", 16),
        11: documents.stream(b"/N 3", b""),
    }
    found = content(documents.pdf(objects))
    assert found["image 4"] == RGB
    assert found["image 5"] == picture_file(gray, "HW").read()
    assert found["image 6"] == picture_file((gray > 127).astype(np.uint8) * np.uint8(255), "HW").read()
    assert found["image 7"] == RGB
    assert found["image 8"] == picture_file(PHOTO.reshape(-1)[:768].reshape(256, 3)[gray], "HWC").read()
    assert found["image 10"] == RGB


def test_the_predictors_of_png():
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    more = b"/Filter /FlateDecode /DecodeParms << /Predictor 15 /Colors 3 /Columns 30 >>"
    assert content(documents.pdf({4: documents.image(30, 20, documents.flate(rows), more=more)})) == {"image 4": RGB}


def test_embedded_files():
    objects = {
        4: documents.stream(b"/Type /EmbeddedFile", zip_of([(b"a.jpg", picture(1))])),
        5: b"<< /Type /Filespec /F (secret.zip) /EF << /F 4 0 R >> >>",
        6: documents.stream(b"/Type /EmbeddedFile", picture(2)),
    }
    walk = walked(documents.pdf(objects))
    paths = [e.locator.path for e in walk.entries]
    assert paths[:4] == ["source", "files/secret.zip", "files/secret.zip!/a.jpg", "files/file 6"]
    assert walk.pictures[:2] == [picture(1), picture(2)]


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-256"])
def test_locked_documents(algorithm):
    writer = pypdf.PdfWriter(io.BytesIO(documents.pdf({4: documents.image(30, 20, JPEG, more=b"/Filter /DCTDecode")})))
    writer.pages[0][pypdf.generic.NameObject("/Resources")] = pypdf.generic.DictionaryObject()
    image = pypdf.generic.EncodedStreamObject()
    image._data = JPEG
    for key, value in {"Subtype": "/Image", "Filter": "/DCTDecode"}.items():
        image[pypdf.generic.NameObject(f"/{key}")] = pypdf.generic.NameObject(value)
    reference = writer._add_object(image)
    writer.pages[0][pypdf.generic.NameObject("/X")] = reference
    writer.encrypt("nobody knows", algorithm=algorithm)
    file = io.BytesIO()
    writer.write(file)
    data = file.getvalue()
    assert JPEG in content(data, Passwords([b"wrong", b"nobody knows"])).values()
    walk = walked(data)
    assert walk.root.outcome is Outcome.NEEDS_PASSWORD


def test_what_is_not_read_is_told():
    jbig = documents.image(30, 20, b"x", more=b"/Filter /JBIG2Decode")
    large = documents.image(60_000, 60_000, b"x")
    none = documents.image(0, 20, b"x")
    walk = walked(
        documents.pdf({4: jbig, 5: large, 6: none, 7: documents.image(30, 20, JPEG, more=b"/Filter /DCTDecode")})
    )
    outcomes = [e.outcome for e in walk.below(1)]
    assert outcomes == [Outcome.UNREADABLE, Outcome.OVER_BUDGET, Outcome.UNREADABLE, None]


def test_a_stream_that_expands_too_far():
    bomb = documents.image(100, 100, documents.flate(bytes(90 << 20)), more=b"/Filter /FlateDecode")
    twice = documents.flate(documents.flate(bytes(90 << 20)))
    nested = documents.image(100, 100, twice, more=b"/Filter [/FlateDecode /FlateDecode]")
    walk = walked(documents.pdf({4: bomb, 5: nested}))
    assert {e.outcome for e in walk.below(1)} == {Outcome.OVER_BUDGET}


@pytest.mark.parametrize(
    "objects",
    [
        {4: b"4 0 R"},
        {4: b"5 0 R", 5: b"4 0 R"},
        {2: b"<< /Type /Pages /Kids [2 0 R] /Count 1000000000 /Parent 2 0 R >>"},
        {4: documents.image(30, 20, PHOTO.tobytes(), b"4 0 R")},
        {4: documents.image(30, 20, PHOTO.tobytes(), b"[/Indexed 5 0 R 1 (abc)]"), 5: b"[/Indexed 5 0 R 1 (abc)]"},
        {4: b"<< /EF << /F 4 0 R >> /F (x) >>"},
        {4: documents.stream(b"/Subtype /Image /Filter 4 0 R", b"x")},
        {4: b"[" * 5000 + b"]" * 5000},
        {4: b"<< /A " * 3000 + b">>" * 3000},
        {4: documents.stream(b"/Type /ObjStm /N 100000000 /First 5", b"1 0 2 0")},
        {4: documents.stream(b"/Subtype /Image /Width 5 /Height 5 /DecodeParms [4 0 R 4 0 R]", b"x" * 100)},
    ],
)
def test_objects_that_lead_in_circles(objects):
    walk = walked(documents.pdf(objects))
    assert walk.entries[0].outcome is not None


def test_damaged_documents():
    data = documents.pdf({4: documents.image(30, 20, JPEG, more=b"/Filter /DCTDecode")})
    flate = documents.image(30, 20, documents.flate(PHOTO.tobytes()), more=b"/Filter /FlateDecode")
    other = documents.pdf({4: flate, 5: documents.stream(b"/Type /EmbeddedFile", picture(1))})
    walk = walked(other[: other.find(b"xref")] + b"junk")
    assert [e.locator.name for e in walk.below(1)][:2] == ["image 4", "files/file 5"], "without a directory"
    assert walk.root.outcome is Outcome.UNREADABLE
    cut = walked(data[: data.find(JPEG) + len(JPEG) // 2])
    assert cut.root.outcome is not Outcome.WALKED
    generator = random.Random(1)
    for at in range(9, len(data), 29):
        walk = walked(data[:at] + generator.randbytes(3) + data[at + 3 :])
        assert walk.entries


# OLE


def blip(kind: int, data: bytes) -> bytes:
    return struct.pack("<HHI", 0x46A0, kind, len(data) + 17) + bytes(16) + b"\xff" + data


def test_the_pictures_of_powerpoint():
    stream = blip(0xF01D, JPEG) + blip(0xF01E, PNG) + blip(0xF01D, picture(1))
    stream += bytes(4096 - len(stream))
    found = content(documents.ole({"Pictures": stream, "PowerPoint Document": b"x" * 5000}))
    assert list(found) == ["Pictures", "Pictures/at 25", f"Pictures/at {50 + len(JPEG)}",
                           f"Pictures/at {75 + len(JPEG) + len(PNG)}", "PowerPoint Document"]  # fmt: skip
    assert list(found.values())[1:4] == [JPEG, PNG, picture(1)]


def test_pictures_with_their_real_length():
    junk = b"some bytes before" * 9
    found = content(documents.ole({"Data": junk + JPEG + junk + PNG + junk}))
    assert list(found.values())[1:] == [JPEG, PNG]


def test_streams_that_are_files():
    walk = walked(
        documents.ole({"__substg1.0_37010102": picture(1, 5000), "CONTENTS": zip_of([(b"a.jpg", picture(2, 5000))])})
    )
    found = [e.locator.raw for e in walk.entries if e.outcome is None]
    assert found[:2] == [b"a.jpg", b"__substg1.0_37010102"]  # the zip near the end may be found a second time
    assert walk.root.outcome is Outcome.WALKED


def test_damaged_ole_files():
    data = documents.ole({"Pictures": blip(0xF01D, JPEG), "Other": bytes(9000)})
    generator = random.Random(1)
    for at in [*range(0, 600, 5), *range(600, len(data), 97)]:
        assert walked(data[:at] + generator.randbytes(2) + data[at + 2 :]).entries
        walk = walked(data[:at])
        assert walk.root.outcome is not Outcome.WALKED or at > len(data) - 512


# RTF


def test_pictures_of_rtf():
    lines = "\n".join(JPEG.hex()[at : at + 128] for at in range(0, 2 * len(JPEG), 128))
    text = b"{\\rtf1\\ansi text {\\pict\\jpegblip\\picw30 " + lines.encode() + b"}"
    text += (
        b"{\\pict\\pngblip\\bin%d " % len(PNG)
        + PNG
        + b"}{\\object\\objdata "
        + (b"header" + PNG).hex().encode()
        + b"}}"
    )
    found = content(text)
    assert list(found.values()) == [JPEG, PNG, b"header" + PNG, PNG]
    walk = walked(text)
    assert walk.root.outcome is Outcome.WALKED
    assert walked(b"{\\rtf1 only words, abcdefabcdef}").entries[1:] == []


def test_rtf_that_lies():
    for text in (b"{\\rtf1\\bin4000000000 x", b"{\\rtf1 " + b"ab" * 60_001 + b"z", b"{\\rtf1" + b"\\bin1 x" * 1000):
        assert walked(text).entries


# Carving


def test_what_has_no_end_reaches_to_the_end_of_the_file():
    data = b"junk" + JPEG[:-2]
    assert [data[p.start : p.start + p.size] for p in pictures(io.BytesIO(data), len(data))] == [JPEG[:-2]]
    many = b"".join(b"x" * 70_000 + JPEG + PNG for _ in range(3))
    assert [p.size for p in pictures(io.BytesIO(many), len(many))] == [len(JPEG), len(PNG)] * 3

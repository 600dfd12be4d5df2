"""Formats by signature."""

from __future__ import annotations

import struct

import pytest

from leakmatch.imaging.sniff import DECODABLE, HEAD_BYTES, image_format


def ftyp(major: bytes, *compatible: bytes) -> bytes:
    brands = b"".join(compatible)
    return struct.pack(">I", 16 + len(brands)) + b"ftyp" + major + b"\0\0\0\0" + brands


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("JPEG", {}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("BMP", {}),
        ("DIB", {}),
        ("TIFF", {}),
        ("TIFF", {"big_tiff": True}),
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
        ("AVIF", {}),
        ("HEIF", {}),
        ("PPM", {}),
        ("PCX", {}),
        ("SGI", {}),
        ("TGA", {}),
        ("ICO", {}),
        ("ICNS", {}),
        ("DDS", {}),
        ("QOI", {}),
    ],
)
def test_what_is_written_is_recognised(scene, encode, name, options):
    assert image_format(encode(scene(), name, **options)[:HEAD_BYTES]) == name
    assert name in DECODABLE


@pytest.mark.parametrize("mode", ["1", "L", "RGBA", "P"])
@pytest.mark.parametrize("name", ["TGA", "BMP", "PNG"])
def test_every_mode_is_recognised(scene, encode, name, mode):
    assert image_format(encode(scene().convert(mode), name)) == name


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (ftyp(b"mif1", b"mif1", b"heic", b"miaf"), "HEIF"),
        (ftyp(b"mif1", b"avif", b"miaf"), "AVIF"),
        (ftyp(b"msf1", b"hevc"), "HEIF"),
        (ftyp(b"crx ", b"crx ", b"isom"), "Canon raw"),
        (b"P4 12 34\n", "PPM"),
        (b"P6# made by hand\n12 34 255\n", "PPM"),
        (b"P7\nWIDTH 3\n", "PAM or PFM"),
        (b"\n#define a_width 8\n#define a_height 8\nstatic char a_bits[] = {", "XBM"),
        (b"/* XPM */\nstatic char *a[] = {", "XPM"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "EPS"),
        (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- <b> -->\n<!DOCTYPE svg>\n<svg width="9">', "SVG"),
        (b"8BPS\0\1", "PSD"),
        (bytes(2048) + b"PCD_IPI", "PCD"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_signature(head, name):
    assert image_format(head) == name


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xff",
        b"BM",
        b"BMW sells cars, and this is a text about them.",
        b"Portable and P6 but not a picture",
        b"P6 or not to be",
        b"PK\x03\x04" + bytes(60),
        b"%PDF-1.7\n",
        b"<html><body><svg></svg></body></html>",
        b"#define WIDTH 3\nint main(void) { return WIDTH; }\n",
        b"MZ" + bytes(200),
        b"\x7fELF" + bytes(200),
        ftyp(b"isom", b"isom", b"mp42"),
        ftyp(b"qt  "),
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"\x00\x01\x00\x00\x00\x0f\x00\x80" + bytes(40),
        bytes(4096),
        bytes(range(256)) * 16,
    ],
)
def test_no_picture(head):
    assert image_format(head) is None


def test_every_cut_of_a_head_is_answered(scene, encode):
    for name in ("JPEG", "BMP", "TGA", "ICO", "AVIF", "PCX", "SGI"):
        head = encode(scene(), name)[:256]
        assert {image_format(head[:end]) for end in range(len(head))} <= {None, name}


def test_hostile_text_takes_no_time():
    for text in (b"/**/" * 1024, b"<!--" * 1024, b"<" * 4096, b"#define " * 512, b"/*" + b"#define a_width 1 " * 220):
        assert image_format(text) is None


def test_archives_are_no_pictures(corpora):
    files = [path for folder in ("libarchive", "rarfile", "py7zr") for path in (corpora / folder).rglob("*")]
    heads = {path.name: path.open("rb").read(HEAD_BYTES) for path in files if path.is_file()}
    assert len(heads) > 500
    assert {name for name, head in heads.items() if image_format(head)} == set()

"""Formats by signature, and what only looks like one."""

from __future__ import annotations

import tarfile

import pytest
from archives import COMPRESS, PICTURES, Zipped, tar_header, tar_of, zip_of, zipped
from packers import rar4_of, rar5_of, sevenzip_of

from leakmatch.sources.registry import HEAD_BYTES, READERS, carried, detect, is_program

ARCHIVES = {
    "7z": b"7z\xbc\xaf\x27\x1c\x00\x04",
    "rar": b"Rar!\x1a\x07\x01\x00",
    "cab": b"MSCF\0\0\0\0\x10",
    "iso": bytes(0x8001) + b"CD001\x01\0" + bytes(3000),
    "ar": b"!<arch>\ndebian-binary   ",
    "cpio": b"070701" + b"0" * 104,
    "xar": b"xar!\x00\x1c",
    "lha": b"\x22\xd5-lh5-" + bytes(20),
    "rpm": b"\xed\xab\xee\xdb\3\0",
    "warc": b"WARC/1.0\r\n",
}
UNREAD = {
    "chm": b"ITSF\x03",
    "udf": bytes(0x8001) + b"BEA01\x01\0" + bytes(3000),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives_that_libraries_read(name):
    assert detect(ARCHIVES[name]) == name
    assert name in READERS


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_known_and_not_read(name):
    assert detect(UNREAD[name]) == "unread:" + name


@pytest.mark.parametrize("order", ["<", ">"])
def test_the_old_cpio_by_its_first_name(order):
    little = order == "<"
    magic, length = (
        (0o070707).to_bytes(2, "little" if little else "big"),
        (6).to_bytes(2, "little" if little else "big"),
    )
    header = magic + bytes(18) + length + bytes(4)
    assert detect(header + b"a.jpg\0" + bytes(9)) == "cpio"
    assert detect(header + b"garbage") is None


@pytest.mark.parametrize("method", COMPRESS)
def test_compressed_streams(method):
    for data in (b"", b"x" * 10_000):
        assert detect(COMPRESS[method](data)[:HEAD_BYTES]) == method


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_of_every_kind(format):
    assert detect(tar_of(PICTURES, format)) == "tar"


@pytest.mark.parametrize(
    "name", [b"PK\x03\x04.jpg", b"!<arch>\n", b"BZh91AY&SY", b"Rar!\x1a\x07", b"MZ", b"GIF89a", b"070701"]
)
def test_a_tar_whose_first_name_is_a_signature(name):
    assert detect(tar_header(name, 0)) == "tar"


def test_tar_without_magic_and_with_bytes_summed_as_signed():
    assert detect(tar_header(b"x", 0, b"\0", b"")) == "tar"
    block = tar_header(b"\xff\xfe.jpg", 0)
    unsigned = int(block[148:154], 8)
    assert detect(block) == "tar"
    assert detect(block[:148] + b"%06o\0 " % (unsigned - 512) + block[156:]) == "tar"
    assert detect(block[:148] + b"%06o\0 " % (unsigned - 256) + block[156:]) is None


@pytest.mark.parametrize("checksum", [b"        ", b"garbage!", b"\0" * 8, b"-000001\0"])
def test_no_tar(checksum):
    block = tar_header(b"x", 0)
    assert detect(block[:148] + checksum + block[156:]) is None
    assert detect(bytes(1024)) is None
    assert detect(block[:511]) is None


def test_zip_and_what_stands_before_it():
    for archive in (zip_of(PICTURES), zip_of([])):
        assert detect(archive) == "zip"
    assert detect(b"PK00" + zipped([Zipped(b"a")])) == "zip"
    assert detect(b"PK\x07\x08" + zipped([Zipped(b"a")])) == "zip"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P",
        b"PK",
        b"PK\x03",
        b"\x1f\x8b",
        b"\x1f\x8b\x07",
        b"BZh",
        b"BZh0",
        b"BZhello world",
        b"]\0\0\0\x01",
        b"\x5d" + bytes(20),
        b"\x5d\0\0\x80\0" + b"\xff" * 8 + b"\x01",
        b"Rar",
        b"MZ" + bytes(100),
        b"hello",
        b"\xff\xd8\xff\xe0",
        b"-lh5-",
    ],
)
def test_what_is_no_container(data):
    assert detect(data) is None


def test_archives_carried_by_programs():
    assert is_program(b"MZ\x90")
    assert is_program(b"\x7fELF\x02")
    assert not is_program(b"PK")
    assert carried(b"MZ" + bytes(999) + rar4_of(PICTURES)) == "rar"
    assert carried(b"MZ" + bytes(999) + rar5_of(PICTURES)) == "rar"
    assert carried(b"MZ" + bytes(999) + sevenzip_of(PICTURES)) == "7z"
    assert carried(b"MZ" + bytes(999) + ARCHIVES["rar"] + ARCHIVES["7z"]) is None, "signatures alone"
    assert carried(b"MZ" + bytes(999)) is None

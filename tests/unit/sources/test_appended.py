"""What lies behind the end of a container is visited, whatever it is."""

from __future__ import annotations

import io
import sqlite3

import numpy as np
import py7zr
import pytest
from archives import COMPRESS, picture, tar_of, walked, zip_of

from leakmatch.records import Budget, ItemKind
from leakmatch.sources.behind import Behind

FACE = picture(7, 3000)
FIRST = [(b"first.jpg", picture(1))]
SECOND = [(b"second.jpg", FACE)]


def sevenzip_of(members) -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w") as archive:
        for name, data in members:
            archive.writestr(data, name.decode())
    return file.getvalue()


def npy() -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 8, 8, 3), np.uint8))
    return file.getvalue()


def database() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("create table t (a)")
    connection.commit()
    return connection.serialize()


CONTAINERS = {
    "7z": sevenzip_of(FIRST),
    "zip": zip_of(FIRST),
    "tar": tar_of(FIRST),
    "npy": npy(),
    **{method: COMPRESS[method](picture(1)) for method in ("gzip", "bzip2", "xz")},
}
BEHIND = {
    "zip": zip_of(SECOND, 8),
    "7z": sevenzip_of(SECOND),
    "tar": tar_of(SECOND),
    "picture": FACE,
    "junk and a zip": b"junk" * 16 + zip_of(SECOND, 8),
}


@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("padding", [0, 777])
def test_what_lies_behind_the_end(container, behind, padding):
    data = CONTAINERS[container] + bytes(padding) + BEHIND[behind]
    walk = walked(data)
    assert FACE in [entry.payload for entry in walk.entries]
    assert walked(data, Budget(buffer_bytes=1)) == walk
    for entry in walk.entries:
        below = [other for other in walk.entries if other.locator.parent == entry.locator]
        assert len(below) == (entry.members or 0)


@pytest.mark.parametrize("container", CONTAINERS)
def test_zeros_behind_the_end_are_padding(container):
    assert walked(CONTAINERS[container] + bytes(20_000)).incidents == walked(CONTAINERS[container]).incidents


@pytest.mark.parametrize("container", [database(), b"{\\rtf1 text}"])
def test_a_zip_behind_what_does_not_know_its_end(container):
    assert FACE in [entry.payload for entry in walked(container + zip_of(SECOND, 8)).entries]


@pytest.mark.parametrize("kind", ["7z", "tar"])
@pytest.mark.parametrize("head", [picture(1, 9000), b"\1nothing known" * 40, b"MZ" + bytes(600)])
def test_two_archives_of_one_kind(head, kind):
    make = {"7z": sevenzip_of, "tar": tar_of}[kind]
    assert FACE in [entry.payload for entry in walked(head + make(FIRST) + b"between" + make(SECOND)).entries]


@pytest.mark.parametrize("make", [sevenzip_of, zip_of])
def test_no_words_hide_an_archive_in_a_pdf(make):
    walk = walked(b"%PDF-1.4\n%%EOF\n%/EmbeddedFile\n" + make(SECOND))
    assert FACE in [entry.payload for entry in walk.entries]


def test_a_7z_whose_extent_covers_a_zip():
    archive = sevenzip_of([(b"a", zip_of(SECOND, 0))])
    walk = walked(picture(1) + archive + BEHIND["picture"])
    assert [entry.payload for entry in walk.entries].count(FACE) >= 2
    assert walk.root.kind is ItemKind.IMAGE


def test_more_archives_than_are_followed():
    behind = Behind()
    behind.feed(b"x" + sevenzip_of(FIRST) * 20)
    assert len(behind.end()) == 16
    assert behind.full

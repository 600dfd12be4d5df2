"""What a 7z may hold beside plain members, and what a hostile header may claim."""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from dataclasses import replace
from pathlib import Path

import py7zr
import pytest
from archives import PASSWORD, checked, is_picture, picture, walked
from packers import COPY, LZMA2, number, sevenzip_by_py7zr, sevenzip_from, sevenzip_of

from leakmatch.locator import SOURCE, Locator
from leakmatch.records import Budget, ItemKind, Outcome
from leakmatch.sources.archives.sevenzip import reader
from leakmatch.sources.archives.sevenzip.bcj2 import unpack_bcj2
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.walk import walk

GOOD = [(b"%d.jpg" % n, picture(n)) for n in range(4)]


def opened(data: bytes, tmp_path: Path, *passwords: bytes):
    path = tmp_path / "archive.7z"
    path.write_bytes(data)
    root = Locator.root(SOURCE, path.name, path.name.encode(), 0)
    return checked(list(walk(path, root, Budget(), is_picture, passwords=Passwords(passwords))))


@pytest.mark.parametrize("hidden", [False, True])
def test_passwords_are_tried_and_the_line_is_recorded(tmp_path, hidden):
    packed = sevenzip_by_py7zr(GOOD, "geheim-ß", hidden=hidden)
    walk = opened(packed, tmp_path, b"wrong", "geheim-ß".encode(), b"other")
    assert walk.members() == GOOD
    assert [i.message for i in walk.incidents] == ["opened with the password in line 2 of the password list"]
    assert walk.root.outcome is Outcome.WALKED


def test_locked_members_are_listed_by_name(tmp_path):
    walk = opened(sevenzip_by_py7zr(GOOD, "geheim"), tmp_path, b"wrong")
    assert [(e.locator.raw, e.outcome) for e in walk.below(1)] == [(n, Outcome.NEEDS_PASSWORD) for n, _ in GOOD]
    assert "geheim" not in str(walk)


def test_a_locked_list_of_members_locks_the_archive(tmp_path):
    walk = opened(sevenzip_by_py7zr(GOOD, "geheim", hidden=True), tmp_path)
    assert [e.outcome for e in walk.entries] == [Outcome.NEEDS_PASSWORD]


def test_a_wrong_checksum_costs_one_member():
    packed = sevenzip_of(GOOD, method=COPY)
    at = packed.index(GOOD[1][1]) + 50
    walk = walked(packed[:at] + bytes((packed[at] ^ 1,)) + packed[at + 1 :])
    assert [e.payload for e in walk.below(1)][2:] == [data for _, data in GOOD[2:]]
    assert walk.codes_of(walk.below(1)[1]) == {"corrupt"}
    assert len(walk.incidents) == 1


def test_damage_in_one_folder_leaves_the_others():
    packed = bytearray(sevenzip_of(GOOD, block=1))
    packed[36:200] = bytes(164)
    walk = walked(bytes(packed))
    assert [e.payload for e in walk.below(1)][1:] == [data for _, data in GOOD[1:]]
    assert walk.codes_of(walk.below(1)[0])


def test_links_and_marks_of_deletion_are_not_followed():
    link, mode = 0x8000 | 0o120777 << 16, 0x8000 | 0o100644 << 16
    members = [(b"link", b"../../etc/passwd"), (b"gone", b""), (b"a.jpg", picture(1)), (b"b.jpg", picture(2, 5000))]
    walk = walked(sevenzip_of(members, attributes=[link, mode, mode, link], anti=[True]))
    one, gone, photo, large = walk.below(1)
    assert (one.outcome, one.detail, gone.detail) == (
        Outcome.NOT_IMAGE,
        "a symbolic link",
        "a mark that a file is to be deleted",
    )
    assert photo.payload == picture(1)
    assert large.payload == picture(2, 5000), "a picture is no target of a link, whatever its mode"
    assert walk.codes_of(large) == {"link"}


def test_a_program_that_carries_one():
    stub = b"MZ" + bytes(5000) + b"7z\xbc\xaf\x27\x1c that is no archive" + bytes(3000)
    walk = walked(stub + sevenzip_of(GOOD))
    assert walk.members() == GOOD
    assert walk.root.kind is ItemKind.CONTAINER
    assert walked(stub).root.outcome is Outcome.NOT_IMAGE


def test_an_empty_one():
    assert walked(sevenzip_from(b"", b"")).root.outcome is Outcome.WALKED


# What is claimed


def test_a_dictionary_is_never_larger_than_the_data():
    """1.5 GiB are claimed for 1 kB."""
    walk = walked(sevenzip_of(GOOD, claims=bytes((37,))))
    assert walk.members() == GOOD


def test_a_huge_dictionary_is_not_allocated():
    packed = lzma.compress(picture(1), lzma.FORMAT_RAW, filters=LZMA2[2])
    size = 3 << 30
    header = (
        b"\1\4\6\0\1\x09" + number(len(packed)) + b"\0\7\x0b\1\0\1\x21\x21\1\x26\x0c" + number(size) + b"\0\0"
        b"\5\1\x11" + number(13) + b"\0" + "a.jpg\0".encode("utf-16-le") + b"\0\0"
    )
    (member,) = walked(sevenzip_from(packed, header)).below(1)
    assert member.outcome is Outcome.OVER_BUDGET
    assert "dictionary" in member.detail


HOSTILE = {
    "files without end": b"\1\5" + number(1 << 60) + b"\0\0",
    "folders": b"\1\4\7\x0b" + number(1 << 60) + b"\0\0",
    "coders": b"\1\4\7\x0b\1\0" + number(1 << 60) + b"\0\0",
    "streams": b"\1\4\6\0" + number(1 << 60) + b"\x09\0",
    "members of a folder": b"\1\4\7\x0b\1\0\1\1\0\x0c\5\0\x08\x0d" + number(1 << 60) + b"\x09\0\0",
    "a circle of coders": b"\1\4\7\x0b\1\0\2\1\0\1\0\0\1\1\x0c\5\5\0\0\0",
    "a header in a header, for ever": b"\x17\0",
    "properties": b"\1\4\7\x0b\1\0\1\x21\x21" + number(1 << 60) + b"\0",
    "nothing": b"\1",
}


@pytest.mark.parametrize("claim", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_headers_are_told(claim):
    walk = walked(sevenzip_from(b"", claim))
    assert walk.root.outcome in {Outcome.UNREADABLE, Outcome.OVER_BUDGET}


def test_a_wrong_checksum_of_the_header_is_told_and_the_members_read():
    packed = sevenzip_of(GOOD)
    start = packed[12:28] + struct.pack("<I", 0)
    walk = walked(packed[:8] + struct.pack("<I", zlib.crc32(start)) + start + packed[32:])
    assert walk.members() == GOOD
    assert walk.root.outcome is Outcome.UNREADABLE


def test_members_are_found_in_one_pass_over_a_folder(monkeypatch):
    calls = []
    original = lzma.LZMADecompressor

    def counted(*arguments):
        calls.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(lzma, "LZMADecompressor", counted)
    members = [(b"%d.jpg" % n, picture(n)) for n in range(300)]
    assert walked(sevenzip_of(members)).members() == members
    assert len(calls) == 1


def test_budget_of_members_ends_it():
    walk = walked(sevenzip_of(GOOD), replace(Budget(), members=2))
    assert len(walk.below(1)) == 2
    assert walk.root.outcome is Outcome.OVER_BUDGET


def test_bcj2_gives_back_code_without_branches():
    """Where no branch was moved the code stays, and the range coder says no each time. (Real code: the corpora.)"""
    code = bytes(range(0x10, 0x80)) * 50 + b"\xe8abcd\x0f\x84xyz"
    streams = [io.BytesIO(code), io.BytesIO(), io.BytesIO(), io.BytesIO(bytes(64))]
    assert b"".join(unpack_bcj2(streams, len(code))) == code


class OneByte(io.BytesIO):
    """Gives one byte at a time."""

    def read(self, size=-1):
        return super().read(min(size, 1))


def test_bcj2_targets_may_come_in_pieces():
    """The range coder, of nothing but ones, says yes each time."""
    code, ranges = b"\xe8\xe9\xe8", b"\0" + b"\xff" * 64
    calls, jumps = struct.pack(">II", 1000, 2000), struct.pack(">I", 3000)
    for stream in (io.BytesIO, OneByte):
        streams = [io.BytesIO(code), stream(calls), stream(jumps), io.BytesIO(ranges)]
        unpacked = b"".join(unpack_bcj2(streams, 15))
        assert unpacked == b"".join(
            c + struct.pack("<I", t - at) for c, t, at in ((b"\xe8", 1000, 5), (b"\xe9", 3000, 10), (b"\xe8", 2000, 15))
        )
    with pytest.raises(EOFError):
        list(unpack_bcj2([io.BytesIO(code), OneByte(calls[:3]), io.BytesIO(jumps), io.BytesIO(ranges)], 15))


LIST = [b"wrong %d" % n for n in range(6)]


def locked_sevenzip() -> bytes:
    file = io.BytesIO()
    with py7zr.SevenZipFile(file, "w", password=PASSWORD.decode()) as archive:
        archive.writestr(b"text", "a.txt")
    return file.getvalue()


def test_a_long_list_is_tried_in_part_and_that_is_told(monkeypatch):
    """A number of tries and not a time, so that each walk tries the same ones."""
    monkeypatch.setattr(reader, "MOST_TRIES", 6)
    locked = locked_sevenzip()
    assert walked(locked, passwords=[*LIST[:5], PASSWORD]).named(b"a.txt").outcome is Outcome.NOT_IMAGE
    row = walked(locked, passwords=[*LIST, PASSWORD, b"more"]).named(b"a.txt")
    assert (row.outcome, row.detail) == (
        Outcome.NEEDS_PASSWORD,
        "locked with a password; 6 of 8 passwords were tried",
    )


def test_what_was_opened_before_does_not_change_what_is_tried():
    passwords = Passwords([*LIST, PASSWORD])
    passwords.worked(PASSWORD)
    assert list(passwords.first(6)) == LIST
    assert list(passwords.first(7)) == [PASSWORD, *LIST]
    assert list(passwords.in_order()) == [*LIST, PASSWORD]


def test_the_time_for_passwords_is_not_that_of_the_archive(monkeypatch):
    monkeypatch.setattr(reader, "MOST_TRIES", 200)
    row = walked(locked_sevenzip(), replace(Budget(), seconds=0.2), passwords=[b"%d" % n for n in range(300)])
    assert row.named(b"a.txt").outcome is Outcome.NEEDS_PASSWORD
    assert row.root.outcome is Outcome.WALKED

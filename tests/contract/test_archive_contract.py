"""The contract of container formats, for those that libraries read."""

from __future__ import annotations

from functools import cache

from archives import picture, walked
from contract.test_source_contract import SourceContract, StreamContract
from packers import COPY, by_libarchive, rar4_of, rar5_of, sevenzip_by_py7zr, sevenzip_of, warc_of

from leakmatch.records import Outcome


class TestSolidSevenZip(SourceContract):
    any_name = False  # UTF-16

    def pack(self, members):
        return sevenzip_of(members)

    def complete(self, packed, cut):
        return 0  # the list of members lies at the end


class TestSevenZipInBlocks(TestSolidSevenZip):
    def pack(self, members):
        return sevenzip_of(members, block=2)


class TestStoredSevenZip(TestSolidSevenZip):
    def pack(self, members):
        return sevenzip_of(members, block=1, method=COPY)


class TestSevenZipByPy7zr(TestSolidSevenZip):
    """Made by another writer, with a packed header."""

    HOSTILE = tuple(name for name in SourceContract.HOSTILE if name not in {b"../../etc/x.jpg", b"/abs.jpg", b"."})

    def pack(self, members):
        return _by_py7zr(tuple(members))


@cache
def _by_py7zr(members):
    """Once for each list, since it writes the time."""
    return sevenzip_by_py7zr(members)


class TestCpio(SourceContract):
    format = "cpio_newc"

    def pack(self, members):
        return by_libarchive(self.format, members)

    def complete(self, packed, cut):
        return sum(packed.index(data) + len(data) <= cut for _, data in self.original)

    def is_unnoticeable(self, packed, at):
        return True  # the data has no checksum

    def test_no_members(self):
        assert walked(self.pack([])).root.outcome is Outcome.WALKED


class TestOldCpio(TestCpio):
    format = "cpio"


class TestXar(StreamContract):
    def pack(self, members):
        return _xar(tuple(members))

    def complete(self, packed, cut):
        return 0 if cut < len(packed) else len(self.original)

    def is_unnoticeable(self, packed, at):
        return True  # times and owners are not looked at

    def test_what_libarchive_writes_of_members_of_one_name_is_not_read_for_ever(self):
        """It writes one of them, with the sizes of all."""
        assert walked(self.pack([(b"same.jpg", picture(n)) for n in range(4)])).incidents


@cache
def _xar(members):
    return by_libarchive("xar", members)


class TestWarc(TestCpio):
    HOSTILE = tuple(name for name in SourceContract.HOSTILE if name.strip() and b"\n" not in name)

    def pack(self, members):
        return warc_of(members)

    def test_no_members(self):
        assert walked(self.pack([])).root.outcome is Outcome.NOT_IMAGE

    def test_very_long_names_are_cut_and_told(self):
        name = b"d/" * 1000 + b"x" * 58_000
        walk = walked(self.pack([(name, picture(1)), (name, picture(2))]))
        assert walk.members() == [(name[:4096], picture(1)), (name[:4096], picture(2))]


class TestRar4(SourceContract):
    any_name = False
    HOSTILE = tuple(name for name in SourceContract.HOSTILE if b"\\" not in name)  # which parts folders in it

    def pack(self, members):
        return rar4_of(members)

    def complete(self, packed, cut):
        return sum(packed.index(data) + len(data) <= cut for _, data in self.original)


class TestRar5(TestRar4):
    def pack(self, members):
        return rar5_of(members)


def test_ar():
    members = [(b"%d.jpg" % n, picture(n)) for n in range(5)]
    walk = walked(by_libarchive("ar_bsd", members))
    assert walk.members() == members
    assert walk.root.outcome is Outcome.WALKED


def test_iso_with_joliet_and_rock_ridge():
    members = [(f"folder {n}/照片 {n}.jpg".encode(), picture(n, 5000)) for n in range(5)]
    walk = walked(by_libarchive("iso9660", members))
    assert sorted(walk.members()) == sorted(members)
    assert walk.root.outcome is Outcome.WALKED
    assert not walk.incidents

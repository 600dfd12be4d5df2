"""Data-set containers, held to what every container must do, as far as each of them can."""

from __future__ import annotations

import struct

import datasets
import pytest
from archives import picture, walked
from contract.test_source_contract import SourceContract

from leakmatch.records import Outcome


class DatasetContract(SourceContract):
    """Names are made by the reader, and a format may keep no others."""

    keeps_names = False
    texts = True  # whether a text is a member too

    def found(self, walk, deeper=0):
        return super().found(walk, deeper)[: len(self.original)]

    def complete(self, packed, cut):
        return 0

    def test_members_of_the_same_name(self):
        members = [(b"same.jpg", picture(n)) for n in range(4)]
        walk = walked(self.pack(members))
        assert [data for _, data in walk.members()] == [data for _, data in members]

    def test_other_files_and_empty_ones(self):
        if not self.texts:
            pytest.skip("texts are no members here")
        super().test_other_files_and_empty_ones()

    def test_hostile_names_come_out_as_they_are(self):
        walk = walked(self.pack([(b"\x1b[31m", picture(1))]))
        assert walk.pictures == [picture(1)]
        assert all(entry.locator.path.isprintable() for entry in walk.entries)

    def test_very_long_names_are_cut_and_told(self):
        walk = walked(self.pack([(b"x" * 400, picture(1))]))
        assert walk.pictures == [picture(1)]


class TestRecordIO(DatasetContract):
    def pack(self, members):
        return datasets.recordio(members)

    def complete(self, packed, cut):
        ends, at = [], 0
        while at < len(packed):
            at += 8 + (struct.unpack_from("<I", packed, at + 4)[0] + 3) // 4 * 4
            ends.append(at)
        return sum(end - 3 <= cut for end in ends)

    def is_unnoticeable(self, packed, at):
        return True

    def test_no_members(self):
        assert walked(self.pack([])).root.outcome is Outcome.NOT_IMAGE


class TestTFRecord(DatasetContract):
    texts = False

    def pack(self, members):
        return datasets.tfrecord(members)

    def complete(self, packed, cut):
        ends, at = [], 0
        while at < len(packed):
            at += 16 + struct.unpack_from("<Q", packed, at)[0]
            ends.append(at)
        return sum(end <= cut for end in ends)

    def test_no_members(self):
        assert walked(self.pack([])).root.outcome is Outcome.NOT_IMAGE


class InOnePiece(DatasetContract):
    """Formats that are lost as a whole where their directory is."""


class TestParquet(InOnePiece):
    """Without the checksums of pages, which few writers make."""

    def is_unnoticeable(self, packed, at):
        return True

    def pack(self, members):
        return datasets.parquet([(name.decode("latin1").encode(), data) for name, data in members])


class TestArrowFile(InOnePiece):
    def pack(self, members):
        return datasets.arrow_file([(name.decode("latin1").encode(), data) for name, data in members])

    def is_unnoticeable(self, packed, at):
        return True


class TestArrowStream(InOnePiece):
    def pack(self, members):
        return datasets.arrow_stream([(name.decode("latin1").encode(), data) for name, data in members])

    def is_unnoticeable(self, packed, at):
        return True


class TestLmdb(InOnePiece):
    def pack(self, members):
        return datasets.lmdb([(b"%04d" % n, data) for n, (_, data) in enumerate(members)])

    def is_unnoticeable(self, packed, at):
        return True


class TestSqlite(InOnePiece):
    def pack(self, members):
        return datasets.sqlite(members)

    def is_unnoticeable(self, packed, at):
        return True


class TestHdf5(InOnePiece):
    def pack(self, members):
        return datasets.hdf5(members)

    def is_unnoticeable(self, packed, at):
        return True

    def test_no_members(self):
        assert [e.outcome for e in walked(self.pack([])).entries] == [Outcome.WALKED, Outcome.NOT_IMAGE]


class TestPickle(DatasetContract):
    texts = False

    def pack(self, members):
        return datasets.pickled(members)

    def is_unnoticeable(self, packed, at):
        return True

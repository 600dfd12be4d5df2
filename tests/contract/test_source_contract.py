"""What every container format must do. A new format inherits a contract and gives ``pack``."""

from __future__ import annotations

import hashlib
import io
import tarfile
import unicodedata
import zipfile
from dataclasses import replace

import pytest
from archives import (
    COMPRESS,
    PASSWORD,
    PICTURES,
    Members,
    Walked,
    Zipped,
    decompressed_prefix,
    picture,
    tar_of,
    walked,
    zip_of,
    zipped,
)

from leakmatch.records import Budget, Entry, ItemKind, Outcome

CUTS = 19
SMALL = Budget(ratio=50, ratio_floor=100_000)


class StreamContract:
    """Of every format, also of those that hold one member. ``levels``: containers from the file to the members."""

    levels = 1
    method = 0
    original: Members = PICTURES
    keeps_names = True
    codes: frozenset[str] = frozenset()  # what there is to tell of a sound one

    def pack(self, members: Members) -> bytes:
        raise NotImplementedError

    def complete(self, packed: bytes, cut: int) -> int:
        """How many members are all there in the first ``cut`` bytes."""
        raise NotImplementedError

    def packed(self) -> bytes:
        return self.pack(self.original)

    def found(self, walk: Walked, deeper: int = 0) -> Members:
        """Names and payloads of the members, with the given names where the format keeps none."""
        members = walk.members(self.levels + deeper)
        if self.keeps_names:
            return members
        return [(name, data) for (name, _), (_, data) in zip(self.original, members, strict=False)]

    def test_the_same_members_come_out(self):
        walk = walked(self.packed())
        assert self.found(walk) == self.original
        assert [e.sha256 for e in walk.below(self.levels)] == [hashlib.sha256(d).digest() for _, d in self.original]
        assert walk.root.outcome is Outcome.WALKED
        assert walk.root.kind is ItemKind.CONTAINER
        assert walk.root.sha256 == hashlib.sha256(self.packed()).digest()
        assert walk.root.size == len(self.packed())
        assert walk.codes == self.codes

    def test_a_second_walk_finds_the_same(self):
        assert walked(self.packed()) == walked(self.packed())

    def test_what_is_not_wanted_keeps_its_position(self):
        whole = walked(self.packed())
        for unwanted in range(len(whole.entries)):
            walk = walked(self.packed(), wanted=lambda position: position != unwanted)  # noqa: B023 - called at once
            assert [e.locator for e in walk.entries] == [e.locator for e in whole.entries]
            others = [e for e in walk.entries if e.position != unwanted]
            assert others == [e for e in whole.entries if e.position != unwanted]
        assert all(
            e.outcome is None and e.payload is None for e in walked(self.packed(), wanted=_never).below(self.levels)
        )

    def test_truncation_costs_what_was_cut_off_and_is_told(self):
        packed = self.packed()
        for cut in [*range(1, len(packed), max(len(packed) // CUTS, 1)), len(packed) - 1]:
            walk = walked(packed[:cut])
            complete = self.complete(packed, cut)
            found = self.found(walk)
            assert found[:complete] == self.original[:complete], f"cut at {cut}"
            if len(found) < len(self.original) or found != self.original:
                assert walk.root.outcome is not Outcome.WALKED, f"in silence when cut at {cut}"

    def test_nested_in_other_containers_and_in_itself(self):
        nested = zip_of([(b"a.tar.gz", COMPRESS["gzip"](tar_of([(b"inner", self.packed())])))], method=8)
        walk = walked(nested)
        assert self.found(walk, 3) == self.original
        assert {e.outcome for e in walk.entries} == {None, Outcome.WALKED}
        inner = self.pack([(b"inner", self.packed()), *self.original][: len(self.original)])
        assert self.found(walked(inner), self.levels) == self.original

    def test_what_is_too_large_to_hold_is_read_in_place_with_equal_results(self):
        nested = zip_of([(b"a.zip", zip_of([(b"inner", self.packed())], method=8)), (b"z", b"")], method=8)
        packed = COMPRESS["gzip"](tar_of([(b"nested", nested)]))
        held, in_place = walked(packed), walked(packed, Budget(buffer_bytes=1))
        assert held == in_place
        assert self.found(in_place, 4) == self.original

    def test_truncated_in_place_is_the_same_as_held(self):
        packed = zip_of([(b"inner", self.packed()[: len(self.packed()) * 2 // 3])], method=8)
        assert walked(packed) == walked(packed, Budget(buffer_bytes=1))

    def test_depth_is_limited(self):
        packed = zip_of([(b"inner", self.packed()), (b"beside.jpg", picture(99))])
        walk = walked(packed, Budget(depth=1))
        assert walk.named(b"inner").outcome is Outcome.OVER_BUDGET
        assert walk.codes_of(walk.named(b"inner")) == {"over-budget"}
        assert walk.named(b"beside.jpg").payload == picture(99)
        assert not walk.below(2)

    def test_a_large_picture_is_not_held(self):
        size = max(len(data) for _, data in self.original)
        walk = walked(self.packed(), Budget(member_bytes=size - 1))
        limited = [e for e in walk.below(self.levels) if e.size == size]
        assert [e.outcome for e in limited] == [Outcome.OVER_BUDGET] * len(limited)
        assert limited
        assert len(walk.entries) == len(walked(self.packed()).entries)

    def test_bytes_are_limited(self):
        for limit in (1, 400, 1500, 3000):
            walk = walked(self.packed(), Budget(bytes=limit))
            assert walk.root.outcome is Outcome.OVER_BUDGET
            assert sum(len(payload or b"") for payload in walk.pictures) <= limit

    def test_a_bomb_ends_and_what_lies_beside_its_container_is_read(self):
        bomb = b"\xff\xd8\xff" + bytes(3_000_000)
        inner = self.pack([(b"bomb.jpg", bomb)])
        good = [(b"%03d.jpg" % n, picture(n)) for n in range(50)]
        walk = walked(zip_of([*good, (b"inner", inner), *good]), SMALL)
        assert [e.payload for e in walk.below(1) if e.payload] == [data for _, data in good * 2]
        if len(inner) * SMALL.ratio < len(bomb):
            assert Outcome.OVER_BUDGET in {e.outcome for e in walk.entries}

    @pytest.mark.parametrize("damage", [b"\0", b"\xff"])
    def test_damage_anywhere_loses_no_member_in_silence(self, damage):
        packed = self.packed()
        for at in range(0, len(packed), max(len(packed) // CUTS, 1)):
            walk = walked(packed[:at] + damage + packed[at + 1 :])
            if packed[at : at + 1] != damage and self.found(walk) != self.original:
                assert walk.codes - self.codes or self.is_unnoticeable(packed, at)

    def is_unnoticeable(self, packed: bytes, at: int) -> bool:
        """Whether nothing protects this byte: a tar's data, and the signature by which the format is known."""
        return at < 14


class SourceContract(StreamContract):
    """Of every format that holds many members."""

    any_name = True

    def test_no_members(self):
        walk = walked(self.pack([]))
        assert [e.outcome for e in walk.entries] == [Outcome.WALKED] * self.levels
        assert not walk.incidents

    def test_members_of_the_same_name(self):
        members = [(b"same.jpg", picture(n)) for n in range(4)]
        walk = walked(self.pack(members))
        assert walk.members(self.levels) == members
        assert [e.locator.ordinal for e in walk.below(self.levels)] == [0, 1, 2, 3]

    def test_other_files_and_empty_ones(self):
        walk = walked(self.pack([(b"a.txt", b"text"), (b"empty.jpg", b""), (b"b.jpg", picture(1))]))
        text, empty, photo = walk.below(self.levels)
        assert (text.outcome, text.size, text.sha256) == (Outcome.NOT_IMAGE, 4, hashlib.sha256(b"text").digest())
        assert (empty.outcome, empty.size, empty.detail) == (Outcome.NOT_IMAGE, 0, "empty")
        assert photo.payload == picture(1)

    def test_members_are_limited(self):
        walk = walked(self.packed(), Budget(members=2 + self.levels - 1))
        assert self.found(walk) == self.original[:2]
        assert walk.root.outcome is Outcome.OVER_BUDGET

    def test_a_bomb_beside_good_members_costs_only_itself(self):
        bombs = [(b"bomb %d.jpg" % n, COMPRESS["bzip2"](b"\xff\xd8\xff" + bytes(3_000_000))) for n in range(3)]
        good = [(b"%03d.jpg" % n, picture(n)) for n in range(100)]
        walk = walked(self.pack([bombs[0], *good[:50], *bombs[1:], *good[50:]]), SMALL)
        assert [e.payload for e in walk.below(self.levels) if e.payload] == [data for _, data in good]
        limited = [e for e in walk.entries if e.outcome is Outcome.OVER_BUDGET]
        assert [e.locator.name for e in limited] == ["data"] * 3

    HOSTILE = (
        b"../../etc/x.jpg",
        b"/abs.jpg",
        b"a\nb\r\x1b[31m.jpg",
        "\u202egpj.exe".encode(),
        "\u2066x\u2069.jpg".encode(),
        b"C:\\x\\y.jpg",
        b"%00 <script>.jpg",
        b"!/x!/y.jpg",
        b" ",
        b".",
        b"-rf",
        "\U0001f600.jpg".encode(),
    )
    NOT_UTF8 = ("猫の写真.jpg".encode("cp932"), "照片.jpg".encode("gbk"), b"\xff\xfe\x80.jpg", b"\xed\xa0\x80.jpg")

    def test_hostile_names_come_out_as_they_are(self):
        names = self.HOSTILE + (self.NOT_UTF8 if self.any_name else ())
        members = [(name, picture(n)) for n, name in enumerate(names)]
        walk = walked(self.pack(members))
        assert walk.members(self.levels) == members
        for entry in walk.entries:
            assert not {unicodedata.category(character) for character in entry.locator.path} & {"Cc", "Cf", "Cs", "Zl"}
            assert entry.locator.to_json().isascii()

    def test_very_long_names_are_cut_and_told(self):
        name = b"d/" * 1000 + b"x" * 58_000
        walk = walked(self.pack([(name, picture(1)), (name, picture(2))]))
        assert walk.members(self.levels) == [(name[:4096], picture(1)), (name[:4096], picture(2))]
        assert walk.codes == {"corrupt"} | self.codes
        assert walk.root.outcome is Outcome.WALKED


class TestStoredZip(SourceContract):
    def pack(self, members):
        return zip_of(members, self.method)

    def complete(self, packed, cut):
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            infos = archive.infolist()
        ends = [i.header_offset + 30 + len(i.filename.encode()) + i.compress_size for i in infos]
        return sum(end <= cut for end in ends)

    def test_a_name_of_nothing_and_one_with_a_nul(self):
        members = [(b"", picture(1)), (b"a\0b.jpg", picture(2))]
        assert walked(self.pack(members)).members() == members


class TestDeflatedZip(TestStoredZip):
    method = 8


class TestBzip2Zip(TestStoredZip):
    method = 12


class TestLzmaZip(TestStoredZip):
    method = 14


class TestXzZip(TestStoredZip):
    method = 95


class TestZstdZip(TestStoredZip):
    method = 93


class TestDeflate64Zip(TestStoredZip):
    method = 9


class TestPpmdZip(TestStoredZip):
    method = 98


class TestTraditionallyLockedZip(TestStoredZip):
    """By the cipher of PKZIP."""

    codes = frozenset({"password"})
    method = 8
    aes, aes_version, described = 0, 2, False

    def pack(self, members):
        locked = {"password": PASSWORD, "aes": self.aes, "aes_version": self.aes_version, "described": self.described}
        return zipped([Zipped(name, data, self.method, **locked) for name, data in members])


class TestTraditionallyLockedStreamedZip(TestTraditionallyLockedZip):
    described = True


class TestTraditionallyLockedStoredZip(TestTraditionallyLockedZip):
    method = 0


class TestAes128Zip(TestTraditionallyLockedZip):
    aes = 128


class TestAes192Zip(TestTraditionallyLockedZip):
    aes = 192
    method = 0


class TestAes256Zip(TestTraditionallyLockedZip):
    aes, aes_version = 256, 1


class TestAes256StreamedZip(TestTraditionallyLockedZip):
    aes, described = 256, True


class TestZip64(TestStoredZip):
    def pack(self, members):
        return zipped([Zipped(name, data, 8, zip64=True) for name, data in members])

    def complete(self, packed, cut):
        return max(super().complete(packed, cut - 20), 0)


class TestStreamedZip(TestStoredZip):
    """Sizes and CRC follow the data."""

    zip64 = False

    def pack(self, members):
        return zipped([Zipped(name, data, 8, described=True, zip64=self.zip64) for name, data in members])


class TestStreamedZip64(TestStreamedZip):
    zip64 = True

    def complete(self, packed, cut):
        return max(super().complete(packed, cut - 20), 0)


class TestStreamedStoredZip(TestStoredZip):
    """Nothing but the descriptor says where a member ends, so a cut member may seem to end elsewhere."""

    def pack(self, members):
        return zipped([Zipped(name, data, 0, described=True) for name, data in members])

    def complete(self, packed, cut):
        return super().complete(packed, cut - 16)


class TestZipByZipfile(TestStoredZip):
    """Made by another writer."""

    any_name = False

    def pack(self, members):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in members:
                archive.writestr(zipfile.ZipInfo(name.decode()), data, zipfile.ZIP_DEFLATED)
        return file.getvalue()

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_members_of_the_same_name(self):
        super().test_members_of_the_same_name()

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_very_long_names_are_cut_and_told(self):
        super().test_very_long_names_are_cut_and_told()

    def test_a_name_of_nothing_and_one_with_a_nul(self):
        members = [(b"", picture(1))]  # zipfile ends a name at NUL
        assert walked(self.pack(members)).members() == members


class TestGnuTar(SourceContract):
    format = tarfile.GNU_FORMAT

    def pack(self, members):
        return tar_of(members, self.format)

    def complete(self, packed, cut):
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            return sum(info.offset_data + info.size <= cut for info in archive.getmembers())

    def test_no_members(self):
        walk = walked(self.pack([]))  # nothing but zeros: there is no telling what it is
        assert walk.below(self.levels - 1)[0].outcome is Outcome.NOT_IMAGE

    def is_unnoticeable(self, packed, at):
        return True


class TestUstar(TestGnuTar):
    format = tarfile.USTAR_FORMAT

    def test_very_long_names_are_cut_and_told(self):
        name = b"p" * 155 + b"/" + b"x" * 100  # the longest there can be
        assert walked(self.pack([(name, picture(1))])).members() == [(name, picture(1))]


class TestPaxTar(TestGnuTar):
    format = tarfile.PAX_FORMAT


class TarGzip(TestGnuTar):
    """A tar in a compressed stream."""

    levels = 2

    def pack(self, members):
        return COMPRESS[self.method](super().pack(members))

    def complete(self, packed, cut):
        whole, prefix = (decompressed_prefix(self.method, data) for data in (packed, packed[:cut]))
        return super().complete(whole, len(prefix))


class TestTarGzip(TarGzip):
    method = "gzip"


class TestTarBzip2(TarGzip):
    method = "bzip2"


class TestTarXz(TarGzip):
    method = "xz"


class TestTarZstd(TarGzip):
    method = "zstd"


class TestTarLzip(TarGzip):
    method = "lzip"


class TestTarLz4(TarGzip):
    method = "lz4"


class SingleStream(StreamContract):
    """A compressed file that is no tar."""

    original = ((b"source", picture(7, 5000)),)
    keeps_names = False

    def pack(self, members):
        ((_, data),) = members[:1]
        return COMPRESS[self.method](data)

    def complete(self, packed, cut):
        return 0

    def found(self, walk, deeper=0):
        return tuple(super().found(walk, deeper))

    def test_a_truncated_member_is_given_as_far_as_it_goes(self):
        walk = walked(self.packed()[:-2])
        (photo,) = walk.below(1)
        assert self.original[0][1].startswith(photo.payload or b"")
        assert walk.codes_of(photo) == {"truncated"}
        assert walk.root.outcome is Outcome.PARTIAL


class TestGzip(SingleStream):
    method = "gzip"


class TestBzip2(SingleStream):
    method = "bzip2"


class TestXz(SingleStream):
    method = "xz"


class TestLzma(SingleStream):
    method = "lzma"


class TestZstd(SingleStream):
    method = "zstd"


class TestLzip(SingleStream):
    method = "lzip"


class TestLz4(SingleStream):
    method = "lz4"


class TestLzop(SingleStream):
    method = "lzop"

    def is_unnoticeable(self, packed, at):
        return at < 38 or at >= len(packed) - 4  # its header has a checksum that is nobody's business


class TestCompress(SingleStream):
    """It has no checksum, and ends where its data ends: there is nothing to tell of what is missing."""

    method = "compress"

    def is_unnoticeable(self, packed, at):
        return True

    def test_truncation_costs_what_was_cut_off_and_is_told(self):
        packed = self.packed()
        for cut in range(3, len(packed), 500):
            (photo,) = walked(packed[:cut]).below(1)
            assert self.original[0][1].startswith(photo.payload or b"")

    def test_a_truncated_member_is_given_as_far_as_it_goes(self):
        (photo,) = walked(self.packed()[:-2]).below(1)
        assert self.original[0][1].startswith(photo.payload)
        assert len(photo.payload) > 4900


def _never(_: int) -> bool:
    return False


def test_entries_are_compared_in_full():
    """The comparisons above mean something: entries differ where a payload does."""
    (entry,) = walked(picture(1)).entries
    assert entry != replace(entry, payload=b"")
    assert isinstance(entry, Entry)

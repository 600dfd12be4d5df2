"""Compressed streams: what their member is called, and what surrounds the data."""

from __future__ import annotations

import gzip
import io
import lzma
import random
import struct
import tracemalloc

import lz4.block
import pytest
from archives import COMPRESS, PICTURES, lzo1x, lzw, lzw_codes, picture, tar_of, walked

from leakmatch.records import Budget, Outcome
from leakmatch.sources.compression import decoders, lzop, reader
from leakmatch.sources.compression.decompress import Decompressed

PHOTO = picture(1)


def gzip_named(name: bytes, extra: bytes = b"", data: bytes = PHOTO) -> bytes:
    packed = gzip.compress(data, mtime=0)
    field = len(extra).to_bytes(2, "little") + extra if extra else b""
    return packed[:3] + bytes([8 | (4 if extra else 0)]) + packed[4:10] + field + name + b"\0" + packed[10:]


@pytest.mark.parametrize("extra", [b"", b"AB\x03\0xyz"])
def test_gzip_keeps_a_name(extra):
    assert walked(gzip_named(b"photo.jpg", extra)).members() == [(b"photo.jpg", PHOTO)]
    assert walked(gzip_named("照片.jpg".encode("gbk"), extra)).below(1)[0].locator.name == "照片.jpg"
    assert walked(gzip_named(b"", extra), name="x.jpg.gz").members() == [(b"x.jpg", PHOTO)]


def test_gzip_with_a_name_of_which_the_end_is_missing():
    walk = walked(gzip_named(b"x" * 5000))
    assert walk.pictures == [PHOTO]
    assert walk.below(1)[0].locator.name == "data"


@pytest.mark.parametrize(
    ("own", "member"),
    [
        ("a.jpg.gz", "a.jpg"),
        ("a.TGZ", "a.tar"),
        ("a.tar.bz2", "a.tar"),
        ("a.txz", "a.tar"),
        ("a.zst", "a"),
        (".gz", "data"),
        ("a", "data"),
        ("dir/b.lzma", "b"),
    ],
)
def test_the_member_is_called_like_the_file_without_its_suffix(own, member):
    assert walked(COMPRESS["xz"](PHOTO), name=own).below(1)[0].locator.name == member


def test_a_name_that_is_no_utf8_is_kept():
    walk = walked(tar_of([(b"\xff\xfe.jpg.xz", COMPRESS["xz"](PHOTO))]))
    assert walk.pictures == [PHOTO]


def test_bytes_behind_the_end_are_told():
    walk = walked(COMPRESS["gzip"](PHOTO) + b"garbage")
    assert walk.pictures == [PHOTO]
    assert walk.root.outcome is Outcome.WALKED
    assert walk.codes_of(walk.root) == {"ambiguous"}
    assert walk.root.members == 2
    assert (walk.below(1)[1].locator.kind, walk.below(1)[1].size) == ("appended", 7)


@pytest.mark.parametrize("padding", [bytes(1), bytes(512), bytes(100_000)])
def test_padding_of_zeros_is_nothing_to_tell(padding):
    assert not walked(COMPRESS["gzip"](PHOTO) + padding).incidents


@pytest.mark.parametrize("padding", [8, 100, 512, (1 << 16) - 60, 200_000])
@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz", "zstd", "lzip"])
def test_a_stream_behind_padding_is_a_member_of_its_own_as_well(method, padding):
    other = picture(2)
    pack = COMPRESS[method]
    data = pack(b"hello") + bytes(padding) + pack(PHOTO) + bytes(padding) + pack(other)
    walk = walked(data, name="a.gz")
    places = [len(pack(b"hello")) + padding, len(data) - len(pack(other))]
    assert walk.pictures == [PHOTO, other]
    assert [entry.locator.name for entry in walk.below(1)][1:] == [f"a at byte {place}" for place in places]
    assert walk.below(1)[0].size == len(b"hello" + PHOTO + other)
    assert walk.codes_of(walk.root) == {"ambiguous"}


def test_streams_behind_padding_are_counted(monkeypatch):
    monkeypatch.setattr(reader, "_MOST_FURTHER", 3)
    walk = walked((COMPRESS["gzip"](PHOTO) + bytes(64)) * 6)
    assert len(walk.below(1)) == 4
    assert walk.codes_of(walk.root) == {"ambiguous", "over-budget"}


def lzma_alone(data: bytes, dictionary: int) -> bytes:
    packed = lzma.compress(data, lzma.FORMAT_ALONE)
    return packed[:1] + struct.pack("<I", dictionary) + packed[5:]


@pytest.mark.parametrize("dictionary", [3 << 30, 1 << 31, 256 << 20, 1 << 16])
def test_a_lzma_that_claims_a_large_dictionary(dictionary):
    assert walked(lzma_alone(PHOTO, dictionary), name="a.lzma").pictures == [PHOTO]


def test_a_lzma_that_needs_a_larger_dictionary_is_over_budget(monkeypatch):
    monkeypatch.setattr(decoders, "_LARGEST_DICTIONARY", 1 << 16)
    far = random.Random(1).randbytes(100_000)
    walk = walked(lzma_alone(far + far, 1 << 20), name="a.lzma")
    assert walk.root.outcome is Outcome.OVER_BUDGET
    assert walk.below(1)[0].outcome is Outcome.OVER_BUDGET


def test_an_xz_with_a_large_dictionary_is_over_budget(monkeypatch):
    monkeypatch.setattr(decoders, "_XZ_MEMORY", 4 << 20)
    assert walked(lzma.compress(PHOTO), name="a.xz").root.outcome is Outcome.OVER_BUDGET


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz", "zstd", "lzip", "lz4"])
def test_a_tar_in_several_streams(method):
    tar = tar_of(PICTURES)
    parts = [tar[i : i + 1500] for i in range(0, len(tar), 1500)]
    packed = b"".join(COMPRESS[method](part) for part in parts)
    assert walked(packed).members(2) == PICTURES
    assert walked(packed).root.outcome is Outcome.WALKED


def test_a_second_stream_that_is_damaged():
    walk = walked(COMPRESS["gzip"](PHOTO[:200]) + COMPRESS["gzip"](PHOTO[200:])[:20])
    (photo,) = walk.below(1)
    assert photo.payload is not None
    assert PHOTO[:200] == photo.payload[:200]
    assert walk.root.outcome is Outcome.PARTIAL


def test_members_before_the_damage_of_a_compressed_tar_come_out():
    members = [(b"%03d.jpg" % n, picture(n, 5000)) for n in range(20)]
    packed = bytearray(COMPRESS["gzip"](tar_of(members)))
    packed[len(packed) * 3 // 4] ^= 0xFF
    walk = walked(bytes(packed))
    assert walk.members(2)[:13] == members[:13]
    assert walk.root.outcome in (Outcome.UNREADABLE, Outcome.PARTIAL)


def test_a_wrong_checksum_costs_no_more_than_the_last_byte():
    packed = bytearray(COMPRESS["gzip"](PHOTO))
    packed[-6] ^= 1
    walk = walked(bytes(packed))
    (photo,) = walk.below(1)
    assert photo.payload == PHOTO[:-1]
    assert walk.codes_of(photo) == {"corrupt"}
    assert walk.root.outcome is Outcome.UNREADABLE


def test_a_container_whose_member_ended_over_budget_is_not_called_damaged():
    packed = COMPRESS["gzip"](b"\xff\xd8\xff" + bytes(400_000))
    walk = walked(packed, Budget(ratio=50, ratio_floor=1000))
    assert [e.outcome for e in walk.entries] == [Outcome.WALKED, Outcome.OVER_BUDGET]
    assert walk.codes == {"over-budget"}


# lz4


def lz4_legacy(data: bytes, block: int = 8 << 20) -> bytes:
    packed = b"\x02\x21\x4c\x18"
    for start in range(0, len(data), block):
        piece = lz4.block.compress(data[start : start + block], store_size=False)
        packed += struct.pack("<I", len(piece)) + piece
    return packed


def skippable(data: bytes, number: int = 3) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


def test_the_legacy_frame_of_lz4():
    assert walked(lz4_legacy(PHOTO)).pictures == [PHOTO]
    assert walked(lz4_legacy(tar_of(PICTURES))).members(2) == PICTURES


def test_a_damaged_legacy_frame_of_lz4():
    """The library has an exception class of its own for it."""
    packed = lz4_legacy(b"text " * 999)
    walk = walked(packed[:8] + b"\xff" * 20 + packed[28:])
    assert walk.root.outcome is Outcome.UNREADABLE
    assert walk.codes_of(walk.root) == {"corrupt"}


@pytest.mark.parametrize("first", [lz4_legacy, COMPRESS["lz4"]])
@pytest.mark.parametrize("second", [lz4_legacy, COMPRESS["lz4"]])
def test_frames_of_lz4_behind_each_other(first, second):
    packed = skippable(b"x" * 99) + first(PHOTO[:100]) + skippable(b"") + second(PHOTO[100:]) + skippable(bytes(70_000))
    walk = walked(packed)
    assert walk.pictures == [PHOTO]
    assert not walk.incidents


def test_frames_to_be_skipped_before_zstd():
    assert walked(skippable(b"x" * 1000) + COMPRESS["zstd"](PHOTO)).pictures == [PHOTO]


def test_a_legacy_frame_that_is_cut_off():
    packed = lz4_legacy(random.Random(1).randbytes(100_000), 30_000)
    walk = walked(packed[:-100])
    assert walk.root.outcome is Outcome.PARTIAL
    assert walk.codes == {"truncated"}


# lzop


@pytest.mark.parametrize("size", [4, 20, 239, 300, 5_000, 60_000])
def test_blocks_of_lzo(size):
    words = random.Random(size).choices([b"one ", b"another ", b"\xff\xd8\xff", bytes(600), b"x"], k=size // 4)
    data = b"".join(words)[:size] or b"none"
    assert lzop.decompress(lzo1x(data), len(data)) == data
    for wrong in (len(data) - 1, len(data) + 1):
        with pytest.raises((ValueError, IndexError)):
            lzop.decompress(lzo1x(data), wrong)


def test_a_distance_that_leads_before_the_beginning():
    with pytest.raises(ValueError, match="before the beginning"):
        lzop.decompress(b"\x15abcd\x40\x09\x11\0\0", 7)


# compress


@pytest.mark.parametrize("most", range(9, 17))
@pytest.mark.parametrize("size", [0, 1, 255, 5_000, 120_000])
def test_codes_of_every_width(most, size):
    texts = random.Random(size).choices([b"one ", b"two ", b"\xff\xd8\xff", b"\0"], k=size // 4)
    for data in (b"".join(texts)[:size], bytes(size), random.Random(most).randbytes(size)):
        assert Decompressed(io.BytesIO(lzw(data, most)), "compress").read() == data


def test_a_clear_code_begins_anew():
    """As ncompress writes it where the ratio falls: the code 256, then the rest of its group."""
    first = lzw(b"abcabcabc" * 3)  # codes of 9 bits
    bits = int.from_bytes(first[3:], "little")
    count = (len(first) - 3) * 8 // 9
    codes = [bits >> 9 * n & 511 for n in range(count)] + [256]
    codes += [0] * (-len(codes) % 8) + list(b"xyz")
    packed = sum(code << 9 * n for n, code in enumerate(codes))
    data = first[:3] + packed.to_bytes(-(-9 * len(codes) // 8), "little")
    assert Decompressed(io.BytesIO(data), "compress").read() == b"abcabcabc" * 3 + b"xyz"


def test_little_that_becomes_much_takes_no_memory():
    codes = 9000  # each is the string before it and one byte more
    packed = lzw_codes([0, *range(257, 256 + codes)])
    tracemalloc.start()
    stream = Decompressed(io.BytesIO(packed), "compress")
    given = 0
    while block := stream.read(1 << 16):
        given += len(block)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert given == codes * (codes + 1) // 2
    assert peak < 30_000_000


@pytest.mark.parametrize("third", [0x08, 0x11, 0xF0, 0x60])
def test_what_only_begins_like_compress(third):
    assert walked(bytes((0x1F, 0x9D, third)) + b"text" * 99).root.outcome is Outcome.NOT_IMAGE

"""Streams over streams, held to ``io.BytesIO`` as the reference."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
import zlib

import pytest
import zstandard
from archives import COMPRESS, compress
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.sources.archives.tar.reader import Sparse
from leakmatch.sources.compression import decompress as decompress_module
from leakmatch.sources.compression.decompress import Decompressed
from leakmatch.sources.streams import CHUNK, Checked, Ending, Joined, Range

DATA = random.Random(0).randbytes(3000) + bytes(3000) + random.Random(1).randbytes(CHUNK)
STEPS = st.lists(st.tuples(st.integers(0, len(DATA) + 50), st.integers(0, 5000)), max_size=12)


def reads_like(stream, reference: bytes, steps) -> None:
    """Seeks and reads give what they give of a file of the same bytes."""
    like = io.BytesIO(reference)
    for offset, size in steps:
        assert stream.seek(offset) == like.seek(offset)
        while size:
            data, expected = stream.read(size), like.read(size)
            expected, size = expected[: len(data)], size - max(len(data), 1)
            assert data == expected
            like.seek(stream.tell())
            if not data:
                assert like.read(1) == b""
                break


def streams_of(data: bytes):
    crc = zlib.crc32(data)
    half = len(data) // 2
    yield Range(io.BytesIO(b"before" + data + b"behind"), 6, len(data))
    yield Ending(io.BytesIO(data[:half]), len(data), data[half:])
    yield Joined(data[:half], io.BytesIO(data[half:]))
    yield Checked(Range(io.BytesIO(data), 0, len(data)), len(data), crc)
    yield Sparse(io.BytesIO(data[:3000] + data[6000:]), len(data), ((0, 3000), (6000, len(data) - 6000)))
    for method, packed in COMPRESS.items():
        yield Decompressed(io.BytesIO(packed(data)), method)
    yield Decompressed(io.BytesIO(compress(8, data)), "deflate")


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_every_stream_reads_like_a_file(steps):
    for stream in streams_of(DATA):
        reads_like(stream, DATA, steps)


@settings(max_examples=15, deadline=None)
@given(STEPS)
def test_going_back_by_marks(steps):
    """The same with marks all over, so that every way back starts at one, and more of them than are kept."""
    spacing, marks = decompress_module._MARK_SPACING, decompress_module._MARKS
    decompress_module._MARK_SPACING, decompress_module._MARKS = 256, 8
    try:
        cut = len(DATA) // 3
        for method, packed in COMPRESS.items():
            follows = method not in ("lzma", "compress")
            file = io.BytesIO(packed(DATA[:cut]) + packed(DATA[cut:]) if follows else packed(DATA))
            stream = Decompressed(file, method)
            reads_like(stream, DATA, steps)
            assert len(stream._marks) <= 8
    finally:
        decompress_module._MARK_SPACING, decompress_module._MARKS = spacing, marks


@pytest.mark.parametrize("size", [-1, 0, 1, 7, CHUNK, 10 * CHUNK])
def test_sizes_of_reads(size):
    for stream in streams_of(DATA):
        data = stream.read(size)
        assert DATA.startswith(data)
        assert len(data) == len(DATA) if size < 0 else len(data) <= size
        assert data or not size


def test_a_buffered_reader_takes_them():
    for stream in streams_of(DATA):
        file = io.BufferedReader(stream, 512)
        file.seek(100)
        assert file.read(20_000) == DATA[100:20_100]
        assert file.seek(10) == 10
        assert file.read(5) == DATA[10:15]


def test_the_end_can_be_sought_where_it_is_known():
    assert Range(io.BytesIO(DATA), 5, 100).seek(-10, io.SEEK_END) == 90
    with pytest.raises(OSError, match="not known"):
        Decompressed(io.BytesIO(b""), "gzip").seek(0, io.SEEK_END)


def test_a_strict_range_tells_that_its_file_ends():
    assert Range(io.BytesIO(b"abc"), 1, 10).read() == b"bc"
    stream = Range(io.BytesIO(b"abc"), 1, 10, strict=True)
    assert stream.read(10) == b"bc"
    with pytest.raises(EOFError):
        stream.read(10)


@pytest.mark.parametrize(
    ("size", "crc", "error"),
    [(4, None, EOFError), (2, None, ValueError), (3, 1, ValueError), (3, zlib.crc32(b"abc"), None), (None, None, None)],
)
def test_checked_at_the_end_only(size, crc, error):
    stream = Checked(io.BytesIO(b"abc"), size, crc)
    assert stream.read(10) == b"abc"
    if error is None:
        assert stream.read(10) == b""
    else:
        with pytest.raises(error):
            stream.read(10)


def test_checked_checks_nothing_after_a_seek():
    stream = Checked(io.BytesIO(b"abc"), 9, 1)
    stream.seek(1)
    assert stream.read(10) + stream.read(10) == b"bc"


# Decompressed


MARKED = [method for method in COMPRESS if method != "compress"]  # it ends where its data ends


@pytest.mark.parametrize("method", MARKED)
def test_truncated_data_gives_all_there_is_and_then_says_so(method):
    packed = COMPRESS[method](DATA)
    for cut in (1, 5, len(packed) // 2, len(packed) - 1):
        stream = Decompressed(io.BytesIO(packed[:cut]), method)
        given = b""
        with pytest.raises(EOFError):
            while block := stream.read(1000):
                given += block
        assert DATA.startswith(given)
        assert isinstance(stream.error, EOFError)
        with pytest.raises(EOFError):
            stream.read(1)


@pytest.mark.parametrize("method", ["gzip", "bzip2", "xz", "zstd"])
def test_streams_that_follow_each_other(method):
    packed = COMPRESS[method]
    for between in (b"", bytes(1), bytes(4), bytes(CHUNK + 3)):
        stream = Decompressed(io.BytesIO(packed(b"one") + between + packed(b"") + packed(b"two") + between), method)
        assert stream.read() == b"onetwo"
        assert not stream.trailing


@pytest.mark.parametrize("method", MARKED)
@pytest.mark.parametrize("garbage", [b"x", b"\x1f", b"garbage", bytes(9) + b"\xff"])
def test_what_lies_behind_the_end_is_noticed(method, garbage):
    stream = Decompressed(io.BytesIO(COMPRESS[method](b"data") + garbage), method)
    assert stream.read() == b"data"
    assert stream.trailing
    assert stream.error is None


def test_the_second_stream_is_found_when_its_signature_comes_in_pieces():
    class Slow(io.BytesIO):
        def read(self, size=-1):
            return super().read(1)

    data = gzip.compress(b"one") + gzip.compress(b"two")
    assert Decompressed(Slow(data), "gzip").read() == b"onetwo"


@pytest.mark.parametrize("wrong", ["crc", "data"])
def test_gzip_gives_what_lies_before_a_damage(wrong):
    packed = bytearray(gzip.compress(DATA))
    if wrong == "crc":
        packed[-5] ^= 1
        least = len(DATA) - 1
    else:
        packed[len(packed) // 2] ^= 0xFF
        least = 1
    stream = Decompressed(io.BytesIO(bytes(packed)), "gzip")
    given = b""
    with pytest.raises(zlib.error):
        while block := stream.read(CHUNK):
            given += block
    assert len(given) >= least
    if wrong == "crc":
        assert DATA.startswith(given)


def test_output_is_bounded_by_what_was_asked_for():
    for method, packed in COMPRESS.items():
        stream = Decompressed(io.BytesIO(packed(bytes(5_000_000))), method)
        assert all(len(stream.read(1000)) <= 1000 for _ in range(50))


def test_zstd_skippable_frames():
    skipped = b"\x52\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"notes"
    packed = skipped + zstandard.compress(b"one") + skipped + skipped + zstandard.compress(b"two") + skipped
    stream = Decompressed(io.BytesIO(packed), "zstd")
    assert stream.read() == b"onetwo"
    assert not stream.trailing


def test_zstd_without_a_size_in_its_header():
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    packed = compressor.compress(DATA) + compressor.flush()
    assert Decompressed(io.BytesIO(packed), "zstd").read() == DATA
    with pytest.raises(EOFError):
        Decompressed(io.BytesIO(packed[:-4]), "zstd").read()


def test_a_window_that_asks_for_too_much_memory_is_not_given_it():
    huge = b"\x28\xb5\x2f\xfd\x00\xf8" + b"\x01\x00\x00"  # a window of 2 TiB
    with pytest.raises(zstandard.ZstdError):
        Decompressed(io.BytesIO(huge), "zstd").read()
    header = bytearray(lzma.compress(b"x", lzma.FORMAT_ALONE))
    header[1:5] = b"\xff\xff\xff\xff"
    assert Decompressed(io.BytesIO(bytes(header)), "lzma").read() == b"x"  # little data needs no large dictionary


@pytest.mark.parametrize("level", [1, 9])
def test_bzip2_levels(level):
    assert Decompressed(io.BytesIO(bz2.compress(DATA, level)), "bzip2").read() == DATA


@pytest.mark.parametrize("extents", [((0, 20), (10, 20)), ((50, 60),), ((30, 10), (0, 10))])
def test_maps_of_sparse_files_that_contradict_themselves(extents):
    with pytest.raises(ValueError, match="contradicts"):
        Sparse(io.BytesIO(bytes(100)), 100, extents)


def test_a_sparse_file_of_nothing_but_holes():
    assert Sparse(io.BytesIO(), 200_000, ((200_000, 0),)).read() == bytes(200_000)

"""Blocks: each is what was written, and where it was written, or it is refused."""

from __future__ import annotations

import os
import zlib

import pytest

from leakmatch.errors import Damaged, IntegrityError, Tampered
from leakmatch.sealed.blocks import HEAD_BYTES, OVERHEAD, Blocks, Head, Kind, tag_of

KEY = os.urandom(32)


def with_check_sum(block: bytes) -> bytes:
    """As somebody would write it who knows the format, and not the key."""
    return block[:-4] + zlib.crc32(block[:-4]).to_bytes(4, "little")


def test_a_block_holds_what_was_sealed() -> None:
    blocks = Blocks(KEY)
    for content in (b"", b"x", os.urandom(16384)):
        block = blocks.seal(Kind.PAGE, 3, 7, content, 4096)
        assert len(block) == OVERHEAD + len(content)
        assert Head.parse(block) == Head(Kind.PAGE, len(block), 3, 7)
        assert blocks.open(block, 4096, "x") == content
        assert tag_of(block) == block[-20:-4]


def test_each_changed_bit_is_damage() -> None:
    blocks = Blocks(KEY)
    block = blocks.seal(Kind.ENTRY, 3, 7, b"an entry of the log", 4096)
    for at in range(len(block)):
        changed = bytearray(block)
        changed[at] ^= 1 << at % 8
        with pytest.raises(Damaged):
            blocks.open(bytes(changed), 4096, "x")


def test_each_changed_bit_with_a_new_check_sum_is_tampering() -> None:
    blocks = Blocks(KEY)
    block = blocks.seal(Kind.ENTRY, 3, 7, b"an entry of the log", 4096)
    for at in range(len(block) - 4):
        changed = bytearray(block)
        changed[at] ^= 1 << at % 8
        with pytest.raises(Tampered):
            blocks.open(with_check_sum(bytes(changed)), 4096, "x")


def test_a_block_of_another_place_or_file_is_tampering() -> None:
    blocks = Blocks(KEY)
    block = blocks.seal(Kind.PAGE, 3, 7, b"content", 4096)
    for other, offset in ((blocks, 8192), (Blocks(os.urandom(32)), 4096)):
        with pytest.raises(Tampered, match="forged, or belongs elsewhere"):
            other.open(block, offset, "x")


def test_a_block_that_was_cut_is_damage() -> None:
    blocks = Blocks(KEY)
    block = blocks.seal(Kind.PAGE, 3, 7, b"content", 4096)
    for size in range(len(block)):
        with pytest.raises(IntegrityError):
            blocks.open(block[:size], 4096, "x")


def test_what_does_not_begin_as_a_block_is_none() -> None:
    block = Blocks(KEY).seal(Kind.PAGE, 3, 7, b"content", 0)
    assert Head.parse(b"") is None
    assert Head.parse(block[: HEAD_BYTES - 1]) is None
    assert Head.parse(b"X" + block[1:]) is None
    assert Head.parse(block[:5] + b"\1" + block[6:]) is None
    assert Head.parse(block[:8] + b"\xff\xff\xff\xff" + block[12:]) is None


def test_equal_contents_do_not_look_alike() -> None:
    blocks = Blocks(KEY)
    page = bytes(16384)
    sealed = [blocks.seal(Kind.PAGE, 0, 0, page, 0) for _ in range(3)]
    assert len({*sealed}) == 3
    for block in sealed:
        assert len(zlib.compress(block[HEAD_BYTES:], 9)) > 0.99 * len(page)


def test_more_than_a_block_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="do not fit"):
        Blocks(KEY).seal(Kind.ENTRY, 0, 0, bytes((1 << 24) + 1), 0)

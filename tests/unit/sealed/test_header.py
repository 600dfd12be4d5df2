"""Key pages and roots: what they hold, and what is refused."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from sealed_files import key_in

from leakmatch.errors import Damaged, IntegrityError, Tampered, UsageError
from leakmatch.sealed.header import (
    FIRST_GENERATION,
    KEY_PAGE_BYTES,
    MAGIC,
    ROOT_BYTES,
    FileKeys,
    KeyPage,
    Tail,
    pack_root,
    parse_root,
)
from leakmatch.sealed.keys import KeySlots

TAIL = Tail(end=123456, sequence=9, commits=3, entries=2, pages=5, chain=bytes(range(32)), generation=4, changing=1)


@pytest.fixture
def made(tmp_path: Path) -> tuple[KeyPage, bytes, FileKeys]:
    """A key page, its master key, and the keys of its file."""
    slots, master = KeySlots.new(key_in(tmp_path).secret("x"), "office")
    page = KeyPage.new(slots, master)
    return page, master, page.opened(master, "x")


def with_check_sum(page: bytes) -> bytes:
    return page[:-4] + zlib.crc32(page[:-4]).to_bytes(4, "little")


def with_content(page: bytes, **fields: Any) -> bytes:
    """The page with other values in its JSON, and a fitting check sum."""
    (length,) = struct.unpack_from("<I", page, len(MAGIC))
    begin = len(MAGIC) + 4
    content = json.dumps({**json.loads(page[begin : begin + length]), **fields}).encode()
    changed = MAGIC + struct.pack("<I", len(content)) + content
    return with_check_sum(changed.ljust(begin + length, b"\0") + page[max(begin + length, len(changed)) :])


def test_a_key_page_is_read_as_it_was_written(made: tuple[KeyPage, bytes, FileKeys]) -> None:
    page, _, keys = made
    packed = page.packed(keys)
    assert len(packed) == KEY_PAGE_BYTES
    assert KeyPage.parse(packed, "x") == page
    KeyPage.authenticate(packed, keys, "x")
    assert page.generation == FIRST_GENERATION
    assert page.with_slots(page.slots).generation == FIRST_GENERATION + 1


def test_each_changed_byte_of_a_key_page_is_found(made: tuple[KeyPage, bytes, FileKeys]) -> None:
    page, _, keys = made
    packed = page.packed(keys)
    for at in range(KEY_PAGE_BYTES):
        changed = bytearray(packed)
        changed[at] ^= 0xFF
        with pytest.raises(Damaged):
            KeyPage.parse(bytes(changed), "x")
        if at < KEY_PAGE_BYTES - 4 and at % 7 == 0:
            with pytest.raises(Tampered):
                KeyPage.authenticate(with_check_sum(bytes(changed)), keys, "x")


@pytest.mark.parametrize(
    "fields",
    [
        {"generation": float("inf")},
        {"generation": float("nan")},
        {"generation": None},
        {"generation": "x"},
        {"generation": [1]},
        {"identity": 7},
        {"identity": "zz"},
        {"data_key": "!"},
        {"data_key": None},
        {"slots": None},
        {"slots": []},
        {"slots": {"a": 1}},
    ],
)
def test_a_key_page_of_other_values_is_damaged(
    made: tuple[KeyPage, bytes, FileKeys], fields: dict[str, object]
) -> None:
    page, _, keys = made
    with pytest.raises(Damaged, match="cannot be read"):
        KeyPage.parse(with_content(page.packed(keys), **fields), "x")


@pytest.mark.parametrize("content", [b"", b"[]", b"1", b"{}", b"\xff\xfe", b"[" * 5000, b'{"format": 1}', b"1" * 5000])
def test_a_key_page_of_other_json_is_damaged(made: tuple[KeyPage, bytes, FileKeys], content: bytes) -> None:
    page, _, keys = made
    head = MAGIC + struct.pack("<I", len(content)) + content
    with pytest.raises(Damaged):
        KeyPage.parse(with_check_sum(head + page.packed(keys)[len(head) :]), "x")


def test_a_later_format_is_said_to_be_one(made: tuple[KeyPage, bytes, FileKeys]) -> None:
    page, _, keys = made
    with pytest.raises(UsageError, match="sealed in format 2"):
        KeyPage.parse(with_content(page.packed(keys), format=2), "x")


def test_labels_that_are_too_long_in_all_are_refused(made: tuple[KeyPage, bytes, FileKeys], tmp_path: Path) -> None:
    page, master, keys = made
    slots = page.slots
    for number in range(15):
        slots = slots.added(key_in(tmp_path, f"key {number}").secret("x"), master, "\U0001f511" * 64)
    with pytest.raises(UsageError, match="do not fit"):
        page.with_slots(slots).packed(keys)


def test_the_data_key_belongs_to_its_master_key_and_identity(
    made: tuple[KeyPage, bytes, FileKeys], tmp_path: Path
) -> None:
    page, master, _ = made
    other = KeyPage.new(page.slots, master)
    for wrong in (
        KeyPage(other.identity, 1, page.slots, page.data_key),
        KeyPage(page.identity, 1, page.slots, other.data_key),
    ):
        with pytest.raises(IntegrityError):
            wrong.opened(master, "x")
    with pytest.raises(IntegrityError):
        page.opened(bytes(32), "x")


def test_a_root_is_read_as_it_was_written(made: tuple[KeyPage, bytes, FileKeys]) -> None:
    _, _, keys = made
    packed = pack_root(TAIL, keys)
    assert len(packed) <= 512  # one sector
    assert parse_root(packed.ljust(ROOT_BYTES, b"\0"), keys, "x") == TAIL


def test_each_changed_byte_of_a_root_is_found(made: tuple[KeyPage, bytes, FileKeys], tmp_path: Path) -> None:
    _, _, keys = made
    packed = pack_root(TAIL, keys)
    root = packed.ljust(ROOT_BYTES, b"\0")
    for at in range(ROOT_BYTES):
        changed = bytearray(root)
        changed[at] ^= 1
        with pytest.raises(Damaged):
            parse_root(bytes(changed), keys, "x")
        if at < len(packed) - 4:
            forged = with_check_sum(bytes(changed[: len(packed)])).ljust(ROOT_BYTES, b"\0")
            with pytest.raises(Tampered):
                parse_root(forged, keys, "x")
    for size in (0, 3, len(packed), ROOT_BYTES - 1):
        with pytest.raises(Damaged):
            parse_root(root[:size], keys, "x")

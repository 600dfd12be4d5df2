"""PPMd in a 7z. The stream is one of 7-Zip: the encoder that py7zr uses does not always write what can be unpacked."""

from __future__ import annotations

import base64
import io
import random
import struct
import zlib

import pytest
from archives import Members, walked
from packers import number, part, sevenzip_from

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.archives.libarchive.binding import Library
from leakmatch.sources.archives.sevenzip.ppmd import ppmd

MEMBERS: Members = [
    (b"%d.jpg" % page, b"\xff\xd8\xff" + b"line of page %d\n" % page * lines)
    for page, lines in enumerate((3, 2000, 1, 6000, 40))
]
WHOLE = b"".join(data for _, data in MEMBERS)
PROPERTIES = b"\x06" + (1 << 20).to_bytes(4, "little")  # order 6, 1 MiB
PACKED = base64.b64decode(
    "AP7V/mcqHIx4BQbh+uB3+5TRvZaf9Q4a/Bt8mXoAAAAAAAAAAAAAAAAfQsa9un27/ZNMyeYLHUPBszPsnsAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAAAAxp6O6grP3236ybCK0Z2Ni2AA="
)


def sevenzip(packed: bytes = PACKED, properties: bytes = PROPERTIES) -> bytes:
    """All members in one folder."""
    sizes = [len(data) for _, data in MEMBERS]
    header = (
        b"\1\4\6\0\1\x09" + number(len(packed)) + b"\0\7\x0b\1\0\1\x23\3\4\1" + number(len(properties)) + properties
    )
    header += b"\x0c" + number(sum(sizes)) + b"\0\x08\x0d" + number(len(sizes)) + b"\x09"
    header += b"".join(number(size) for size in sizes[:-1])
    header += b"\x0a\1" + b"".join(struct.pack("<I", zlib.crc32(data)) for _, data in MEMBERS) + b"\0\0"
    names = b"".join((name + b"\0").decode().encode("utf-16-le") for name, _ in MEMBERS)
    return sevenzip_from(packed, header + b"\5" + number(len(sizes)) + part(0x11, b"\0" + names) + b"\0\0")


class Dripping(io.BytesIO):
    """Gives few bytes at a time."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size or 0, 3))


def test_the_members_come_out_whole():
    walk = walked(sevenzip())
    assert walk.members() == MEMBERS
    assert not walk.incidents


@pytest.mark.parametrize("kind", [io.BytesIO, Dripping])
@pytest.mark.parametrize("behind", [0, 1, 70_000])
def test_it_is_read_wherever_blocks_end_and_whatever_lies_behind(kind, behind):
    packed = PACKED + random.Random(behind).randbytes(behind)
    blocks = list(ppmd(PROPERTIES, kind(packed), len(PACKED), len(WHOLE)))
    assert b"".join(blocks) == WHOLE
    assert max(map(len, blocks)) <= 1 << 16


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, len(WHOLE) - 1])
def test_no_more_than_the_size_is_given(size):
    assert b"".join(ppmd(PROPERTIES, io.BytesIO(PACKED), len(PACKED), size)) == WHOLE[:size]


def test_damage_is_told_and_a_wrong_payload_never_passes_for_a_right_one():
    chance = random.Random(1)
    intact = dict(MEMBERS)
    for _ in range(150):
        packed = bytearray(PACKED)
        at = chance.randrange(len(packed))
        length = chance.choice((1, 40, len(packed)))
        packed[at : at + length] = chance.choice((b"", bytes(length), chance.randbytes(length)))
        walk = walked(sevenzip(bytes(packed)))
        right = [entry for entry in walk.below(1) if not walk.codes_of(entry)]
        assert all(entry.payload == intact[entry.locator.raw] for entry in right)
        assert packed == PACKED or len(right) < len(MEMBERS)
    assert walked(sevenzip()).members() == MEMBERS


def test_a_stream_that_ends_early_is_told():
    with pytest.raises(EOFError):
        list(ppmd(PROPERTIES, io.BytesIO(PACKED[:100]), len(PACKED), len(WHOLE)))


@pytest.mark.parametrize(
    "properties", [b"\1" + PROPERTIES[1:], b"\x41" + PROPERTIES[1:], b"\6" + bytes(4), b"\6", b"\6" + b"\xff" * 4]
)
def test_impossible_properties_are_told(properties):
    walk = walked(sevenzip(properties=properties))
    assert {entry.outcome for entry in walk.below(1)} == {Outcome.UNREADABLE}


def test_too_much_memory_is_not_allocated():
    walk = walked(sevenzip(properties=b"\6" + (3 << 30).to_bytes(4, "little")))
    assert {entry.outcome for entry in walk.below(1)} == {Outcome.OVER_BUDGET}


def test_an_old_libarchive_is_not_used(monkeypatch):
    status = Library.status
    monkeypatch.setattr(
        Library,
        "status",
        lambda self, name, *rest: 3_005_001 if name == "version_number" else status(self, name, *rest),
    )
    with pytest.raises(ItemError, match=r"3\.6\.1") as caught:
        list(ppmd(PROPERTIES, io.BytesIO(PACKED), len(PACKED), len(WHOLE)))
    assert caught.value.outcome is Outcome.NEEDS_EXTRA

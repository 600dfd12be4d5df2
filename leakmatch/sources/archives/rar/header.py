"""The beginning of a rar archive: which version, whether it is locked, and which part of a set it is.

After the technote of RAR 5.0, and technote.txt of RAR 3 and 4.
"""

from __future__ import annotations

import contextlib
import zlib
from dataclasses import dataclass
from typing import BinaryIO, Final

from leakmatch.errors import ItemError
from leakmatch.sources.guard import corrupt
from leakmatch.sources.streams import bytes_at

SIGNATURE: Final = b"Rar!\x1a\x07"
_OLD: Final = SIGNATURE + b"\0"
_NEW: Final = SIGNATURE + b"\1\0"
_LONGEST: Final = 4096  # of a main header; it has a few bytes, and a locator

_OLD_MAIN: Final = 0x73
_MAIN, _LOCK = 1, 4
_OLD_VOLUME, _OLD_SOLID, _OLD_LOCKED = 0x1, 0x8, 0x80
_VOLUME, _NUMBERED, _SOLID = 0x1, 0x2, 0x4
_HAS_EXTRA, _HAS_DATA = 0x1, 0x2
_SERVICE, _END = 3, 5
_OLD_FILE, _OLD_SERVICE, _OLD_END = 0x74, 0x7A, 0x7B
_OLD_HAS_DATA, _OLD_LARGE = 0x8000, 0x100
_FILE: Final = 2
_CRYPT: Final = 1
_KNOWN: Final = frozenset(range(1, 6))
_OLD_KNOWN: Final = frozenset(range(0x72, 0x7C))
_STREAM: Final = b"STM"


@dataclass(frozen=True, slots=True)
class Main:
    """What the first header says.

    ``is_locked``: all others are encrypted; of version 5 then nothing else is known but the ``rounds`` that make the
    key (a power of two).
    """

    version: int
    is_locked: bool = False
    is_volume: bool = False
    is_solid: bool = False
    rounds: int = 0


def find_start(data: bytes) -> int | None:
    """Where an archive begins in the first bytes of a file: at a signature with a whole header, if need be far in."""
    at = data.find(SIGNATURE)
    while at > 0:
        try:
            read_main(data[at : at + _LONGEST])
        except ItemError:
            at = data.find(SIGNATURE, at + 1)
        else:
            break
    if at < 0:
        return None
    while data.startswith((_OLD + SIGNATURE, _NEW + SIGNATURE), at):  # more than once
        at += len(_OLD) if data.startswith(_OLD, at) else len(_NEW)
    return at


def read_main(data: bytes) -> Main:
    """The first header of the archive that ``data`` begins with. Raises :class:`ItemError` where it is damaged."""
    try:
        return _read_new(data) if data.startswith(_NEW) else _read_old(data)
    except IndexError:
        raise corrupt("its first header is damaged") from None


def _read_old(data: bytes) -> Main:
    body = data[len(_OLD) :]
    size = int.from_bytes(body[5:7], "little")
    if not data.startswith(_OLD) or len(body) < 13 or body[2] != _OLD_MAIN or not 13 <= size <= len(body):
        raise corrupt("its first header is damaged")
    # With a comment in it, the checksum ends before that.
    if zlib.crc32(body[2:13]) & 0xFFFF != int.from_bytes(body[:2], "little"):
        raise corrupt("its first header is damaged")
    flags = int.from_bytes(body[3:5], "little")
    return Main(4, bool(flags & _OLD_LOCKED), bool(flags & _OLD_VOLUME), bool(flags & _OLD_SOLID))


def _read_new(data: bytes) -> Main:
    body = data[len(_NEW) :]
    size, start = _number(body, 4)
    if start + size > len(body) or zlib.crc32(body[4 : start + size]) != int.from_bytes(body[:4], "little"):
        raise corrupt("its first header is damaged")
    kind, at = _number(body, start)
    flags, at = _number(body, at)
    if kind == _LOCK:
        return Main(5, is_locked=True, rounds=_rounds_at(body, at))
    if kind != _MAIN:
        raise corrupt("its first header is damaged")
    for flag in (_HAS_EXTRA, _HAS_DATA):
        if flags & flag:
            _, at = _number(body, at)
    archive, at = _number(body, at)
    return Main(5, False, bool(archive & _VOLUME), bool(archive & _SOLID))


def _number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, and where it ends. Raises ``IndexError``."""
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            break
    return value, at


@dataclass(frozen=True, slots=True)
class Layout:
    """``ends``: whether the blocks go on to the end mark, which goes to ``end``.

    ``streams``: how many alternate data streams there are.

    ``members``: how many files and folders; ``odd``: how many blocks of a kind that there is not. ``rounds``: the most
    that a key to a member takes (a power of two).
    """

    ends: bool
    end: int
    streams: int
    members: int
    odd: int
    rounds: int


def read_layout(file: BinaryIO, start: int, main: Main) -> Layout:
    """Follow the blocks from the signature at ``start``; good for archives whose headers are not locked."""
    at, streams, members, odd, rounds = start + (len(_NEW) if main.version == 5 else len(_OLD)), 0, 0, 0, 0
    block = _new_block if main.version == 5 else _old_block
    while True:
        try:
            found = block(bytes_at(file, at, _LONGEST))
        except IndexError:
            return Layout(False, at, streams, members, odd, rounds)
        if found.is_end:
            return Layout(True, at + found.size, streams, members, odd, rounds)
        streams += found.is_stream
        members += found.is_member
        odd += found.is_odd
        rounds = max(rounds, found.rounds)
        at += found.size


@dataclass(frozen=True, slots=True)
class _Block:
    size: int
    is_end: bool
    is_stream: bool
    is_member: bool
    is_odd: bool
    rounds: int = 0


def _old_block(head: bytes) -> _Block:
    kind, flags, size = head[2], int.from_bytes(head[3:5], "little"), int.from_bytes(head[5:7], "little")
    if size < 7:
        raise IndexError
    is_file, is_odd = kind in (_OLD_FILE, _OLD_SERVICE), kind not in _OLD_KNOWN
    if is_file or flags & _OLD_HAS_DATA:
        data = int.from_bytes(head[7:11], "little")
        if is_file and flags & _OLD_LARGE:
            data |= int.from_bytes(head[32:36], "little") << 32
        name_at = 40 if flags & _OLD_LARGE else 32
        is_stream = kind == _OLD_SERVICE and head[name_at : name_at + 3] == _STREAM
        return _Block(size + data, False, is_stream, kind == _OLD_FILE, is_odd)
    return _Block(size, kind == _OLD_END, False, False, is_odd)


def _new_block(head: bytes) -> _Block:
    size, start = _number(head, 4)
    kind, at = _number(head, start)
    flags, at = _number(head, at)
    data = extra = 0
    if flags & _HAS_EXTRA:
        extra, at = _number(head, at)
    if flags & _HAS_DATA:
        data, at = _number(head, at)
    rounds = _rounds_of(head[start + size - extra : start + size]) if 0 < extra <= size else 0
    is_stream = kind == _SERVICE and _STREAM in head[at : start + size]
    return _Block(start + size + data, kind == _END, is_stream, kind == _FILE, kind not in _KNOWN, rounds)


def _rounds_of(extra: bytes) -> int:
    """What the record of encryption says among the extra fields of a header; 0 without one."""
    at = 0
    with contextlib.suppress(IndexError):
        while at < len(extra):
            size, at = _number(extra, at)
            kind, inside = _number(extra, at)
            if kind == _CRYPT:
                return _rounds_at(extra, inside)
            at += size
    return 0


def _rounds_at(data: bytes, at: int) -> int:
    """Behind the version and the flags of an encryption. Raises ``IndexError``."""
    for _ in range(2):
        _, at = _number(data, at)
    return data[at]

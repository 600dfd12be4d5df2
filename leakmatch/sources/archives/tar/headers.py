"""Headers of tar: the old format, ustar, GNU, pax and star.

Read here and not by ``tarfile``, which ends an archive in silence at a damaged header, takes header extensions of any
size into memory, and refuses members for a field (a date, an owner) that nobody needs to read them. Layouts: POSIX.1
"pax", and the chapters "Basic Tar Format" and "Storing Sparse Files" of the GNU tar manual.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final

from leakmatch.sources.guard import corrupt
from leakmatch.sources.streams import bytes_at

BLOCK: Final = 512
MAX_EXTENSION: Final = 1 << 18  # long names, pax records and maps of one member; more is an attack on memory
_MAX_GLOBAL: Final = 1 << 16  # what a global header may set for all members that follow it

DIRECTORY: Final = b"5"
GLOBAL: Final = b"g"
_REGULAR: Final = (b"0", b"\0")
_OLD_SPARSE: Final = b"S"
_LONG_NAME, _LONG_LINK = b"L", b"K"
_PAX, _SOLARIS_PAX = b"x", b"X"
_KEPT_RECORDS: Final = (b"path", b"size", b"GNU.sparse.")

Extents = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Header:
    """One member. ``data``: where its bytes begin; ``stored``: how many the archive holds of them.

    ``extents`` (offset, length) says where in a file of ``size`` bytes they belong if it is sparse.
    """

    name: bytes
    kind: bytes
    data: int
    stored: int
    size: int
    extents: Extents | None = None

    @property
    def end(self) -> int:
        """Where the next header is, if this member has data."""
        return self.data + padded(self.stored)


def padded(size: int) -> int:
    """``size`` rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def is_header(block: bytes) -> bool:
    """Whether ``block`` is a header: its checksum holds, with bytes taken as unsigned or (old writers) as signed."""
    if len(block) != BLOCK:
        return False
    try:
        want = int(block[148:156].strip(b" \0").split(b"\0", 1)[0], 8)
    except ValueError:
        return False
    have = sum(block) - sum(block[148:156]) + 8 * ord(" ")
    if want == have:
        return have > 8 * ord(" ")  # a block of zeros is no header
    high = sum(byte > 127 for byte in block[:148]) + sum(byte > 127 for byte in block[156:])
    return want == have - 256 * high


class Headers:
    """Reads headers of the archive in ``file``, each with the extensions before it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._global: dict[bytes, list[bytes]] = {}

    def read(self, at: int) -> Header:
        """The member whose first header block is at ``at``; or a header of kind ``GLOBAL``, which is no member.

        Raises :class:`ItemError` where it is damaged.
        """
        records: dict[bytes, list[bytes]] = {}
        long_name = b""
        room = MAX_EXTENSION
        while True:
            block = bytes_at(self._file, at, BLOCK)
            if not is_header(block):
                raise corrupt(f"a damaged header at byte {at}")
            kind, size = block[156:157], number(block[124:136])
            at += BLOCK
            if kind not in (_LONG_NAME, _LONG_LINK, _PAX, _SOLARIS_PAX, GLOBAL):
                return self._header(block, at, size, records, long_name)
            room -= padded(size) + BLOCK
            if room < 0:
                raise corrupt(f"header extensions of more than {MAX_EXTENSION} bytes at byte {at}")
            extension = bytes_at(self._file, at, padded(size))[:size]
            if kind == GLOBAL:
                self._set_global(_records(extension))
                return Header(b"", GLOBAL, at, size, size)
            at += padded(size)
            if kind == _LONG_NAME:
                long_name = extension.split(b"\0", 1)[0]
            elif kind != _LONG_LINK:
                records |= _records(extension)

    def _header(self, block: bytes, at: int, size: int, own: dict[bytes, list[bytes]], long_name: bytes) -> Header:
        records = self._global | own
        kind = block[156:157]
        name = _last(records, b"GNU.sparse.name") or _last(records, b"path") or long_name or _short_name(block)
        if b"size" in records:
            size = _decimal(_last(records, b"size"))
        if kind in _REGULAR and name.endswith(b"/"):
            kind = DIRECTORY  # the old format has no other way to say so
        if kind == _OLD_SPARSE:
            return Header(name, kind, *self._old_sparse(block, at, size))
        real_size, extents, map_size = self._pax_sparse(records, at, size)
        if map_size > size:
            raise corrupt(f"a sparse file at byte {at} that is smaller than its own map")
        return Header(name, kind, at + map_size, size - map_size, real_size, extents)

    # Sparse files

    def _old_sparse(self, block: bytes, at: int, stored: int) -> tuple[int, int, int, Extents]:
        """Where the data begins, how much there is of it, the real size, the extents."""
        real_size = number(block[483:495])
        extents = list(_old_extents(block[386:482]))
        more = block[482]
        room = MAX_EXTENSION
        while more:
            block = bytes_at(self._file, at, BLOCK)
            at, room = at + BLOCK, room - BLOCK
            if len(block) < BLOCK or room < 0:
                raise corrupt(f"a damaged map of a sparse file at byte {at}")
            extents += _old_extents(block[:504])
            more = block[504]
        return at, stored, real_size, tuple(extents)

    def _pax_sparse(self, records: dict[bytes, list[bytes]], at: int, size: int) -> tuple[int, Extents | None, int]:
        """The real size, the extents (``None`` for a plain file) and the bytes that a map before the data takes."""
        real = _last(records, b"GNU.sparse.realsize") or _last(records, b"GNU.sparse.size")
        if not real:
            return size, None, 0
        map_size = 0
        if _last(records, b"GNU.sparse.major") == b"1":
            numbers, map_size = self._map_before_data(at)
        elif b"GNU.sparse.map" in records:
            numbers = [_decimal(text) for text in _last(records, b"GNU.sparse.map").split(b",")]
        else:
            numbers = []
            for pair in zip(
                records.get(b"GNU.sparse.offset", ()), records.get(b"GNU.sparse.numbytes", ()), strict=False
            ):
                numbers += map(_decimal, pair)
        return _decimal(real), tuple(zip(numbers[::2], numbers[1::2], strict=False)), map_size

    def _map_before_data(self, at: int) -> tuple[list[int], int]:
        """Version 1.0: decimal lines (how many pairs, then the pairs) in whole blocks before the data."""
        text, lines, wanted = b"", 0, 1
        taken = 0
        while lines < wanted:
            block = bytes_at(self._file, at + taken, BLOCK)
            taken += BLOCK
            if len(block) < BLOCK or taken > MAX_EXTENSION:
                raise corrupt(f"a damaged map of a sparse file at byte {at}")
            text += block
            lines += block.count(b"\n")
            if wanted == 1 and lines:
                wanted = 1 + 2 * _decimal(text.split(b"\n", 1)[0])
        return [_decimal(line) for line in text.split(b"\n")[1:wanted]], taken

    def _set_global(self, records: dict[bytes, list[bytes]]) -> None:
        merged = self._global | records
        if sum(len(value) for values in merged.values() for value in values) > _MAX_GLOBAL:
            raise corrupt(f"global headers of more than {_MAX_GLOBAL} bytes")
        self._global = merged


def number(field: bytes) -> int:
    """A numeric field: octal text, or (GNU, star) big-endian binary behind a first byte of 0x80."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.split(b"\0", 1)[0].strip()
    try:
        value = int(text or b"0", 8)
    except ValueError:
        value = -1
    if value < 0:
        raise corrupt("a header without a proper size")
    return value


def _decimal(text: bytes) -> int:
    if not text.isdigit() or len(text) > 19:
        raise corrupt("a pax header with a number that is none")
    return int(text)


def _records(extension: bytes) -> dict[bytes, list[bytes]]:
    """The pax records ("length key=value\\n") that matter to read the member; each key with all its values."""
    found: dict[bytes, list[bytes]] = {}
    at = 0
    while at < len(extension) and extension[at : at + 1] != b"\0":
        length, space, _ = extension[at : at + 20].partition(b" ")
        if not space or not length.isdigit() or int(length) <= len(length) + 1:
            raise corrupt("a damaged pax header")
        record = extension[at + len(length) + 1 : at + int(length)]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        if key.startswith(_KEPT_RECORDS):
            found.setdefault(key, []).append(value)
        at += int(length)
    return found


def _last(records: dict[bytes, list[bytes]], key: bytes) -> bytes:
    return records.get(key, [b""])[-1]


def _short_name(block: bytes) -> bytes:
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if block[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _old_extents(field: bytes) -> list[tuple[int, int]]:
    pairs = [(field[i : i + 12], field[i + 12 : i + 24]) for i in range(0, len(field) - 23, 24)]
    return [(number(offset), number(length)) for offset, length in pairs if offset.strip(b"\0 ")]

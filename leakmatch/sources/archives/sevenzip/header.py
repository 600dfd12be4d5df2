"""The header of a 7z archive, read by bounds: what is claimed never makes a list longer than the bytes that claim it.

After 7zFormat.txt of the LZMA SDK. Read here and not by ``py7zr``, which refuses archives of more than 65,536 packed
streams and keeps half a kilobyte for each member.
"""

from __future__ import annotations

import zlib
from array import array
from dataclasses import dataclass, field
from itertools import chain, islice, repeat
from struct import Struct
from typing import BinaryIO, Final

from leakmatch.sources.archives.sevenzip.cursor import Cursor, Mark, is_set
from leakmatch.sources.archives.sevenzip.files import Files, read_files
from leakmatch.sources.guard import corrupt, over_budget, truncated, unsupported

SIGNATURE: Final = b"7z\xbc\xaf\x27\x1c"
START: Final = 32  # bytes before the first packed stream
_START_HEADER: Final = Struct("<6sBBIQQI")
LARGEST: Final = 128 << 20
_MOST_MEMBERS: Final = 1 << 23  # each takes 16 bytes here
_UNKNOWN: Final = -1  # checksum

_MOST_CODERS: Final = 32
_MOST_STREAMS: Final = 32


@dataclass(frozen=True, slots=True)
class Coder:
    """One step of unpacking: a method with ``inputs`` streams in and one out."""

    method: bytes
    inputs: int
    properties: bytes


@dataclass(frozen=True, slots=True)
class Chain:
    """How a folder is unpacked. Streams are numbered over all coders.

    ``bonds``: the input stream that takes the output of a coder; ``packed``: the input streams that take packed ones.
    """

    coders: tuple[Coder, ...]
    bonds: tuple[tuple[int, int], ...]
    packed: tuple[int, ...]

    @property
    def main(self) -> int:
        """The coder whose output nobody takes."""
        taken = {output for _, output in self.bonds}
        free = [index for index in range(len(self.coders)) if index not in taken]
        if len(free) != 1:
            raise corrupt("a folder of the header has no single output")
        return free[0]


@dataclass(slots=True)
class Streams:
    """Packed streams, and the folders that they unpack to. Folder f has ``counts[f]`` members behind each other."""

    packed_at: int = 0
    packed_sizes: array[int] = field(default_factory=lambda: array("Q"))
    chains: list[Chain] = field(default_factory=list)  # equal ones are one object
    unpacked: array[int] = field(default_factory=lambda: array("Q"))  # of every coder of every folder
    folder_crcs: array[int] = field(default_factory=lambda: array("q"))  # empty, or of all folders
    counts: array[int] = field(default_factory=lambda: array("Q"))
    sizes: array[int] = field(default_factory=lambda: array("Q"))  # of all members
    crcs: array[int] = field(default_factory=lambda: array("q"))  # the same of all members

    def crc(self, index: int) -> int | None:
        """The CRC-32 of a member, if it is known."""
        return self.crcs[index] if index < len(self.crcs) and self.crcs[index] != _UNKNOWN else None


def find_start(data: bytes) -> int | None:
    """Where an archive begins in the first bytes of a file: at a signature with a whole header, if need be far in."""
    at = data.find(SIGNATURE)
    while at > 0:
        head = data[at : at + START]
        if len(head) == START and zlib.crc32(head[12:]) == int.from_bytes(head[8:12], "little"):
            break
        at = data.find(SIGNATURE, at + 1)
    return at if at >= 0 else None


def read_start(file: BinaryIO, at: int, size: int) -> tuple[int, int, int]:
    """Where the header lies (from ``at``), its size and its CRC. Raises :class:`ItemError`."""
    file.seek(at)
    head = file.read(START)
    if len(head) < START:
        raise truncated("the archive ends early")
    _, major, _, start_crc, offset, length, crc = _START_HEADER.unpack(head)
    if zlib.crc32(head[12:]) != start_crc:
        raise corrupt("the place of its header is damaged")
    if major:
        raise unsupported(f"7z of version {major} is not read")
    if START + offset + length > size - at:
        raise truncated("the archive ends early: its list of members, which lies at the end, is missing")
    if length > LARGEST:
        raise over_budget(f"its header has more than {LARGEST} bytes")
    return START + offset, length, crc


def read_header(data: bytes) -> tuple[Streams, Files | None]:
    """The streams and the files of a header. Without files, it is packed itself, and the streams tell how."""
    cursor = Cursor(data)
    kind = cursor.byte()
    if kind == Mark.ENCODED:
        return read_streams(cursor), None
    if kind != Mark.HEADER:
        raise corrupt("its header begins wrongly")
    streams, files = Streams(), Files(0)
    while (part := cursor.number()) != Mark.END:
        if part == Mark.PROPERTIES:
            while cursor.number() != Mark.END:
                cursor.take(cursor.number())
        elif part == Mark.ADDITIONAL:
            read_streams(cursor)
        elif part == Mark.MAIN:
            streams = read_streams(cursor)
        elif part == Mark.FILES:
            files = read_files(cursor)
        else:
            raise corrupt(f"its header has an unknown part ({part})")
    return streams, files


def read_streams(cursor: Cursor) -> Streams:
    """Packed streams, folders and members."""
    streams = Streams()
    part = cursor.number()
    if part == Mark.PACK:
        _read_packed(cursor, streams)
        part = cursor.number()
    if part == Mark.UNPACK:
        _read_folders(cursor, streams)
        part = cursor.number()
    members = _Members(streams)
    if part == Mark.SUBSTREAMS:
        members.read(cursor)
        part = cursor.number()
    else:
        members.one_for_each_folder()
    if part != Mark.END:
        raise corrupt(f"its header has an unknown part ({part})")
    return streams


def _read_packed(cursor: Cursor, streams: Streams) -> None:
    streams.packed_at = cursor.number()
    count = cursor.count()
    while (part := cursor.number()) != Mark.END:
        if part == Mark.SIZE:
            streams.packed_sizes.extend(cursor.number() for _ in range(count))
        elif part == Mark.CRC:
            _read_crcs(cursor, count)
        else:
            raise corrupt(f"its header has an unknown part ({part})")


def _read_crcs(cursor: Cursor, count: int) -> array[int]:
    defined = cursor.defined(count)
    return array("q", (cursor.crc() if is_set(defined, index) else _UNKNOWN for index in range(count)))


def _read_folders(cursor: Cursor, streams: Streams) -> None:
    if cursor.number() != Mark.FOLDER:
        raise corrupt("its header has no folders")
    count = cursor.count()
    if cursor.byte():
        raise unsupported("a 7z whose folders are described elsewhere is not read")
    known: dict[bytes, Chain] = {}
    for _ in range(count):
        start = cursor.at
        way = _read_chain(cursor)
        streams.chains.append(known.setdefault(cursor.data[start : cursor.at], way))
    if cursor.number() != Mark.SIZES:
        raise corrupt("its header has no sizes")
    for way in streams.chains:
        streams.unpacked.extend(cursor.number() for _ in way.coders)
    while (part := cursor.number()) != Mark.END:
        if part != Mark.CRC:
            raise corrupt(f"its header has an unknown part ({part})")
        streams.folder_crcs = _read_crcs(cursor, count)


def _read_chain(cursor: Cursor) -> Chain:
    coders = []
    count = cursor.count()
    if not 0 < count <= _MOST_CODERS:
        raise corrupt("a folder of the header has no possible number of coders")
    for _ in range(count):
        flags = cursor.byte()
        if flags & 0xC0:
            raise unsupported("a 7z with alternative coders is not read")
        method = cursor.take(flags & 0xF)
        inputs, outputs = (cursor.number(), cursor.number()) if flags & 0x10 else (1, 1)
        if outputs != 1 or not 0 < inputs <= _MOST_STREAMS:
            raise unsupported("a 7z with coders of several outputs is not read")
        coders.append(Coder(method, inputs, cursor.take(cursor.number()) if flags & 0x20 else b""))
    inputs = sum(coder.inputs for coder in coders)
    bonds = tuple((cursor.number(), cursor.number()) for _ in range(count - 1))
    taken = {stream for stream, _ in bonds}
    free = inputs - len(bonds)
    if free < 1 or len(taken) != len(bonds):
        raise corrupt("a folder of the header is bound wrongly")
    if free == 1:
        packed = tuple(stream for stream in range(inputs) if stream not in taken)
    else:
        packed = tuple(cursor.number() for _ in range(free))
    if set(packed) | taken != set(range(inputs)) or len(packed) != free:
        raise corrupt("a folder of the header is bound wrongly")
    return Chain(tuple(coders), bonds, packed)


class _Members:
    """The members of the folders, while they are read."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._totals = array("Q")
        first = 0
        for way in streams.chains:
            self._totals.append(streams.unpacked[first + way.main])
            first += len(way.coders)

    def one_for_each_folder(self) -> None:
        self._streams.counts = array("Q", [1]) * len(self._totals)
        self._streams.sizes = self._totals
        self._streams.crcs = self._streams.folder_crcs

    def read(self, cursor: Cursor) -> None:
        streams = self._streams
        counts = array("Q", [1]) * len(self._totals)
        part = cursor.number()
        if part == Mark.COUNTS:
            counts = array("Q", (cursor.number() for _ in self._totals))
            part = cursor.number()
        has_sizes = part == Mark.SIZE
        if not has_sizes and any(count > 1 for count in counts):
            raise corrupt("its header has no sizes of the members")
        for total, count in zip(self._totals, counts, strict=True):
            self._add_sizes(cursor, total, count)
        streams.counts = counts
        if has_sizes:
            part = cursor.number()
        crcs = array("q")
        while part != Mark.END:
            if part != Mark.CRC:
                raise corrupt(f"its header has an unknown part ({part})")
            crcs = _read_crcs(cursor, self._without_crc())
            part = cursor.number()
        self._set_crcs(crcs)

    def _add_sizes(self, cursor: Cursor, total: int, count: int) -> None:
        left = total
        if count + len(self._streams.sizes) > _MOST_MEMBERS:
            raise over_budget(f"its header lists more than {_MOST_MEMBERS:,} members")
        if count - 1 > cursor.left:
            raise corrupt("the header announces more than it holds")
        for _ in range(count - 1):
            size = cursor.number()
            left -= size
            if left < 0:
                raise corrupt("its members have more bytes than their folder")
            self._streams.sizes.append(size)
        if count:
            self._streams.sizes.append(left)

    def _without_crc(self) -> int:
        """How many members are not all of a folder whose checksum is known."""
        counts = enumerate(self._streams.counts)
        return sum(count for folder, count in counts if self._known(folder, count) == _UNKNOWN)

    def _set_crcs(self, read: array[int]) -> None:
        left = chain(read, repeat(_UNKNOWN))
        for folder, count in enumerate(self._streams.counts):
            known = self._known(folder, count)
            self._streams.crcs.extend(islice(left, count) if known == _UNKNOWN else [known])

    def _known(self, folder: int, count: int) -> int:
        crcs = self._streams.folder_crcs
        return crcs[folder] if count == 1 and crcs else _UNKNOWN

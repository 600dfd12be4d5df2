"""7z: members folder by folder, each folder one stream that is unpacked once, from front to back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.sevenzip.coders import AES, SELF_CHECKING, Blocks, Key, Unpacking
from leakmatch.sources.archives.sevenzip.files import File, Files
from leakmatch.sources.archives.sevenzip.header import (
    LARGEST,
    START,
    Chain,
    Streams,
    find_start,
    read_header,
    read_start,
)
from leakmatch.sources.archives.sevenzip.key import MOST_ROUNDS, USUAL_ROUNDS, Keys
from leakmatch.sources.guard import corrupt, encrypted, over_budget, reading
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.once import Once
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import MOST_TRIES
from leakmatch.sources.streams import CHUNK, Range

STUB: Final = 1 << 20  # how far behind the beginning of a program the archive begins at most
_PACKED_IN_PACKED: Final = 4  # headers
_LONGEST_TARGET: Final = 4096  # of a link; more is no target
#: How much of a member without a checksum, or of a large one, is unpacked to try a password.
_TRIED: Final = 64 << 20


def open_sevenzip(opening: Opening) -> SevenZip:
    """The reader of 7z archives, also of those that a program carries."""
    return SevenZip(opening)


class SevenZip:
    """A 7z archive."""

    def __init__(self, opening: Opening) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._start = 0
        self._keys = Keys(opening.tried)
        self._tries = MOST_TRIES  # that are left
        self._tried = 0  # of the list, on the folder that was tried last
        self._password: bytes | None = None  # that opened something
        self._failure: ItemError | None = None

    def members(self) -> Iterator[Member]:
        """Every member in stored order; folders are left out."""
        self._opening.file.seek(0)
        self._start = find_start(self._opening.file.read(STUB)) or 0
        streams, files = self._header()
        parts = self._parts(streams)
        for file in files:
            raw = _raw(file.name)
            if not file.has_data:
                if member := _without_data(raw, file):
                    yield member
            elif part := next(parts, None):
                yield from self._member(raw, file, part)
            else:
                self._failure = self._failure or corrupt("it lists more members than it has data for")
                if not raw:
                    break
                yield Member(raw, decode_name(raw), 1, _nothing, problem=corrupt("there is no data that belongs to it"))
        for part in parts:
            self._note(Note("corrupt", "there is data that no name belongs to; it was read as well"))
            yield from self._member(b"", None, part)
        if self._failure is not None:
            raise self._failure

    def _note(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    # The header

    def _header(self) -> tuple[Streams, Files]:
        at, size, crc = read_start(self._opening.file, self._start, self._opening.size)
        self._opening.ends(self._start + at + size)
        if not size:
            return Streams(), Files(0)
        data = b"".join(_all(cast(BinaryIO, Range(self._opening.file, self._start + at, size))))
        if zlib.crc32(data) != crc:
            # What it still says is read all the same: members have checksums of their own.
            self._failure = corrupt("its list of members is damaged: the checksum is wrong")
        for _ in range(_PACKED_IN_PACKED):
            streams, files = read_header(data)
            if files is not None:
                return streams, files
            data = self._unpacked_header(streams)
        raise corrupt("its header is packed too often")

    def _unpacked_header(self, streams: Streams) -> bytes:
        part = next(self._parts(streams, is_header=True), None)
        if part is None:
            raise corrupt("its header is packed, and the packed one is missing")
        if part.size > LARGEST:
            raise over_budget(f"its header has more than {LARGEST} bytes")
        if part.folder.problem is not None:
            raise part.folder.problem
        with reading("its list of members"):
            return b"".join(part.blocks())

    # Members

    def _parts(self, streams: Streams, *, is_header: bool = False) -> Iterator[_Part]:
        """All data that the folders unpack to, in order."""
        at = self._start + START + streams.packed_at
        packed = coder = index = 0
        for number, chain in enumerate(streams.chains):
            ranges: list[BinaryIO] = []
            begin = at
            for size in streams.packed_sizes[packed : packed + len(chain.packed)]:
                ranges.append(cast(BinaryIO, Range(self._opening.file, at, size, strict=True)))
                at += size
            packed += len(chain.packed)
            sizes = list(streams.unpacked[coder : coder + len(chain.coders)])
            coder += len(chain.coders)
            folder = _Folder(self._opening, chain, ranges, sizes, max(at - begin, 1))
            start = 0
            for _ in range(streams.counts[number]):
                part = _Part(folder, start, streams.sizes[index], streams.crc(index))
                if not start:
                    self._unlock(folder, part, is_header=is_header)
                yield part
                start += part.size
                index += 1

    def _member(self, raw: bytes, file: File | None, part: _Part) -> Iterator[Member]:
        notes: tuple[Note, ...] = ()
        special = ""
        if file is not None and file.is_link:
            if part.size <= _LONGEST_TARGET:
                special = "a symbolic link"
            else:
                notes = (Note("link", "a symbolic link, with more data than a target has"),)
        with Once(part.blocks(), self._opening.scratch) as once:
            name, stored = decode_name(raw), part.folder.stored(part.size)
            yield Member(raw, name, stored, once.open, part.size, special, problem=part.folder.problem, notes=notes)

    # Passwords

    def _unlock(self, folder: _Folder, first: _Part, *, is_header: bool) -> None:
        """Find the password of a folder, or say that it stays locked."""
        if all(coder.method != AES for coder in folder.chain.coders):
            return
        for password in self._allowed(folder):
            folder.unlock(partial(self._keys.key, password))
            opens = self._opens_header(first) if is_header else self._opens(first, quick=password == self._password)
            self._opening.tried()
            if opens:
                if password != self._password:
                    self._password = password
                    self._note(self._opening.passwords.worked(password))
                folder.rewind()
                return
        folder.problem = encrypted(self._opening.passwords.failed(self._tried))

    def _allowed(self, folder: _Folder) -> Iterator[bytes]:
        """The passwords to try: the one that opened something, then as many of the list as may still be tried.

        Those are spent at once, tried or not: how soon one fits depends on what was opened before in other archives.
        """
        if self._password is not None:
            yield self._password
        rounds = max((c.properties[:1] or b"\0")[0] & 0x3F for c in folder.chain.coders if c.method == AES)
        cost = 1 << max(rounds - USUAL_ROUNDS, 0) if rounds <= MOST_ROUNDS else 1
        self._tried = min(self._tries // cost, len(self._opening.passwords))
        self._tries -= self._tried * cost
        yield from (line for line in self._opening.passwords.first(self._tried) if line != self._password)

    def _opens_header(self, first: _Part) -> bool:
        """Whether the data is a header, which may have no checksum."""
        if first.size > LARGEST:
            return True  # and is refused for that
        first.folder.rewind()
        try:
            with reading("the header"):
                read_header(b"".join(first.blocks()))
        except ItemError:
            return False
        return True

    def _opens(self, first: _Part, *, quick: bool) -> bool:
        """Whether the data makes sense. ``quick``: the password opened something else before."""
        checks = any(coder.method in SELF_CHECKING for coder in first.folder.chain.coders)
        most = CHUNK if quick and checks else _TRIED
        read = 0
        first.folder.rewind()
        try:
            with reading("the data"):
                for block in first.blocks():
                    read += len(block)
                    if read >= most:
                        break
        except ItemError as error:
            return error.outcome == "over-budget"  # no other password makes it smaller
        return True


@dataclass(slots=True)
class _Folder:
    """One packed stream: read once, from front to back, as far as its members are wanted."""

    opening: Opening
    chain: Chain
    packed: list[BinaryIO]
    sizes: list[int]
    packed_size: int
    problem: ItemError | None = None
    _blocks: Blocks | None = None
    _rest: memoryview = memoryview(b"")  # noqa: RUF009 - nothing changes it
    _at: int = 0
    _error: Exception | None = None
    _unpacking: Unpacking | None = None

    def unlock(self, key: Key) -> None:
        """With which key it is unpacked."""
        self._unpacking = Unpacking(_memory(self.opening), key)

    def rewind(self) -> None:
        """Begin anew."""
        for file in self.packed:
            file.seek(0)
        self._blocks, self._rest, self._at, self._error = None, memoryview(b""), 0, None

    def stored(self, size: int) -> int:
        """The share that a member of that size has in the packed bytes; at least 1."""
        total = self.sizes[self.chain.main]
        return max(self.packed_size * size // total, 1) if total else 1

    def read(self, start: int, size: int) -> Blocks:
        """Its unpacked bytes from ``start``, which no earlier reading has passed."""
        while self._at < start:
            self._next(start - self._at)
        end = start + size
        while self._at < end:
            yield self._next(end - self._at)

    def _next(self, most: int) -> bytes:
        if self._error is not None:
            raise self._error
        try:
            while not self._rest:
                self.opening.pulse()
                if self._blocks is None:
                    unpacking = self._unpacking or Unpacking(_memory(self.opening), _no_key)
                    self._blocks = unpacking.blocks(self.chain, self.packed, self.sizes)
                block = next(self._blocks, None)
                if block is None:
                    raise EOFError
                self._rest = memoryview(block)
        except Exception as error:
            self._error = error  # for the members behind it
            raise
        taken, self._rest = self._rest[:most], self._rest[most:]
        self._at += len(taken)
        return bytes(taken)


@dataclass(frozen=True, slots=True)
class _Part:
    """The data of one member."""

    folder: _Folder
    start: int
    size: int
    crc: int | None

    def blocks(self) -> Blocks:
        """Its bytes. Raises ``ValueError`` at the end where the checksum is wrong."""
        crc = 0
        for block in self.folder.read(self.start, self.size):
            crc = zlib.crc32(block, crc)
            yield block
        if self.crc is not None and crc != self.crc:
            raise ValueError("its checksum is wrong")


def _memory(opening: Opening) -> int:
    """What a dictionary may take: the rest of a worker needs its share."""
    return opening.budget.memory * 5 // 8


def _no_key(_rounds: int, _salt: bytes) -> bytes:
    raise encrypted("locked with a password")


def _raw(name: bytes) -> bytes:
    """A stored name as UTF-8, lone surrogates and all."""
    return name[: len(name) & ~1].decode("utf-16-le", "surrogatepass").encode("utf-8", "surrogatepass")


def _without_data(raw: bytes, file: File) -> Member | None:
    special = "a mark that a file is to be deleted" if file.is_anti else "a symbolic link" if file.is_link else ""
    if file.is_folder and not special:
        return None
    return Member(raw, decode_name(raw), 1, _nothing, 0, special)


def _nothing() -> BinaryIO:
    return cast(BinaryIO, Range(cast(BinaryIO, None), 0, 0))


def _all(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(1 << 20):
        yield block

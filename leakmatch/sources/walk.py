"""The walk: every member of every container, nested ones too, ends in exactly one entry.

Runs in an untrusted worker. Nothing is written to disk: a nested container is held in memory while the budget lets
it, and read in place, by going over its data again, where it is larger.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from leakmatch.errors import ItemError
from leakmatch.locator import Locator
from leakmatch.records import Budget, Entry, Incident, ItemKind, Outcome
from leakmatch.sources.guard import reading
from leakmatch.sources.members import Member
from leakmatch.sources.meter import Meter, OverBudget, metered
from leakmatch.sources.registry import HEAD_BYTES, TAR, UNREAD_PREFIX, ZIP, detect, open_container
from leakmatch.sources.streams import CHUNK, Rewindable, Stream
from leakmatch.sources.zip import TAIL, is_zip_tail

_STAGE = "sources"
IMAGE_HEAD_BYTES = 4096


def always(_: int) -> bool:
    """Every position is wanted."""
    return True


def silent(_: int) -> None:
    """Nobody wants to know how far the walk is."""


def walk(
    path: Path,
    root: Locator,
    budget: Budget,
    is_image: Callable[[bytes], bool],
    wanted: Callable[[int], bool] = always,
    progress: Callable[[int], None] = silent,
) -> Iterator[Entry | Incident]:
    """The entries of the file ``path``: itself at position 0, and every member if it is a container.

    A container comes after its members, when it is known how its reading ended; its position is before theirs.
    Pictures, which ``is_image`` knows by their first 4,096 bytes, have outcome ``None`` and their bytes as payload.
    For positions that are not ``wanted`` the payload may be missing. ``progress`` is told how many bytes of the file
    were read, again from 0 when it is read again. Raises nothing for bad input.
    """
    walker = _Walker(budget, is_image, wanted)
    try:
        with reading("the file"):
            file = path.open("rb")
    except ItemError as error:
        yield Incident(root, _STAGE, error.code, str(error))
        yield Entry(root, 0, ItemKind.OTHER, 0, None, Outcome(error.outcome), str(error))
        return
    with file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        watched = cast(BinaryIO, io.BufferedReader(_Watched(file, progress), 1 << 18))
        item = _Item(root, size, Meter(budget, size), lambda: _from_start(watched), in_place=watched)
        yield from walker.visit(item)


def _from_start(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


@dataclass(frozen=True, slots=True)
class _Item:
    """Something to visit.

    ``open`` gives its bytes from the start at each call; ``in_place`` is a file of them that can be sought at no cost.
    """

    locator: Locator
    size: int | None
    meter: Meter
    open: Callable[[], BinaryIO]
    in_place: BinaryIO | None = None
    notes: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class _Read:
    """What reading an item once showed. ``error`` says why not all of it could be read."""

    head: bytes = b""
    stream: BinaryIO | None = None  # stands behind the head
    size: int = 0
    sha256: bytes | None = None
    data: bytes | None = None
    tail: bytes = b""
    error: ItemError | None = None


class _Walker:
    def __init__(self, budget: Budget, is_image: Callable[[bytes], bool], wanted: Callable[[int], bool]) -> None:
        self._budget = budget
        self._is_image = is_image
        self._wanted = wanted
        self._next = 0
        self._buffered = 0

    def visit(self, item: _Item) -> Iterator[Entry | Incident]:
        """The entries of one item and of everything inside it."""
        position, self._next = self._next, self._next + 1
        for code, message in item.notes:
            yield Incident(item.locator, _STAGE, code, message)
        read = self._start(item)
        kind = detect(read.head)
        if kind is None and self._is_image(read.head[:IMAGE_HEAD_BYTES]):
            yield from self._picture(item, position, read)
        elif kind is None:
            yield from self._other(item, position, read)
        elif kind.startswith(UNREAD_PREFIX):
            self._finish(item, read, keep=0)
            name = kind.removeprefix(UNREAD_PREFIX)
            error = ItemError(Outcome.UNREADABLE, "unsupported", f"{name} archives are not read by this version")
            yield from self._failed(item, position, ItemKind.CONTAINER, read, error)
        else:
            yield from self._container(item, position, read, kind)
        if isinstance(read.error, OverBudget) and read.error.meter is not item.meter:
            raise read.error

    # Reading an item once

    def _start(self, item: _Item) -> _Read:
        read = _Read()
        try:
            with reading("it"):
                stream = item.open()
                while len(read.head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(read.head))):
                    read.head += block
                read.stream = stream
        except ItemError as error:
            read.error = error
        return read

    def _finish(self, item: _Item, read: _Read, keep: int) -> None:
        """Read all of the item: its size, its digest, its last bytes, and its content if no larger than ``keep``."""
        digest = hashlib.sha256()
        kept: list[bytes] | None = []
        read.size, read.error = 0, None
        try:
            with reading("it"):
                for block in _blocks(item, read):
                    digest.update(block)
                    read.size += len(block)
                    read.tail = block[-TAIL:] if len(block) >= TAIL else (read.tail + block)[-TAIL:]
                    if kept is not None and read.size <= keep:
                        kept.append(block)
                    else:
                        kept = None
        except ItemError as error:
            read.error = error
        if read.error is None:
            read.sha256 = digest.digest()
        if kept is not None:
            read.data = b"".join(kept)

    # Pictures and other files

    def _picture(self, item: _Item, position: int, read: _Read) -> Iterator[Entry | Incident]:
        if not self._wanted(position):
            yield Entry(item.locator, position, ItemKind.IMAGE, item.size or 0, None, None)
            return
        self._finish(item, read, keep=self._budget.member_bytes)
        if read.error is not None:
            yield Incident(item.locator, _STAGE, read.error.code, str(read.error))
        if read.data is None:
            if not isinstance(read.error, OverBudget):
                read.error = _over(f"the picture has more than {self._budget.member_bytes} bytes")
            yield self._entry(item, position, ItemKind.IMAGE, read, read.error)
        elif isinstance(read.error, OverBudget):
            yield self._entry(item, position, ItemKind.IMAGE, read, read.error)
        else:
            # What was recovered of a damaged member is looked at as well: a face may be in it.
            sha256 = hashlib.sha256(read.data).digest()
            yield Entry(item.locator, position, ItemKind.IMAGE, read.size, sha256, None, "", read.data)

    def _other(self, item: _Item, position: int, read: _Read) -> Iterator[Entry | Incident]:
        self._finish(item, read, keep=0)
        if read.error is None and is_zip_tail(read.tail):
            yield from self._container(item, position, read, ZIP)
        elif read.error is not None:
            yield from self._failed(item, position, ItemKind.OTHER, read, read.error)
        else:
            detail = "" if read.size else "empty"
            yield Entry(item.locator, position, ItemKind.OTHER, read.size, read.sha256, Outcome.NOT_IMAGE, detail)

    def _failed(
        self, item: _Item, position: int, kind: ItemKind, read: _Read, error: ItemError
    ) -> Iterator[Entry | Incident]:
        yield Incident(item.locator, _STAGE, error.code, str(error))
        yield self._entry(item, position, kind, read, error)

    def _entry(self, item: _Item, position: int, kind: ItemKind, read: _Read, error: ItemError) -> Entry:
        size = read.size or item.size or 0
        return Entry(item.locator, position, kind, size, read.sha256, Outcome(error.outcome), str(error))

    # Containers

    def _container(self, item: _Item, position: int, read: _Read, kind: str) -> Iterator[Entry | Incident]:
        room = self._budget.buffer_bytes - self._buffered
        self._finish(item, read, keep=0 if item.in_place else room)
        held = len(read.data or b"")
        self._buffered += held
        failure = read.error
        try:
            if item.locator.depth >= self._budget.depth:
                failure = _over(f"containers are nested more than {self._budget.depth} deep")
            elif not isinstance(failure, OverBudget):
                found = yield from self._members(item, read, kind)
                failure = failure or found  # that the data ends early explains what the reader stumbled over
        except OverBudget as error:
            failure = error
            if error.meter is not item.meter:
                yield from self._failed(item, position, ItemKind.CONTAINER, read, failure)
                raise
        finally:
            self._buffered -= held
        if failure is None:
            yield Entry(item.locator, position, ItemKind.CONTAINER, read.size, read.sha256, Outcome.WALKED)
        else:
            yield from self._failed(item, position, ItemKind.CONTAINER, read, failure)

    def _members(self, item: _Item, read: _Read, kind: str) -> Generator[Entry | Incident, None, ItemError | None]:
        """Visit every member; returns (as a generator does) why not all could be read, or ``None``."""
        failure: ItemError | None = None
        index = 0
        try:
            with reading(f"the {kind} archive" if kind in (ZIP, TAR) else f"the {kind} data"):
                file = self._seekable(item, read)
                container = open_container(kind, file, read.size, item.locator.name)
                members = container.members()
        except ItemError as error:
            return error
        while True:
            try:
                with reading(f"the {kind} archive" if kind in (ZIP, TAR) else f"the {kind} data"):
                    member = next(members, None)
            except OverBudget:
                raise
            except ItemError as error:
                failure = error
                break
            if member is None:
                break
            item.meter.add_member()
            yield from self._member(item, item.locator.child(kind, member.name, member.raw, index), member)
            index += 1
        for note in container.notes:
            yield Incident(item.locator, _STAGE, note.code, note.message)
        return failure

    def _member(self, item: _Item, locator: Locator, member: Member) -> Iterator[Entry | Incident]:
        if member.special:
            position, self._next = self._next, self._next + 1
            yield Incident(locator, _STAGE, "link", f"{member.special}; not followed")
            yield Entry(locator, position, ItemKind.OTHER, 0, None, Outcome.NOT_IMAGE, member.special)
            return
        meter = item.meter.inner(member.stored)
        notes = tuple((note.code, note.message) for note in member.notes)
        inner = _Item(
            locator, member.size, meter, cast("Callable[[], BinaryIO]", metered(member.open, meter)), None, notes
        )
        if member.problem is not None:
            position, self._next = self._next, self._next + 1
            kind = ItemKind.OTHER
            yield from self._failed(inner, position, kind, _Read(), member.problem)
            return
        yield from self.visit(inner)

    def _seekable(self, item: _Item, read: _Read) -> BinaryIO:
        if item.in_place is not None:
            return item.in_place
        if read.data is not None:
            return io.BytesIO(read.data)
        return cast(BinaryIO, io.BufferedReader(Rewindable(item.open, read.size), CHUNK))


def _blocks(item: _Item, read: _Read) -> Iterator[bytes]:
    """All bytes of the item, going on behind the head where that is still possible."""
    stream, read.stream = read.stream, None
    if stream is None:
        stream = item.open()
    else:
        yield read.head
    while block := stream.read(CHUNK):
        yield block


def _over(message: str) -> ItemError:
    return ItemError(Outcome.OVER_BUDGET, "over-budget", message)


class _Watched(Stream):
    """The file on disk, telling how far it was read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._progress = file, progress

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._progress(self._file.tell())
        return data

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._file.seek(offset, whence)

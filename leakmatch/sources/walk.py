"""The walk: every member of every container, nested ones too, ends in exactly one entry.

Runs in an untrusted worker. Nothing is written to disk but to the scratch space: a nested container is held in memory
while the budget lets it, and read in place, by going over its data again, where it is larger.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import BinaryIO, cast

from leakmatch.errors import ItemError
from leakmatch.locator import APPENDED, Locator
from leakmatch.records import Budget, Entry, Incident, ItemKind, Outcome, Stop
from leakmatch.sources.behind import Behind
from leakmatch.sources.datasets.signatures import is_plain_text
from leakmatch.sources.datasets.text import Search
from leakmatch.sources.guard import over_budget, reading, unsupported
from leakmatch.sources.members import Member, Note
from leakmatch.sources.meter import Clock, Meter, OverBudget, metered
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.registry import (
    HEAD_BYTES,
    STUB_BYTES,
    TAR,
    TEXT,
    UNREAD_PREFIX,
    ZIP,
    carried,
    detect,
    is_program,
    open_container,
    search_of,
)
from leakmatch.sources.scratch import Scratch
from leakmatch.sources.sets import Whole, cut_set, follows, set_size
from leakmatch.sources.streams import CHUNK, Range, Seekable
from leakmatch.sources.volumes import Volumes
from leakmatch.sources.zip_entries import TAIL, is_zip_tail

_STAGE = "sources"
IMAGE_HEAD_BYTES = 4096

#: Deeper nesting than this is not followed, whatever the budget says: each level takes a part of Python's stack.
DEEPEST = 64

_WHOLE = "the data"
_SECTOR = 4096  # what a medium reads or fails to read at once

# With every level at its longest, the printable form of a locator stays below 1 MiB.
_LONGEST_NAME = 4096
_DEEP = 16
_LONGEST_DEEP_NAME = 1024


def always(_: int) -> bool:
    """Every position is wanted."""
    return True


def silent(_: int) -> None:
    """Nobody wants to know how far the walk is."""


@dataclass(frozen=True, slots=True)
class Before:
    """What earlier walks of the same bytes have shown. They came to the position before ``end``; ``stops`` by place.

    ``carriers``: positions of pictures in which there is an archive, so that they are read even if not wanted.
    """

    end: int = 0
    stops: Mapping[int, Stop] = field(default_factory=dict)
    carriers: frozenset[int] = frozenset()


def walk(
    path: Path,
    root: Locator,
    budget: Budget,
    is_image: Callable[[bytes], str | bool | None],
    wanted: Callable[[int], bool] = always,
    progress: Callable[[int], None] = silent,
    passwords: Passwords | None = None,
    scratch: Scratch | None = None,
    before: Before | None = None,
    working: Callable[[int], None] = silent,
) -> Iterator[Entry | Incident]:
    """The entries of the file ``path``: itself at position 0, and every member if it is a container.

    A container comes after its members, when it is known how its reading ended; its position is before theirs.
    Pictures, which ``is_image`` knows by their first 4,096 bytes (it may give the name of the format), have outcome
    ``None`` and their bytes as payload. For positions that are not ``wanted`` the payload may be missing; such pictures
    may be passed over unread, and count against the budget with the size that their container tells, so that the same
    limit is met at the same place. ``progress`` is told, several times for each member, how many bytes of the file were
    read, again from 0 when it is read again. ``passwords`` are tried on what is locked; ``scratch`` is where bytes go
    that a library gives once only, or wants as a file. ``before``: what earlier walks have shown; time is counted only
    where none of them has been. ``working`` is told the position of the innermost item that is worked on. Raises
    nothing for bad input.
    """
    try:
        with reading("the file"):
            file = path.open("rb")
            size = file.seek(0, io.SEEK_END)
    except ItemError as error:
        yield Incident(root, _STAGE, error.code, str(error))
        yield Entry(root, 0, ItemKind.OTHER, 0, None, Outcome(error.outcome), str(error))
        return
    with file:
        watched = _Watched(file, progress)
        buffered = cast(BinaryIO, io.BufferedReader(watched, 1 << 18))
        tools = passwords or Passwords(), scratch or Scratch()
        walker = _Walker(budget, is_image, wanted, watched, *tools, before or Before(), working)
        volumes = Volumes(path)
        meter = Meter(budget, max(set_size(volumes), size))
        item = _Item(
            root, size, meter, lambda: _from_start(buffered), buffered, volumes=volumes, whole=cut_set(volumes)
        )
        for found in walker.visit(item):
            watched.clock.charge()
            yield found
            watched.clock.skip()  # what the taker does with it is not the item's work


def _from_start(file: BinaryIO) -> BinaryIO:
    file.seek(0)
    return file


@dataclass(frozen=True, slots=True)
class _Item:
    """Something to visit.

    ``open`` gives its bytes from the start at each call; ``in_place`` is a file of them that can be sought at no cost.
    ``whole``: the archive of which it is the first part, with the parts that follow. ``kind``: what container it is,
    where that is known already.
    """

    locator: Locator
    size: int | None
    meter: Meter
    open: Callable[[], BinaryIO]
    in_place: BinaryIO | None = None
    notes: tuple[Note, ...] = ()
    frame: bool = False
    volumes: Volumes = field(default_factory=Volumes)
    whole: Whole | None = None
    kind: str | None = None


@dataclass(slots=True)
class _Read:
    """What reading an item once showed. ``error`` says why not all of it could be read, ``digest`` is of what was."""

    head: bytes = b""
    format: str = ""
    stream: BinaryIO | None = None  # stands behind the head
    size: int = 0
    digest: bytes = b""
    data: bytes | None = None
    tail: bytes = b""
    stub: bytes = b""  # of a program only: its beginning
    members: int | None = None  # that its reader gave, once it was opened as a container
    has_pictures: bool = False  # of a text only: somewhere, in base64
    behind: list[tuple[str, int]] = field(default_factory=list)  # archives in what is none itself: kind and place
    error: ItemError | None = None

    @property
    def sha256(self) -> bytes | None:
        return self.digest if self.digest and self.error is None else None


class _Walker:
    def __init__(
        self,
        budget: Budget,
        is_image: Callable[[bytes], str | bool | None],
        wanted: Callable[[int], bool],
        file: _Watched,
        passwords: Passwords,
        scratch: Scratch,
        before: Before,
        working: Callable[[int], None],
    ) -> None:
        self._budget = budget
        self._is_image = is_image
        self._wanted = wanted
        self._file = file
        self._passwords = passwords
        self._scratch = scratch
        self._before = before
        self._working = working
        self._depth = min(budget.depth, DEEPEST)
        self._next = 0
        self._held = 0

    def visit(self, item: _Item) -> Iterator[Entry | Incident]:
        """The entries of one item and of everything inside it."""
        position, self._next = self._next, self._next + 1
        self._at(item, position, position)
        for note in item.notes:
            yield Incident(item.locator, _STAGE, note.code, note.message)
        stop = self._before.stops.get(position)
        if stop is not None and not any(self._wanted(inner) for inner in range(position + 1, stop.next)):
            self._next = stop.next
            kind = ItemKind.OTHER if stop.next == position + 1 else ItemKind.CONTAINER
            yield from self._failed(item, position, kind, _Read(), _stopped(stop))
            return
        yield from self._opened(item, position)

    def _at(self, item: _Item, position: int, reached: int) -> None:
        """``item`` is at work now; what comes of it has the position ``reached``, or a later one."""
        self._working(position)
        self._file.clock.at(item.meter, on=reached >= self._before.end)

    def _pulse(self) -> None:
        """Tell that the walk goes on. Raises :class:`OverBudget` where the time for an item is up."""
        self._file.pulse()
        self._file.clock.check()

    def _opened(self, item: _Item, position: int) -> Iterator[Entry | Incident]:
        read = self._start(item)
        kind = item.kind or detect(read.head)  # what was found in it once is not looked for again
        picture = kind is None and self._is_image(read.head[:IMAGE_HEAD_BYTES])
        if (role := follows(item.volumes, read.head, picture=bool(picture))) is not None:
            yield from self._part(item, position, read, role)
        elif picture:
            read.format = picture if isinstance(picture, str) else ""
            yield from self._picture(item, position, read)
        elif kind is None:
            yield from self._other(item, position, read)
        elif kind.startswith(UNREAD_PREFIX):
            read.format = kind.removeprefix(UNREAD_PREFIX)
            self._finish(item, read, keep=0)
            yield from self._failed(item, position, ItemKind.CONTAINER, read, _unread(kind))
        else:
            yield from self._container(item, position, read, kind)
        if isinstance(read.error, OverBudget) and read.error.meter is not item.meter:
            raise read.error

    # Reading an item once

    def _start(self, item: _Item) -> _Read:
        read = _Read()
        try:
            with reading(_WHOLE):
                stream = item.open()
                while len(read.head) < HEAD_BYTES and (block := stream.read(HEAD_BYTES - len(read.head))):
                    read.head += block
                read.stream = stream
        except ItemError as error:
            read.error = error
        return read

    def _finish(self, item: _Item, read: _Read, keep: int, behind: Behind | None = None) -> None:
        """Read all of the item: its size, its digest, its last bytes, and its content if no larger than ``keep``.

        ``behind`` is shown all of it.
        """
        digest = hashlib.sha256()
        kept: io.BytesIO | None = io.BytesIO()
        stub = bytearray()
        last: deque[bytes] = deque()  # the blocks of the tail
        held = 0
        stub_size = STUB_BYTES if is_program(read.head) else 0
        search = Search() if keep == 0 and is_plain_text(read.head) else None
        read.size, read.error = 0, None
        try:
            with reading(_WHOLE):
                for block in _blocks(item, read):
                    digest.update(block)
                    read.size += len(block)
                    if search is not None:
                        search.feed(block)
                    if behind is not None:
                        behind.feed(block)
                    stub += block[: stub_size - len(stub)]
                    last.append(block)
                    held += len(block)
                    while held - len(last[0]) >= TAIL:
                        held -= len(last.popleft())
                    if read.size > keep:
                        kept = None
                    elif kept is not None:
                        kept.write(block)
        except ItemError as error:
            read.error = error
        read.has_pictures = search is not None and search.found
        read.digest, read.stub, read.tail = digest.digest(), bytes(stub), b"".join(last)[-TAIL:]
        read.data = None if kept is None or isinstance(read.error, OverBudget) else kept.getvalue()
        if behind is not None:
            read.behind = self._archives(read, behind)

    def _archives(self, read: _Read, behind: Behind) -> list[tuple[str, int]]:
        if isinstance(read.error, OverBudget):
            return []
        found = behind.end()
        known = ZIP in behind.found or ZIP in behind.members
        if not known and read.error is None and is_zip_tail(read.tail, read.size):
            found.insert(0, (ZIP, 0))
        return found

    # Pictures and other files

    def _picture(self, item: _Item, position: int, read: _Read) -> Iterator[Entry | Incident]:
        wanted = self._wanted(position)
        kind = ItemKind.FRAME if item.frame else ItemKind.IMAGE
        # Without a size, the container learns its own end by this reading; one that is too good to be true is checked.
        unsure = item.size is None or not item.meter.is_honest(item.size)
        if wanted or unsure or position in self._before.carriers:
            self._finish(item, read, self._budget.member_bytes if wanted else 0, Behind())
            read.members = len(read.behind) or None
        elif item.in_place is None and item.size is not None:
            self._pass_over(item, read, item.size)
        if not wanted:
            size = item.size or read.size
            yield Entry(item.locator, position, kind, size, None, None, members=read.members, format=read.format)
            yield from self._behind(item, read)
            return
        error = read.error
        if read.data is None and not isinstance(error, OverBudget):
            error = over_budget(f"the picture has more than {self._budget.member_bytes} bytes")
        if error is not None:
            yield Incident(item.locator, _STAGE, error.code, str(error))
        if error is not None and error.outcome == Outcome.OVER_BUDGET:
            yield self._entry(item, position, kind, read, error)
        else:
            # What was recovered of a damaged member is looked at as well: a face may be in it.
            yield Entry(
                item.locator,
                position,
                kind,
                read.size,
                read.digest,
                None,
                payload=read.data,
                members=read.members,
                format=read.format,
            )
        yield from self._behind(item, read)

    def _pass_over(self, item: _Item, read: _Read, size: int) -> None:
        """Count what is not read."""
        try:
            item.meter.add_bytes(max(size - len(read.head), 0))
        except OverBudget as error:
            read.error = error

    def _other(self, item: _Item, position: int, read: _Read) -> Iterator[Entry | Incident]:
        self._finish(item, read, 0, Behind())
        instead = self._instead(read)
        if instead is not None:
            read.behind = []
            yield from self._container(item, position, read, instead)
            return
        read.members = len(read.behind) or None
        if read.error is not None:
            yield from self._failed(item, position, ItemKind.OTHER, read, read.error)
        else:
            detail = "" if read.size else "empty"
            outcome, members = Outcome.NOT_IMAGE, read.members
            yield Entry(
                item.locator, position, ItemKind.OTHER, read.size, read.sha256, outcome, detail, members=members
            )
        yield from self._behind(item, read)

    def _instead(self, read: _Read) -> str | None:
        """The container that an item is, though its first bytes do not say so."""
        if read.error is None and is_zip_tail(read.tail, read.size):
            return ZIP
        if read.has_pictures and not isinstance(read.error, OverBudget):
            return TEXT
        return carried(read.stub) if read.error is None else None

    def _behind(self, item: _Item, read: _Read) -> Iterator[Entry | Incident]:
        """Visit the archives in an item that is none by its first bytes."""
        for index, (kind, start) in enumerate(read.behind):
            name = f"{kind} at {start}"
            yield Incident(item.locator, _STAGE, "ambiguous", f"there is also a {kind} archive in it, at byte {start}")
            size = read.size - start
            opened = functools.partial(self._from, item, read, start, size)
            inner = _Item(
                item.locator.child(APPENDED, name, name.encode(), index),
                size,
                item.meter.inner(size),
                opened,
                None if item.in_place is None else opened(),
                kind=kind,
            )
            try:
                yield from self.visit(inner)
            except OverBudget as error:
                for after, (kind, start) in enumerate(read.behind[index + 1 :], start=index + 1):
                    name = f"{kind} at {start}"
                    position, self._next = self._next, self._next + 1
                    left = dataclasses.replace(inner, locator=item.locator.child(APPENDED, name, name.encode(), after))
                    yield from self._failed(left, position, ItemKind.CONTAINER, _Read(), error)
                raise

    def _from(self, item: _Item, read: _Read, start: int, size: int) -> BinaryIO:
        """``size`` bytes of an item that was read, from ``start``."""
        whole = io.BytesIO(read.data) if read.data is not None else item.in_place or item.open()
        return cast(BinaryIO, io.BufferedReader(Range(whole, start, size), CHUNK))

    def _part(self, item: _Item, position: int, read: _Read, role: str | ItemError) -> Iterator[Entry | Incident]:
        """One part of a set that another file stands for."""
        self._finish(item, read, keep=0)
        error = role if isinstance(role, ItemError) else read.error
        if error is not None:
            yield from self._failed(item, position, ItemKind.CONTAINER, read, error)
            return
        kind, outcome = ItemKind.CONTAINER, Outcome.WALKED
        yield Entry(item.locator, position, kind, read.size, read.sha256, outcome, str(role), members=0)

    def _failed(
        self, item: _Item, position: int, kind: ItemKind, read: _Read, error: ItemError
    ) -> Iterator[Entry | Incident]:
        yield Incident(item.locator, _STAGE, error.code, str(error))
        yield self._entry(item, position, kind, read, error)

    def _entry(self, item: _Item, position: int, kind: ItemKind, read: _Read, error: ItemError) -> Entry:
        size = read.size or item.size or 0
        return Entry(
            item.locator,
            position,
            kind,
            size,
            read.sha256,
            Outcome(error.outcome),
            str(error),
            members=read.members,
            format=read.format,
            cut=not error.steady,
        )

    # Containers

    def _container(self, item: _Item, position: int, read: _Read, kind: str) -> Iterator[Entry | Incident]:
        if not (item.in_place and read.digest):
            room = self._budget.buffer_bytes - self._held
            self._finish(item, read, 0 if item.in_place else room, search_of(kind))
        read.format = kind
        held = len(read.data or b"")
        self._held += held
        failure = read.error
        try:
            if item.locator.depth >= self._depth:
                failure = over_budget(f"containers are nested more than {self._depth} deep")
            elif not isinstance(failure, OverBudget):
                found = yield from self._members(item, position, read, kind)
                if item.whole is not None:
                    found = item.whole.failure(found)
                if found is None or found.steady:
                    read.members = (read.members or 0) + len(read.behind) if read.behind else read.members
                    yield from self._behind(item, read)
                failure = failure or found  # that the data ends early explains what the reader stumbled over
        except OverBudget as error:
            failure = error
            if error.meter is not item.meter:
                yield from self._failed(item, position, ItemKind.CONTAINER, read, error)
                raise
        finally:
            self._held -= held
            if self._wanted(position):  # its row comes last: all that earlier walks came to is in it
                self._next = max(self._next, self._before.end)
        if failure is None:
            yield Entry(
                item.locator,
                position,
                ItemKind.CONTAINER,
                read.size,
                read.sha256,
                Outcome.WALKED,
                members=read.members,
                format=kind,
            )
        else:
            yield from self._failed(item, position, ItemKind.CONTAINER, read, failure)

    def _members(
        self, item: _Item, position: int, read: _Read, kind: str
    ) -> Generator[Entry | Incident, None, ItemError | None]:
        """Visit every member; returns (as a generator does) why not all could be read, or ``None``."""
        what = f"the {kind} archive" if kind in (ZIP, TAR) else f"the {kind} data"
        stop = self._before.stops.get(position)
        failure: ItemError | None = None
        notes: list[Note] = []
        try:
            with reading(what):
                container = open_container(self._opening(item, read, kind))
                members, notes = container.members(), container.notes
            read.members = read.members or 0
            for index in count():
                self._at(item, position, self._next)
                if stop is not None and self._next >= stop.next:
                    raise _stopped(stop)
                with reading(what):
                    member = next(members, None)
                if member is None:
                    break
                item.meter.add_member()
                read.members += 1
                yield from self._member(item, kind, member, index)
        except OverBudget:
            raise
        except ItemError as error:
            failure = error
        for note in notes:
            yield Incident(item.locator, _STAGE, note.code, note.message)
        return failure

    def _opening(self, item: _Item, read: _Read, kind: str) -> Opening:
        file, size = self._seekable(item, read)
        return Opening(
            kind,
            file,
            size,
            item.locator.name,
            self._budget,
            self._passwords,
            self._scratch,
            item.volumes if item.whole is None else Volumes(),
            self._pulse,
        )

    def _seekable(self, item: _Item, read: _Read) -> tuple[BinaryIO, int]:
        """The item as a file that can be sought, and its size: in place, in memory, or by going over it again."""
        if item.whole is not None and len(item.whole.parts.names) > 1:
            return item.whole.open(self._pulse), item.whole.size
        if item.in_place is not None:
            # Behind a place that cannot be read there may be more.
            return item.in_place, read.size if read.error is None else max(item.size or 0, read.size)
        if read.data is not None:
            return io.BytesIO(read.data), read.size
        # Only what could be read the first time: behind that, the same damage would be met.
        return cast(BinaryIO, io.BufferedReader(Range(item.open(), 0, read.size), CHUNK)), read.size

    def _member(self, item: _Item, kind: str, member: Member, index: int) -> Iterator[Entry | Incident]:
        raw, name, notes = member.raw, member.name, member.notes
        longest = _LONGEST_NAME if item.locator.depth < _DEEP else _LONGEST_DEEP_NAME
        text = name.encode("utf-8", "surrogateescape")
        if max(len(raw), len(text)) > longest:
            notes = (*notes, Note("corrupt", f"its name of {max(len(raw), len(text))} bytes was cut to {longest}"))
            raw, name = raw[:longest], decode_name(text[:longest], utf8=True)
        meter = item.meter.inner(member.stored)
        inner = _Item(
            item.locator.child(kind, name, raw, index),
            member.size,
            meter,
            cast("Callable[[], BinaryIO]", metered(member.open, meter, self._pulse)),
            notes=notes,
            frame=member.frame,
        )
        if member.special or member.aside or member.problem is not None:
            yield from self._unopened(inner, member)
        else:
            yield from self.visit(inner)

    def _unopened(self, item: _Item, member: Member) -> Iterator[Entry | Incident]:
        position, self._next = self._next, self._next + 1
        for note in item.notes:
            yield Incident(item.locator, _STAGE, note.code, note.message)
        if member.problem is not None:
            yield from self._failed(item, position, ItemKind.OTHER, _Read(), member.problem)
        elif member.aside:
            yield Entry(item.locator, position, ItemKind.OTHER, item.size or 0, None, Outcome.NOT_IMAGE, member.aside)
        else:
            yield Incident(item.locator, _STAGE, "link", f"{member.special}; not followed")
            yield Entry(item.locator, position, ItemKind.OTHER, 0, None, Outcome.NOT_IMAGE, member.special)


def _stopped(stop: Stop) -> ItemError:
    code = "worker-lost" if stop.outcome is Outcome.QUARANTINED else "over-budget"
    return ItemError(stop.outcome, code, stop.reason)


def _unread(kind: str) -> ItemError:
    return unsupported(f"{kind.removeprefix(UNREAD_PREFIX)} archives are not read by this version")


def _blocks(item: _Item, read: _Read) -> Iterator[bytes]:
    """All bytes of the item, going on behind the head where that is still possible."""
    stream, read.stream = read.stream, None
    if stream is None:
        stream = item.open()
    else:
        yield read.head
    while block := stream.read(CHUNK):
        yield block


class _Watched(Seekable):
    """The file on disk, telling how far it was read."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        super().__init__()
        self._file, self._progress = file, progress
        self._told = 0
        self.clock = Clock()

    def _read_at(self, at: int, size: int) -> bytes:
        try:
            self._file.seek(at)
            data = self._file.read(size)
        except OSError:
            if size <= _SECTOR:
                raise
            self._file.seek(at)  # what lies before a bad place is not lost with it
            data = self._file.read(_SECTOR)
        self._told = at + len(data)
        self.clock.charge(len(data))
        self.pulse()
        return data

    def _end(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def pulse(self) -> None:
        """Tell it once more."""
        self._progress(self._told)

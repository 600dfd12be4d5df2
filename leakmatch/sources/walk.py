"""The walk: every member of every container, nested ones too, ends in exactly one entry.

Runs in an untrusted worker. Nothing is written to disk but to the scratch space: a nested container is held in memory
while the budget lets it, and read in place, by going over its data again, where it is larger.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

from leakmatch.errors import ItemError
from leakmatch.locator import Locator
from leakmatch.records import Budget, Entry, Incident, ItemKind, Outcome, Stop
from leakmatch.sources.appended import Found, appended, zip_at_end
from leakmatch.sources.behind import Behind
from leakmatch.sources.contents import Contents
from leakmatch.sources.disk import Watched
from leakmatch.sources.documents.within import Pictures
from leakmatch.sources.guard import over_budget, reading, unsupported
from leakmatch.sources.item import Item, buffered, file_item, member_item
from leakmatch.sources.members import Member, Note
from leakmatch.sources.meter import Meter, OverBudget
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.registry import CARVED, OWN_SEARCH, TAR, UNREAD_PREFIX, ZIP, detect, open_container, search_of
from leakmatch.sources.scratch import Scratch
from leakmatch.sources.split.parts import part_set
from leakmatch.sources.split.sets import follows
from leakmatch.sources.split.volumes import Volumes

_STAGE: Final = "sources"
IMAGE_HEAD_BYTES: Final = 4096

#: Deeper nesting than this is not followed, whatever the budget says: each level takes a part of Python's stack.
DEEPEST: Final = 64

_Records = Iterator[Entry | Incident]


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
        watched = Watched(file, progress)
        walker = Walker(
            budget,
            is_image,
            wanted,
            watched,
            passwords or Passwords(),
            scratch or Scratch(),
            before or Before(),
            working,
        )
        volumes = Volumes(path)
        parts = part_set(volumes)
        meter = Meter(budget, max(size, parts.size if parts and parts.is_carrier else 0))
        for found in walker.visit(file_item(root, buffered(watched, 1 << 18), size, meter, volumes, parts)):
            watched.clock.charge()
            yield found
            watched.clock.skip()  # what the taker does with it is not the item's work


class Walker:
    """One walk through one file on disk; :func:`walk` says what it is given."""

    def __init__(
        self,
        budget: Budget,
        is_image: Callable[[bytes], str | bool | None],
        wanted: Callable[[int], bool],
        file: Watched,
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
        self._held = 0  # bytes of the containers around the item at work

    def visit(self, item: Item) -> _Records:
        """The entries of one item and of everything inside it."""
        position = self._place()
        self._at(item, position, position)
        yield from _notes(item.locator, item.notes)
        stop = self._before.stops.get(position)
        if stop is not None and not any(self._wanted(inner) for inner in range(position + 1, stop.next)):
            self._next = stop.next
            kind = ItemKind.OTHER if stop.next == position + 1 else ItemKind.CONTAINER
            yield from self._failed(Contents(item), position, kind, _stopped(stop))
            return
        yield from self._opened(item, position)

    def _place(self) -> int:
        """The position of the next item."""
        position, self._next = self._next, self._next + 1
        return position

    def _at(self, item: Item, position: int, reached: int) -> None:
        """``item`` is at work now; what comes of it has the position ``reached``, or a later one."""
        self._working(position)
        self._file.clock.at(item.meter, on=reached >= self._before.end)

    def _opened(self, item: Item, position: int) -> _Records:
        read = Contents(item)
        read.begin()
        kind = item.kind or detect(read.head)  # what was found in something is not looked for again in it
        picture = kind is None and self._is_image(read.head[:IMAGE_HEAD_BYTES])
        if (role := follows(item.parts, read.head, picture=bool(picture))) is not None:
            yield from self._part(read, position, role)
        elif picture:
            read.format = picture if isinstance(picture, str) else ""
            yield from self._picture(read, position)
        elif kind is None:
            yield from self._other(read, position)
        elif kind.startswith(UNREAD_PREFIX):
            read.format = kind.removeprefix(UNREAD_PREFIX)
            read.finish(keep=0)
            yield from self._failed(read, position, ItemKind.CONTAINER, _unread(read.format))
        else:
            yield from self._container(read, position, kind)
        if isinstance(read.error, OverBudget) and read.error.meter is not item.meter:
            raise read.error

    # Pictures and other files

    def _picture(self, read: Contents, position: int) -> _Records:
        item, wanted = read.item, self._wanted(position)
        kind = ItemKind.FRAME if item.frame else ItemKind.IMAGE
        # Without a size, the container learns its own end by this reading; one that is too good to be true is checked.
        unsure = item.size is None or not item.meter.is_honest(item.size)
        if wanted or unsure or position in self._before.carriers:
            read.finish(self._budget.member_bytes if wanted else 0, Behind())
            read.members = 1 if read.behind else None
        elif item.in_place is None and item.size is not None:
            read.pass_over(item.size)
        entry = Entry(item.locator, position, kind, 0, None, None, members=read.members, format=read.format)
        if wanted:
            yield from self._wanted_picture(read, entry)
        else:
            yield replace(entry, size=item.size or read.size)
        yield from self._beyond(read)

    def _wanted_picture(self, read: Contents, entry: Entry) -> _Records:
        error = read.error
        if read.data is None and not isinstance(error, OverBudget):
            error = over_budget(f"the picture has more than {self._budget.member_bytes} bytes")
        if error is not None:
            yield Incident(entry.locator, _STAGE, error.code, str(error))
        if error is not None and error.outcome == Outcome.OVER_BUDGET:
            yield read.failed(entry.position, entry.kind, error)
        else:
            # What was recovered of a damaged member is looked at as well: a face may be in it.
            yield replace(entry, size=read.size, sha256=read.digest, payload=read.data)

    def _other(self, read: Contents, position: int) -> _Records:
        read.finish(0, Behind(), None if read.item.locator.kind in OWN_SEARCH else Pictures())
        instead = read.instead() or (CARVED if read.places else None)
        if instead is not None:
            # What makes it a zip is a zip already; of what a program carries, the first is.
            own = next((place for place in read.behind if place[0] == instead), None)
            read.behind = [place for place in read.behind if place != own]
            yield from self._container(read, position, instead)
            return
        read.members = 1 if read.behind else None
        if read.error is not None:
            yield from self._failed(read, position, ItemKind.OTHER, read.error)
        else:
            yield read.entry(position, ItemKind.OTHER, Outcome.NOT_IMAGE, "" if read.size else "empty")
        yield from self._beyond(read)

    def _appended(self, read: Contents, items: list[Found]) -> _Records:
        """Visit what lies in an item beside what its reader gives."""
        if read.more:
            yield Incident(read.item.locator, _STAGE, "over-budget", "there are more archives in it than were followed")
        for index, (note, item) in enumerate(items):
            yield from _notes(read.item.locator, (note,))
            try:
                yield from self.visit(item)
            except OverBudget as error:
                for _, left in items[index + 1 :]:
                    yield from self._failed(Contents(left), self._place(), ItemKind.CONTAINER, error)
                raise

    def _beyond(self, read: Contents) -> _Records:
        """The same of an item whose own entry is given already: there a limit that it met is an incident only."""
        try:
            if read.behind:
                yield from self._appended(read, appended(read, self._file.pulse))
        except OverBudget as error:
            if error.meter is not read.item.meter:
                raise
            yield Incident(read.item.locator, _STAGE, error.code, str(error))

    def _part(self, read: Contents, position: int, role: str | ItemError) -> _Records:
        """One part of a set that another file stands for."""
        read.finish(keep=0)
        error = role if isinstance(role, ItemError) else read.error
        if error is not None:
            yield from self._failed(read, position, ItemKind.CONTAINER, error)
            return
        read.members = 0
        yield read.entry(position, ItemKind.CONTAINER, Outcome.WALKED, str(role))

    def _failed(self, read: Contents, position: int, kind: ItemKind, error: ItemError) -> _Records:
        yield Incident(read.item.locator, _STAGE, error.code, str(error))
        yield read.failed(position, kind, error)

    # Containers

    def _container(self, read: Contents, position: int, kind: str) -> _Records:
        item = read.item
        if not (item.in_place and read.digest):
            room = self._budget.buffer_bytes - self._held
            read.finish(0 if item.in_place else room, search_of(kind))
        read.behind = read.behind or list(item.rest)
        read.format = kind
        held = len(read.data or b"")
        self._held += held
        failure = read.error
        try:
            if item.locator.depth >= self._depth:
                failure = over_budget(f"containers are nested more than {self._depth} deep")
            elif not isinstance(failure, OverBudget):
                found = yield from self._inside(read, position, kind)
                failure = failure or found  # that the data ends early explains what the reader stumbled over
        except OverBudget as error:
            failure = error
            if error.meter is not item.meter:
                yield from self._failed(read, position, ItemKind.CONTAINER, error)
                raise
        finally:
            self._held -= held
            if self._wanted(position):  # its row comes last: all that earlier walks came to is in it
                self._next = max(self._next, self._before.end)
        if failure is None:
            yield read.entry(position, ItemKind.CONTAINER, Outcome.WALKED)
        else:
            yield from self._failed(read, position, ItemKind.CONTAINER, failure)

    def _inside(self, read: Contents, position: int, kind: str) -> Generator[Entry | Incident, None, ItemError | None]:
        """Visit all that is in a container, and what lies behind its members; returns as :meth:`_members` does."""
        ends: list[int] = []
        found = yield from self._members(read, position, kind, ends.append)
        if read.item.whole is not None:
            found = read.item.whole.failure(found)
        stop = self._before.stops.get(position)
        if (found is None or found.steady) and (stop is None or self._next < stop.next):
            self._at(read.item, position, self._next)
            try:
                items = self._beside(read, kind, ends[-1] if ends else None)
            except ItemError as error:
                return found or error
            if items:
                read.members = (read.members or 0) + len(items)
            yield from self._appended(read, items)
        return found

    def _beside(self, read: Contents, kind: str, end: int | None) -> list[Found]:
        """What lies in a container beside its members, or behind the ``end`` that its reader told."""
        with reading("what lies behind its end"):
            if end is None and kind != ZIP and ZIP not in dict(read.behind):
                read.behind = sorted([*read.behind, *zip_at_end(read, self._file.pulse)], key=lambda place: place[1])
            items = appended(read, self._file.pulse, end)
        for _ in items:
            read.item.meter.add_member()
        return items

    def _members(
        self, read: Contents, position: int, kind: str, ends: Callable[[int], None]
    ) -> Generator[Entry | Incident, None, ItemError | None]:
        """Visit every member; returns (as a generator does) why not all could be read, or ``None``."""
        item = read.item
        what = f"the {kind} archive" if kind in (ZIP, TAR) else f"the {kind} data"
        stop = self._before.stops.get(position)
        failure: ItemError | None = None
        notes: list[Note] = []
        try:
            with reading(what):
                container = open_container(replace(self._opening(read, kind), ends=ends))
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
        yield from _notes(item.locator, notes)
        return failure

    def _opening(self, read: Contents, kind: str) -> Opening:
        item, pulse = read.item, self._file.pulse
        file, size = read.seekable(pulse)
        volumes = item.volumes if item.whole is None else Volumes()
        tools = self._passwords, self._scratch, volumes, pulse, self._file.tried
        return Opening(kind, file, size, item.locator.name, self._budget, *tools, places=read.places)

    def _member(self, container: Item, kind: str, member: Member, index: int) -> _Records:
        item = member_item(container, kind, member, index, self._file.pulse)
        if member.special or member.aside or member.problem is not None:
            yield from self._unopened(item, member)
        else:
            yield from self.visit(item)

    def _unopened(self, item: Item, member: Member) -> _Records:
        position, kind = self._place(), ItemKind.OTHER
        yield from _notes(item.locator, item.notes)
        if member.problem is not None:
            yield from self._failed(Contents(item), position, kind, member.problem)
        elif member.aside:
            yield Entry(item.locator, position, kind, item.size or 0, None, Outcome.NOT_IMAGE, member.aside)
        else:
            yield Incident(item.locator, _STAGE, "link", f"{member.special}; not followed")
            yield Entry(item.locator, position, kind, 0, None, Outcome.NOT_IMAGE, member.special)


def _notes(locator: Locator, notes: Iterable[Note]) -> Iterator[Incident]:
    for note in notes:
        yield Incident(locator, _STAGE, note.code, note.message)


def _stopped(stop: Stop) -> ItemError:
    code = "worker-lost" if stop.outcome is Outcome.QUARANTINED else "over-budget"
    return ItemError(stop.outcome, code, stop.reason)


def _unread(what: str) -> ItemError:
    return unsupported(f"{what} archives are not read by this version")

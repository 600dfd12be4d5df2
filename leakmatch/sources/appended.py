"""What lies in an item beside what its reader gives: archives found by signature, and whatever is behind its end."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import BinaryIO, Final

from leakmatch.locator import APPENDED
from leakmatch.sources.archives.zip.directory import TAIL, find_directory
from leakmatch.sources.contents import Contents
from leakmatch.sources.item import Item
from leakmatch.sources.members import Note
from leakmatch.sources.registry import ZIP
from leakmatch.sources.streams import CHUNK, bytes_at

_AMBIGUOUS: Final = "ambiguous"

Found = tuple[Note, Item]


def appended(read: Contents, pulse: Callable[[], None], end: int | None = None) -> list[Found]:
    """Items in ``read``, each with what to tell of it: at most one up to the ``end`` of its own data, and one behind.

    They do not overlap, so that nothing is read more often than archives are nested: of several archives the first is
    told of those behind it, and hands them on. Without an ``end`` all of ``read`` is its own.
    """
    file, size = read.seekable(pulse)
    behind = None if end is None or not 0 < end < size else _first_byte(file, end, size)
    stop = size if behind is None or end is None else end
    items: list[Found] = []
    if within := [place for place in read.behind if place[1] < stop]:
        kind, start = within[0]
        note = Note(_AMBIGUOUS, f"there is also a {kind} archive in it, at byte {start}")
        items.append((note, _part(read, pulse, kind, start, stop, within[1:], 0)))
    if behind is not None:
        note = Note(_AMBIGUOUS, f"there are {size - behind} bytes behind its end; they were looked at as well")
        rest = [place for place in read.behind if place[1] > behind]  # one at its beginning is itself
        items.append((note, _part(read, pulse, None, behind, size, rest, len(items))))
    return items


def zip_at_end(read: Contents, pulse: Callable[[], None]) -> list[tuple[str, int]]:
    """The zip that the last bytes of a container of another kind belong to, if they do: its kind and its place."""
    file, size = read.seekable(pulse)
    before = max(size - TAIL, 0)
    tail = bytes_at(file, before, size - before)
    directory = find_directory(tail, size, lambda at, length: tail[at - before :][:length] if at >= before else b"")
    if directory is None or directory.stop <= directory.start:
        return []
    return [(ZIP, max(directory.shift, 0))]


def _first_byte(file: BinaryIO, at: int, size: int) -> int | None:
    """The first byte at ``at`` or behind it that is not zero: zeros are padding."""
    while at < size and (block := bytes_at(file, at, min(CHUNK, size - at))):
        if rest := block.lstrip(b"\0"):
            return at + len(block) - len(rest)
        at += len(block)
    return None


def _part(
    read: Contents,
    pulse: Callable[[], None],
    kind: str | None,
    start: int,
    stop: int,
    rest: list[tuple[str, int]],
    index: int,
) -> Item:
    item = read.item
    name, size = f"{kind or 'data'} at {start}", stop - start
    opened = functools.partial(read.part, start, size, pulse)
    return Item(
        item.locator.child(APPENDED, name, name.encode(), index),
        size,
        item.meter.inner(size),
        opened,
        None if item.in_place is None else opened(),
        kind=kind,
        rest=tuple((other, max(at - start, 0)) for other, at in rest),
    )

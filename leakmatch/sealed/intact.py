"""What is intact in a damaged sealed file: the newest version of each page, and no older one in a lost one's place.

An older version of a page whose newest is lost could bring back somebody who was removed. A commit names the pages it
wrote, so that of a damaged block it is known which page it held. Where that is lost as well, and the damaged place has
room for a page, every page that was written before it counts as lost. Where the last commits are lost, what was there
before them is whole: it is taken, and said to be of an older state. Only where most of the file is in the commit of
which the end is lost, what is left of that is taken beside older pages, and the same is said.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from leakmatch.errors import IntegrityError
from leakmatch.sealed.blocks import COMMIT, HEAD_BYTES, MARK, Blocks, Head, Kind
from leakmatch.sealed.header import BLOCKS_AT, Tail

_STEP: Final = 1 << 20

Read = Callable[[int, int], bytes]  #: offset and number of bytes
Place = tuple[int, int]  #: offset and sequence number


@dataclass(slots=True)
class Intact:
    """``places`` of the pages that can be read, of ``pages`` in all; offsets of entries.

    ``lost``: damaged places met. ``behind``: the last so many commits are lost. ``generation``: of the keys, then.
    """

    places: dict[int, Place] = field(default_factory=dict)
    entries: list[int] = field(default_factory=list)
    pages: int = 0
    lost: int = 0
    behind: int = 0
    generation: int = 0


@dataclass(slots=True)
class _Met:
    """The authentic blocks of a file. ``doubtful``: sequence numbers that are lost, where a page may have been."""

    pages: dict[int, tuple[int, int]] = field(default_factory=dict)  # by sequence number: page, offset
    entries: list[tuple[int, int]] = field(default_factory=list)  # sequence number, offset
    commits: list[_Commit] = field(default_factory=list)
    doubtful: list[range] = field(default_factory=list)
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Commit:
    first: int
    sequence: int
    number: int
    pages: int
    generation: int
    written: tuple[int, ...]


def intact(blocks: Blocks, read: Read, size: int, root: Tail | None, page_size: int) -> Intact:
    """What can be used of the first ``size`` bytes of a file, of which a page takes ``page_size``.

    ``root``, where it is intact, tells where the end is at least: it may have been put back to an earlier time.
    """
    met = _meet(blocks, read, size, page_size)
    found = Intact(lost=met.lost, generation=met.commits[-1].generation if met.commits else 0)
    done = 0
    for commit in met.commits:
        if commit.first > done:
            _take_torn(found, met, range(done, commit.first))
        for sequence, page in enumerate(commit.written, commit.first):
            if sequence in met.pages:
                found.places[page] = met.pages[sequence][1], sequence
            else:
                found.places.pop(page, None)
        found.pages = commit.pages
        done = commit.sequence + 1
    if root is not None and done < root.sequence:
        last = met.commits[-1].number + 1 if met.commits else 0
        missing = range(done, root.sequence)
        if root.end > size or _doubtful(met, missing):
            found.behind = root.commits - last
            if sum(sequence >= done for sequence in met.pages) > len(found.places):
                _take_torn(found, met, missing)  # most of the file is in the commit of which the end is lost
                found.pages = root.pages
        else:
            _take_torn(found, met, missing)
            found.pages = root.pages
            done = root.sequence
    found.entries = [offset for sequence, offset in met.entries if sequence < done]
    return found


def _take_torn(found: Intact, met: _Met, sequences: range) -> None:
    """The blocks of commits of which the last block, which names the pages, is lost."""
    if not found.behind and _doubtful(met, sequences):
        found.places.clear()
    for sequence in sequences:
        if sequence in met.pages:
            page, offset = met.pages[sequence]
            found.places[page] = offset, sequence


def _doubtful(met: _Met, sequences: range) -> bool:
    """Whether a page may have been lost among these blocks."""
    after = bisect_right(met.doubtful, sequences.stop - 1, key=lambda gap: gap.start)
    return any(gap.stop > sequences.start for gap in met.doubtful[:after])


def _meet(blocks: Blocks, read: Read, end: int, page_size: int) -> _Met:
    met = _Met()
    sequence, at = 0, BLOCKS_AT
    for offset, head, content in _authentic(blocks, read, end, met):
        if head.sequence > sequence and offset - at >= page_size:
            met.doubtful.append(range(sequence, head.sequence))
        sequence, at = head.sequence + 1, offset + head.size
        if head.kind == Kind.PAGE:
            met.pages[head.sequence] = head.number, offset
        elif head.kind == Kind.ENTRY:
            met.entries.append((head.sequence, offset))
        else:
            pages, _, first, generation, _ = COMMIT.unpack_from(content)
            written = tuple(array("I", content[COMMIT.size :]))
            met.commits.append(_Commit(first, head.sequence, head.number, pages, generation, written))
    if end - at >= page_size:
        met.doubtful.append(range(sequence, 1 << 63))
    return met


def _authentic(blocks: Blocks, read: Read, end: int, met: _Met) -> Iterator[tuple[int, Head, bytes]]:
    """The blocks that are what was written, each where it was written: so none comes before one with a lower number."""
    offset = BLOCKS_AT
    while offset < end:
        head = Head.parse(read(offset, HEAD_BYTES))
        try:
            content = blocks.open(read(offset, head.size), offset, "") if head else None
        except IntegrityError:
            content = None
        if head is None or content is None:
            met.lost += 1
            offset = _next_mark(read, offset + 1, end)
            continue
        yield offset, head, content
        offset += head.size


def _next_mark(read: Read, offset: int, end: int) -> int:
    while offset < end:
        part = read(offset, _STEP)
        place = part.find(MARK)
        if place >= 0:
            return offset + place
        offset += max(len(part) - len(MARK) + 1, 1)
    return end

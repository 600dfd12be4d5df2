"""What is in a sealed file, and that all of it is what was written."""

from __future__ import annotations

import hashlib
import logging
import os
from array import array
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from leakmatch.errors import Damaged, IntegrityError, Tampered, UsageError
from leakmatch.sealed.appender import Appender, Place
from leakmatch.sealed.blocks import COMMIT, OVERHEAD, Blocks, Head, Kind, tag_of
from leakmatch.sealed.disk import blocks_between
from leakmatch.sealed.header import (
    APPENDING,
    BLOCKS_AT,
    FIRST_GENERATION,
    KEY_PAGE_BYTES,
    KEYS,
    ROOT_AT,
    ROOT_BYTES,
    KeyPage,
    Tail,
    parse_root,
)
from leakmatch.sealed.index import LOST, PageIndex
from leakmatch.sealed.intact import intact
from leakmatch.sealed.keys import KeySlots, Secret

log = logging.getLogger(__name__)

#: The most bytes of a page; all but the last page of a stream have as many.
PAGE_BYTES: Final = 16384

#: What the first entry of a log follows; each other follows :func:`link` of the one before.
NO_ENTRY: Final = bytes(32)


class SealedContent:
    """The pages and the log of one file, as of its last commit; and what is being changed.

    All methods raise :class:`Damaged` or :class:`Tampered` for what is not authentic, ``OSError`` for a failing disk.
    """

    _tail: Tail
    _page: KeyPage
    _master: bytes
    _end: Appender
    _pages: int
    _log_head: bytes = NO_ENTRY
    _committed_head: bytes = NO_ENTRY
    lost: int = 0  #: blocks, key pages and roots that a lenient opening could not use
    lost_commits: int = 0  #: the last so many changes are lost; what is there is the state before them

    def __init__(self, path: Path, descriptor: int, *, writable: bool) -> None:
        self.path = path
        self.writable = writable
        #: What an interrupted change left behind, in a sentence; empty in a file that was closed well.
        self.recovered = ""
        self._descriptor = descriptor
        self._what = str(path)
        self._index = PageIndex()
        self._entries = array("Q")
        self._written = array("I")
        self._pending: dict[int, Place] = {}
        self._pending_entries: list[int] = []

    # What is in it

    @property
    def slots(self) -> KeySlots:
        """The keys that open it."""
        return self._page.slots

    @property
    def identity(self) -> str:
        """A random identity of this file, in hexadecimal; compaction gives another."""
        return self._page.identity.hex()

    @property
    def master(self) -> bytes:
        """The master key, for a new slot."""
        return self._master

    @property
    def pages(self) -> int:
        """The number of pages, with those that are not committed."""
        return self._pages

    @property
    def commits(self) -> int:
        """How often it was changed or opened."""
        return self._tail.commits

    @property
    def chain(self) -> str:
        """A digest over everything ever appended, in hexadecimal: equal for equal files only."""
        return self._tail.chain.hex()

    @property
    def size(self) -> int:
        """Bytes up to the end of the last commit."""
        return self._tail.end

    @property
    def live(self) -> int:
        """Bytes that a compacted file of the same pages and entries would about have."""
        return BLOCKS_AT + len(self._index) * (OVERHEAD + PAGE_BYTES) + 512 * len(self._entries)

    def read(self, page: int) -> bytes:
        """The content of a page, from 0. A page that was never written is empty."""
        place = self._pending.get(page) or self._index[page]
        if place is None:
            return b""
        if place == LOST:
            raise Damaged(f"{self._what}: damaged: page {page} is lost.")
        return self._content(place[0], Kind.PAGE, place[1], page)

    def entries(self) -> Iterator[bytes]:
        """The entries of the log, from the first. Raises :class:`Tampered` where one does not follow the other."""
        head = NO_ENTRY
        for number, offset in enumerate(self._entries):
            content = self._content(offset, Kind.ENTRY, None, number)
            if content[: len(head)] != head and not self.lost:
                raise Tampered(f"{self._what}: its log was changed: an entry does not follow the one before.")
            head = link(content)
            yield content[len(head) :]

    def _content(self, offset: int, kind: Kind, sequence: int | None, number: int) -> bytes:
        block = self._end.read(offset, OVERHEAD + PAGE_BYTES)
        head = Head.parse(block)
        try:
            if head is None or head.kind != kind or head.number != number or sequence not in (None, head.sequence):
                raise Tampered(f"{self._what}: changed while it is open.")
            if head.size > len(block):
                block = self._end.read(offset, head.size)
            return self._blocks.content(memoryview(block)[: head.size], offset, self._what)
        except IntegrityError as error:
            if self._replaced():  # and what this one holds was wiped
                raise self._stale("replaced") from error
            raise

    # Whether it is what was written

    def _take(self, page: KeyPage, master: bytes) -> None:
        self._page, self._master = page, master
        self._keys = page.opened(master, self._what)
        self._blocks = Blocks(self._keys.blocks)
        self._tail = self._start()
        self._end = Appender(self._descriptor, self._blocks, self._tail)

    def _start(self) -> Tail:
        """The state of a file without blocks."""
        return Tail(BLOCKS_AT, 0, 0, 0, 0, hashlib.sha256(self._page.identity).digest(), FIRST_GENERATION)

    def _reset(self) -> None:
        """Back to the last commit."""
        tail = self._tail
        self._pending, self._pending_entries, self._written = {}, [], array("I")
        self._log_head = self._committed_head
        self._pages = tail.pages
        self._end.reset(tail)

    def _unlock(self, secret: Secret) -> list[bytes]:
        """Take the keys; the copies of the key page that are intact, the one that counts first."""
        pages = [self._at_disk(n * KEY_PAGE_BYTES, KEY_PAGE_BYTES) for n in (0, 1)]
        parsed = [(page, found) for page in pages if (found := self._parsed(page))]
        if not parsed:
            for page in pages:
                KeyPage.parse(page, self._what)  # which says so where it is of another format
            raise Damaged(f"{self._what}: damaged: neither copy of its key slots is what was written. Restore it.")
        _, first = parsed[0]
        self._take(first, first.slots.unlock(secret, self._what))
        for page, _ in parsed:
            KeyPage.authenticate(page, self._keys, self._what)
        return [page for page, _ in parsed]

    def _parsed(self, page: bytes) -> KeyPage | None:
        try:
            return KeyPage.parse(page, self._what)
        except (Damaged, UsageError) as error:
            log.info("%s", error)
            return None

    def _read_all(self, pages: list[bytes]) -> Tail:
        """Check every block, and learn where the newest pages are. Returns the root. ``pages``: intact key pages."""
        self._reset()
        size = os.fstat(self._descriptor).st_size
        root = self._root()
        self._check_keys(root, pages)
        if size < root.end:
            raise Damaged(
                f"{self._what}: truncated: {root.end - size:,} bytes are missing at its end. Restore it from a copy, "
                "or save what is left with `leakmatch gallery verify --salvage NEW`."
            )
        self._read_to(root.end)
        if replace(self._tail, changing=root.changing) != root:
            raise Tampered(f"{self._what}: tampered with: its content is not that of its root.")
        if root.changing & APPENDING:
            self._read_interrupted(root, size)
        elif size != root.end:
            raise Tampered(
                f"{self._what}: tampered with: its root is of an earlier time, or something was put behind it."
            )
        if self._page.generation - self._tail.generation not in range((root.changing & KEYS) + 1):
            raise self._other_time()
        return root

    def _read_interrupted(self, root: Tail, size: int) -> None:
        """A process was stopped while it appended a commit: it counts if it is whole."""
        try:
            self._read_to(size)
        except IntegrityError as error:
            log.info("%s: behind the last commit: %s", self._what, error)
        self._reset()
        if self._tail.commits > root.commits + 1:  # the next commit begins when the root of the last one is written
            raise Tampered(f"{self._what}: tampered with: its root was put back to an earlier time.")
        if self.writable:  # else another process may be at it
            done = "completed" if self._tail.end != root.end else "taken back"
            self.recovered = f"a change that was interrupted was {done}"

    def _check_keys(self, root: Tail, pages: list[bytes]) -> None:
        """Both copies of the key page must be there and the same, unless a change of the keys was interrupted."""
        if root.changing & KEYS:
            return
        if len(pages) < 2:
            raise Damaged(f"{self._what}: damaged: one of the two copies of its key slots is not what was written.")
        if pages[0] != pages[1] or self._page.generation != root.generation:
            raise self._other_time()

    def _other_time(self) -> Tampered:
        return Tampered(f"{self._what}: tampered with: its key slots are of another time than its content.")

    def _root(self) -> Tail:
        return parse_root(self._at_disk(ROOT_AT, ROOT_BYTES), self._keys, self._what)

    def _read_to(self, end: int) -> None:
        """Check the blocks from the tail up to ``end``, commit by commit."""
        for offset, head, block in blocks_between(self._descriptor, self._tail.end, end, self._what):
            content = self._blocks.open(block, offset, self._what)
            if head.sequence != self._end.sequence:
                raise Tampered(f"{self._what}: tampered with: its blocks are not in the order they were written.")
            expected, tag = self._end.digest, tag_of(block)
            self._end.follow(tag)
            if head.kind == Kind.COMMIT:
                pages, entries, _, generation, digest = COMMIT.unpack_from(content)
                if digest != expected or head.number != self._tail.commits:
                    raise Tampered(f"{self._what}: tampered with: its blocks are not those that were committed.")
                self._pages = pages
                self._apply(
                    Tail(
                        offset + head.size,
                        self._end.sequence,
                        self._tail.commits + 1,
                        entries,
                        pages,
                        chain_after(digest, tag),
                        generation,
                    )
                )
                continue
            if head.kind == Kind.PAGE:
                self._pending[head.number] = (offset, head.sequence)
            else:
                self._pending_entries.append(offset)
                self._log_head = link(content)

    def _take_intact(self, pages: list[bytes], secret: Secret) -> None:
        """Know what is left of a damaged file. ``pages``: intact key pages; one older than the content is refused."""
        self._reset()
        size = os.fstat(self._descriptor).st_size
        try:
            root: Tail | None = self._root()
        except IntegrityError:
            root = None
        found = intact(self._blocks, self._at_disk, size, root, OVERHEAD + PAGE_BYTES)
        current = [page for page in pages if KeyPage.parse(page, self._what).generation >= found.generation]
        if not current:
            raise self._other_time()
        KeyPage.parse(current[0], self._what).slots.unlock(secret, self._what)
        self.lost = found.lost + (2 - len(current)) + (root is None)
        self._end.skip_to(size)
        self._entries, self._pages = array("Q", found.entries), found.pages
        places = {page: found.places.get(page, LOST) for page in range(found.pages)}
        self._index.update(places, found.pages)
        self.lost_commits = found.behind

    # The state

    def _apply(self, tail: Tail) -> None:
        """The pending pages and entries are committed."""
        self._index.update(self._pending, tail.pages)
        self._entries.extend(self._pending_entries)
        self._committed_head = self._log_head
        self._pending, self._pending_entries, self._written = {}, [], array("I")
        self._end.reset(tail)
        self._tail = tail

    def _stale(self, how: str) -> UsageError:
        return UsageError(f"{self._what}: {how} by another LeakMatch process meanwhile. Run the command again.")

    def _replaced(self) -> bool:
        try:
            now, own = self.path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False  # a file under a name of its own, or removed: nobody else will append to it
        return (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino)

    def _at_disk(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)


def chain_after(digest: bytes, tag: bytes) -> bytes:
    return hashlib.sha256(digest + tag).digest()


def link(content: bytes) -> bytes:
    """What the next entry of a log follows: SHA-256 of this one, with what it follows before it."""
    return hashlib.sha256(content).digest()

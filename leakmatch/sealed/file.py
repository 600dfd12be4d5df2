"""A sealed file: numbered pages and a log of entries, encrypted, authenticated, and only ever appended to.

A page that is written again is appended again; the newest one counts. A commit ends with a block that vouches, by a
digest over the tags of all blocks, for everything before it; then the *root* at the beginning of the file is set to the
new end. So

* a block that was exchanged, moved or put back does not fit the digest, wherever it is;
* a file that was cut is shorter than its root says;
* what comes after the root's end is a commit that was interrupted: it counts if it is whole, and else never was.

What nobody can tell from the file alone: that *all* of it was put back to an earlier state (docs/security.md).

All is checked when a file is opened, what is superseded too. Old pages stay in the file until it is compacted.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final, Self

from leakmatch.errors import Damaged, IntegrityError, Tampered, UsageError
from leakmatch.sealed.appender import Appender, Place
from leakmatch.sealed.blocks import COMMIT, OVERHEAD, Blocks, Head, Kind, tag_of
from leakmatch.sealed.disk import blocks_between, descriptor_of, write_at
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
    pack_root,
    parse_root,
)
from leakmatch.sealed.index import LOST, PageIndex
from leakmatch.sealed.intact import intact
from leakmatch.sealed.keys import Keys, KeySlots, Secret
from leakmatch.sealed.locks import end_held, hold_content

log = logging.getLogger(__name__)

#: The most bytes of a page; all but the last page of a stream have as many.
PAGE_BYTES: Final = 16384

#: What the first entry of a log follows; each other follows the SHA-256 of the one before.
_NO_ENTRY: Final = bytes(32)


class SealedFile:
    """One sealed file. Use it as a context manager, or close it.

    All methods raise :class:`Damaged` or :class:`Tampered` for what is not authentic, ``OSError`` for a failing disk.
    """

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
        self._holding = ExitStack()

    # Making and opening

    @classmethod
    def create(cls, path: Path, page: KeyPage, master: bytes) -> SealedFile:
        """A new file without content, readable by its owner only. The file must not exist. Nobody else may know it."""
        keys = page.opened(master, str(path))
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        made = cls(path, descriptor, writable=True)
        try:
            made._take(page, master)
            made._reset()
            packed = page.packed(keys)
            write_at(descriptor, 0, packed + packed + pack_root(made._tail, keys).ljust(ROOT_BYTES, b"\0"))
            os.fsync(descriptor)
        except BaseException:
            made.close()
            raise
        return made

    @classmethod
    def open(
        cls, path: Path, keys: Keys, *, content: str = "", change: bool = False, lenient: bool = False
    ) -> SealedFile:
        """Open, check everything, and complete or take back a commit that was interrupted.

        ``content``: "alone" or "shared", how it is held until the file is closed; empty for a reader to whom a state
        is as good as the next. ``change``: raise :class:`StorageError` where the file cannot be written; else it is
        read as it is. ``lenient``: take what is intact, for salvage, and change nothing; :attr:`lost` counts the rest.

        Raises :class:`UsageError` (no key, in use) or :class:`WrongKey`, too.
        """
        descriptor, writable = descriptor_of(path, change=change, look=lenient)
        opened = cls(path, descriptor, writable=writable)
        try:
            if content:
                hold_content(descriptor, path, shared=content == "shared")
            secret = keys.secret(str(path))
            opened._unlock(secret)  # perhaps slow: not while others wait
            with opened._end_held():
                pages = opened._unlock(secret)  # again: the keys may have been changed meanwhile
                if lenient:
                    opened._take_intact(pages, secret)
                    return opened
                root = opened._read_all(pages)
                if writable:
                    opened._mend(root)
            if opened._tail.changing:
                opened._commit()
        except BaseException:
            opened.close()
            raise
        return opened

    def hold(self) -> None:
        """Hold the content alone until it is closed, as :meth:`open` does with ``content="alone"``."""
        hold_content(self._descriptor, self.path, shared=False)

    def close(self) -> None:
        """Close the file; what was not committed is gone."""
        with suppress(OSError):  # a failing disk: the next who opens it takes back what is left of it
            self.rollback()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

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
        head = _NO_ENTRY
        for number, offset in enumerate(self._entries):
            content = self._content(offset, Kind.ENTRY, None, number)
            if content[: len(head)] != head and not self.lost:
                raise Tampered(f"{self._what}: its log was changed: an entry does not follow the one before.")
            head = hashlib.sha256(content).digest()
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

    # Changing it

    def write(self, page: int, content: bytes) -> None:
        """Set a page; it counts from the next commit on."""
        self._begin()
        self._pending[page] = self._end.append(Kind.PAGE, page, content)
        self._written.append(page)
        self._pages = max(self._pages, page + 1)

    def resize(self, pages: int) -> None:
        """Drop the pages from ``pages`` on."""
        self._begin()
        self._pages = pages
        self._pending = {page: place for page, place in self._pending.items() if page < pages}

    def commit(self, entries: Sequence[bytes] = ()) -> None:
        """Make all that was written, and ``entries`` of the log, durable: all of it or nothing."""
        if entries or self._pending or self._pages != self._tail.pages:
            self._commit(entries)
        else:
            self.rollback()

    def _commit(self, entries: Sequence[bytes] = ()) -> None:
        self._begin()
        for number, entry in enumerate(entries, self._tail.entries):
            content = self._log_head + entry
            self._pending_entries.append(self._end.append(Kind.ENTRY, number, content)[0])
            self._log_head = hashlib.sha256(content).digest()
        known = self._tail.entries + len(entries)
        digest = self._end.digest
        commit = COMMIT.pack(self._pages, known, self._tail.sequence, self._page.generation, digest)
        self._end.append(Kind.COMMIT, self._tail.commits, commit + self._written.tobytes())
        self._end.flush()
        os.fsync(self._descriptor)
        tail = Tail(
            end=self._end.end,
            sequence=self._end.sequence,
            commits=self._tail.commits + 1,
            entries=known,
            pages=self._pages,
            chain=_chain(digest, self._end.last_tag),
            generation=self._page.generation,
        )
        self._write_root(tail)
        self._apply(tail)
        self._holding.close()

    def rollback(self) -> None:
        """Forget what was written since the last commit. A commit that failed when its root was written stays."""
        if self._holding_end:
            self._reset()
            try:
                if replace(self._root(), changing=0) == self._tail:
                    self._cut(self._tail)
            except IntegrityError as error:
                log.info("%s: left as it is: %s", self._what, error)
            finally:
                self._holding.close()

    def set_slots(self, slots: KeySlots, entries: Sequence[bytes] = ()) -> None:
        """Change the keys that open it, and note it in the log."""
        self._begin()
        page = self._page.with_slots(slots)
        packed = page.packed(self._keys)
        self._write_root(replace(self._tail, changing=KEYS | APPENDING))
        self._write_key_page(packed, 0)
        self._write_key_page(packed, 1)
        self._page = page
        self._commit(entries)

    def forget_keys(self) -> None:
        """Overwrite the keys, so that what this file holds can never be read again. For a file that was replaced."""
        write_at(self._descriptor, 0, os.urandom(BLOCKS_AT))
        os.fsync(self._descriptor)
        os.ftruncate(self._descriptor, 0)

    def successor(self, path: Path) -> SealedFile:
        """A new, empty file that the same keys open; it has another identity and data key."""
        return SealedFile.create(path, KeyPage.new(self.slots, self._master), self._master)

    @property
    def master(self) -> bytes:
        """The master key, for a new slot."""
        return self._master

    # Within

    _tail: Tail
    _page: KeyPage
    _master: bytes
    _end: Appender
    _pages: int
    _log_head: bytes = _NO_ENTRY
    _committed_head: bytes = _NO_ENTRY
    _holding_end: bool = False
    lost: int = 0  #: blocks, key pages and roots that a lenient opening could not use
    lost_pages: int = 0
    lost_commits: int = 0  #: the last so many changes are lost; what is there is the state before them

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
                        _chain(digest, tag),
                        generation,
                    )
                )
                continue
            if head.kind == Kind.PAGE:
                self._pending[head.number] = (offset, head.sequence)
            else:
                self._pending_entries.append(offset)
                self._log_head = hashlib.sha256(content).digest()

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
        self.lost_pages = list(places.values()).count(LOST)
        self.lost_commits = found.behind

    def _mend(self, root: Tail) -> None:
        """Complete or take back what was interrupted: the end of the file, the root, the key pages."""
        if root.changing & KEYS:
            done = "taken back" if self._page.generation == root.generation else "completed"
            self.recovered = f"a change of its keys that was interrupted was {done}"
            packed = self._page.packed(self._keys)
            for copy in (1, 0):
                self._write_key_page(packed, copy)
        if self.recovered:
            self._tail = replace(self._tail, changing=self._page.generation - self._tail.generation)
            self._cut(self._tail)

    def _begin(self) -> None:
        """Hold the end of the file until the commit, and begin where others have left it."""
        if self._holding_end:
            return
        if not self.writable:
            raise PermissionError(errno.EROFS, os.strerror(errno.EROFS), str(self.path))
        self._holding.enter_context(self._end_held())
        self._holding_end = True
        self._holding.callback(self._let_go)
        try:
            root = self._root()
            if root != self._tail:
                self._catch_up(root)
            self._write_root(replace(self._tail, changing=self._tail.changing | APPENDING))
        except BaseException:
            self._holding.close()
            raise

    def _let_go(self) -> None:
        self._holding_end = False

    def _catch_up(self, root: Tail) -> None:
        """Another process has appended to the log."""
        before = self._tail.pages, self._index.state()
        self._read_to(root.end)
        if replace(self._tail, changing=root.changing) != root:
            raise Tampered(f"{self._what}: changed while it is open.")
        if before != (self._tail.pages, self._index.state()) or self._page.generation != root.generation:
            raise self._stale("changed")
        if root.changing:
            raise self._stale("left in the middle of a change")

    def _end_held(self) -> ExitStack:
        """Hold the end, where the file can be written."""
        stack = ExitStack()
        if self.writable:
            stack.enter_context(end_held(self._descriptor, self.path))
            if self._replaced():
                stack.close()
                raise self._stale("replaced")
        return stack

    def _stale(self, how: str) -> UsageError:
        return UsageError(f"{self._what}: {how} by another LeakMatch process meanwhile. Run the command again.")

    def _replaced(self) -> bool:
        try:
            now, own = self.path.stat(), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False  # a file under a name of its own, or removed: nobody else will append to it
        return (now.st_dev, now.st_ino) != (own.st_dev, own.st_ino)

    def _apply(self, tail: Tail) -> None:
        """The pending pages and entries are committed."""
        self._index.update(self._pending, tail.pages)
        self._entries.extend(self._pending_entries)
        self._committed_head = self._log_head
        self._pending, self._pending_entries, self._written = {}, [], array("I")
        self._end.reset(tail)
        self._tail = tail

    def _cut(self, tail: Tail) -> None:
        """Take off what is behind the last commit; only then the root says that nobody is at it."""
        os.ftruncate(self._descriptor, tail.end)
        os.fsync(self._descriptor)
        self._write_root(tail)

    def _write_root(self, tail: Tail) -> None:
        write_at(self._descriptor, ROOT_AT, pack_root(tail, self._keys))
        os.fsync(self._descriptor)

    def _write_key_page(self, packed: bytes, copy: int) -> None:
        write_at(self._descriptor, copy * KEY_PAGE_BYTES, packed)
        os.fsync(self._descriptor)

    def _at_disk(self, offset: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, offset)


def _chain(digest: bytes, tag: bytes) -> bytes:
    return hashlib.sha256(digest + tag).digest()

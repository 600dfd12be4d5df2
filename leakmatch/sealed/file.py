"""A sealed file: numbered pages and a log of entries, encrypted, authenticated, and only ever appended to.

A page that is written again is appended again; the newest one counts. A commit is announced in the *root*, at the
beginning of the file. It ends with a block that vouches, by a digest over the tags of all blocks, for everything before
it; then the root is set to the new end. So

* a block that was exchanged, moved or put back does not fit the digest, wherever it is;
* a file that was cut is shorter than its root says;
* a root that was put back does not end where the file does;
* a commit that was announced and did not get its root was interrupted: it counts if it is whole, and else never was.

What nobody can tell from the file alone: that *all* of it was put back to an earlier state (docs/security.md).

All is checked when a file is opened, what is superseded too. Old pages stay in the file until it is compacted.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from leakmatch.errors import IntegrityError, Tampered
from leakmatch.sealed.blocks import COMMIT, Kind
from leakmatch.sealed.content import PAGE_BYTES, SealedContent, chain_after, link
from leakmatch.sealed.disk import descriptor_of, write_at
from leakmatch.sealed.header import (
    APPENDING,
    BLOCKS_AT,
    KEY_PAGE_BYTES,
    KEYS,
    ROOT_AT,
    ROOT_BYTES,
    KeyPage,
    Tail,
    pack_root,
)
from leakmatch.sealed.keys import Keys, KeySlots
from leakmatch.sealed.locks import end_held, hold_content

__all__ = ["PAGE_BYTES", "SealedFile"]

log = logging.getLogger(__name__)


class SealedFile(SealedContent):
    """One sealed file, to be read and changed. Use it as a context manager, or close it.

    All methods raise :class:`~leakmatch.errors.Damaged` or :class:`~leakmatch.errors.Tampered` for what is not
    authentic, ``OSError`` for a failing disk.
    """

    _holding_end: bool = False

    def __init__(self, path: Path, descriptor: int, *, writable: bool) -> None:
        super().__init__(path, descriptor, writable=writable)
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
        except BaseException as error:
            replaced = isinstance(error, IntegrityError) and opened._replaced()
            opened.close()
            if replaced:  # and wiped, while it was read
                raise opened._stale("replaced") from error
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
            self._log_head = link(content)
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
            chain=chain_after(digest, self._end.last_tag),
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
                root = self._root()
                if replace(root, changing=0) == self._tail and not root.changing & KEYS:
                    self._cut(self._tail)  # key pages that were written in part are put right by the next opening
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

    # Within

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
            if os.fstat(self._descriptor).st_size != self._tail.end:  # of a process that was stopped in its commit
                os.ftruncate(self._descriptor, self._tail.end)
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
        if root.changing & KEYS:
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

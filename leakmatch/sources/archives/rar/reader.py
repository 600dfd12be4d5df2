"""Rar, of every version that the official UnRAR reads; without it, by libarchive as far as that goes."""

from __future__ import annotations

import contextlib
import io
import stat
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.libarchive.reader import open_libarchive
from leakmatch.sources.archives.rar.header import SIGNATURE, Main, find_start, read_layout, read_main
from leakmatch.sources.archives.rar.unrar import LIST, READ, Header, Locked, Rar, is_installed, pulled
from leakmatch.sources.guard import (
    corrupt,
    encrypted,
    extra_missing,
    over_budget,
    truncated,
    unsupported,
    volume_missing,
)
from leakmatch.sources.members import Container, Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.once import Once
from leakmatch.sources.opening import Opening
from leakmatch.sources.passwords import MOST_TRIES
from leakmatch.sources.streams import Range

_STUB: Final = 1 << 20
_MAIN: Final = 4096
_MOST_REOPENED: Final = 1000  # times, since each goes over all headers before
_LONGEST_TARGET: Final = 4096  # of a link; more is no target
_USUAL_ROUNDS: Final = 15  # a power of two, for a key of rar 5
_MOST_ROUNDS: Final = 24


def open_rar(opening: Opening) -> Container:
    """The reader of rar archives, also of those that a program carries, and of sets of several parts."""
    opening.file.seek(0)
    start = find_start(opening.file.read(_STUB)) or 0
    opening.file.seek(start)
    damage: ItemError | None = None
    try:
        main = read_main(opening.file.read(_MAIN))
    except ItemError as error:
        main, damage = Main(0, is_solid=True), error
    if is_installed():
        return RarArchive(opening, main, start, damage)
    if main.is_locked or main.is_volume:
        raise extra_missing("Rar archives that are locked or in several parts", "rar")
    return open_libarchive(opening)


class RarArchive:
    """A rar archive, on disk or copied to where it has a path. ``damage``: of its first header."""

    def __init__(self, opening: Opening, main: Main, start: int, damage: ItemError | None = None) -> None:
        self.notes: list[Note] = []
        self._opening = opening
        self._main = main
        self._start = start
        self._damage = damage
        self._tried: int | None = None  # passwords of the list, if not all
        self._tries = MOST_TRIES  # that are left for members with passwords of their own
        self._seen = 0  # members and folders that UnRAR listed
        self._is_solid = main.is_solid or main.is_locked  # of a locked one it is not known
        self._password: bytes | None = None
        self._allowed = opening.budget.memory * 5 // 8
        self._failure: ItemError | None = None
        self._path = Path()

    def members(self) -> Iterator[Member]:
        """Every member in stored order; folders are left out. A set of parts is read from its first."""
        if self._damage is None:
            yield from self._unpacked()
        else:
            yield from self._salvaged(self._damage)
        self._compare()
        if self._failure is not None:
            raise self._failure

    def _salvaged(self, damage: ItemError) -> Iterator[Member]:
        """The members of an archive with a damaged first header: libarchive's, where UnRAR finds none."""
        count = 0
        try:
            for member in self._unpacked():
                count += 1
                yield member
        except ItemError as error:
            self._failed(error)
        if not count:
            self._failure = None
            try:
                yield from open_libarchive(self._opening).members()
            except ItemError as error:
                self._failed(error)
        self._failed(damage)

    def _unpacked(self) -> Iterator[Member]:
        with ExitStack() as stack:
            path = stack.enter_context(self._path_of_it())
            if not _is_text(path):  # UnRAR takes no other names
                path = Path(f"/proc/self/fd/{stack.enter_context(path.open('rb')).fileno()}")
            self._path = path
            survey = self._survey(path)
            if survey.locked is not None and self._password is None:
                self._find_password(
                    lambda password: self._opens_member(path, password, survey.locked or 0), survey.before
                )
            yield from self._read(path, survey)

    @contextmanager
    def _path_of_it(self) -> Iterator[Path]:
        """A path of the archive; of a copy where a signature before it would mislead UnRAR."""
        opening = self._opening
        opening.file.seek(0)
        if opening.file.read(self._start + len(SIGNATURE)).find(SIGNATURE) == self._start:
            with opening.path() as path:
                yield path
        else:
            behind = Range(opening.file, self._start, opening.size - self._start)
            with opening.scratch.copied(cast(BinaryIO, behind)) as path:
                yield path

    def _open(self, path: Path, mode: int, password: bytes | None) -> Rar:
        self._opening.pulse()
        return Rar(path, mode, password, lambda part: part.parent == path.parent and _is_regular(part))

    def _failed(self, error: ItemError, archive: Rar | None = None) -> None:
        """Remember why not all could be read; the first reason counts."""
        if isinstance(error, Locked):
            error = encrypted(self._opening.passwords.failed(self._tried))
        elif archive is not None and archive.missing is not None:
            error = self._part_missing(archive.missing)
        self._failure = self._failure or error

    def _compare(self) -> None:
        """Tell what UnRAR does not: that the archive was cut, and what it passes over."""
        if not self._main.version or self._main.is_locked:
            return
        layout = read_layout(self._opening.file, self._start, self._main)
        if layout.ends:
            self._opening.ends(layout.end)
        if self._failure is not None:
            return
        if layout.streams:
            self._failed(unsupported(f"it has {layout.streams} alternate data streams, which are not read"))
        elif not layout.ends:
            self._failed(truncated("the archive ends without an end mark; members may be missing"))
        elif layout.odd:
            self._failed(corrupt(f"{layout.odd} of its blocks are of a kind that there is not; they were left alone"))
        elif layout.members > self._seen:
            self._failed(corrupt(f"it has {layout.members} members, of which only {self._seen} could be listed"))

    def _note(self, note: Note) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _part_missing(self, name: str) -> ItemError:
        if self._opening.volumes.path is None:
            return volume_missing("one part of a set; unpack all of them into one folder, and scan that")
        return volume_missing(f"the part {name} is missing")

    # Before reading

    def _survey(self, path: Path) -> _Survey:
        """What can be known from the headers alone. Finds the password if they are locked."""
        try:
            return self._surveyed(path)
        except Locked:
            self._find_password(lambda password: self._opens_headers(path, password), 0)
            if self._password is None:
                raise encrypted(self._opening.passwords.failed(self._tried)) from None
            return self._surveyed(path)

    def _surveyed(self, path: Path) -> _Survey:
        locked, smallest, dictionary, before = None, 0, 0, 0
        unpacked = 0
        with self._open(path, LIST, self._password) as archive:
            index = 0
            with contextlib.suppress(ItemError):  # it will be met again when the members are read
                while (header := archive.next()) is not None:
                    dictionary = max(dictionary, header.dictionary)
                    # In a solid archive all before it must be unpacked as well.
                    is_better = locked is None or (header.size < smallest and not self._is_solid)
                    if header.is_encrypted and header.size and not header.begins_before and is_better:
                        locked, smallest = index, header.size
                        before = header.size + (unpacked if self._is_solid else 0)
                    unpacked += header.size
                    index += 1
                    archive.skip()
        self._seen = index
        return _Survey(locked, dictionary, before)

    def _find_password(self, opens: Callable[[bytes], bool], size: int) -> None:
        """``size``: of what is unpacked at each try, which costs as well."""
        rounds = self._main.rounds
        if self._main.version == 5 and not self._main.is_locked:
            rounds = read_layout(self._opening.file, self._start, self._main).rounds
        cost = (1 << min(max(rounds - _USUAL_ROUNDS, 0), _MOST_ROUNDS)) + (size >> 20)
        self._tried = max(MOST_TRIES // cost, 1)
        for password in self._opening.passwords.first(self._tried):
            found = opens(password)
            self._opening.tried()
            if found:
                self._password = password
                self._note(self._opening.passwords.worked(password))
                return

    def _opens_headers(self, path: Path, password: bytes) -> bool:
        try:
            with self._open(path, LIST, password) as archive:
                archive.next()
        except ItemError:
            return False
        return True

    def _opens_member(self, path: Path, password: bytes, index: int) -> bool:
        try:
            with self._open(path, READ, password) as archive:
                for _ in range(index):
                    archive.next()
                    self._pass_over(archive)
                archive.next()
                for _ in pulled(archive, self._opening.tried, to_the_end=False):
                    pass
        except ItemError:
            return False
        return True

    # Reading

    def _read(self, path: Path, survey: _Survey) -> Iterator[Member]:
        if self._is_solid and survey.dictionary > self._allowed:
            yield from self._listed(path, survey)
            return
        archive = self._open(path, READ, self._password)
        try:
            index = reopened = 0
            while (header := self._next(archive)) is not None:
                state = _State(index)
                index += 1
                if not header.is_mere_folder:
                    yield from self._member(archive, header, state)
                # UnRAR goes on behind neither a member that was left nor one that was damaged.
                if state.failed and archive.missing is not None:
                    return
                if state.failed or (state.left and not self._is_solid):
                    archive.close()
                    reopened += 1
                    if self._is_solid or reopened > _MOST_REOPENED:
                        yield from self._behind(path, index)
                        return
                    archive = self._at(path, index)
                elif not state.begun and not self._passed_over(archive):
                    return
        finally:
            archive.close()

    def _next(self, archive: Rar) -> Header | None:
        """The next member; ``None`` at the end, and where nothing more can be read."""
        try:
            header = archive.next()
        except ItemError as error:
            self._failed(error, archive)
            return None
        if header is None and archive.missing is not None:
            self._failed(self._part_missing(archive.missing))
        return header

    def _passed_over(self, archive: Rar) -> bool:
        """Whether it could be."""
        try:
            self._pass_over(archive)
        except ItemError as error:
            self._failed(error, archive)
            return archive.missing is None
        return True

    def _pass_over(self, archive: Rar) -> None:
        if self._is_solid:  # skipping would unpack it as well, but not tell that it lives
            for _ in pulled(archive, self._opening.pulse, to_the_end=True):
                pass
        else:
            archive.skip()

    def _at(self, path: Path, index: int) -> Rar:
        """The archive opened anew, behind so many members."""
        archive = self._open(path, READ, self._password)
        for _ in range(index):
            archive.next()
            archive.skip()
        return archive

    def _behind(self, path: Path, index: int) -> Iterator[Member]:
        """The members from the one at ``index`` on, which can be listed only."""
        why = "members before it are damaged, and without them it cannot be unpacked"
        with self._open(path, LIST, self._password) as archive:
            while (header := self._next(archive)) is not None:
                index -= 1
                if index < 0 and not header.is_mere_folder:
                    yield _member(header, _nothing, corrupt(why))
                archive.skip()

    def _listed(self, path: Path, survey: _Survey) -> Iterator[Member]:
        """The members, of which none can be read for want of memory."""
        need = f"it needs a dictionary of {survey.dictionary >> 20} MiB, and {self._allowed >> 20} MiB are allowed"
        self._failed(over_budget(need))
        with self._open(path, LIST, self._password) as archive:
            while (header := self._next(archive)) is not None:
                if not header.is_mere_folder:
                    yield _member(header, _nothing, over_budget(need))
                archive.skip()

    def _member(self, archive: Rar, header: Header, state: _State) -> Iterator[Member]:
        problem = None
        if header.is_folder:
            problem = None if header.special else corrupt("a folder that has data, which is not read")
            yield _member(header, _nothing, problem)
            return
        if header.begins_before:
            problem = volume_missing("it begins in an earlier part")
        elif header.is_encrypted and self._password is None:
            problem = encrypted(self._opening.passwords.failed(self._tried))
        elif header.dictionary > self._allowed:
            allowed = f"{self._allowed >> 20} MiB are allowed"
            problem = over_budget(f"it needs a dictionary of {header.dictionary >> 20} MiB, and {allowed}")
        if problem is not None:
            yield _member(header, _nothing, problem)
            return
        blocks = self._blocks(archive, state)
        try:
            with Once(blocks, self._opening.scratch) as once:
                yield _member(header, once.open, None)
        finally:
            blocks.close()

    def _blocks(self, archive: Rar, state: _State) -> Generator[bytes, None, None]:
        state.begun = state.left = True
        try:
            yield from pulled(archive, self._opening.pulse, to_the_end=self._is_solid)
            state.left = False
        except Locked:
            state.left = False
            yield from self._otherwise(state.index)
        except ItemError as error:
            state.left, state.failed = False, True
            if archive.missing is not None:
                self._failed(error, archive)
                raise self._part_missing(archive.missing) from None
            raise

    def _otherwise(self, index: int) -> Iterator[bytes]:
        """The bytes of a member that has a password of its own."""
        tried = min(self._tries, len(self._opening.passwords))
        self._tries -= tried
        for password in self._opening.passwords.first(tried):
            if password == self._password or self._is_solid:
                continue
            self._opening.tried()
            with self._open(self._path, READ, password) as archive:
                for _ in range(index):
                    archive.next()
                    archive.skip()
                archive.next()
                blocks = pulled(archive, self._opening.pulse, to_the_end=False)
                try:
                    first = next(blocks, b"")
                except Locked:
                    continue
                self._note(self._opening.passwords.worked(password))
                yield first
                yield from blocks
                return
        raise encrypted(self._opening.passwords.failed(tried))


@dataclass(frozen=True, slots=True)
class _Survey:
    """``locked``: the encrypted member on which passwords are tried, and ``before``: the bytes to unpack for it.

    ``dictionary``: the largest of all.
    """

    locked: int | None
    dictionary: int
    before: int


@dataclass(slots=True)
class _State:
    """Of the reading of the member ``index``: whether it began, was left before its end, or failed."""

    index: int
    begun: bool = False
    left: bool = False
    failed: bool = False


def _member(header: Header, reopen: Callable[[], BinaryIO], problem: ItemError | None) -> Member:
    special = header.special
    notes: tuple[Note, ...] = ()
    if special and header.size > _LONGEST_TARGET and header.packed:
        special, notes = "", (Note("link", f"{special}, with more data than a target has"),)
    raw = header.name
    name, stored = decode_name(raw), max(header.packed, 1)
    return Member(raw, name, stored, reopen, header.size, special=special, problem=problem, notes=notes)


def _nothing() -> BinaryIO:
    return io.BytesIO()


def _is_text(path: Path) -> bool:
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_regular(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)

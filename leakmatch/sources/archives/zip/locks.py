"""Locked members of a zip: which password of the list opens them, found at little cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.zip.crypto import (
    HEADER,
    Aes,
    AesBody,
    Authenticated,
    Traditional,
    aes_field,
    is_authentic,
    opens_aes,
    opens_traditional,
    readings,
)
from leakmatch.sources.archives.zip.entries import AES_EXTRA, ZipEntry, extra_field
from leakmatch.sources.archives.zip.methods import AES, STORED, expanded, is_read, unread
from leakmatch.sources.guard import corrupt, encrypted, reading
from leakmatch.sources.members import Note
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Checked

_ENCRYPTED, _STRONG, _DESCRIBED = 1, 0x40, 8

#: What trying may cost in one archive, in tries of the traditional cipher (about 12 microseconds each).
_MOST_TRIES: Final = 5_000_000
_AES_COST: Final = 80
_PULSE: Final = 100  # tries of AES between two signs of life

_CONFIRM: Final = 64 << 20  # so much output of a password that did not open anything here yet
_CONFIRM_AGAIN: Final = 1 << 16
_CONFIRM_STORED: Final = 1 << 30  # what is not compressed shows a wrong password at its end only
_BELIEVED: Final = 4096  # garbage does not decompress to so many bytes

_NO, _PERHAPS, _YES = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Lock:
    """How one member is locked. ``method``: how it is compressed inside; ``aes`` is ``None`` for the old cipher."""

    method: int
    aes: Aes | None


def lock_of(entry: ZipEntry) -> Lock | None:
    """``None`` for a member that is not locked. Raises :class:`ItemError` where it cannot be opened by any password."""
    if entry.method != AES and not entry.flags & _ENCRYPTED:
        return None
    if entry.flags & _STRONG:
        raise encrypted("locked with PKWARE's strong encryption, which is not read by this version")
    aes = None
    if entry.method == AES:
        aes = aes_field(extra_field(entry.extra, AES_EXTRA))
        if aes is None:
            raise corrupt("it is said to be locked with AES, but not how")
    return Lock(entry.method if aes is None else aes.method, aes)


class Locks:
    """Tries the passwords of ``opening`` on members of one archive; ``notes`` gets what to tell of it."""

    def __init__(self, opening: Opening, notes: list[Note]) -> None:
        self._passwords = opening.passwords
        self._tried = opening.tried
        self._notes = notes
        self._worked: list[tuple[bytes, bytes]] = []  # here: the line, and as which bytes; the last first
        self._tries = 0
        self._gave_up = False

    def key(self, entry: ZipEntry, lock: Lock, reopen: Callable[[], BinaryIO], size: int) -> bytes:
        """The password of the member whose ``size`` bytes ``reopen`` gives. Raises :class:`ItemError` without one."""
        if not is_read(lock.method):
            raise unread(lock.method)
        if not self._passwords:
            raise encrypted(self._passwords.failed())
        trial = _Trial(entry, lock, reopen, size)
        header = reopen().read(HEADER if lock.aes is None else lock.aes.before)
        perhaps: tuple[bytes, bytes] | None = None
        for line, password in self._candidates(lock, header, entry):
            belief = trial.belief(password, known=(line, password) in self._worked)
            if belief == _YES:
                return self._found(line, password)
            if belief == _PERHAPS and perhaps is None:
                perhaps = line, password
        if perhaps is not None:
            return self._found(*perhaps)
        if self._gave_up:
            raise encrypted("locked with a password; the list is too long to be tried on every member of this archive")
        raise encrypted(self._passwords.failed())

    def _candidates(self, lock: Lock, header: bytes, entry: ZipEntry) -> list[tuple[bytes, bytes]]:
        """Those that the first bytes do not rule out, those that worked here first."""
        fits = _fits(lock, header, entry)
        found = [pair for pair in self._worked if fits(pair[1])]
        if found and lock.aes is not None:
            return found  # of others, one in 65,536 would pass
        cost = 1 if lock.aes is None else _AES_COST
        for line in self._passwords.in_order():
            for password in readings(line):
                if (line, password) in self._worked:
                    continue
                if self._tries > _MOST_TRIES:
                    self._gave_up = True
                    return found
                if self._tries // cost % _PULSE == 0:
                    self._tried()
                self._tries += cost
                if fits(password):
                    found.append((line, password))
        return found

    def _found(self, line: bytes, password: bytes) -> bytes:
        note = self._passwords.worked(line)
        if note not in self._notes:
            self._notes.append(note)
        pair = line, password
        self._worked = [pair, *(other for other in self._worked if other != pair)]
        return password


def _fits(lock: Lock, header: bytes, entry: ZipEntry) -> Callable[[bytes], bool]:
    """Whether a password passes the check of the first bytes."""
    aes = lock.aes
    if aes is not None:
        return lambda password: len(header) == aes.before and opens_aes(aes, password, header)
    # The last byte of the header is of the CRC, or of the time where the CRC was not known yet; programs differ.
    checks = [entry.time >> 8] if entry.flags & _DESCRIBED else []
    checks += [] if entry.crc is None else [entry.crc >> 24]
    return lambda password: len(header) == HEADER and opens_traditional(password, header, tuple(checks))


class _Trial:
    """Whether a password that passed the check is the one: the data must come out as it went in."""

    def __init__(self, entry: ZipEntry, lock: Lock, reopen: Callable[[], BinaryIO], size: int) -> None:
        self._entry, self._lock, self._reopen, self._size = entry, lock, reopen, size

    def belief(self, password: bytes, *, known: bool) -> int:
        aes = self._lock.aes
        if aes is not None and (known or is_authentic(aes, password, self._reopen(), self._size)):
            return _YES
        stored = self._lock.method == STORED
        most = _CONFIRM_STORED if stored else _CONFIRM_AGAIN if known else _CONFIRM
        given = 0
        try:
            with reading("it"):
                stream = unlocked(self._entry, self._lock, self._reopen(), self._size, password)
                while given < most and (data := stream.read(CHUNK)):
                    given += len(data)
        except ItemError:
            return _PERHAPS if given >= _BELIEVED and not stored else _NO
        return _YES


def unlocked(entry: ZipEntry, lock: Lock, body: BinaryIO, size: int, password: bytes) -> BinaryIO:
    """The content of a locked member; checked at its end by whatever it has to be checked by."""
    if lock.aes is None:
        plain = cast(BinaryIO, Traditional(body, size, password))
        return cast(BinaryIO, Checked(expanded(plain, lock.method, entry.flags, entry.size), entry.size, entry.crc))
    opened = AesBody(lock.aes, body, size, password)
    content = expanded(cast(BinaryIO, opened), lock.method, entry.flags, entry.size)
    crc = None if lock.aes.version == 2 else entry.crc
    return cast(BinaryIO, Authenticated(cast(BinaryIO, Checked(content, entry.size, crc)), opened))

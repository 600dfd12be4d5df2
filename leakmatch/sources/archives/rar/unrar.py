"""The official UnRAR library (``unrar2-cffi``): one archive from front to back, its bytes as they are unpacked.

Nothing is extracted: members are "tested", which gives their bytes to a callback.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.guard import corrupt, over_budget, truncated, unsupported, volume_missing
from leakmatch.sources.names import decode_name, use_utf8

_END, _NO_MEMORY, _BAD_DATA, _BAD_ARCHIVE, _UNKNOWN, _NOT_OPENED = 10, 11, 12, 13, 14, 15
_NOT_READ, _NO_PASSWORD, _REFERENCE, _BAD_PASSWORD, _LARGE_DICTIONARY = 18, 22, 23, 24, 25
_STORED = 0x30
_MISSING = 0  # of a volume; else it was opened

_SPLIT_BEFORE, _SPLIT_AFTER, _ENCRYPTED, _FOLDER = 0x1, 0x2, 0x4, 0x20
LIST, READ = 0, 1
_LINKS: Final = {
    1: "a symbolic link",
    2: "a symbolic link",
    3: "a junction",
    4: "a hard link to another member",
    5: "a reference to another member with the same bytes",
}
_WORDS: Final = {
    _BAD_DATA: "it is damaged: the checksum is wrong",
    _BAD_ARCHIVE: "it is damaged",
    _REFERENCE: "what it refers to cannot be read",
}
_MARK, _MAPPED = "\ufffe", 0xE000
_LONGEST_NAME: Final = 1 << 16
_QUEUED: Final = 2  # blocks of up to 4 MiB


@dataclass(frozen=True, slots=True)
class Header:
    """A member as UnRAR lists it."""

    name: bytes
    packed: int
    size: int
    dictionary: int
    special: str
    is_folder: bool
    is_encrypted: bool
    begins_before: bool

    @property
    def is_mere_folder(self) -> bool:
        """Whether it is a folder and nothing else: neither a link nor with data of its own."""
        return self.is_folder and not (self.special or self.packed)


def is_installed() -> bool:
    """Whether the binding can be imported."""
    try:
        import unrar.cffi.unrarlib  # noqa: F401
    except ImportError:
        return False
    return True


class Rar:
    """An open archive. Close it.

    ``may_open`` is asked for each further volume; ``missing`` is the name of one that was not there. Raises
    :class:`ItemError`.
    """

    def __init__(self, path: Path, mode: int, password: bytes | None, may_open: Callable[[Path], bool]) -> None:
        from unrar.cffi import unrarlib  # noqa: F401 - it makes the callback of the library known
        from unrar.cffi._unrarlib import ffi, lib

        use_utf8()
        self._rar, self._ffi = lib, ffi
        self._may_open = may_open
        self._password = decode_name(password or b"")
        self._take: Callable[[bytes], bool] = lambda _: True
        self.missing: str | None = None
        self.code = 0
        self._handle_of_self = self._ffi.new_handle(self._called)
        self._name = self._ffi.new("wchar_t[]", _LONGEST_NAME)
        self._archive = self._open(path, mode)

    def _open(self, path: Path, mode: int) -> Any:
        name = self._ffi.new("wchar_t[]", str(path))
        data = self._ffi.new("struct RAROpenArchiveDataEx *")
        data.ArcNameW, data.OpenMode = name, mode
        data.Callback = self._ffi.cast("int(*)(unsigned int, long, long, long)", self._rar.PyUNRARCALLBACKStub)
        data.UserData = int(self._ffi.cast("long", self._handle_of_self))
        archive = self._rar.RAROpenArchiveEx(data)
        if not archive or data.OpenResult:
            if archive:
                self._rar.RARCloseArchive(archive)
            raise self.error(data.OpenResult)
        return archive

    def close(self) -> None:
        """Free it."""
        if self._archive:
            self._rar.RARCloseArchive(self._archive)
            self._archive = None

    def __enter__(self) -> Rar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def next(self) -> Header | None:
        """The next member, or ``None`` at the end."""
        data = self._ffi.new("struct RARHeaderDataEx *")
        self._name[0] = "\0"
        data.FileNameEx, data.FileNameExSize = self._name, _LONGEST_NAME
        code = self._rar.RARReadHeaderEx(self._archive, data)
        if code == _END:
            return None
        if code:
            raise self.error(code)
        name = _text(self._ffi, self._name, _LONGEST_NAME) or _text(self._ffi, data.FileNameW, 1024)
        return Header(
            _raw(name),
            data.PackSizeHigh << 32 | data.PackSize,
            data.UnpSizeHigh << 32 | data.UnpSize,
            0 if data.Method == _STORED else data.DictSize << 10,
            _LINKS.get(data.RedirType, ""),
            bool(data.Flags & _FOLDER),
            bool(data.Flags & _ENCRYPTED),
            bool(data.Flags & _SPLIT_BEFORE),
        )

    def skip(self) -> None:
        """Pass over the member that :meth:`next` gave."""
        self._process(self._rar.C_RAR_SKIP)

    def test(self, take: Callable[[bytes], bool]) -> None:
        """Unpack the member that :meth:`next` gave. ``take`` returns whether it wants more."""
        self._take = take
        self._process(self._rar.C_RAR_TEST)

    def _process(self, operation: int) -> None:
        null = self._ffi.NULL
        if code := self._rar.RARProcessFileW(self._archive, operation, null, null):
            raise self.error(code)

    def _called(self, message: int, first: int, second: int) -> int:
        """UnRAR's callback; -1 makes it give up. It may be called from another thread, and must not raise."""
        rar, ffi = self._rar, self._ffi
        try:
            if message == rar.UCM_PROCESSDATA:
                return 1 if self._take(bytes(ffi.buffer(ffi.cast("char *", first), second))) else -1
            if message == rar.UCM_NEEDPASSWORDW:
                return self._give_password(ffi.cast("wchar_t *", first), second)
            if message == rar.UCM_CHANGEVOLUMEW:
                return self._volume(Path(_text(ffi, ffi.cast("wchar_t *", first), 2048)), second)
        except Exception:  # noqa: BLE001 - it is C that called; giving up is all that can be said
            return -1
        return 0 if message in (rar.UCM_NEEDPASSWORD, rar.UCM_CHANGEVOLUME) else -1

    def _give_password(self, buffer: Any, room: int) -> int:
        if not self._password or len(self._password) >= room:
            return -1
        for at, character in enumerate(self._password + "\0"):
            buffer[at] = character
        return 1

    def _volume(self, path: Path, what: int) -> int:
        if what == _MISSING:
            self.missing = path.name
            return -1
        return 1 if self._may_open(path) else -1

    def error(self, code: int) -> ItemError:
        """What an error code means."""
        self.code = code
        if code == _NOT_OPENED and self.missing is not None:
            return volume_missing(f"the part {self.missing} is missing")
        if code in (_NO_PASSWORD, _BAD_PASSWORD):
            return Locked()
        if code in (_NO_MEMORY, _LARGE_DICTIONARY):
            return over_budget("it needs a dictionary that is larger than is allowed")
        if code in (_NOT_OPENED, _NOT_READ):
            return truncated("it ends early, or cannot be read")
        if code == _UNKNOWN:
            return unsupported("a variant of rar that is not read")
        return corrupt(_WORDS.get(code, f"it is damaged (code {code})"))


class Locked(ItemError):
    """The password is wrong, or there is none."""

    def __init__(self) -> None:
        super().__init__(Outcome.NEEDS_PASSWORD, "encrypted", "locked with a password")


def pulled(archive: Rar, pulse: Callable[[], None], *, to_the_end: bool) -> Iterator[bytes]:
    """The bytes of the member that the archive has come to, as blocks.

    UnRAR gives them to a callback, so it works in a thread of its own, a few blocks ahead at most. A reading that is
    left before its end goes on unheard if ``to_the_end``, which a solid archive needs; else the thread ends, and the
    archive is then good for nothing but to be closed.
    """
    blocks: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
    left, unheard = threading.Event(), threading.Event()
    failure: list[BaseException] = []

    def take(block: bytes) -> bool:
        return unheard.is_set() or _put(blocks, block, left, unheard) or unheard.is_set()

    def work() -> None:
        try:
            archive.test(take)
        except BaseException as error:  # noqa: BLE001 - raised again where the blocks are taken
            failure.append(error)
        _put(blocks, None, left, unheard)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            pulse()
            try:
                block = blocks.get(timeout=1)
            except queue.Empty:
                continue
            if block is None:
                break
            yield block
    finally:
        (unheard if to_the_end else left).set()
        try:
            while thread.is_alive():
                thread.join(1)
                pulse()
        finally:
            unheard.clear()
            left.set()
            thread.join()
    if failure:
        raise failure[0]


def _put(
    blocks: queue.Queue[bytes | None], block: bytes | None, left: threading.Event, unheard: threading.Event
) -> bool:
    """Whether it could be put before nobody was there to take it."""
    while not (left.is_set() or unheard.is_set()):
        try:
            blocks.put(block, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False


def _text(ffi: Any, characters: Any, room: int) -> str:
    try:
        return str(ffi.string(characters, room))
    except ValueError:  # no characters at all
        return bytes(ffi.buffer(characters, 4 * room)).split(b"\0\0\0\0")[0].decode("utf-32-le", "replace")


def _raw(name: str) -> bytes:
    """A name as UTF-8, or as the bytes that it was stored as, where UnRAR could tell no characters and marked it."""
    if _MARK not in name:
        return name.encode("utf-8", "surrogatepass")
    return b"".join(
        bytes((ord(c) - _MAPPED,)) if _MAPPED + 0x80 <= ord(c) <= _MAPPED + 0xFF else c.encode("utf-8", "surrogatepass")
        for c in name
        if c != _MARK
    )

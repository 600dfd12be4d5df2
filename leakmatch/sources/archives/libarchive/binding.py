"""The C library libarchive, bound by ctypes: the functions that reading takes, and one pass over an archive.

Bound here and not by ``libarchive-c``, which starts programs to find the library, and writes what the material makes
the library say to standard error.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_longlong, c_size_t, c_ssize_t, c_void_p
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, Final

from leakmatch.errors import ItemError
from leakmatch.records import Outcome
from leakmatch.sources.guard import corrupt, encrypted, over_budget, truncated, unsupported
from leakmatch.sources.names import use_utf8
from leakmatch.sources.streams import CHUNK, Range

EOF: Final = 1
OK: Final = 0
RETRY: Final = -10
WARN: Final = -20
FATAL: Final = -30

FOLDER: Final = 0o040000
KINDS: Final = {
    0o120000: "a symbolic link",
    0o020000: "a character device",
    0o060000: "a block device",
    0o010000: "a pipe",
    0o140000: "a socket",
}

READ = CFUNCTYPE(c_ssize_t, c_void_p, c_void_p, POINTER(c_void_p))
SKIP = CFUNCTYPE(c_int64, c_void_p, c_void_p, c_int64)
SEEK = CFUNCTYPE(c_int64, c_void_p, c_void_p, c_int64, c_int)
_OTHER = c_void_p  # the callbacks to open and to close, which are not used

_FUNCTIONS: Final = {
    "version_number": (c_int,),
    "read_new": (c_void_p,),
    "read_free": (c_int, c_void_p),
    "read_set_seek_callback": (c_int, c_void_p, SEEK),
    "read_add_passphrase": (c_int, c_void_p, c_char_p),
    "read_set_options": (c_int, c_void_p, c_char_p),
    "read_open2": (c_int, c_void_p, c_void_p, _OTHER, READ, SKIP, _OTHER),
    "read_next_header": (c_int, c_void_p, POINTER(c_void_p)),
    "read_data_block": (c_int, c_void_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_int64)),
    "filter_bytes": (c_longlong, c_void_p, c_int),
    "errno": (c_int, c_void_p),
    "error_string": (c_char_p, c_void_p),
    "entry_pathname": (c_char_p, c_void_p),
    "entry_pathname_utf8": (c_char_p, c_void_p),
    "entry_hardlink": (c_char_p, c_void_p),
    "entry_hardlink_utf8": (c_char_p, c_void_p),
    "entry_filetype": (c_int, c_void_p),
    "entry_size": (c_int64, c_void_p),
    "entry_size_is_set": (c_int, c_void_p),
    "entry_is_encrypted": (c_int, c_void_p),
}


_REASON_LENGTH: Final = 120
_RETRIES: Final = 10
_GAP: Final = bytes(CHUNK)


class Library:
    """The loaded library: ``call("read_new")`` is ``archive_read_new()``."""

    def __init__(self, path: str) -> None:
        use_utf8()  # in another locale it could not tell names that are stored as UTF-16
        self._library = ctypes.CDLL(path)
        self._functions = {name: self._bound(name, *types) for name, types in _FUNCTIONS.items()}
        self._inside: dict[str, bool] = {}

    def call(self, name: str, *arguments: object) -> object:
        """What ``archive_`` with that name returns."""
        return self._functions[name](*arguments)

    def status(self, name: str, *arguments: object) -> int:
        """The same of a function that returns a number."""
        result = self._functions[name](*arguments)
        return result if isinstance(result, int) else 0

    def text(self, name: str, *arguments: object) -> bytes | None:
        """The same of a function that returns a text."""
        result = self._functions[name](*arguments)
        return result if isinstance(result, bytes) else None

    def support(self, archive: object, formats: tuple[str, ...], filters: tuple[str, ...]) -> None:
        """Let an archive be read as one of these formats, behind any of these filters.

        A filter for which the library would start a program is left out.
        """
        for name in filters:
            if self._is_inside(name):
                self._support(f"filter_{name}", archive)
        for name in formats:
            self._support(f"format_{name}", archive)

    def _is_inside(self, name: str) -> bool:
        if name not in self._inside:
            trial = ctypes.c_void_p(self.status("read_new"))
            self._inside[name] = self._support(f"filter_{name}", trial) == OK
            self.call("read_free", trial)
        return self._inside[name]

    def _support(self, name: str, archive: object) -> int:
        return self._bound(f"read_support_{name}", c_int, c_void_p)(archive)  # type: ignore[no-any-return]

    def _bound(self, name: str, result: object, *arguments: object) -> ctypes._NamedFuncPointer:
        function = getattr(self._library, f"archive_{name}")
        function.restype, function.argtypes = result, arguments
        return function  # type: ignore[no-any-return]


@cache
def library() -> Library:
    """The system's libarchive, else that of the extra. Raises :class:`ItemError` (``needs-extra``) without either."""
    for path in ("libarchive.so.13", "libarchive.so", *_packaged()):
        try:
            return Library(path)
        except (OSError, AttributeError):  # not there, or too old for a function
            continue
    raise ItemError(
        Outcome.NEEDS_EXTRA,
        "extra-missing",
        "this kind of archive needs the library libarchive: apt-get install libarchive13 (or dnf install libarchive), "
        "or pip install 'leakmatch[libarchive]'",
    )


def _packaged() -> list[str]:
    spec = find_spec("extractcode_libarchive")
    return [str(Path(spec.origin).with_name("lib") / "libarchive.so")] if spec and spec.origin else []


class Entry:
    """What the library says of the member that it has come to. Good until the next one."""

    def __init__(self, library: Library, pointer: c_void_p) -> None:
        kind = library.status("entry_filetype", pointer) & 0o170000
        self.name = library.text("entry_pathname", pointer) or library.text("entry_pathname_utf8", pointer) or b""
        self.size = library.status("entry_size", pointer) if library.status("entry_size_is_set", pointer) else None
        self.is_folder = kind == FOLDER
        self.is_link = bool(library.text("entry_hardlink", pointer) or library.text("entry_hardlink_utf8", pointer))
        self.special = KINDS.get(kind, "")
        self.is_encrypted = bool(library.status("entry_is_encrypted", pointer))


class Pass:
    """One pass over the archive in ``file`` from ``start``. Close it.

    Raises what reading the file raises, and :class:`ItemError` for what the library cannot read; ``is_over`` then says
    whether nothing more will come.
    """

    def __init__(
        self,
        file: BinaryIO,
        start: int,
        size: int,
        formats: tuple[str, ...],
        filters: tuple[str, ...],
        password: bytes = b"",
        options: bytes = b"",
    ) -> None:
        self._library = library()
        self._file = Range(file, start, size - start)
        self._size = size - start
        self._block = b""  # what the library is reading; it must not go away
        self._error: BaseException | None = None  # of a callback
        self.warning: ItemError | None = None
        self.is_over = False
        self._archive = c_void_p(self._library.status("read_new"))
        self._callbacks = READ(self._read), SKIP(self._skip), SEEK(self._seek)
        self._library.support(self._archive, formats, filters)
        if password:
            self._library.call("read_add_passphrase", self._archive, password)
        if options:
            self._library.call("read_set_options", self._archive, options)
        self._library.call("read_set_seek_callback", self._archive, self._callbacks[2])
        self._opened = False

    def close(self) -> None:
        """Free what the library holds."""
        if self._archive:
            self._library.call("read_free", self._archive)
            self._archive = c_void_p(None)

    @property
    def at(self) -> int:
        """How many bytes of the archive the format has used."""
        return self._library.status("filter_bytes", self._archive, 0)

    def next(self) -> Entry | None:
        """The next member, or ``None`` at the end."""
        if not self._opened:
            read, skip, _ = self._callbacks
            self._opened = True
            self._check(self._library.status("read_open2", self._archive, None, None, read, skip, None))
        if self.is_over:  # the library may crash where it is asked again after a fatal error
            raise corrupt("behind a damaged member nothing more can be read")
        pointer = c_void_p()
        self.warning = None
        for _ in range(_RETRIES):
            code = self._library.status("read_next_header", self._archive, ctypes.byref(pointer))
            if code != RETRY:
                break
        if code == EOF:
            self.is_over = True
            return None
        self._check(code)
        return Entry(self._library, pointer)

    def blocks(self) -> Iterator[bytes]:
        """The bytes of the member that :meth:`next` has come to, holes filled with zeros."""
        block, size, offset = c_void_p(), c_size_t(), c_int64()
        at, empty, warning = 0, 0, None
        while True:
            block.value, size.value, offset.value = None, 0, at
            code = self._library.status(
                "read_data_block", self._archive, ctypes.byref(block), ctypes.byref(size), ctypes.byref(offset)
            )
            if code == EOF:
                break
            try:
                self._check(code)
            except ItemError as error:
                warning = warning or error
                if code != WARN:
                    raise
            if code == WARN:
                warning, self.warning = warning or self.warning, None
            while at < offset.value:
                yield _GAP[: offset.value - at]
                at += min(offset.value - at, CHUNK)
            if offset.value < at and size.value:
                raise corrupt("parts of it overlap")
            for start in range(0, size.value, CHUNK):
                yield ctypes.string_at((block.value or 0) + start, min(size.value - start, CHUNK))
            at += size.value
            empty = 0 if size.value else empty + 1
            if empty > _RETRIES:
                raise warning or corrupt("the library gives nothing of it, and no end")
        if warning is not None:
            raise warning

    # What the library asks for

    def _read(self, _archive: int, _context: int, buffer: ctypes._Pointer[c_void_p]) -> int:
        try:
            self._block = self._file.read(CHUNK)
        except BaseException as error:  # noqa: BLE001 - raised again when the library has returned
            self._error = error
            return FATAL
        buffer[0] = ctypes.cast(c_char_p(self._block), c_void_p)
        return len(self._block)

    def _skip(self, _archive: int, _context: int, count: int) -> int:
        at = self._file.tell()
        return self._file.seek(min(at + max(count, 0), max(self._size, at))) - at

    def _seek(self, _archive: int, _context: int, offset: int, whence: int) -> int:
        return self._file.seek(offset, whence)

    # What it returns

    def _check(self, code: int) -> None:
        """Raise what a code means; a warning is kept."""
        if self._error is not None:
            error, self._error = self._error, None
            self.is_over = True
            raise error
        if code == WARN:
            self.warning = self._said()
        elif code < OK:
            self.is_over = self.is_over or code == FATAL
            raise self._said()

    def _said(self) -> ItemError:
        """The library's last error. It has no codes for it, only words."""
        text = (self._library.text("error_string", self._archive) or b"").decode("ascii", "backslashreplace")
        text = " ".join(text.split())[:_REASON_LENGTH]
        words = text.lower()
        if self._library.status("errno", self._archive) == errno.ENOMEM:
            return over_budget(f"it needs too much memory ({text})")
        if "truncated" in words or "premature" in words or not text:
            return truncated("it ends early" if not text else f"it ends early ({text})")
        if "encrypt" in words or "passphrase" in words:
            return encrypted("locked with a password")
        if "unsupported" in words or "not supported" in words:
            return unsupported(f"a variant that is not read ({text})")
        return corrupt(f"it is damaged ({text})")

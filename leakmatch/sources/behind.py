"""Archives behind (or within) what looks like something else: a zip appended to a picture, a PDF that is also a rar.

Found by signature anywhere in the bytes, and believed only where the header that follows the signature holds: by its
checksum, or, for zip, by every field that has a limited range. Random bytes pass once in some 10^17 of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from leakmatch.sources import rar_header, sevenzip_header
from leakmatch.sources.tar_headers import BLOCK, is_header
from leakmatch.sources.zip_entries import LOCAL, LOCAL_HEADER

_USTAR: Final = b"ustar"
_USTAR_AT: Final = 257
_LOOK_AHEAD: Final = 1 << 12  # what a header that begins at the end of a block may need of the next one

# A tighter reading of APPNOTE 4.4 than the zip reader's, which knows that it reads a zip.
_METHODS: Final = frozenset({0, 1, 6, 8, 9, 12, 14, 20, 93, 95, 98, 99})
_HIGHEST_VERSION: Final = 63
_UNUSED_FLAGS: Final = 0xD780
_LONGEST_NAME: Final = 1024


class Behind:
    """Looks through bytes that come in blocks. ``found``: the kind and the place of the first archive of each kind."""

    def __init__(self) -> None:
        self.found: dict[str, int] = {}
        self._window = b""
        self._at = 0  # where the window begins
        self._looked = 1  # up to where, in all: what begins at 0 is the thing itself

    def feed(self, block: bytes) -> None:
        """The next bytes."""
        self._window += block
        if len(self._window) > 2 * _LOOK_AHEAD:
            self._look(len(self._window) - _LOOK_AHEAD)

    def end(self) -> list[tuple[str, int]]:
        """There are no more; what was found, in the order of its place."""
        self._look(len(self._window))
        return sorted(self.found.items(), key=lambda pair: pair[1])

    def _look(self, stop: int) -> None:
        """Look for archives that begin before ``stop`` of the window."""
        start = self._looked - self._at
        for kind, find in _FINDERS:
            if kind not in self.found and (at := find(self._window, start, stop)) is not None:
                self.found[kind] = self._at + at
        self._looked = self._at + stop
        kept = max(stop - BLOCK, 0)  # a tar is known by what lies in the middle of its header
        self._window, self._at = self._window[kept:], self._at + kept


def _find_zip(window: bytes, start: int, stop: int) -> int | None:
    at = window.find(LOCAL, start)
    while 0 <= at < stop:
        if _is_zip(window[at : at + LOCAL_HEADER.size + _LONGEST_NAME]):
            return at
        at = window.find(LOCAL, at + 1)
    return None


def _is_zip(head: bytes) -> bool:
    if len(head) < LOCAL_HEADER.size:
        return False
    _, version, flags, method, _, date, _, stored, size, name_size, extra_size = LOCAL_HEADER.unpack_from(head)
    name = head[LOCAL_HEADER.size : LOCAL_HEADER.size + name_size]
    return (
        version & 0xFF <= _HIGHEST_VERSION
        and version >> 8 < 32
        and not flags & _UNUSED_FLAGS
        and method in _METHODS
        and 0 < name_size <= _LONGEST_NAME
        and extra_size <= 4 * _LONGEST_NAME
        and len(name) == name_size
        and not any(byte < 32 for byte in name)
        and (method or stored == size or bool(flags & 9))
        and (date >> 5 & 15 <= 12)
    )


def _find_by(signature: bytes, find: Callable[[bytes], int | None]) -> Callable[[bytes, int, int], int | None]:
    def finder(window: bytes, start: int, stop: int) -> int | None:
        at = window.find(signature, start)
        while 0 <= at < stop:
            # One byte before it: what begins at the very beginning is believed there without being looked at.
            if find(b"\0" + window[at : at + _LOOK_AHEAD]) == 1:
                return at
            at = window.find(signature, at + 1)
        return None

    return finder


def _find_tar(window: bytes, start: int, stop: int) -> int | None:
    at = window.find(_USTAR, max(start, 0) + _USTAR_AT)
    while 0 <= at - _USTAR_AT < stop:
        begin = at - _USTAR_AT
        if is_header(window[begin : begin + BLOCK]):
            return begin
        at = window.find(_USTAR, at + 1)
    return None


_FINDERS: Final = (
    ("zip", _find_zip),
    ("7z", _find_by(sevenzip_header.SIGNATURE, sevenzip_header.find_start)),
    ("rar", _find_by(rar_header.SIGNATURE, rar_header.find_start)),
    ("tar", _find_tar),
)

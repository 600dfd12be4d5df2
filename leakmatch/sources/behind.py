"""Archives behind (or within) what looks like something else: a zip appended to a picture, a PDF that is also a rar.

Found by signature anywhere in the bytes, and believed only where the header that follows the signature holds: by its
checksum, or, for zip, by every field that has a limited range. Random bytes pass once in some 10^17 of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

import numpy as np

from leakmatch.sources.archives.rar import header as rar_header
from leakmatch.sources.archives.sevenzip import header as sevenzip_header
from leakmatch.sources.archives.tar.headers import BLOCK, is_header
from leakmatch.sources.archives.zip.entries import LOCAL, LOCAL_HEADER

_LOOK_AHEAD: Final = 1 << 12  # what a header that begins at the end of a block may need of the next one

_MOST: Final = {"7z": 16, "rar": 16}  # archives of such a kind; of the others one

# A tighter reading of APPNOTE 4.4 than the zip reader's, which knows that it reads a zip.
_METHODS: Final = frozenset({0, 1, 6, 8, 9, 12, 14, 20, 93, 95, 98, 99})
_HIGHEST_VERSION: Final = 63
_UNUSED_FLAGS: Final = 0xD780
_LONGEST_NAME: Final = 1024


class Behind:
    """Looks through bytes that come in blocks. ``found``: the kind and the place of each archive.

    Of zip and tar of the first only, since each member of one looks like the beginning of another. ``full``: there are
    more than are told.
    """

    def __init__(self) -> None:
        self.found: list[tuple[str, int]] = []
        self.full = False
        self._counts: Counter[str] = Counter()
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
        return sorted(self.found, key=lambda pair: pair[1])

    def _look(self, stop: int) -> None:
        """Look for archives whose signature lies before ``stop`` of the window."""
        for at in _signatures(self._window, self._looked - self._at, stop):
            kind, before, holds = _KINDS.get(self._window[at : at + 4], _NONE)
            start = at - before
            full = self._counts[kind] >= _MOST.get(kind, 1)
            if (full and (kind not in _MOST or self.full)) or self._at + start <= 0 or start < 0:
                continue
            if not holds(self._window[start : start + _LOOK_AHEAD]):
                continue
            if full:
                self.full = True
            else:
                self._counts[kind] += 1
                self.found.append((kind, self._at + start))
        self._looked = self._at + stop
        kept = max(stop - BLOCK, 0)  # a tar is known by what lies in the middle of its header
        self._window, self._at = self._window[kept:], self._at + kept


def _signatures(window: bytes, start: int, stop: int) -> list[int]:
    """Where the first three bytes of a signature stand, rising. (By numpy: ``bytes.find`` takes ten times as long.)"""
    bytes_ = np.frombuffer(window, np.uint8)
    stop = min(stop, len(window) - 2)
    if stop <= start:
        return []
    first, second, third = bytes_[start:stop], bytes_[start + 1 : stop + 1], bytes_[start + 2 : stop + 2]
    found: list[int] = []
    for signature in _KINDS:
        hits = (first == signature[0]) & (second == signature[1]) & (third == signature[2])
        if hits.any():
            found += (start + np.flatnonzero(hits)).tolist()
    return sorted(found)


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


def _is_sevenzip(head: bytes) -> bool:
    return sevenzip_header.find_start(b"\0" + head) == 1  # what begins at 0 it believes without looking at it


def _is_rar(head: bytes) -> bool:
    return rar_header.find_start(b"\0" + head) == 1


def _is_tar(head: bytes) -> bool:
    return is_header(head[:BLOCK])


#: By the first four bytes of a signature: the kind, how far before them it begins, whether what begins there is one.
_KINDS: Final[dict[bytes, tuple[str, int, Callable[[bytes], bool]]]] = {
    LOCAL: ("zip", 0, _is_zip),
    sevenzip_header.SIGNATURE[:4]: ("7z", 0, _is_sevenzip),
    rar_header.SIGNATURE[:4]: ("rar", 0, _is_rar),
    b"usta": ("tar", 257, _is_tar),
}
_NONE: Final = ("", 0, lambda _: False)

"""Single compressed streams (gzip, bzip2, xz, lzma, lzip, zstd, lz4, compress): a container with one member."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice, pairwise
from typing import BinaryIO, Final, cast

from leakmatch.sources.compression.decoders import LZIP, ZSTD
from leakmatch.sources.compression.decompress import Decompressed
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import CHUNK, Range

_SUFFIXES: Final = {
    ".tgz": ".tar", ".tbz2": ".tar", ".tbz": ".tar", ".txz": ".tar", ".tzst": ".tar", ".taz": ".tar", ".tlz": ".tar",
    ".gz": "", ".bz2": "", ".xz": "", ".lzma": "", ".zst": "", ".z": "", ".lz4": "", ".lz": "", ".lzo": "",
}  # fmt: skip
_GZIP_NAME_FLAG: Final = 8
_GZIP_EXTRA_FLAG: Final = 4
_MAX_NAME: Final = 4096

#: What a stream begins with, as closely as one is found by it behind padding.
_BEGINS: Final = {
    "gzip": rb"\x1f\x8b\x08[\0-\x1f]",
    "bzip2": rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\0",
    "lzip": re.escape(LZIP) + rb"\x01",
    "zstd": re.escape(ZSTD),
}
_LEAST_PADDING: Final = 8  # zeros
_LONGEST_BEGIN: Final = 16
_MOST_FURTHER: Final = 1000


def open_compressed(opening: Opening) -> Compressed:
    """The reader of single compressed streams."""
    return Compressed(opening.file, opening.size, opening.kind, opening.name, opening.ends)


class Compressed:
    """A compressed stream over a seekable ``file`` of ``size`` bytes, called ``name`` itself."""

    def __init__(
        self, file: BinaryIO, size: int, method: str, name: str, ends: Callable[[int], None] = lambda _: None
    ) -> None:
        self.notes: list[Note] = []
        self._file, self._size, self._method, self._name = file, size, method, name
        self._ends = ends

    def members(self) -> Iterator[Member]:
        """All streams in one, named in the gzip header, else like the file without its suffix.

        Behind it the streams that follow padding of zeros, each by itself as well: most tools would not join them.
        """
        raw = self._stored_name() or self._own_name().encode("utf-8", "surrogateescape")
        opened: list[Decompressed] = []

        def reopen() -> BinaryIO:
            stream = Decompressed(cast(BinaryIO, Range(self._file, 0, self._size)), self._method)
            opened.append(stream) if not opened else None
            return cast(BinaryIO, stream)

        yield Member(raw, decode_name(raw), max(self._size, 1), reopen)
        yield from self._behind_padding()
        # The first reading goes to the end if any does, so it knows what there is to say of the container.
        if opened and opened[0].error is not None:
            raise opened[0].error
        if opened and opened[0].end is not None:
            self._ends(opened[0].end)

    def _behind_padding(self) -> Iterator[Member]:
        starts = list(islice(self._padded(), _MOST_FURTHER + 1))
        if len(starts) > _MOST_FURTHER:
            told = f"only the first {_MOST_FURTHER} of the streams behind padding were read by themselves"
            self.notes.append(Note("over-budget", told))
            del starts[_MOST_FURTHER:]
        own = self._own_name()
        for start, end in pairwise([*starts, self._size]):
            self.notes.append(Note("ambiguous", f"a further {self._method} stream, behind padding, at byte {start}"))
            raw = f"{own} at byte {start}".encode("utf-8", "surrogateescape")
            yield Member(raw, decode_name(raw), end - start, partial(self._between, start, end))

    def _between(self, start: int, end: int) -> BinaryIO:
        return cast(BinaryIO, Decompressed(cast(BinaryIO, Range(self._file, start, end - start)), self._method))

    def _padded(self) -> Iterator[int]:
        """Where streams begin behind padding, by the bytes of the file alone."""
        if self._method not in _BEGINS:
            return
        begin = re.compile(_BEGINS[self._method], re.S)
        padding = bytes(_LEAST_PADDING)
        window, at = b"", 0  # ``at``: where the window begins
        while True:
            self._file.seek(at + len(window))
            block = self._file.read(CHUNK)
            window += block
            # A beginning that may go on in the next block is looked at with it.
            stop = len(window) - _LONGEST_BEGIN if block else len(window)
            for match in begin.finditer(window):
                if match.start() < stop and window.startswith(padding, max(match.start() - _LEAST_PADDING, 0)):
                    yield at + match.start()
            if not block:
                return
            kept = max(stop - _LEAST_PADDING, 0)
            window, at = window[kept:], at + kept

    def _own_name(self) -> str:
        base = self._name.rsplit("/", 1)[-1]
        for suffix, instead in _SUFFIXES.items():
            if base.lower().endswith(suffix) and len(base) > len(suffix):
                return base[: -len(suffix)] + instead
        return "data"

    def _stored_name(self) -> bytes:
        """FNAME of the first gzip header (RFC 1952), or nothing."""
        if self._method != "gzip":
            return b""
        self._file.seek(0)
        head = self._file.read(_MAX_NAME)
        if len(head) < 12 or not head[3] & _GZIP_NAME_FLAG:
            return b""
        start = 10 + (2 + int.from_bytes(head[10:12], "little") if head[3] & _GZIP_EXTRA_FLAG else 0)
        end = head.find(b"\0", start)
        return head[start:end] if end > start else b""

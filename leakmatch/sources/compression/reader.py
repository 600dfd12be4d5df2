"""Single compressed streams (gzip, bzip2, xz, lzma, lzip, zstd, lz4, compress): a container with one member."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Final, cast

from leakmatch.sources.compression.decompress import Decompressed
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name
from leakmatch.sources.opening import Opening
from leakmatch.sources.streams import Range

_SUFFIXES: Final = {
    ".tgz": ".tar", ".tbz2": ".tar", ".tbz": ".tar", ".txz": ".tar", ".tzst": ".tar", ".taz": ".tar", ".tlz": ".tar",
    ".gz": "", ".bz2": "", ".xz": "", ".lzma": "", ".zst": "", ".z": "", ".lz4": "", ".lz": "", ".lzo": "",
}  # fmt: skip
_GZIP_NAME_FLAG: Final = 8
_GZIP_EXTRA_FLAG: Final = 4
_MAX_NAME: Final = 4096


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
        """The one member: named in the gzip header, else like the file without its suffix."""
        raw = self._stored_name() or self._own_name().encode("utf-8", "surrogateescape")
        opened: list[Decompressed] = []

        def reopen() -> BinaryIO:
            stream = Decompressed(cast(BinaryIO, Range(self._file, 0, self._size)), self._method)
            opened.append(stream) if not opened else None
            return cast(BinaryIO, stream)

        yield Member(raw, decode_name(raw), max(self._size, 1), reopen)
        # The first reading goes to the end if any does, so it knows what there is to say of the container.
        if opened and opened[0].error is not None:
            raise opened[0].error
        if opened and opened[0].end is not None:
            self._ends(opened[0].end)

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

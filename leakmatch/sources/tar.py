"""Tar: members front to back, with ``tarfile`` reading the headers."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from leakmatch.sources.guard import corrupt, truncated
from leakmatch.sources.members import Member, Note
from leakmatch.sources.names import decode_name

MAX_EXTENSION: Final = 1 << 18  # a long name or pax header past this is an attack on memory

_EXTENSIONS: Final = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)
_SPECIAL: Final = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link to another member",
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a pipe",
}


class _BoundedInfo(tarfile.TarInfo):
    """Refuses header extensions that ``tarfile`` would read into memory whatever their size."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENSIONS and self.size > MAX_EXTENSION:
            raise corrupt(f"a header of {self.size} bytes")
        if self.size < 0:
            raise corrupt("a member of negative size")
        inner = super()._proc_member(archive)  # type: ignore[misc]
        return cast(tarfile.TarInfo, inner)


class Tar:
    """A tar archive over a seekable ``file``; only ever read forward."""

    def __init__(self, file: BinaryIO) -> None:
        self.notes: list[Note] = []
        self._file = file

    def members(self) -> Iterator[Member]:
        """Every member in stored order; directories are left out."""
        self._file.seek(0)
        archive = tarfile.TarFile(fileobj=self._file, tarinfo=_BoundedInfo, encoding="utf-8", errors="surrogateescape")
        while (info := archive.next()) is not None:
            archive.members = []  # type: ignore[attr-defined]  # tarfile would keep every header
            if not info.isdir():
                yield self._member(archive, info)
        self._check_end(archive.offset)

    def _check_end(self, offset: int) -> None:
        """``tarfile`` ends in silence at a damaged header; only a block of zeros is the end."""
        self._file.seek(offset)
        block = self._file.read(tarfile.BLOCKSIZE)
        if not block:
            self.notes.append(Note("truncated", "there is no end mark; further members may be missing"))
        elif len(block) < tarfile.BLOCKSIZE:
            raise truncated("the archive ends within a header")
        elif block.strip(b"\0"):
            raise corrupt(f"a damaged header at byte {offset}; what follows was not read")

    def _member(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
        raw = info.name.encode("utf-8", "surrogateescape")
        special = _SPECIAL.get(info.type, "")

        def reopen() -> BinaryIO:
            file = archive.fileobject(archive, info)
            return cast(BinaryIO, file)

        return Member(raw, decode_name(raw), max(info.size, 1), reopen, info.size, special)

"""One member by libarchive, which is given a zip that holds nothing else."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, cast

from leakmatch.sources.archives.zip.directory import MAX32
from leakmatch.sources.archives.zip.entries import LOCAL, LOCAL_HEADER
from leakmatch.sources.streams import Joined

_VERSION: Final = 63
_FIRST_DAY: Final = 33  # 1980-01-01
_NAME: Final = b"x"


def alone(
    body: BinaryIO,
    method: int,
    size: int,
    stored: int,
    *,
    check: int = 0,
    before: bytes = b"",
    password: bytes = b"",
) -> Iterator[bytes]:
    """What libarchive makes of ``stored`` bytes: ``before``, and what ``body`` gives from where it stands.

    ``size``: of what comes out, at the most. With a ``password`` they are locked by the traditional cipher, for which
    ``check`` is what the header has as CRC-32; that of the plain bytes is not checked. Raises :class:`ItemError`, also
    without the library.
    """
    from leakmatch.sources.archives.libarchive.binding import Pass

    wide = struct.pack("<HHQQ", 1, 16, size, stored)
    flags = int(bool(password))
    lengths = MAX32, MAX32, len(_NAME), len(wide)
    local = LOCAL_HEADER.pack(LOCAL, _VERSION, flags, method, 0, _FIRST_DAY, check, *lengths)
    head = local + _NAME + wide + before
    file = cast(BinaryIO, Joined(head, body))
    options = b"zip:ignorecrc32"
    archive = Pass(file, 0, len(head) - len(before) + stored, ("zip_streamable",), (), password, options)
    try:
        if archive.next() is not None:
            yield from archive.blocks()
    finally:
        archive.close()

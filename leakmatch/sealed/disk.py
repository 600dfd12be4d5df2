"""Reading and writing a sealed file's bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from leakmatch.errors import Damaged, StorageError, os_error
from leakmatch.sealed.blocks import Head
from leakmatch.sealed.header import KEY_PAGE_BYTES, MAGIC

_READ_ONLY: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_STEP: Final = 4 << 20


def is_sealed(path: Path) -> bool:
    """Whether it is a sealed file, or was one before it was damaged: by the beginning of either key page."""
    with path.open("rb") as file:
        head = file.read(KEY_PAGE_BYTES + len(MAGIC))
    return MAGIC in (head[: len(MAGIC)], head[KEY_PAGE_BYTES:])


def descriptor_of(path: Path, *, change: bool, look: bool) -> tuple[int, bool]:
    try:
        if not look:
            return os.open(path, os.O_RDWR), True
    except OSError as error:
        if change and error.errno in _READ_ONLY:
            raise StorageError(f"{path}: it cannot be written ({error.strerror}). Nothing was changed.") from error
        if error.errno not in _READ_ONLY:
            raise os_error(error, path) from error
    try:
        return os.open(path, os.O_RDONLY), False
    except OSError as error:
        raise os_error(error, path) from error


def blocks_between(descriptor: int, start: int, end: int, what: str) -> Iterator[tuple[int, Head, memoryview]]:
    """The blocks between two offsets. A block is to be used before the next is asked for."""
    offset, data = start, memoryview(b"")
    while offset < end:
        head = Head.parse(data)
        if head is None or head.size > len(data):
            data = memoryview(os.pread(descriptor, min(_STEP, end - offset), offset))
            head = Head.parse(data)
            if head is not None and head.size > len(data):
                data = memoryview(os.pread(descriptor, min(head.size, end - offset), offset))
            if head is None or head.size > len(data):
                raise Damaged(f"{what}: damaged: a block is not what was written.")
        yield offset, head, data[: head.size]
        data, offset = data[head.size :], offset + head.size


def write_at(descriptor: int, offset: int, data: bytes | bytearray) -> None:
    """Write all of it."""
    view = memoryview(data)
    try:
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
    finally:
        view.release()

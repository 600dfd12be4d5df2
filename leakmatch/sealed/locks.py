"""Locks on a sealed file: one on its content, for long, and one on its end, for moments.

A writer holds the content alone. Readers who rely on it hold it together; the access log still grows meanwhile, so who
appends holds the end, alone and shortly. Both are locks on bytes far behind the end of any file, as SQLite has them.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import Final

from leakmatch.errors import UsageError

try:
    import fcntl
except ImportError:  # Windows: nobody is kept out
    _LOCKS: bool = False
else:
    _LOCKS = True

_FLOCK: Final = struct.Struct("hhqqi4x")  # struct flock of Linux on 64 bits (fcntl(2))
_WAIT_SECONDS: Final = 30.0
_STEP_SECONDS: Final = 0.01
_REFUSED: Final = {errno.EACCES, errno.EAGAIN}
_CANNOT: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF}


class Part(IntEnum):
    """The byte that stands for a part of the file."""

    CONTENT = 1 << 61
    END = (1 << 61) + 1


def hold_content(descriptor: int, path: Path, *, shared: bool) -> None:
    """Hold the content until the descriptor is closed. Raises :class:`UsageError` where another process has it."""
    if not _lock(descriptor, Part.CONTENT, shared=shared):
        raise _in_use(path)


@contextmanager
def end_held(descriptor: int, path: Path) -> Iterator[None]:
    """Hold the end; waits for it. Raises :class:`UsageError` where that takes too long."""
    until = time.monotonic() + _WAIT_SECONDS
    while not _lock(descriptor, Part.END, shared=False):
        if time.monotonic() > until:
            raise _in_use(path)
        time.sleep(_STEP_SECONDS)
    try:
        yield
    finally:
        _release(descriptor, Part.END)


def _lock(descriptor: int, part: Part, *, shared: bool) -> bool:
    """Whether the lock was had. A file system without locks (some network mounts) keeps nobody out.

    A lock belongs to the open file, not to the process: two threads keep each other out as two processes do.
    """
    if not _LOCKS:
        return True
    kind = fcntl.F_RDLCK if shared else fcntl.F_WRLCK
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, 0, part, 1, 0))
        else:
            fcntl.lockf(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB, 1, part)
    except OSError as error:
        if error.errno in _REFUSED:
            return False
        if error.errno not in _CANNOT:
            raise
    return True


def _release(descriptor: int, part: Part) -> None:
    if not _LOCKS:
        return
    try:
        if hasattr(fcntl, "F_OFD_SETLK"):
            fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_UNLCK, 0, part, 1, 0))
        else:
            fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, part)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _in_use(path: Path) -> UsageError:
    return UsageError(f"{path}: in use by another LeakMatch process. Wait for it to end.")

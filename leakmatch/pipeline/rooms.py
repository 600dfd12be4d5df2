"""Scratch space on disk: one folder for a run, in it one for each worker. What killed runs left is removed."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Final

from leakmatch.errors import UsageError, os_error

_PREFIX: Final = "leakmatch-scratch-"
_LOCK: Final = "lock"
#: A folder without a lock is one that another run has just made, or was killed in making.
_UNLOCKED_SECONDS: Final = 60.0
_CLOSED_ON_EXEC: Final = getattr(os, "O_CLOEXEC", 0)

_log = logging.getLogger(__name__)


class Rooms:
    """The scratch folder of one run, below ``base`` (empty: the system's folder for temporary files).

    It is readable by its owner only. While the run lives it holds a lock in it, by which others see that it does.
    Raises :class:`UsageError` or :class:`~leakmatch.errors.StorageError` where it cannot be made.
    """

    def __init__(self, base: str = "") -> None:
        parent = Path(base or tempfile.gettempdir())
        if not parent.is_dir():
            raise UsageError(f"{parent}: there is no such folder for scratch space. Make it, or name another one.")
        try:
            _sweep(parent)
            self.folder, self._lock = _locked(parent)
        except OSError as error:
            raise os_error(error, parent) from error
        self._made = 0

    def room(self) -> Path:
        """A new, empty folder for one worker."""
        self._made += 1
        folder = self.folder / str(self._made)
        try:
            folder.mkdir(mode=0o700)
        except OSError as error:
            raise os_error(error, folder) from error
        return folder

    def empty(self, room: Path) -> None:
        """Remove a worker's folder; the worker has ended."""
        _remove(room)

    def close(self) -> None:
        """Remove everything. The lock is given up last. To close it twice does nothing."""
        if self._lock >= 0:
            _remove(self.folder)
            os.close(self._lock)
            self._lock = -1


def _locked(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent)).absolute()
        lock = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR | _CLOSED_ON_EXEC, 0o600)
        if _lock(lock) and (folder / _LOCK).exists():
            return folder, lock
        os.close(lock)  # another run took it for one that was left, between the two steps


def _sweep(parent: Path) -> None:
    """Remove the folders of runs that are gone: theirs is a lock that nobody holds."""
    for folder in parent.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode) or (hasattr(os, "geteuid") and status.st_uid != os.geteuid()):
            continue
        try:
            lock = os.open(folder / _LOCK, os.O_RDWR | _CLOSED_ON_EXEC)
        except FileNotFoundError:
            if time.time() - status.st_mtime > _UNLOCKED_SECONDS:
                _remove(folder)
            continue
        try:
            if _lock(lock):
                _remove(folder)
        finally:
            os.close(lock)


def _lock(descriptor: int) -> bool:
    """Take the lock of a run's folder; false where another run holds it."""
    try:
        import fcntl
    except ImportError:  # Windows: it cannot remove what is open
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, onerror=_told)


def _told(_: object, path: str, error: tuple[object, BaseException, object]) -> None:
    """What cannot be removed is left, and said: the next run tries again."""
    _log.warning("%s: left behind in the scratch space (%s)", path, error[1])

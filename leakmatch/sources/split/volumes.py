"""The other files beside a file on disk: parts of split archives, and indexes, that are read together with it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO


class Volumes:
    """The regular files in the folder of ``path``; none for an item inside a container."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    @property
    def path(self) -> Path | None:
        """The file itself, where it lies on disk."""
        return self._path

    @property
    def name(self) -> str:
        """The file's own name; empty inside a container."""
        return "" if self._path is None else self._path.name

    def has(self, name: str) -> bool:
        """Whether there is a regular file ``name`` beside it."""
        return self._status(name) is not None

    def size(self, name: str) -> int:
        """The bytes of the regular file ``name`` beside it; 0 where there is none."""
        status = self._status(name)
        return 0 if status is None else status.st_size

    def _status(self, name: str) -> os.stat_result | None:
        if self._path is None or os.sep in name or name in {"", ".", ".."} or "\0" in name:
            return None
        try:
            status = self._path.with_name(name).lstat()
        except OSError:
            return None
        return status if stat.S_ISREG(status.st_mode) else None

    def open(self, name: str) -> BinaryIO:
        """The file ``name`` beside it. Raises ``OSError`` where there is none, or no regular file of that name."""
        if self._path is None or os.sep in name or name in {"", ".", ".."} or "\0" in name:
            raise FileNotFoundError(name)
        descriptor = os.open(self._path.with_name(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise FileNotFoundError(name)
        return os.fdopen(descriptor, "rb")

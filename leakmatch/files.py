"""Writing a file in one step: it is there whole, or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leakmatch.errors import UsageError, os_error

#: How a plain store begins, and a sealed one (15 bytes).
_STORES = (b"SQLite format 3", b"LeakMatch seale")

_SPARED: set[Path] = set()


def spare(path: Path) -> None:
    """From here on, this process does not overwrite the file."""
    _SPARED.add(path)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream that takes the place of ``path`` once it is complete; on any error nothing has changed.

    A device or pipe is written to as it is. Raises :class:`UsageError` where ``path`` is a case or gallery.
    """
    try:
        if not can_be_replaced(path):
            with path.open("wb") as stream:
                yield stream
            return
        with replacement(path) as part:
            descriptor = os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
    except OSError as error:
        raise os_error(error, path) from error


def can_be_replaced(path: Path) -> bool:
    """Whether ``path`` is a file or nothing yet: no device, pipe or folder."""
    return path.is_file() or not path.exists()


@contextmanager
def replacement(path: Path) -> Iterator[Path]:
    """The path of a file to be made, which takes the place of ``path`` in the end; on any error it is removed.

    Raises :class:`UsageError` where ``path`` is a case or gallery.
    """
    try:
        target = path.resolve()
        _spare_stores(target)
        part = target.with_name(f".leakmatch-{secrets.token_hex(8)}.part")
        try:
            yield part
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise os_error(error, path) from error


def _spare_stores(target: Path) -> None:
    """Refuse to write over a case, a gallery or a key: a swapped argument would destroy the only copy."""
    if target.is_file():
        if any(spared.exists() and target.samefile(spared) for spared in _SPARED):
            raise UsageError(f"{target}: is the key file; it is not overwritten. Name another file.")
        with target.open("rb") as file:
            if file.read(15) in _STORES:
                raise UsageError(
                    f"{target}: a case, gallery, sealed export or database; it is not overwritten. Name another."
                )

"""Writing a file in one step: it is there whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from leakmatch.errors import UsageError, os_error

#: How a plain store begins, and a sealed one (15 bytes).
_STORES = (b"SQLite format 3", b"LeakMatch seale")


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A binary stream that takes the place of ``path`` once it is complete; on any error nothing has changed.

    A device or pipe is written to as it is. Raises :class:`UsageError` where ``path`` is a case or gallery.
    """
    try:
        target = path.resolve()
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                yield stream
            return
        _spare_stores(target)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=".leakmatch-", suffix=".part")
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise os_error(error, path) from error


def _spare_stores(target: Path) -> None:
    """Refuse to write over a case or gallery: a swapped argument would destroy the only copy."""
    if target.is_file():
        with target.open("rb") as file:
            if file.read(15) in _STORES:
                raise UsageError(f"{target}: a case, gallery or other database; it is not overwritten. Name another.")

"""The files below a source argument: listed and stated by the trusted side, not read."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from leakmatch.errors import UsageError, os_error
from leakmatch.locator import FILE, SOURCE, Locator
from leakmatch.records import Entry, Incident, ItemKind, Outcome
from leakmatch.sources.names import decode_name

_STAGE = "sources"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file on disk. ``outcome`` and ``detail`` are set for what is not opened: a link, a device, a closed folder."""

    locator: Locator
    path: Path
    size: int
    mtime_ns: int
    outcome: Outcome | None = None
    detail: str = ""

    def entry(self) -> Entry:
        """The ledger row of a file that is not opened."""
        kind = ItemKind.OTHER if self.outcome is Outcome.NOT_IMAGE else ItemKind.CONTAINER
        return Entry(self.locator, 0, kind, self.size, None, self.outcome, self.detail)


def inventory(source: Path, index: int) -> Iterator[SourceFile | Incident]:
    """Every file below the folder ``source``, by raw path; or ``source`` itself if it is a file.

    Links are listed and not followed. A folder that may not be read is a row of its own. ``index``: the number of the
    source argument. Raises :class:`UsageError` where ``source`` does not exist or may not be read.
    """
    try:
        status = source.stat()
        if stat.S_ISDIR(status.st_mode):
            os.scandir(source).close()
        elif stat.S_ISREG(status.st_mode):
            source.open("rb").close()
    except FileNotFoundError as error:
        raise UsageError(f"{source}: there is no such file or folder.") from error
    except OSError as error:
        raise os_error(error, source) from error
    if stat.S_ISDIR(status.st_mode):
        yield from _folder(source, index)
    elif stat.S_ISREG(status.st_mode):
        raw = os.fsencode(source.name)
        locator = Locator.root(SOURCE, decode_name(raw, utf8=True), raw, index)
        yield SourceFile(locator, source, status.st_size, status.st_mtime_ns)
    else:
        raise UsageError(f"{source}: neither a file nor a folder.")


def _folder(source: Path, index: int) -> Iterator[SourceFile | Incident]:
    """The files below ``source`` in the order of their raw names. A list and not recursion: depth is up to others."""
    waiting: list[tuple[bytes, bytes | None]] = [(b"", None)]
    while waiting:
        prefix, name = waiting.pop()
        raw = prefix + (name or b"")
        path = Path(os.fsdecode(os.path.join(os.fsencode(source), raw)))  # noqa: PTH118 - raw bytes
        try:
            status = path.lstat() if name is not None else None
            if status is None or stat.S_ISDIR(status.st_mode):
                inside = raw + b"/" if raw else b""
                waiting += [(inside, found) for found in sorted(os.listdir(os.fsencode(path)), reverse=True)]  # noqa: PTH208
                continue
        except OSError as error:
            yield from _closed(path, raw or os.fsencode(source.name), index, error)
            continue
        yield from _file(path, raw, index, status)


def _closed(path: Path, raw: bytes, index: int, error: OSError) -> Iterator[SourceFile | Incident]:
    locator = Locator.root(FILE, decode_name(raw, utf8=True), raw, index)
    message = f"it cannot be listed: {error.strerror}"
    yield Incident(locator, _STAGE, "no-permission" if isinstance(error, PermissionError) else "io-error", message)
    yield SourceFile(locator, path, 0, 0, Outcome.UNREADABLE, message)


def _file(path: Path, raw: bytes, index: int, status: os.stat_result) -> Iterator[SourceFile | Incident]:
    locator = Locator.root(FILE, decode_name(raw, utf8=True), raw, index)
    if stat.S_ISREG(status.st_mode):
        yield SourceFile(locator, path, status.st_size, status.st_mtime_ns)
        return
    what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "a device, pipe or socket"
    yield Incident(locator, _STAGE, "link", f"{what}; not followed")
    yield SourceFile(locator, path, 0, status.st_mtime_ns, Outcome.NOT_IMAGE, what)

"""Files by content: a name, a SHA-256, and mirrors in order.

A file is fetched when it is asked for, never on the quiet. Whatever a mirror sends, the file appears under its name
only after its SHA-256 was found right.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.parse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from leakmatch.errors import IntegrityError, UsageError, os_error
from leakmatch.mirrors import Downloads, MirrorFailed, PackageMember, Progress, Url, member
from leakmatch.toml import Table

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OFFLINE_HINT: Final = "On a machine without network, copy the file into a folder and give it with --from DIR."


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: ``sha256`` (hexadecimal) and ``size`` in bytes say what it is, ``mirrors`` where it may be had."""

    name: str
    sha256: str
    size: int
    mirrors: tuple[Url | PackageMember, ...] = ()
    licence: str = ""
    source: str = ""


class _WrongContent(MirrorFailed):
    """What the mirror gave is another file."""


def silent(what: str, done: int, total: int) -> None:
    """A :data:`~leakmatch.mirrors.Progress` that shows nothing."""


# --- declared ---------------------------------------------------------------------------------------------------


def load_assets(file: Path) -> tuple[Asset, ...]:
    """The assets that the TOML file ``file`` declares. Raises :class:`UsageError` naming what is wrong in it."""
    return parse_assets(Table.read(file))


def parse_assets(table: Table) -> tuple[Asset, ...]:
    """The ``[[asset]]`` tables of ``table``: name, sha256, size, and optional licence, source and mirrors.

    A mirror is ``{ url }``, or ``{ requirement, archive, archive_sha256, member }``. Raises :class:`UsageError`.
    """
    return tuple(
        Asset(
            name=plain_name(row, "name"),
            sha256=_digest(row, "sha256"),
            size=row.whole("size", minimum=1),
            mirrors=tuple(_mirror(mirror) for mirror in row.tables("mirrors")),
            licence=row.text("licence", ""),
            source=row.text("source", ""),
        )
        for row in table.tables("asset")
    )


def plain_name(row: Table, key: str) -> str:
    """The value of ``key``, a file name without any folder. Raises :class:`UsageError`."""
    name = row.text(key)
    if Path(name).name != name or name in {".", ".."} or "\\" in name:
        raise row.wrong(key, "a plain file name")
    return name


def _mirror(row: Table) -> Url | PackageMember:
    if "url" in row:
        url = row.text("url")
        if urllib.parse.urlsplit(url).scheme != "https":
            raise row.wrong("url", "an https address")
        return Url(url)
    return PackageMember(
        row.text("requirement"), plain_name(row, "archive"), _digest(row, "archive_sha256"), row.text("member")
    )


def _digest(row: Table, key: str) -> str:
    value = row.text(key)
    if not _SHA256.fullmatch(value):
        raise row.wrong(key, "a SHA-256 (64 lower-case hexadecimal digits)")
    return value


# --- had --------------------------------------------------------------------------------------------------------


def sha256_of(file: Path) -> str:
    """The SHA-256 of ``file``, hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_placed(asset: Asset, folder: Path) -> bool:
    """Whether ``folder`` holds the file with the right content."""
    target = folder / asset.name
    return target.is_file() and target.stat().st_size == asset.size and sha256_of(target) == asset.sha256


def place(asset: Asset, from_dir: Path, folder: Path) -> Path:
    """Copy the file from ``from_dir`` (itself, or out of an archive of its mirrors there); its path. No network.

    Raises :class:`UsageError` if it is not there, :class:`IntegrityError` if it is another file,
    :class:`StorageError`.
    """
    with _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            if (from_dir / asset.name).is_file():
                with (from_dir / asset.name).open("rb") as stream:
                    return _write(asset, stream, folder)
            for mirror in asset.mirrors:
                if isinstance(mirror, PackageMember) and (from_dir / mirror.archive).is_file():
                    with member(from_dir / mirror.archive, mirror.member) as stream:
                        return _write(asset, stream, folder)
        except MirrorFailed as error:
            raise IntegrityError(f"{from_dir}: {asset.name} is not the file that is needed: {error}.") from error
    raise UsageError(f"{from_dir}: holds no {asset.name} (SHA-256 {asset.sha256}).")


# --- fetched ----------------------------------------------------------------------------------------------------


def fetch(asset: Asset, folder: Path, progress: Progress = silent) -> Path:
    """Like :func:`fetch_all`, for one file."""
    return fetch_all([asset], folder, progress)[0]


def fetch_all(assets: Iterable[Asset], folder: Path, progress: Progress = silent) -> list[Path]:
    """Fetch the files that ``folder`` does not hold yet; the paths of all of them, in the order given.

    Mirrors are tried in order; an archive that serves several files is downloaded once. Raises
    :class:`UsageError` if no mirror gave a file (:class:`IntegrityError` where one sent another file), naming what
    each of them answered, and :class:`StorageError`.
    """
    paths = []
    with Downloads(progress) as downloads, _storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for asset in assets:
            if not is_placed(asset, folder):
                _fetch_missing(asset, folder, downloads)
            paths.append(folder / asset.name)
    return paths


def _fetch_missing(asset: Asset, folder: Path, downloads: Downloads) -> None:
    failures: list[str] = []
    kind: type[UsageError | IntegrityError] = UsageError
    for mirror in asset.mirrors:
        try:
            if isinstance(mirror, Url):
                _from_url(asset, mirror, folder, downloads)
            else:
                with member(downloads.archive(mirror), mirror.member) as stream:
                    _write(asset, stream, folder)
        except MirrorFailed as error:
            failures.append(f"{mirror}: {error}")
            kind = IntegrityError if isinstance(error, _WrongContent) else kind
        else:
            _part(asset, folder).unlink(missing_ok=True)
            return
    answers = "; ".join(failures) or "it has no mirrors"
    raise kind(f"{asset.name} could not be fetched ({answers}). {_OFFLINE_HINT}")


def _from_url(asset: Asset, mirror: Url, folder: Path, downloads: Downloads) -> None:
    part = _part(asset, folder)
    resumed = part.exists()
    downloads.url(mirror.url, part, asset.size)
    try:
        _settle(asset, part, folder)
    except _WrongContent:
        if not resumed:
            raise
        # What another mirror, or another version of the file, had left was wrong: from the beginning then.
        downloads.url(mirror.url, part, asset.size)
        _settle(asset, part, folder)


def _part(asset: Asset, folder: Path) -> Path:
    return folder / f"{asset.name}.part"


def _write(asset: Asset, stream: IO[bytes], folder: Path) -> Path:
    """Place what ``stream`` holds, if it is the file; reads at most one byte more than its size."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=f"{asset.name}.", suffix=".tmp", delete=False) as out:
        temporary = Path(out.name)
        try:
            left = asset.size + 1
            while chunk := stream.read(min(1 << 20, left)):
                out.write(chunk)
                left -= len(chunk)
            out.flush()
            return _settle(asset, temporary, folder)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _settle(asset: Asset, file: Path, folder: Path) -> Path:
    """Give ``file``, which lies in ``folder``, its name if its content is right; delete it otherwise."""
    if sha256_of(file) != asset.sha256:
        file.unlink()
        raise _WrongContent("another file (its SHA-256 differs)")
    target = folder / asset.name
    with file.open("rb+") as stream:
        os.fsync(stream.fileno())
    file.chmod(0o644)
    file.replace(target)
    return target


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_error(error, path) from error

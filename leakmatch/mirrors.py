"""Where a file may be had: an https address, or a member of an archive on the Python package index.

Only bytes come from here; whether they are the right ones is for :mod:`leakmatch.assets` to say.
"""

from __future__ import annotations

import http.client
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

#: Told about a download: what, the bytes so far, the bytes in all (0 where unknown).
Progress = Callable[[str, int, int], None]

# A host that is blocked often answers nothing at all; the next mirror should not wait long for it.
_CONNECT_SECONDS: Final = 5.0
_READ_SECONDS: Final = 60.0
_CHUNK: Final = 1 << 20
_HTTP_PARTIAL: Final = 206
_HTTP_RANGE_WRONG: Final = 416


class MirrorFailed(Exception):
    """A mirror did not give the file. The message says why in short; the next mirror is tried."""


@dataclass(frozen=True, slots=True)
class Url:
    """A file at an https address."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True, slots=True)
class PackageMember:
    """A file inside a wheel, or inside a source archive (.tar.gz), on the Python package index.

    ``requirement`` pins the package (``name==version``), ``archive`` is the archive's file name and
    ``archive_sha256`` its digest, ``member`` the path inside.
    """

    requirement: str
    archive: str
    archive_sha256: str
    member: str

    def __str__(self) -> str:
        return f"Python package {self.requirement}"


class Downloads:
    """One run's downloads: each archive is fetched once, and a host that does not answer is asked once.

    A context manager; archives lie in a temporary folder that is removed at the end.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._archives: dict[str, Path] = {}
        self._dead: dict[str, str] = {}

    def __enter__(self) -> Downloads:
        self._folder = Path(tempfile.mkdtemp(prefix="leakmatch-"))
        return self

    def __exit__(self, *exc_info: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, url: str, part: Path, size: int) -> None:
        """Fetch ``url`` into ``part``, going on where an earlier try stopped.

        Reads at most one byte more than ``size``, so that no mirror can fill the disk. Raises
        :class:`MirrorFailed`, keeping what came; an ``OSError`` is about ``part``.
        """
        done = part.stat().st_size if part.exists() else 0
        if done == size:
            return
        if done > size:
            part.unlink()
            done = 0
        with self._answer(url, done, part) as answer:
            if answer.status != _HTTP_PARTIAL:
                done = 0
            with part.open("ab" if done else "wb") as out:
                while chunk := _read(answer, min(_CHUNK, size + 1 - done)):
                    out.write(chunk)
                    done += len(chunk)
                    self._progress(part.stem, done, size)
        if done < size:
            raise MirrorFailed(f"ended after {done:,} of {size:,} bytes")

    @contextmanager
    def _answer(self, url: str, start: int, part: Path) -> Iterator[Any]:
        host = urllib.parse.urlsplit(url).netloc
        if host in self._dead:
            raise MirrorFailed(self._dead[host])
        headers = {"User-Agent": "leakmatch", "Accept-Encoding": "identity"}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - the opener knows https alone
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            answer = _opener().open(request, timeout=_READ_SECONDS)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == _HTTP_RANGE_WRONG:
                part.unlink()  # it is not the beginning of this file
            raise MirrorFailed(f"HTTP {error.code} {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            self._dead[host] = _short(error)
            raise MirrorFailed(self._dead[host]) from error
        with answer:
            if answer.status == _HTTP_PARTIAL and not answer.headers.get("Content-Range", "").startswith(
                f"bytes {start}-"
            ):
                raise MirrorFailed("sent another range than it was asked for")
            yield answer

    def archive(self, package: PackageMember) -> Path:
        """The archive, fetched by pip, so that the user's index, proxy and certificates hold.

        pip compares the archive's digest before anything else is done with it. That matters for a source archive,
        of which pip runs the build's set-up to read its metadata; a wheel is never run.
        """
        if package.archive in self._archives:
            return self._archives[package.archive]
        if package.requirement in self._dead:
            raise MirrorFailed(self._dead[package.requirement])
        self._progress(package.archive, 0, 0)
        try:
            self._archives[package.archive] = _pip_download(package, self._folder)
        except MirrorFailed as error:
            self._dead[package.requirement] = str(error)
            raise
        return self._archives[package.archive]


@contextmanager
def member(archive: Path, name: str) -> Iterator[IO[bytes]]:
    """The file ``name`` inside the wheel or .tar.gz ``archive``, to be read once.

    Nothing else of the archive is read out. Raises :class:`MirrorFailed` if it is not there or the archive is
    damaged.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel, wheel.open(name) as stream:
                yield stream
        else:
            with tarfile.open(archive, "r:gz") as source:
                found = source.extractfile(name)
                if found is None:
                    raise MirrorFailed(f"{name} in {archive.name} is not a file")
                with found:
                    yield found
    except KeyError as error:
        raise MirrorFailed(f"{archive.name} holds no {name}") from error
    except (zipfile.BadZipFile, tarfile.TarError, EOFError) as error:
        raise MirrorFailed(f"{archive.name} is damaged ({error})") from error


# --- https ------------------------------------------------------------------------------------------------------


class _Connection(http.client.HTTPSConnection):
    """Connects with little patience, then reads with more."""

    def connect(self) -> None:
        self.timeout = _CONNECT_SECONDS
        super().connect()
        self.sock.settimeout(_READ_SECONDS)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_Connection, req)


def _opener() -> urllib.request.OpenerDirector:
    """An opener that knows https alone, so that no redirect leads to plain http, ftp or a local file."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _HttpsHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener


def _read(answer: Any, count: int) -> bytes:
    try:
        chunk: bytes = answer.read(count)
    except (OSError, http.client.HTTPException) as error:
        raise MirrorFailed(_short(error)) from error
    return chunk


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return (getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)[:120]


# --- pip --------------------------------------------------------------------------------------------------------


def _pip_download(package: PackageMember, folder: Path) -> Path:
    requirements = folder / f"{package.archive}.txt"
    requirements.write_text(f"{package.requirement} --hash=sha256:{package.archive_sha256}\n", encoding="utf-8")
    # -P keeps the current folder, which may hold anything, off the module path.
    command = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--require-hashes", "--requirement", str(requirements)]
    command += ["--dest", str(folder), *_selecting(package)]
    try:
        result = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise MirrorFailed(f"pip could not be started ({_short(error)})") from error
    archive = folder / package.archive
    if result.returncode or not archive.is_file():
        raise MirrorFailed(_pip_reason(result.stderr))
    return archive


def _selecting(package: PackageMember) -> list[str]:
    """The options with which pip takes this very archive on every machine.

    A wheel made for one Python and platform is asked for by the tags in its name (the wheel specification,
    "File name convention"): only data is read from it, so it need not fit the machine at hand.
    """
    name = package.requirement.partition("==")[0]
    if not package.archive.endswith(".whl"):
        return ["--no-binary", name]
    python, abi, platforms = package.archive.removesuffix(".whl").split("-")[-3:]
    options = ["--only-binary", ":all:"]
    if platforms != "any":
        options += ["--implementation", python[:2], "--python-version", python[2:], "--abi", abi]
        options += [word for platform in platforms.split(".") for word in ("--platform", platform)]
    return options


def _pip_reason(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"pip is not installed for {sys.executable} (python -m ensurepip adds it)"
    errors = [line.removeprefix("ERROR: ") for line in stderr.splitlines() if line.startswith("ERROR: ")]
    return (errors[0] if errors else "pip failed")[:160]

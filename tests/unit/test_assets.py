"""Files by content: what is declared, what is placed, and what never is."""

from __future__ import annotations

import hashlib
import io
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from leakmatch import mirrors
from leakmatch.assets import Asset, fetch, fetch_all, is_placed, load_assets, place
from leakmatch.errors import IntegrityError, StorageError, UsageError
from leakmatch.mirrors import PackageMember, Url

CONTENT = bytes(range(256)) * 1000


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def asset(*sources: Url | PackageMember, name: str = "model.onnx", content: bytes = CONTENT) -> Asset:
    return Asset(name, digest(content), len(content), sources)


def holds_only(folder: Path, *names: str) -> bool:
    return sorted(path.name for path in folder.iterdir()) == sorted(names)


# --- a mirror on this machine -----------------------------------------------------------------------------------


class Mirror(BaseHTTPRequestHandler):
    """``/file`` honours ranges, ``/plain`` does not, ``/short`` ends early, ``/long`` never ends, others are 404."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.asked.append((self.path, wanted))
        if self.path == "/file" and wanted:
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self._send(206, CONTENT[start:], {"Content-Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"})
        elif self.path in {"/file", "/plain"}:
            self._send(200, CONTENT)
        elif self.path == "/short":
            self._send(200, CONTENT[:1000])
        elif self.path == "/other":
            self._send(200, CONTENT[::-1])
        elif self.path == "/long":
            self._send(200, CONTENT + bytes(5_000_000))
        else:
            self._send(404, b"")

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the reader had enough

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a mirror. It speaks plain http, which only the tests' opener follows."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    monkeypatch.setattr(mirrors, "_opener", lambda: direct)
    Mirror.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), Mirror)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_fetched_and_not_fetched_again(mirror: str, tmp_path: Path) -> None:
    wanted = asset(Url(f"{mirror}/file"))
    seen: list[tuple[str, int, int]] = []
    placed = fetch(wanted, tmp_path / "store", lambda *told: seen.append(told))
    assert placed.read_bytes() == CONTENT
    assert seen[-1] == ("model.onnx", len(CONTENT), len(CONTENT))
    fetch(wanted, tmp_path / "store")
    assert len(Mirror.asked) == 1
    assert holds_only(tmp_path / "store", "model.onnx")


def test_a_download_goes_on_where_it_stopped(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx.part").write_bytes(CONTENT[:1234])
    fetch(asset(Url(f"{mirror}/file")), tmp_path)
    assert Mirror.asked == [("/file", "bytes=1234-")]
    assert holds_only(tmp_path, "model.onnx")


def test_a_mirror_without_ranges_starts_over(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx.part").write_bytes(CONTENT[:1234])
    assert fetch(asset(Url(f"{mirror}/plain")), tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_file_is_fetched_anew(mirror: str, tmp_path: Path) -> None:
    (tmp_path / "model.onnx.part").write_bytes(b"x" * 1234)
    assert fetch(asset(Url(f"{mirror}/file")), tmp_path).read_bytes() == CONTENT
    assert Mirror.asked == [("/file", "bytes=1234-"), ("/file", None)]


def test_an_early_end_keeps_the_part_for_the_next_mirror(mirror: str, tmp_path: Path) -> None:
    fetch(asset(Url(f"{mirror}/short"), Url(f"{mirror}/file")), tmp_path)
    assert Mirror.asked == [("/short", None), ("/file", "bytes=1000-")]
    assert is_placed(asset(), tmp_path)


@pytest.mark.parametrize("path", ["/other", "/long"])
def test_another_file_is_never_kept(mirror: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(IntegrityError, match="SHA-256"):
        fetch(asset(Url(mirror + path)), tmp_path)
    assert holds_only(tmp_path)
    assert fetch(asset(Url(mirror + path), Url(f"{mirror}/file")), tmp_path).read_bytes() == CONTENT


def test_every_failure_is_named(mirror: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        fetch(asset(Url(f"{mirror}/none"), Url(f"{mirror}/short")), tmp_path)
    message = str(caught.value)
    assert f"{mirror}/none: HTTP 404" in message
    assert f"{mirror}/short: ended after 1,000" in message
    assert "--from DIR" in message


def test_a_host_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []

    class Unreachable:
        def open(self, request: urllib.request.Request, timeout: float) -> None:
            asked.append(request.full_url)
            raise urllib.error.URLError(OSError(113, "No route to host"))

    monkeypatch.setattr(mirrors, "_opener", Unreachable)
    urls = Url("https://a.example/1"), Url("https://a.example/2"), Url("https://b.example/1")
    with pytest.raises(UsageError, match="No route to host"):
        fetch(asset(*urls), tmp_path)
    assert asked == ["https://a.example/1", "https://b.example/1"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "file:///etc/hostname", "ftp://127.0.0.1:1/x"])
def test_only_https_is_followed(address: str) -> None:
    with pytest.raises(urllib.error.URLError, match="unknown url type"):
        mirrors._opener().open(address, timeout=1)


# --- members of packages ----------------------------------------------------------------------------------------

FILES = {"things/models/a.onnx": b"first" * 100, "things/models/b.onnx": b"second" * 100}


def wheel(folder: Path, name: str = "things-1.0-py3-none-any.whl") -> Path:
    """A wheel that pip accepts, holding :data:`FILES`."""
    file = folder / name
    about = "things-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for member, content in FILES.items():
            archive.writestr(member, content)
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: things\nVersion: 1.0\n")
        tags = "-".join(name.removesuffix(".whl").split("-")[2:])
        archive.writestr(f"{about}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n")
        archive.writestr(f"{about}/RECORD", "")
    return file


def tarball(folder: Path) -> Path:
    file = folder / "things-1.0.tar.gz"
    with tarfile.open(file, "w:gz") as archive:
        for member, content in FILES.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("things/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return file


def members(archive: Path) -> list[Asset]:
    return [
        asset(
            PackageMember("things==1.0", archive.name, digest(archive.read_bytes()), member),
            name=Path(member).name,
            content=content,
        )
        for member, content in FILES.items()
    ]


@pytest.mark.parametrize("make", [wheel, tarball])
def test_members_of_one_archive_come_from_one_download(
    make: object, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert callable(make)
    archive = make(tmp_path)
    asked = []

    def download(package: PackageMember, folder: Path) -> Path:
        asked.append(package.requirement)
        return Path(shutil.copy(archive, folder))

    monkeypatch.setattr(mirrors, "_pip_download", download)
    placed = fetch_all(members(archive), tmp_path / "store")
    assert [path.read_bytes() for path in placed] == list(FILES.values())
    assert asked == ["things==1.0"]
    assert holds_only(tmp_path / "store", "a.onnx", "b.onnx")


@pytest.mark.parametrize("member", ["things/none", "things/link"])
@pytest.mark.parametrize("make", [wheel, tarball])
def test_a_member_that_is_no_file_is_not_taken(make: object, member: str, tmp_path: Path) -> None:
    assert callable(make)
    archive = make(tmp_path)
    with pytest.raises(mirrors.MirrorFailed), mirrors.member(archive, member):
        pytest.fail("there is no such member")


def test_a_damaged_archive_is_a_failed_mirror(tmp_path: Path) -> None:
    for name in ("things-1.0-py3-none-any.whl", "things-1.0.tar.gz"):
        (tmp_path / name).write_bytes(b"not an archive")
        with pytest.raises(mirrors.MirrorFailed, match="damaged"), mirrors.member(tmp_path / name, "x"):
            pytest.fail("there is no archive")


@pytest.fixture
def closed_index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is all pip may look at."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_INDEX_URL", "PIP_REQUIREMENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.mark.parametrize("name", ["things-1.0-py3-none-any.whl", "things-1.0-cp39-cp39-win_amd64.whl"])
def test_pip_fetches_a_wheel_even_of_another_platform(closed_index: Path, tmp_path: Path, name: str) -> None:
    archive = wheel(closed_index, name)
    placed = fetch(members(archive)[1], tmp_path / "store")
    assert placed.read_bytes() == FILES["things/models/b.onnx"]


def test_pip_refuses_an_archive_with_another_digest(closed_index: Path, tmp_path: Path) -> None:
    wanted = members(wheel(closed_index))[0]
    with zipfile.ZipFile(closed_index / "things-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("more", "x")
    with pytest.raises(UsageError, match=r"(?i)hashes"):
        fetch(wanted, tmp_path / "store")
    assert holds_only(tmp_path / "store")


def test_an_environment_without_pip_is_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    fake.chmod(0o755)
    monkeypatch.setattr(mirrors.sys, "executable", str(fake))
    with pytest.raises(UsageError, match=r"pip is not installed for .*ensurepip"):
        fetch(members(wheel(tmp_path))[0], tmp_path / "store")


def test_pip_is_asked_for_this_very_archive() -> None:
    def options(archive: str) -> list[str]:
        return mirrors._selecting(PackageMember("things==1.0", archive, "0" * 64, "x"))

    assert options("things-1.0.tar.gz") == ["--no-binary", "things"]
    assert options("things-1.0-py3-none-any.whl") == ["--only-binary", ":all:"]
    chosen = options("things-1.0-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl")
    assert chosen[2:8] == ["--implementation", "cp", "--python-version", "311", "--abi", "cp311"]
    assert chosen[8:] == ["--platform", "manylinux_2_24_x86_64", "--platform", "manylinux_2_28_x86_64"]


# --- without network --------------------------------------------------------------------------------------------


def test_place_takes_the_file_or_its_archive(tmp_path: Path) -> None:
    wanted = members(wheel(tmp_path))
    (tmp_path / "a.onnx").write_bytes(FILES["things/models/a.onnx"])
    store = tmp_path / "store"
    assert [place(one, tmp_path, store).read_bytes() for one in wanted] == list(FILES.values())


def test_place_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(CONTENT + b"!")
    with pytest.raises(IntegrityError, match=r"model\.onnx"):
        place(asset(), tmp_path, tmp_path / "store")
    assert holds_only(tmp_path / "store")


def test_place_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"holds no model\.onnx .*{digest(CONTENT)}"):
        place(asset(), tmp_path, tmp_path / "store")


def test_a_full_disk_is_a_storage_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "model.onnx").write_bytes(CONTENT)
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match="No space left"):
        place(asset(), tmp_path, tmp_path / "store")
    assert holds_only(tmp_path / "store")


# --- declarations -----------------------------------------------------------------------------------------------

GOOD = f"""
[[asset]]
name = "model.onnx"
sha256 = "{digest(CONTENT)}"
size = {len(CONTENT)}
[[asset.mirrors]]
url = "https://example.org/model.onnx"
[[asset.mirrors]]
requirement = "things==1.0"
archive = "things-1.0.tar.gz"
archive_sha256 = "{"0" * 64}"
member = "things/model.onnx"
"""


def test_a_declaration_is_read(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text(GOOD)
    (read,) = load_assets(tmp_path / "assets.toml")
    package = PackageMember("things==1.0", "things-1.0.tar.gz", "0" * 64, "things/model.onnx")
    assert read == asset(Url("https://example.org/model.onnx"), package)


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ("model.onnx", "../model.onnx", "name = .* is not a plain file name"),
        (digest(CONTENT), "123", "sha256 = .* is not a SHA-256"),
        (f"size = {len(CONTENT)}", "size = 'big'", "size = 'big' is not a whole number"),
        (f"size = {len(CONTENT)}", "", "size is missing"),
        ("https://", "http://", "url = .* is not an https address"),
        ("things-1.0.tar.gz", "/tmp/things-1.0.tar.gz", "archive = .* is not a plain file name"),
        ("[[asset]]", "[[asset", "not a TOML file"),
    ],
)
def test_a_wrong_declaration_names_the_key(tmp_path: Path, good: str, bad: str, message: str) -> None:
    file = tmp_path / "assets.toml"
    file.write_text(GOOD.replace(good, bad, 1))
    with pytest.raises(UsageError, match=message) as caught:
        load_assets(file)
    assert str(file) in str(caught.value)


def test_assets_that_are_no_list(tmp_path: Path) -> None:
    (tmp_path / "assets.toml").write_text("asset = 3")
    with pytest.raises(UsageError, match="asset = 3 is not a list of tables"):
        load_assets(tmp_path / "assets.toml")


def test_a_declaration_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_assets(tmp_path / "none.toml")

"""The files below a folder: everything is listed once, and nothing that is not a plain file is opened."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
from archives import without_privileges

from leakmatch.errors import StorageError, UsageError
from leakmatch.records import Incident, ItemKind, Outcome
from leakmatch.sources.folder import SourceFile, inventory


def listed(source: Path) -> tuple[list[SourceFile], list[Incident]]:
    found = list(inventory(source, 3))
    return [f for f in found if isinstance(f, SourceFile)], [f for f in found if isinstance(f, Incident)]


def test_files_in_the_order_of_their_raw_names(tmp_path):
    for name in ("b/2.jpg", "b/1.jpg", "a.jpg", "b/c/d.jpg", "z", "b.jpg", "Ä.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    files, incidents = listed(tmp_path)
    assert [f.locator.name for f in files] == ["a.jpg", "b/1.jpg", "b/2.jpg", "b/c/d.jpg", "b.jpg", "z", "Ä.jpg"]
    assert [f.path.read_bytes() for f in files] == [f.locator.raw for f in files]
    assert [f.size for f in files] == [len(f.locator.raw) for f in files]
    assert {(f.locator.kind, f.locator.ordinal, f.outcome) for f in files} == {("file", 3, None)}
    assert files[0].mtime_ns == (tmp_path / "a.jpg").stat().st_mtime_ns
    assert not incidents


def test_a_file_that_was_given(tmp_path):
    (tmp_path / "a.zip").write_bytes(b"12345")
    ((file,), incidents) = listed(tmp_path / "a.zip")
    assert (file.locator.kind, file.locator.name, file.size, file.path) == ("source", "a.zip", 5, tmp_path / "a.zip")
    assert not incidents


def test_an_empty_folder(tmp_path):
    (tmp_path / "empty").mkdir()
    assert listed(tmp_path) == ([], [])


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        listed(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        listed(tmp_path / "pipe")


def test_links_pipes_and_sockets_are_listed_and_not_followed(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x.jpg").write_bytes(b"x")
    (tmp_path / "to file").symlink_to("folder/x.jpg")
    (tmp_path / "to folder").symlink_to("folder")
    (tmp_path / "to itself").symlink_to("to itself")
    (tmp_path / "up").symlink_to("..")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        files, incidents = listed(tmp_path)
    special = {f.locator.name: f for f in files if f.outcome is not None}
    assert set(special) == {"to file", "to folder", "to itself", "up", "pipe", "socket"}
    assert {f.outcome for f in special.values()} == {Outcome.NOT_IMAGE}
    assert {i.locator.name for i in incidents} == set(special)
    assert {i.code for i in incidents} == {"link"}
    entry = special["up"].entry()
    assert (entry.position, entry.kind, entry.outcome) == (0, ItemKind.OTHER, Outcome.NOT_IMAGE)
    assert [f.locator.name for f in files if f.outcome is None] == ["folder/x.jpg"]


def test_names_that_are_no_utf8(tmp_path):
    raw = os.fsencode(tmp_path) + b"/\xff\xfe\n.jpg"
    Path(os.fsdecode(raw)).write_bytes(b"x")
    ((file,), _) = listed(tmp_path)
    assert file.locator.raw == b"\xff\xfe\n.jpg"
    assert file.path.read_bytes() == b"x"
    assert file.locator.path.isprintable()


def test_a_folder_that_may_not_be_listed_is_a_row():
    with without_privileges() as folder:
        (folder / "closed").mkdir()
        (folder / "closed" / "hidden.jpg").write_bytes(b"x")
        (folder / "open.jpg").write_bytes(b"x")
        (folder / "closed").chmod(0)
        files, incidents = listed(folder)
        (folder / "closed").chmod(0o700)
    assert [(f.locator.name, f.outcome) for f in files] == [("closed", Outcome.UNREADABLE), ("open.jpg", None)]
    assert files[0].entry().kind is ItemKind.CONTAINER
    assert [(i.locator, i.code) for i in incidents] == [(files[0].locator, "no-permission")]


def test_a_source_that_may_not_be_read():
    with without_privileges() as folder:
        for name in ("closed", "file"):
            (folder / name).mkdir() if name == "closed" else (folder / name).write_bytes(b"")
            (folder / name).chmod(0)
            with pytest.raises(UsageError, match="Permission denied"):
                listed(folder / name)
            (folder / name).chmod(0o700)


def test_a_medium_that_fails_while_listing(tmp_path, monkeypatch):
    (tmp_path / "bad").mkdir()
    (tmp_path / "good.jpg").write_bytes(b"x")
    real = os.listdir

    def listdir(path):
        if path.endswith(b"/bad"):
            raise OSError(5, "Input/output error")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    files, incidents = listed(tmp_path)
    assert [(f.locator.name, f.outcome) for f in files] == [("bad", Outcome.UNREADABLE), ("good.jpg", None)]
    assert [i.code for i in incidents] == ["io-error"]


def test_a_medium_that_fails_at_once(tmp_path, monkeypatch):
    def scandir(path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(StorageError):
        listed(tmp_path)


def test_folders_deeper_than_a_path_may_be_long(tmp_path):
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(1100):  # deeper, too, than functions may call each other
        os.mkdir("ddd", dir_fd=here)  # relative to an open folder, since no path is that long
        below = os.open("ddd", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    (tmp_path / "e.jpg").write_bytes(b"x")
    try:
        files, incidents = listed(tmp_path)
    finally:
        subprocess.run(["rm", "-r", tmp_path / "ddd"], check=True)  # deeper than rmtree is quick at
    assert [f.outcome for f in files] == [Outcome.UNREADABLE, None]
    assert [i.code for i in incidents] == ["io-error"]
    assert len(files[0].locator.raw) > 3900

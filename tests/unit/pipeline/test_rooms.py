"""Scratch folders: private, emptied, and none of a killed run stays for long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from leakmatch.errors import UsageError
from leakmatch.pipeline.process import scrubbed_environment
from leakmatch.pipeline.rooms import Rooms


def test_rooms_are_private_and_gone_at_the_end(tmp_path: Path) -> None:
    rooms = Rooms(str(tmp_path))
    first, second = rooms.room(), rooms.room()
    assert first != second
    for folder in (rooms.folder, first, second):
        assert folder.stat().st_mode & 0o777 == 0o700
    (first / "deep" / "er").mkdir(parents=True)
    (first / "deep" / "er" / "a").write_bytes(b"x")
    rooms.empty(first)
    assert not first.exists()
    assert second.exists()
    rooms.close()
    rooms.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    code = "import sys, time; from leakmatch.pipeline.rooms import Rooms; rooms = Rooms(sys.argv[1]); rooms.room(); "
    code += "print(rooms.folder, flush=True); time.sleep(60)"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", code, str(tmp_path)], env=scrubbed_environment(), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    left = Path(process.stdout.readline().strip())
    living = Rooms(str(tmp_path))
    assert left.exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    Rooms(str(tmp_path)).close()
    assert not left.exists()
    assert living.folder.exists()
    living.close()


def test_only_what_is_ours_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    (kept / "lock").parent.mkdir()
    (kept / "lock").touch()
    (tmp_path / "leakmatch-scratch-link").symlink_to(kept)
    (tmp_path / "leakmatch-scratch-file").write_bytes(b"x")
    (tmp_path / "leakmatch-scratch-young").mkdir()
    old = tmp_path / "leakmatch-scratch-old"
    old.mkdir()
    os.utime(old, (0, 0))
    Rooms(str(tmp_path)).close()
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"kept", "leakmatch-scratch-link", "leakmatch-scratch-file", "leakmatch-scratch-young"}
    assert (kept / "lock").exists()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nowhere"):
        Rooms(str(tmp_path / "nowhere"))

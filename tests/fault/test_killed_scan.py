"""A scan that is killed again and again ends in the same case as one that was left alone."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest
from PIL import Image

EXPORTS = ("items", "faces", "candidates", "incidents")


def leakmatch(home: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "leakmatch", *map(str, arguments)],
        env={**os.environ, "LEAKMATCH_HOME": str(home), "LEAKMATCH_WORKERS": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def exported(home: Path, case: Path) -> dict[str, str]:
    return {what: leakmatch(home, "export", case, what, *_all(what)).communicate()[0] for what in EXPORTS}


def _all(what: str) -> list[str]:
    return ["--all"] if what == "candidates" else []


@pytest.fixture
def seized(sample_photos: Path, tmp_path: Path) -> Path:
    """A folder with a tar.gz of 90 small pictures, some of them twice, and some loose ones."""
    folder = tmp_path / "seized"
    loose = folder / "loose"
    loose.mkdir(parents=True)
    portraits = [
        Image.open(sample_photos / name).convert("RGB") for name in ("astronaut.png", "obama.jpg", "biden.jpg")
    ]
    for i in range(60):
        small = portraits[i % 3].copy()
        small.thumbnail((300, 300))
        small.rotate(i / 6).save(loose / f"{i:03}.jpg", quality=80)
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for path in sorted(loose.iterdir()):
            archive.add(path, f"x/{path.name}")
        for path in sorted(loose.iterdir())[:30]:
            archive.add(path, f"again/{path.name}")
    for path in sorted(loose.iterdir())[:40]:
        path.unlink()
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    return folder


def test_killed_at_random_times_the_finished_case_is_the_same(
    pack_home: Path, sample_photos: Path, seized: Path, tmp_path: Path
) -> None:
    people = tmp_path / "people" / "collins"
    people.mkdir(parents=True)
    shutil.copy(sample_photos / "astronaut.png", people)
    gallery = tmp_path / "a.gallery"
    assert leakmatch(pack_home, "enroll", gallery, people.parent, "--unsealed").wait() == 0
    whole, broken = tmp_path / "whole.case", tmp_path / "broken.case"
    assert leakmatch(pack_home, "scan", seized, "-g", gallery, "-c", whole).wait() == 3

    chance = random.Random(7)
    kills = 0
    for attempt in range(20):
        process = leakmatch(pack_home, "scan", seized, "-g", gallery, "-c", broken, "--workers", "1")
        if kills == 6 or not _runs_until_it_commits(process, broken):
            process.wait()
            break
        time.sleep(chance.random() / 2)
        process.send_signal(signal.SIGKILL if attempt % 3 else signal.SIGTERM)
        kills += process.wait() in (-signal.SIGKILL, 130)
    assert process.returncode == 3
    assert kills, "it was never killed"
    assert exported(pack_home, broken) == exported(pack_home, whole)
    assert leakmatch(pack_home, "verify", broken).wait() == 3


def _runs_until_it_commits(process: subprocess.Popen[str], case: Path) -> bool:
    """Wait for a commit; false if the process ended first."""
    before = case.stat().st_mtime_ns if case.exists() else 0
    while process.poll() is None:
        if case.exists() and case.stat().st_mtime_ns > before:
            return True
        time.sleep(0.02)
    return False


def test_workers_die_with_their_parent(pack_home: Path, seized: Path, sample_photos: Path, tmp_path: Path) -> None:
    people = tmp_path / "people" / "collins"
    people.mkdir(parents=True)
    shutil.copy(sample_photos / "astronaut.png", people)
    gallery = tmp_path / "a.gallery"
    assert leakmatch(pack_home, "enroll", gallery, people.parent, "--unsealed").wait() == 0
    process = leakmatch(pack_home, "scan", seized, "-g", gallery, "-c", tmp_path / "a.case")
    children: list[int] = []
    deadline = time.monotonic() + 20
    while len(children) < 3 and time.monotonic() < deadline:
        text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        children = [int(pid) for pid in text.split()]
        time.sleep(0.05)
    assert len(children) >= 3
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(_alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if _alive(pid)]


def _alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False

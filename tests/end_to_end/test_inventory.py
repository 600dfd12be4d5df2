"""``leakmatch scan --inventory``: what is there, before the long run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from archives import Zipped, zip_of, zipped
from commands import Run


@pytest.fixture
def seized(sample_photos: Path, tmp_path: Path) -> Path:
    """A folder with photos, a zip in a zip, a locked zip, a damaged file."""
    folder = tmp_path / "seized"
    folder.mkdir()
    shutil.copy(sample_photos / "obama2.jpg", folder / "a.jpg")
    photo = (sample_photos / "biden.jpg").read_bytes()
    inner = zip_of([(b"b.jpg", photo), (b"notes.txt", b"text")])
    (folder / "outer.zip").write_bytes(zip_of([(b"inner.zip", inner), (b"c.jpg", photo + b"c")], 8))
    locked = [Zipped(b"%d.jpg" % number, bytes(99), flags=1) for number in range(30)]
    (folder / "locked.zip").write_bytes(zipped(locked))
    for number in range(25):
        (folder / f"locked {number:02}.zip").write_bytes(zipped(locked[:1]))
    (folder / "broken.zip").write_bytes(zip_of([(b"x.txt", b"x" * 100)])[:60])
    return folder


@pytest.mark.parametrize("isolation", ["--isolation", "--no-isolation"])
def test_it_counts_what_a_scan_would_meet(run: Run, demo: Path, seized: Path, tmp_path: Path, isolation: str) -> None:
    done = run("scan", seized, "--inventory", "--json", isolation)
    assert done.code == 3
    found = json.loads(done.out)
    case = tmp_path / "a.case"
    run("scan", seized, "-g", demo / "demo.gallery", "-c", case)
    items = [json.loads(line) for line in run("export", case, "items").out.splitlines()]
    assert found["items"] == len(items)
    assert found["members"] == sum("!/" in row["path"] for row in items)
    assert found["pictures"] == {"JPEG": {"items": 3, "bytes": found["pictures"]["JPEG"]["bytes"]}}
    assert found["containers"]["zip"]["items"] == sum(row["kind"] == "container" for row in items)
    assert found["bytes_stored"] == sum(path.stat().st_size for path in seized.iterdir())
    assert found["bytes_expanded"] == sum(row["bytes"] for row in items if row["kind"] != "container")
    looked = {"done", "no-face", "duplicate", "not-image", "walked"}
    assert found["incomplete"]["items"] == sum(row["outcome"] not in looked for row in items)
    worst = found["incomplete"]["places"][0]
    assert (worst["outcome"], worst["path"], worst["items"]) == ("needs-password", "locked.zip", 30)
    assert worst["first"] == "locked.zip!/0.jpg"
    estimate = found["estimate"]
    assert estimate["pictures_sampled"] == estimate["sampled_with_faces"] == 3
    assert estimate["seconds"] > estimate["seconds_each"] > 0


def test_it_reads_well(run: Run, seized: Path) -> None:
    done = run("scan", seized, "--inventory")
    assert done.code == 3
    lines = done.out.splitlines()
    assert lines[0].startswith("29 files on disk, ")
    assert "Locked: 55 items in 26 places." in lines
    assert "  locked.zip: 30 members, locked with a password" in lines
    assert "  and 6 more (--json lists all)" in lines
    assert any(line.startswith("A scan will take about ") for line in lines)
    assert max(map(len, lines)) < 400
    assert run("scan", seized, "--inventory", "--quiet").out == ""


def test_nothing_is_written_and_all_is_well(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    shutil.copy(sample_photos / "obama2.jpg", tmp_path / "a.jpg")
    done = run("scan", tmp_path / "a.jpg", "--inventory")
    assert done.code == 0
    assert "1 of 1 picture" in done.out
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_what_is_missing_is_said(run: Run, seized: Path, demo: Path, tmp_path: Path) -> None:
    done = run("scan", seized, "--gallery", demo / "demo.gallery")
    assert done.code == 2
    assert "scan needs --case FILE" in done.err
    done = run("scan", seized)
    assert done.code == 2
    assert "--gallery FILE and --case FILE" in done.err
    assert run("scan", tmp_path / "none", "--inventory").code == 2

"""The measurement of copies runs, the whole way of a scan, on a few of the sample photos."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.models

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "copies.py"


def test_it_counts_copies_and_lists_photos_that_are_the_same(sample_photos: Path, pack_home: Path, tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as photos:
        for name, place in (("obama.jpg", "a/1.jpg"), ("obama2.jpg", "a/2.jpg"), ("biden.jpg", "b/1.jpg")):
            photos.write(sample_photos / name, place)
        photos.writestr("c/1.jpg", (sample_photos / "biden.jpg").read_bytes() + b"\0")
    command = [sys.executable, SCRIPT, tmp_path / "photos.zip", "--photos", "1", "--seeds", "4"]
    done = subprocess.run(
        [*command, "--json", tmp_path / "record.json"],
        env={**os.environ, "LEAKMATCH_HOME": str(pack_home)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    different = record["different_pictures"]
    assert (different["pairs_of_photos"], different["pairs_of_one_person"]) == (6, 1)
    called = {(a, b) for a, b, *_ in different["others_called_same_picture"]}
    assert called == {("b/1.jpg", "c/1.jpg"), ("c/1.jpg", "b/1.jpg")}
    assert record["copies"]["mirrored"]["kept"] == record["copies"]["10 % off each side"]["kept"] == 1
    assert record["copies"]["mirrored"]["wilson_95"][1] == 1

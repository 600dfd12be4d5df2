"""``leakmatch bench`` as users call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Run

pytestmark = pytest.mark.models


def test_a_record_and_a_table(run: Run, sample_photos: Path) -> None:
    options = ["pipeline", "--archive", sample_photos, "--members", "100"]
    done = run("bench", *options, "--json")
    assert done.code == 0, done.err
    record = json.loads(done.out)
    assert record["machine"]["usable_cores"] >= 1
    images = next(figure for figure in record["figures"] if figure["what"] == "images")
    assert images["subject"] == "pipeline"
    assert images["unit"] == "images/s"
    assert images["value"] > 0
    assert images["limit_name"] == "sgemm, embedding alone"
    table = run("bench", *options)
    assert table.code == 0, table.err
    assert {"images", "faces", "start-up"} <= {line.split("  ")[0] for line in table.out.splitlines()}


def test_hashes(run: Run) -> None:
    options = ["hash", "--size", "40", "--probes", "5", "--hashes", "2000"]
    done = run("bench", *options, "--json")
    assert done.code == 0, done.err
    figures = {figure["what"]: figure for figure in json.loads(done.out)["figures"]}
    assert figures["phash and dhash, 40x40, 1 core"]["detail"]["times_imagehash"] > 0
    assert figures["join with 5 hashes, 1 core"]["limit_name"] == "each pair read from memory once"
    assert "the same by faiss, 5 hashes, 1 core" in run("bench", *options).out


def test_search(run: Run) -> None:
    done = run("bench", "search", "--templates", "2000", "--dimension", "32", "--probes", "3", "--json")
    assert done.code == 0, done.err
    assert all(figure["subject"] == "search" for figure in json.loads(done.out)["figures"])


def test_wrong_use(run: Run, tmp_path: Path) -> None:
    assert run("bench", "speed").code == 2
    assert run("bench", "--json", "embed").code == 2
    missing = run("bench", "pipeline", "--archive", tmp_path / "missing.zip")
    assert missing.code == 2
    assert "missing.zip" in missing.err
    assert run("bench", "embed", "--engine", "abacus").code == 2
    threads = run("bench", "embed", "--threads", "5000")
    assert threads.code == 2
    assert "5000 threads are more than" in threads.err
    (tmp_path / "notes.txt").write_text("no picture")
    nothing = run("bench", "pipeline", "--archive", tmp_path / "notes.txt", "--members", "10")
    assert nothing.code == 2
    assert "holds no picture" in nothing.err


def test_interrupted_it_leaves_nothing_behind(pack_home: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "LEAKMATCH_HOME": str(pack_home), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "leakmatch", "bench", "pipeline", "--photos", "20000", "--members", "10"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        end = time.monotonic() + 60
        while not list(tmp_path.glob("leakmatch-bench-*")):
            assert process.poll() is None, process.stderr
            assert time.monotonic() < end
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in said
    assert list(tmp_path.iterdir()) == []

"""A small, fixed share of what ``scripts/fuzz_sources.py`` does: damaged archives through the workers of a scan."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CORPORA = REPOSITORY.parent / "shared" / "corpora"
SCRIPT = REPOSITORY / "scripts" / "fuzz_sources.py"


def fuzzed(pack_home: Path, out: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *arguments, "--out", out, "--processes", "1"]
    environment = {**os.environ, "LEAKMATCH_HOME": str(pack_home)}
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=600, env=environment)


@pytest.mark.parametrize(
    "folders",
    [
        pytest.param([], id="made here"),
        pytest.param(
            [CORPORA / "py7zr", CORPORA / "rarfile", CORPORA / "libarchive"],
            id="corpora",
            marks=pytest.mark.skipif(not CORPORA.is_dir(), reason="the shared samples are not beside the repository"),
        ),
    ],
)
def test_mutants_harm_nothing(pack_home: Path, tmp_path: Path, folders: list[Path]) -> None:
    done = fuzzed(pack_home, tmp_path / "out", *folders, "--mutants", "100")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "100 of 100 mutants read" in done.stdout
    assert "processes of the trusted side that ended: 0" in done.stdout


def test_it_goes_on_where_it_stopped(pack_home: Path, tmp_path: Path) -> None:
    assert fuzzed(pack_home, tmp_path, "--mutants", "5").returncode == 0
    done = fuzzed(pack_home, tmp_path, "--mutants", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = (tmp_path / "part-0.jsonl").read_text().splitlines()
    assert len(rows) == 8

"""The command line as users call it: in a process of its own, on real photos."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done, Run

from leakmatch.sealed.keys import generate


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The key file of every gallery that these tests make."""
    path = tmp_path_factory.mktemp("key") / "test.key"
    generate(path)
    return path


@pytest.fixture(scope="session")
def run(pack_home: Path, key: Path) -> Run:
    """``leakmatch ARGUMENTS`` with the tests' model store and key file.

    ``file_limit``: the largest file it may write, in bytes.
    """
    tests = {"LEAKMATCH_HOME": str(pack_home), "LEAKMATCH_WORKERS": "2", "LEAKMATCH_KEY_FILE": str(key)}

    def command(*arguments: str | Path, file_limit: int | None = None, **environment: str) -> Done:
        limit: Callable[[], None] | None = None
        if file_limit is not None:
            limit = _limiter(file_limit)
        done = subprocess.run(
            [sys.executable, "-m", "leakmatch", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=300,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **tests, **environment},
            preexec_fn=limit,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout, done.stderr)

    return command


def _limiter(size: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.fixture(scope="session")
def demo(run: Run, key: Path, sample_photos: Path, pack_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of ``leakmatch demo``: people/, seized.zip, demo.key (that of all tests), demo.gallery, demo.case,
    report.html."""
    output = tmp_path_factory.mktemp("demo")
    shutil.copy(key, output / "demo.key")
    done = run("demo", "--output", output)
    assert done.code == 0, done.err
    return output

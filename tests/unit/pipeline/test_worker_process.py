"""A worker as the pool sees it: what it takes, how long it has been silent, how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakmatch.pipeline import process
from leakmatch.pipeline.process import KILLED, LOST, Worker


@pytest.fixture
def sleeper():
    code = "import subprocess, sys, time; subprocess.Popen(['sleep', '60']); print('x', flush=True); time.sleep(60)"
    started = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert started.stdout is not None
    started.stdout.readline()
    yield Worker("reader", started, None, -1, Path(), 0.0)  # type: ignore[arg-type]
    if started.poll() is None:
        os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    started.stdout.close()


def test_memory_is_that_of_the_process_and_its_children(sleeper: Worker) -> None:
    alone = process._resident(sleeper.process.pid)
    assert alone > 4 << 20
    assert sleeper.resident() > alone
    assert process._resident(-1) == 0


def test_memory_files_are_counted_though_nobody_maps_them() -> None:
    code = """
import os, sys
held = [os.memfd_create(str(n)) for n in range(2)]
for descriptor in held:
    os.write(descriptor, bytes(3 << 20))
again = os.dup(held[0])
print("x", flush=True)
sys.stdin.read()
"""
    board = os.memfd_create("board")
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout is not None
        started.stdout.readline()
        worker = Worker("reader", started, None, board, Path(), 0.0)  # type: ignore[arg-type]
        assert worker.in_memory_files() == 6 << 20
        started.communicate()
    assert worker.in_memory_files() == 0
    os.close(board)


def test_it_ends_with_all_that_it_started(sleeper: Worker) -> None:
    child = process._with_children(sleeper.process.pid)[1]
    sleeper.end("why")
    sleeper.process.wait()
    for _ in range(100):
        if not Path(f"/proc/{child}/fd/0").exists():
            break
        time.sleep(0.05)
    assert not Path(f"/proc/{child}/fd/0").exists()
    assert sleeper.resident() == 0
    assert sleeper.death("gone", by_itself=True) == ("why", LOST)


def test_how_it_died(sleeper: Worker) -> None:
    deaths = []
    for code in (-signal.SIGSEGV, -signal.SIGKILL, 3):
        sleeper.process.returncode, before = code, sleeper.process.returncode
        deaths.append(sleeper.death("it broke the protocol", by_itself=True))
        told = sleeper.death("it broke the protocol", by_itself=False)
        assert told == ("it broke the protocol", LOST)
        sleeper.process.returncode = before
    assert deaths == [
        ("it was ended by SIGSEGV", LOST),
        ("it was ended by SIGKILL", KILLED),
        ("it ended (exit code 3)", LOST),
    ]


def test_time_without_a_core_hardly_counts(sleeper: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    waited = 5.0
    monkeypatch.setattr(process, "_waited", lambda _: waited)
    assert sleeper.silence(now=10.5, since=10.0) == 0.5
    assert sleeper.silence(now=12.0, since=10.0) == 2.0
    waited = 25.0
    assert sleeper.silence(now=40.0, since=10.0) == 10.0
    waited = 1000.0
    assert sleeper.silence(now=40.0, since=10.0) == 3.0
    assert sleeper.silence(now=60.0, since=50.0) == 10.0

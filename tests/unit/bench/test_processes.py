"""Watching a tree of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakmatch.bench.processes import PARENT, Watch

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")

_BUSY = """
import sys, time
held = bytearray(int(sys.argv[-1]))
held[::4096] = bytes([1]) * len(held[::4096])
while time.process_time() < 0.3:
    pass
print(flush=True)
sys.stdin.read()
"""


def test_memory_and_processor_time_of_workers_are_seen(tmp_path: Path) -> None:
    size = 60 << 20
    with Watch() as watch:
        # A process is told by its command line: -m leakmatch.pipeline.worker ROLE
        command = [sys.executable, "-c", _BUSY, "leakmatch.pipeline.worker", "reader", str(size)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            _until(lambda: watch.usage().cpu_seconds["reader"] >= 0.25)
            process.communicate()
    found = watch.usage()
    assert size < found.worker_bytes < size + (200 << 20)
    assert found.peak_bytes > found.worker_bytes
    assert 0.25 <= found.cpu_seconds["reader"] < 30
    assert found.cpu_seconds[PARENT] >= 0


def test_other_children_do_not_count() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        with Watch() as watch:
            pass
        process.communicate()
    assert set(watch.usage().cpu_seconds) == {PARENT}
    assert watch.usage().worker_bytes == 0


def test_the_parent_counts_from_the_beginning_of_the_watch() -> None:
    begin = time.process_time()
    while time.process_time() - begin < 0.3:
        pass
    with Watch() as watch:
        pass
    assert watch.usage().cpu_seconds[PARENT] < os.times().user + os.times().system - 0.25


def _until(true: object, seconds: float = 20.0) -> None:
    assert callable(true)
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "not seen in time"
        time.sleep(0.05)

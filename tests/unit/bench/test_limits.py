"""The machine record and the measured limits."""

from __future__ import annotations

import json

import pytest

from leakmatch.bench.limits import limits
from leakmatch.bench.machine import machine


def test_the_machine_record_is_json_and_names_what_matters() -> None:
    found = machine()
    assert json.loads(json.dumps(found)) == found
    assert found["usable_cores"] >= 1
    assert found["memory_gib"] is None or found["memory_gib"] > 0
    assert {"numpy", "onnxruntime", "faiss-cpu"} <= found["versions"].keys()


@pytest.mark.parametrize("threads", [1, 2])
def test_limits_are_rates_that_some_machine_can_have(threads: int) -> None:
    # Between a slow emulator and a hundred times the fastest core known: a unit mistaken by 1,000 is noticed.
    found = limits(threads, seconds=0.02)
    assert found.threads == threads
    assert 1e7 < found.sgemm < 1e14
    assert 1e7 < found.read < 1e14

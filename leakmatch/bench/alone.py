"""Measurements in a process of their own: only there is every library sure to keep to one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from leakmatch.offered import ONE_THREAD


def alone(module: str, *arguments: Any) -> Any:
    """What ``python -m module ARGUMENTS`` prints, with one thread for each library; both as JSON values.

    ``module`` is to end with :func:`answer`. Raises ``RuntimeError`` with what it said, where it failed.
    """
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = {**os.environ, **ONE_THREAD, "PYTHONPATH": path}
    command = [sys.executable, "-m", module, json.dumps(arguments)]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The measurement failed: {done.stderr.strip()}")
    return json.loads(done.stdout)


def arguments() -> list[Any]:
    """What :func:`alone` was given, in the process that it started."""
    given: list[Any] = json.loads(sys.argv[1])
    return given


def answer(value: Any) -> None:
    """Tell the process that called :func:`alone`."""
    sys.stdout.write(json.dumps(value) + "\n")

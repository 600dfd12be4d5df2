"""The one door to the libraries that run models: onnxruntime, and OpenVINO.

The official packages of onnxruntime for Linux report usage to the maker (seen in 1.32): on import a thread begins that
collects events, writes an identifier and a cache below the user's cache folder, and uploads them where there is a
network. Only this variable, set before the import, prevents all of it; the call that the interface offers comes too
late for the first event. OpenVINO brings a package of its own for the same (seen in 2026.4), which keeps an identifier
and counts in the user's home; without that package it does nothing of the kind. Nothing that LeakMatch does leaves the
machine.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any, Final

#: What keeps onnxruntime quiet; for the environment of processes that import it.
NO_TELEMETRY: Final = {"ORT_DISABLE_TELEMETRY": "1"}


def onnxruntime() -> Any:
    """The module ``onnxruntime``, imported with its telemetry off. It takes 0.1 s, so it is not done before use."""
    os.environ.update(NO_TELEMETRY)
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    return onnxruntime


def openvino() -> Any:
    """The module ``openvino``, imported without its telemetry. Raises ``ImportError`` where it is not installed."""
    # None there means to Python that the package cannot be imported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def one_thread() -> Any:
    """Session options that keep to the calling thread: no pool, no spinning on a core that another worker needs."""
    ort = onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # A memory pattern is kept for each input shape ever seen: memory would grow with the variety of pictures.
    options.enable_mem_pattern = False
    options.log_severity_level = _ERRORS_ONLY
    return options


_ERRORS_ONLY: Final = 3  # onnxruntime's severity scale: 0 verbose, 1 info, 2 warning, 3 error, 4 fatal


def release() -> None:
    """Give memory that is free back to the system, where the C library can (glibc; elsewhere nothing is done).

    To make a session takes several copies of its constants. They are freed, but lie between what is kept: after many
    sessions the process holds about twice what it uses.
    """
    if os.name == "posix" and (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)

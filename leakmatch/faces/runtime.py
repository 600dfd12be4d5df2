"""Which library runs the models: as told, or the faster one on this machine."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import Pack
from leakmatch.faces.prepared import open_prepared, prepare, runs_as_shipped
from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, installed
from leakmatch.settings import AUTO

_CLEARLY_FASTER: Final = 0.9  # share of onnxruntime's time at which OpenVINO pays for its slower start
_RUNS: Final = 7


@dataclass(frozen=True, slots=True)
class Runtime:
    """A pack and what embeds its faces; the detector is run by onnxruntime.

    ``prepared``: SHA-256 of the prepared files that are run, by name of the shipped file.
    """

    pack: Pack
    engine: str
    version: str
    prepared: dict[str, str]

    def describe(self) -> dict[str, Any]:
        """What a run record says about the pack and the engine."""
        return self.pack.describe() | {"engine": f"{self.engine} {self.version}", "prepared_sha256": self.prepared}


def make_ready(pack: Pack, engine: str = AUTO) -> Runtime:
    """Prepare the pack's models if they are not, and settle which engine runs them.

    ``auto`` takes OpenVINO where it is installed and embeds a face clearly faster, measured now; else onnxruntime.
    Raises as :func:`~leakmatch.faces.prepared.prepare`, and :class:`~leakmatch.errors.UsageError` for an engine that
    is not installed.
    """
    records = prepare(pack)
    if engine == AUTO:
        engine = _faster(pack)
    elif engine != ONNXRUNTIME:
        open_prepared(pack, pack.embedder.file, engine)  # says here, and not in every worker, that it is missing
    run = {file: record.sha256 for file, record in records.items() if not runs_as_shipped(pack, file, engine)}
    return Runtime(pack, engine, installed(engine) or "", run)


def _faster(pack: Pack) -> str:
    if installed(OPENVINO) is None:
        return ONNXRUNTIME
    times = embedding_seconds(pack, (ONNXRUNTIME, OPENVINO))
    return OPENVINO if times[OPENVINO] <= _CLEARLY_FASTER * times[ONNXRUNTIME] else ONNXRUNTIME


def embedding_seconds(pack: Pack, engines: tuple[str, ...], runs: int = _RUNS) -> dict[str, float]:
    """The median time of one face's embedding by each of ``engines``, in seconds on one thread, taken in turns."""
    sessions = {engine: open_prepared(pack, pack.embedder.file, engine) for engine in engines}
    crop = np.zeros((1, 3, CROP_SIZE, CROP_SIZE), np.float32)
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(1 + runs):
        for engine, session in sessions.items():
            began = time.perf_counter()
            session.run(crop)
            times[engine].append(time.perf_counter() - began)
    return {engine: statistics.median(taken[1:]) for engine, taken in times.items()}

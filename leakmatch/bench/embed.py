"""How fast faces are embedded, against the bare matrix product with as many multiply-adds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any, Final

import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.bench.figures import Figure
from leakmatch.bench.limits import Limits, better, limits
from leakmatch.bench.work import multiply_adds
from leakmatch.errors import UsageError
from leakmatch.faces.embed import Embedder
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import Pack, load_pack, verified
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, installed
from leakmatch.settings import AUTO, DEFAULT_PACK, usable_cores

FACES: Final = 200
_ROUNDS: Final = 10


def run(
    pack: str = DEFAULT_PACK, engine: str = AUTO, faces: int = FACES, threads: int = 0, seed: int = 0
) -> list[Figure]:
    """The time of one face on one core, and faces a second on ``threads`` cores (0: all that may be used).

    ``engine`` ``auto`` measures every engine that is installed, by turns. The crops are noise: the time of a network
    does not depend on what it looks at. ``faces``: how many of them, for each engine and figure.
    Raises :class:`~leakmatch.errors.UsageError` for a pack or an engine that is not there, or more threads than cores.
    """
    if threads > usable_cores():
        raise UsageError(f"{threads} threads are more than the {usable_cores()} cores that may be used.")
    loaded, threads = load_pack(pack), threads or usable_cores()
    engines = _engines(engine)
    embedders = {name: [_embedder(loaded, name) for _ in range(threads)] for name in engines}
    random = np.random.default_rng(seed)
    crops = random.integers(0, 256, (max(1, faces // _ROUNDS), CROP_SIZE, CROP_SIZE, 3), np.uint8)
    alone: dict[str, list[float]] = {name: [] for name in engines}
    together: dict[str, list[float]] = {name: [] for name in engines}
    before = limits(1), limits(threads)
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_ROUNDS):
            for name in engines:
                alone[name].append(_seconds(embedders[name][:1], crops, pool))
                together[name].append(_seconds(embedders[name], crops, pool))
    one, every = (better(a, b) for a, b in zip(before, (limits(1), limits(threads)), strict=True))
    work = multiply_adds(verified(loaded, loaded.embedder.file), CROP_SIZE, CROP_SIZE)
    figures = []
    for name in engines:
        detail: dict[str, Any] = {"engine": name, "version": installed(name), "multiply_adds": work}
        figures.append(_time(name, median(alone[name]), work, one, detail))
        figures.append(_rate(name, threads / median(together[name]), work, every, detail))
    return figures


def _engines(engine: str) -> Sequence[str]:
    if engine != AUTO:
        return (engine,)
    return tuple(name for name in (ONNXRUNTIME, OPENVINO) if installed(name) is not None)


def _embedder(pack: Pack, engine: str) -> Embedder:
    return Embedder(pack.embedder, open_prepared(pack, pack.embedder.file, engine), pack.model_id)


def _seconds(embedders: Sequence[Embedder], crops: ByteArray, pool: ThreadPoolExecutor) -> float:
    """Seconds for one face of each of ``embedders``, which work side by side."""
    began = time.perf_counter()
    for done in [pool.submit(embedder.embed, crops) for embedder in embedders]:
        done.result()
    return (time.perf_counter() - began) / len(crops)


def _time(engine: str, seconds: float, work: int, limit: Limits, detail: dict[str, Any]) -> Figure:
    return Figure(
        f"a face, {engine}, 1 core",
        1000 * seconds,
        "ms",
        1000 * work / limit.sgemm,
        "sgemm, as many multiply-adds",
        detail | {"times_limit": seconds * limit.sgemm / work, "sgemm_gflops": 2e-9 * limit.sgemm},
    )


def _rate(engine: str, rate: float, work: int, limit: Limits, detail: dict[str, Any]) -> Figure:
    return Figure(
        f"faces, {engine}, {limit.threads} cores",
        rate,
        "faces/s",
        limit.sgemm / work,
        "sgemm, as many multiply-adds",
        detail | {"threads": limit.threads, "sgemm_gflops": 2e-9 * limit.sgemm},
    )

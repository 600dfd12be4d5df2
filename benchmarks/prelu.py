"""What PRelu costs in onnxruntime, and what each way of writing it costs instead.

    python benchmarks/prelu.py [--pack opencv-zoo] [--rounds 15] [--json FILE]

The pack's embedder, one thread, one face at a time, the ways taken in turns, medians: as shipped; with weights as
constants only; with ``slope * x + (1 - slope) * max(x, 0)`` as plain arithmetic; as LeakMatch prepares it; and, where
it is installed, OpenVINO on the shipped and on the prepared file. Beside them stands a bare matrix product of numpy
with as many multiplications: no arithmetic in float32 is faster on this core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
from onnx import helper

from leakmatch.arrays import FloatArray
from leakmatch.faces import graph
from leakmatch.faces.packs import Pack, load_pack, verified
from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, installed, open_session


def arithmetic(model: onnx.GraphProto, x: str, y: str, slope: FloatArray) -> Iterable[onnx.NodeProto]:
    """PRelu as plain multiplications and a sum."""
    for name, value in (("slope", slope), ("rest", 1 - slope)):
        shape = (1, len(value), 1, 1)
        model.initializer.append(helper.make_tensor(f"{y}/{name}", 1, shape, value.astype(np.float32).tobytes(), True))
    yield helper.make_node("Relu", [x], [f"{y}/positive"])
    yield helper.make_node("Mul", [x, f"{y}/slope"], [f"{y}/line"])
    yield helper.make_node("Mul", [f"{y}/positive", f"{y}/rest"], [f"{y}/bent"])
    yield helper.make_node("Add", [f"{y}/line", f"{y}/bent"], [y])


def ways(pack: Pack) -> dict[str, tuple[bytes, str]]:
    """By name: a model file, and the engine that runs it."""
    shipped = verified(pack, pack.embedder.file)
    with patch.object(graph, "_without_prelu", lambda model: list(model.node)):
        constants = graph.rewritten(shipped)
    with patch.object(graph, "_bend", arithmetic):
        plain = graph.rewritten(shipped)
    prepared = graph.rewritten(shipped)
    found = {
        "as shipped": (shipped, ONNXRUNTIME),
        "weights as constants": (constants, ONNXRUNTIME),
        "PRelu as arithmetic": (plain, ONNXRUNTIME),
        "as LeakMatch prepares it": (prepared, ONNXRUNTIME),
    }
    if installed(OPENVINO):
        found |= {"OpenVINO, as shipped": (constants, OPENVINO), "OpenVINO, prepared": (prepared, OPENVINO)}
    return found


def multiplications(model: bytes) -> int:
    """Of one pass through a network of convolutions and matrix products with declared or inferred sizes."""
    inferred = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*inferred.value_info, *inferred.output]
    }
    weights = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            total += int(np.prod(sizes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
        elif node.op_type == "Gemm":
            total += int(np.prod(weights[node.input[1]]))
    return total


def medians(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds, taken in turns."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds + 1):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) * 1e3)
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    crop = np.random.default_rng(0).integers(0, 256, (1, 3, 112, 112)).astype(np.float32)
    runs: dict[str, Callable[[], object]] = {}
    for name, (model, engine) in ways(pack).items():
        session = open_session(model, name, engine)
        runs[name] = lambda session=session: session.run(crop)
    side = 1024
    a = np.random.default_rng(1).random((side, side), np.float32)
    runs["matrix product"] = lambda: a @ a
    found = medians(runs, arguments.rounds)
    count = multiplications(verified(pack, pack.embedder.file))
    found["matrix product"] *= count / side**3
    print(f"{count / 1e9:.3f} thousand million multiplications a face")
    for name, milliseconds in found.items():
        print(f"{milliseconds:7.2f} ms  {milliseconds / found['matrix product']:5.2f} times the limit  {name}")
    if arguments.json:
        versions = {engine: installed(engine) for engine in (ONNXRUNTIME, OPENVINO)}
        body = {"multiplications": count, "versions": versions, "milliseconds": found}
        arguments.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

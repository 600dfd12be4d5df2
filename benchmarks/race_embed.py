"""One face on one core: OpenCV's FaceRecognizerSF and LeakMatch's engines against the bare matrix product.

    python benchmarks/race_embed.py [--rounds 30] [--json FILE]

One thread each, by turns in one process; medians of the clock and of the processor time, and the fastest turn, which is
held against the limit: on both sides what was least disturbed. The limit is numpy's float32 matrix product with as many
multiply-adds as the network has (0.574 thousand million), at the best of a few sizes. The same for detection at 320 x
320 pixels: OpenCV's FaceDetectorYN and LeakMatch's detector on one scale.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from leakmatch.bench.limits import limits
from leakmatch.bench.machine import machine
from leakmatch.bench.work import multiply_adds
from leakmatch.faces.detect import detect_at
from leakmatch.faces.embed import Embedder
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import Pack, load_pack, verified
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, installed
from leakmatch.faces.yunet import YuNet

SIDE = 320


def embedders(pack: Pack, crop: np.ndarray) -> dict[str, Callable[[], object]]:
    """By name: what embeds ``crop`` uint8[112,112,3]."""
    recognizer = cv2.FaceRecognizerSF.create(str(pack.folder / pack.embedder.file), "")
    found: dict[str, Callable[[], object]] = {"OpenCV FaceRecognizerSF": lambda: recognizer.feature(crop)}
    for engine in (ONNXRUNTIME, OPENVINO):
        if installed(engine):
            embedder = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file, engine), pack.model_id)
            found[f"LeakMatch, {engine}"] = lambda embedder=embedder: embedder.embed(crop[None])
    return found


def detectors(pack: Pack, picture: np.ndarray) -> dict[str, Callable[[], object]]:
    """By name: what finds faces in ``picture`` uint8[SIDE,SIDE,3]."""
    yunet = cv2.FaceDetectorYN.create(
        str(pack.folder / pack.detector.file),
        "",
        (SIDE, SIDE),
        pack.detector.score_threshold,
        pack.detector.nms_iou,
    )
    found: dict[str, Callable[[], object]] = {"OpenCV FaceDetectorYN": lambda: yunet.detect(picture)}
    for engine in (ONNXRUNTIME, OPENVINO):
        if installed(engine):
            detector = YuNet(pack.detector, open_prepared(pack, pack.detector.file, engine))
            found[f"LeakMatch, {engine}"] = lambda detector=detector: detect_at(detector, picture)
    return found


def race(sides: dict[str, Callable[[], object]], work: int, sgemm: float, rounds: int) -> dict[str, object]:
    """Milliseconds of each side, and how many times the limit that is."""
    clock: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 2):
        for name, run in sides.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            run()
            if turn >= 2:
                clock[name].append(1000 * (time.perf_counter() - began))
                cpu[name].append(1000 * (time.process_time() - began_cpu))
    limit = 1000 * work / sgemm
    results: dict[str, object] = {"sgemm": {"ms": round(limit, 2), "times_limit": 1.0}}
    for name in sides:
        fastest = min(clock[name])  # as the limit is: what was least disturbed
        results[name] = {
            "ms": round(statistics.median(clock[name]), 2),
            "cpu_ms": round(statistics.median(cpu[name]), 2),
            "fastest_ms": round(fastest, 2),
            "times_limit": round(fastest / limit, 2),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pack, random = load_pack(arguments.pack), np.random.default_rng(0)
    crop, picture = (random.integers(0, 256, (side, side, 3), np.uint8) for side in (CROP_SIZE, SIDE))
    work = {
        "embedding": multiply_adds(verified(pack, pack.embedder.file), CROP_SIZE, CROP_SIZE),
        "detection": multiply_adds(verified(pack, pack.detector.file), SIDE, SIDE),
    }
    sides = {"embedding": embedders(pack, crop), "detection": detectors(pack, picture)}
    best = limits(1).sgemm
    results = {name: race(sides[name], work[name], best, arguments.rounds) for name in sides}
    for name, result in results.items():
        for side, figures in result.items():
            print(f"{name:<10} {side:<26} {figures}")
    record = {
        "machine": machine() | {"opencv": cv2.__version__},
        "rounds": arguments.rounds,
        "multiply_adds": work,
        "sgemm_gflops": round(2e-9 * best, 1),
        "results": results,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""A whole scan against the same two models driven by OpenCV 5's own classes, on all cores, in one run.

    python benchmarks/race_pipeline.py PHOTOS.zip [--engine onnxruntime --engine openvino] [--rounds 3] [--json FILE]

PHOTOS.zip holds 1,500 photos or more. Each side looks at the first 500 and at the first 1,500 of them, by turns; the
steady rate is that of the 1,000 between, so start-up counts on neither side. The gallery has 100,000 made-up templates.

- leakmatch: `leakmatch scan`, one worker for each core, with all that belongs to it: the ledger, hashes, evidence,
  isolation of the parsers.
- opencv: `peers/opencv_scan.py`, one process of one thread for each core: decode, detect at the photo's size, embed,
  the ten best by IndexFlatIP. No hashes, no ledger, no isolation.

Beside the time on the clock stands the processor time of all processes: other work on the machine moves it less.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from leakmatch.bench import generated
from leakmatch.bench.limits import limits
from leakmatch.bench.machine import machine
from leakmatch.case.store import Case
from leakmatch.faces.packs import load_pack
from leakmatch.offered import ONE_THREAD
from leakmatch.settings import usable_cores

FEW, MANY = 500, 1500
GALLERY = 100_000

Run = Callable[[int], dict[str, Any]]


@contextmanager
def alone(lock: Path | None) -> Iterator[None]:
    """Hold ``lock`` meanwhile, where several share the machine and agree on such a file."""
    if lock is None:
        yield
        return
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def timed(commands: list[list[str]], fine: Collection[int] = (0,)) -> tuple[float, float, list[str]]:
    """Seconds by the clock and of the processors until all ``commands``, side by side, are done; what they print.

    ``fine``: the exit codes that they may end with.
    """
    environment = {**os.environ, **ONE_THREAD}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for command in commands
    ]
    said = [process.communicate()[0] for process in started]
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    for process in started:
        if process.returncode not in fine:
            raise SystemExit(f"{process.args}: ended with {process.returncode}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, said


def leakmatch(folder: Path, engine: str) -> Run:
    def run(photos: int) -> dict[str, Any]:
        case = folder / "race.case"
        command = [sys.executable, "-m", "leakmatch", "scan", str(folder / f"{photos}.zip"), "--quiet"]
        command += ["--gallery", str(folder / "race.gallery"), "--case", str(case), "--engine", engine]
        seconds, cpu, _ = timed([command])
        with Case.open(case) as done:
            totals = done.totals()
        case.unlink()
        return {"seconds": seconds, "cpu": cpu, "photos": totals.pictures, "faces": totals.searches}

    return run


def opencv(folder: Path, pack: str) -> Run:
    loaded, cores = load_pack(pack), usable_cores()
    models = [str(loaded.folder / spec.file) for spec in (loaded.detector, loaded.embedder)]
    thresholds = [str(loaded.detector.score_threshold), str(loaded.detector.nms_iou)]

    def run(photos: int) -> dict[str, Any]:
        script = str(Path(__file__).parent / "peers" / "opencv_scan.py")
        files = [str(folder / f"{photos}.zip"), str(folder / "race.npy")]
        seconds, cpu, said = timed(
            [
                [sys.executable, script, *files, *models, *thresholds, str(part), str(cores), str(photos)]
                for part in range(cores)
            ]
        )
        parts = [json.loads(text) for text in said]
        found = {name: sum(part[name] for part in parts) for name in ("photos", "faces")}
        return {"seconds": seconds, "cpu": cpu, **found}

    return run


def first_photos(source: Path, target: Path, count: int) -> None:
    """A zip of the first ``count`` different photos in ``source``."""
    seen: set[int] = set()
    with zipfile.ZipFile(source) as photos, zipfile.ZipFile(target, "w") as out:
        for info in photos.infolist():
            if len(seen) < count and info.filename.endswith(".jpg") and info.CRC not in seen:
                seen.add(info.CRC)
                out.writestr(info.filename, photos.read(info))
    if len(seen) < count:
        raise SystemExit(f"{source}: {count} photos are needed, there are {len(seen)}")


def steady(few: list[dict[str, Any]], many: list[dict[str, Any]]) -> dict[str, Any]:
    """Milliseconds of a photo between the two sizes; medians over the rounds."""
    found: dict[str, Any] = {}
    for name, clock in (("ms_per_photo", "seconds"), ("cpu_ms_per_photo", "cpu")):
        each = [1000 * (b[clock] - a[clock]) / (b["photos"] - a["photos"]) for a, b in zip(few, many, strict=True)]
        found[name] = round(statistics.median(each), 2)
        found[f"{name}_rounds"] = [round(value, 2) for value in each]
    found["photos_per_second"] = round(1000 / found["ms_per_photo"], 1)
    found["start_up_seconds"] = round(
        statistics.median(a["seconds"] - FEW * found["ms_per_photo"] / 1000 for a in few), 2
    )
    return found | {"photos": many[0]["photos"], "faces": many[0]["faces"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--engine", action="append", help="may be repeated; default: onnxruntime")
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--lock", type=Path, help="hold this file's lock in each round (machines that several share)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (FEW, MANY):
            first_photos(arguments.photos, folder / f"{count}.zip", count)
        pack = load_pack(arguments.pack)
        generated.gallery(folder / "race.gallery", pack, GALLERY)
        np.save(folder / "race.npy", generated.unit_vectors(GALLERY, pack.embedder.dimension))
        sides: dict[str, Run] = {
            f"leakmatch, {engine}": leakmatch(folder, engine) for engine in arguments.engine or ["onnxruntime"]
        }
        sides["opencv"] = opencv(folder, arguments.pack)
        runs: dict[str, dict[int, list[dict[str, Any]]]] = {side: {FEW: [], MANY: []} for side in sides}
        for _ in range(arguments.rounds):
            for count in (FEW, MANY):
                with alone(arguments.lock):
                    for side, run in sides.items():
                        runs[side][count].append(run(count))
        with alone(arguments.lock):
            most = limits(usable_cores())
    results = {side: steady(found[FEW], found[MANY]) for side, found in runs.items()}
    for side, result in results.items():
        result["times_opencv"] = round(results["opencv"]["ms_per_photo"] / result["ms_per_photo"], 2)
        result["times_opencv_cpu"] = round(results["opencv"]["cpu_ms_per_photo"] / result["cpu_ms_per_photo"], 2)
        result["faces_to_opencv"] = round(result["faces"] / results["opencv"]["faces"], 4)
        print(f"{side:<24} {result['photos_per_second']:>7} photos/s  {result['times_opencv']} times opencv")
    record = {
        "machine": machine() | {"opencv": cv2.__version__},
        "gallery": GALLERY,
        "rounds": arguments.rounds,
        "sgemm_gflops": round(2e-9 * most.sgemm, 1),
        "results": results,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

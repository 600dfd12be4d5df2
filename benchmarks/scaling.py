"""Does a scan hold its rate per core from one core to all, and from a small archive to a large one?

    python benchmarks/scaling.py PHOTOS.zip [--rounds 3] [--sizes 400 1000] [--json FILE] [--svg FILE]

The same photos lie in a folder, in a zip and in a tar.gz. Each is scanned on one core and on all cores that this
process may use (and on the powers of two between), held there by the processor affinity of the scan, which chooses its
workers by it. All runs take turns. Rates are steady ones: the smallest size is taken off the others, so start-up does
not count. On one core the reader, the parent and the one analyser share it: nothing is given away for free.

Beside the rate stands the processor time of each role for a photo, which says what would be full first on a machine
with more cores. Where the machine has other work, the clock is disturbed by it and processor time hardly: as long as no
core waits, the rate for each core is one over the processor time of a photo (``cpu_to_one_core``). ``others`` of a run
says what it shared the machine with: one with much of it is no measurement of a rate on all cores.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from race_pipeline import alone

from leakmatch.bench import generated
from leakmatch.bench.machine import machine
from leakmatch.bench.processes import Watch
from leakmatch.case.store import Case
from leakmatch.faces.packs import load_pack

FORMATS = ("folder", "zip", "tar.gz")
ROLES = ("parent", "reader", "analyser")


@dataclass(slots=True)
class Run:
    """One scan: what it was of, how long it took by the clock and of the processors, and what it looked at."""

    seconds: float
    photos: int
    faces: int
    others: float  # core seconds that other processes of the machine took meanwhile
    cpu: dict[str, float] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)


Runs = dict[tuple[str, int, int], list[Run]]  # by format, cores and photos


def photos_of(source: Path, count: int) -> list[tuple[str, bytes]]:
    """The first ``count`` different photos of a zip."""
    found: dict[int, tuple[str, bytes]] = {}
    with zipfile.ZipFile(source) as photos:
        for info in photos.infolist():
            if len(found) < count and info.filename.endswith(".jpg"):
                found.setdefault(info.CRC, (info.filename, photos.read(info)))
    if len(found) < count:
        raise SystemExit(f"{source}: {count} photos are needed, there are {len(found)}")
    return list(found.values())


def pack_up(photos: list[tuple[str, bytes]], folder: Path) -> None:
    """The same photos as ``N.folder``, ``N.zip`` and ``N.tar.gz`` in ``folder``."""
    base = folder / str(len(photos))
    with zipfile.ZipFile(f"{base}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in photos:
            path = Path(f"{base}.folder") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            archive.writestr(name, data)
    with tarfile.open(f"{base}.tar.gz", "w:gz", compresslevel=1) as archive:
        archive.add(f"{base}.folder", "photos")


def busy_seconds() -> float:
    """Core seconds that the whole machine has worked since it was started: all but idle and waiting, proc(5)."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def scan(source: Path, folder: Path, cores: list[int], engine: str) -> Run:
    case = folder / "scaling.case"
    command = [sys.executable, "-m", "leakmatch", "scan", str(source), "--quiet", "--engine", engine]
    command += ["--gallery", str(folder / "scaling.gallery"), "--case", str(case)]
    began, busy = time.perf_counter(), busy_seconds()
    process = subprocess.Popen(["taskset", "-c", ",".join(map(str, cores)), *command])
    with Watch(process.pid, memory=False) as watch:
        if process.wait() != 0:
            raise SystemExit(f"{source}: the scan ended with {process.returncode}")
        seconds, busy_after = time.perf_counter() - began, busy_seconds()
    with Case.open(case) as done:
        totals = done.totals()
    case.unlink()
    usage = watch.usage()
    others = max(0.0, busy_after - busy - usage.cpu_seconds.total())
    return Run(seconds, totals.pictures, totals.searches, others, dict(usage.cpu_seconds), dict(usage.threads))


def steady(few: list[Run], many: list[Run]) -> dict[str, Any]:
    """What a photo takes between two sizes: medians over the rounds."""
    pairs = [(a, b, b.photos - a.photos) for a, b in zip(few, many, strict=True)]
    each = [1000 * (b.seconds - a.seconds) / photos for a, b, photos in pairs]
    cpu = {
        role: [1000 * (b.cpu.get(role, 0) - a.cpu.get(role, 0)) / photos for a, b, photos in pairs] for role in ROLES
    }
    return {
        "ms_per_photo": round(statistics.median(each), 3),
        "ms_per_photo_rounds": [round(value, 3) for value in each],
        "photos_per_second": round(1000 / statistics.median(each), 2),
        "cpu_ms_per_photo": {role: round(statistics.median(values), 3) for role, values in cpu.items()},
        "most_threads": {role: max(run.threads.get(role, 0) for run in many) for role in ROLES},
    }


def plot(record: dict[str, Any], file: Path) -> None:
    """Rate against cores, and against the size of the archive."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "leakmatch"
    from matplotlib import pyplot as plt

    figure, (by_cores, by_size) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for name in dict.fromkeys(row["format"] for row in record["results"]):
        rows = [row for row in record["results"] if row["format"] == name]
        by_cores.plot([row["cores"] for row in rows], [row["photos_per_second"] for row in rows], "o-", label=name)
        last = rows[-1]["by_size"]
        by_size.plot([row["photos"] for row in last], [row["photos_per_second"] for row in last], "o-", label=name)
    one = max((row["photos_per_second"] / row["cores"] for row in record["results"] if row["cores"] == 1), default=0)
    most = max(row["cores"] for row in record["results"])
    by_cores.plot([1, most], [one, most * one], ":", color="grey", label="the same per core")
    by_cores.set(xlabel="cores", ylabel="photos a second", xlim=(0, None), ylim=(0, None), title="cores")
    by_size.set(
        xlabel="photos in the archive", xlim=(0, None), ylim=(0, None), title="size, all cores, start-up counted"
    )
    for axes in (by_cores, by_size):
        axes.legend()
        axes.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[400, 1000], help="numbers of photos, two or more")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--cores", type=int, nargs="+", help="default: powers of two, and all")
    parser.add_argument("--gallery", type=int, default=100_000, help="made-up templates in the gallery")
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--svg", type=Path, help="also plot the result here (takes matplotlib)")
    parser.add_argument("--lock", type=Path, help="hold this file's lock in each round (machines that several share)")
    arguments = parser.parse_args()
    sizes = sorted(arguments.sizes)
    usable = sorted(os.sched_getaffinity(0))
    cores = arguments.cores or sorted(
        {len(usable), *(2**k for k in range(len(usable).bit_length()) if 2**k <= len(usable))}
    )
    runs: Runs = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = photos_of(arguments.photos, sizes[-1])
        for size in sizes:
            pack_up(photos[:size], folder)
        generated.gallery(folder / "scaling.gallery", load_pack(arguments.pack), arguments.gallery)
        for number in range(arguments.rounds):
            with alone(arguments.lock):
                for kind, size, count in itertools.product(arguments.formats, sizes, cores):
                    run = scan(folder / f"{size}.{kind}", folder, usable[:count], arguments.engine)
                    runs.setdefault((kind, count, size), []).append(run)
            print(f"round {number + 1} of {arguments.rounds}", flush=True)
            record = results(arguments, runs, sizes, cores)
            if arguments.json:
                arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if arguments.svg:
        plot(record, arguments.svg)


def results(arguments: argparse.Namespace, runs: Runs, sizes: list[int], cores: list[int]) -> dict[str, Any]:
    """What is known so far, also printed."""
    rows: list[dict[str, Any]] = []
    for kind, count in itertools.product(arguments.formats, cores):
        row = {"format": kind, "cores": count, **steady(runs[kind, count, sizes[0]], runs[kind, count, sizes[-1]])}
        one = rows[-cores.index(count)] if cores.index(count) else row
        row["per_core_to_one_core"] = round(row["photos_per_second"] / count / (one["photos_per_second"] / cores[0]), 3)
        row["cpu_to_one_core"] = round(sum(row["cpu_ms_per_photo"].values()) / sum(one["cpu_ms_per_photo"].values()), 3)
        row["by_size"] = [
            {
                "photos": size,
                "seconds": round(seconds := statistics.median(r.seconds for r in runs[kind, count, size]), 2),
                "photos_per_second": round(size / seconds, 2),
            }
            for size in sizes
        ]
        rows.append(row)
        print(
            f"{kind:<7} {count} cores {row['photos_per_second']:>7} photos/s  {row['per_core_to_one_core']} of one core"
            f"  ms of each role {row['cpu_ms_per_photo']}  threads {row['most_threads']}",
            flush=True,
        )
    return {
        "machine": machine(),
        "engine": arguments.engine,
        "pack": arguments.pack,
        "gallery": arguments.gallery,
        "rounds": len(runs[arguments.formats[0], cores[0], sizes[0]]),
        "sizes": sizes,
        "results": rows,
        "runs": [
            {"format": f, "cores": c, "size": s, **asdict(run)} for (f, c, s), each in runs.items() for run in each
        ],
    }


if __name__ == "__main__":
    main()

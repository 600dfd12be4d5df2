"""Does the memory of a scan stay the same from 10,000 members of an archive to 200,000?

    python benchmarks/memory.py [--members 10000 200000] [--json FILE] [--svg FILE]

Members are JPEGs of 32x32 pixels, no two alike (``pictures``: each goes to an analyser and into the ledger), or files
that are no pictures (``others``: nothing holds up the reader). Each archive is scanned by two workers in a process of
its own. So that 200,000 pictures take minutes, analysers look at the first 20 and answer the others with what they saw;
``--look`` has them look at all. What counts is the most that all processes hold together at one time, looked at four
times a second once all have started; pages that several share count once.
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from ceiling import canned
from race_pipeline import alone

from leakmatch.bench import generated
from leakmatch.bench.machine import machine
from leakmatch.bench.processes import Watch, cpu_by_role
from leakmatch.case.store import Case
from leakmatch.faces.packs import load_pack
from leakmatch.offered import ONE_THREAD
from leakmatch.pipeline import process
from leakmatch.pipeline.scan import scan
from leakmatch.settings import Settings

KINDS = ("pictures", "others")
FORMATS = ("zip", "tar.gz")
_SIDE = 32
_IDLE_SECONDS = 0.05  # of processor time in a second


def members(kind: str, count: int) -> Iterator[tuple[str, bytes]]:
    random = np.random.default_rng(0)
    for number in range(count):
        name = f"people/{number // 100:06}/{number:08}"
        if kind == "pictures":
            picture = random.integers(0, 256, (_SIDE, _SIDE, 3), np.uint8)
            yield f"{name}.jpg", cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1].tobytes()
        else:
            yield f"{name}.txt", b"number %d\n" % number


def write(path: Path, kind: str, count: int) -> None:
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as target:
            for name, data in members(kind, count):
                target.writestr(name, data)
        return
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for name, data in members(kind, count):
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))


def settled() -> None:
    """Wait until every worker has loaded what it needs, and waits for work."""
    before = cpu_by_role(os.getpid())
    while True:
        time.sleep(1)
        after = cpu_by_role(os.getpid())
        if after["analyser"] and after["analyser"] - before["analyser"] < _IDLE_SECONDS:
            return
        before = after


def measure(source: Path, gallery: Path, case: Path) -> dict[str, Any]:
    """A scan in this process, which the caller has started for it alone."""
    began = time.perf_counter()
    watch = Watch()
    watching = False

    def progress(**_: int) -> None:
        nonlocal watching
        if not watching:
            watching = True
            settled()
            watch.__enter__()

    scan([source], gallery, case, Settings(workers=2, engine="onnxruntime"), progress)
    watch.__exit__(None, None, None)
    usage = watch.usage()
    with Case.open(case) as done:
        items = done.count("items")
    return {
        "items": items,
        "seconds": round(time.perf_counter() - began, 1),
        "peak_mib": round(usage.peak_bytes / 2**20, 1),
        "peak_mib_by_role": {role: round(size / 2**20, 1) for role, size in usage.role_bytes.items()},
        "case_mib": round(case.stat().st_size / 2**20, 1),
    }


def measured_alone(source: Path, gallery: Path, case: Path, *, look: bool) -> dict[str, Any]:
    """:func:`measure` in a process of its own."""
    command = [sys.executable, __file__, "--one", str(source), str(gallery), str(case), *["--look"] * look]
    done = subprocess.run(command, env=os.environ | ONE_THREAD, check=True, capture_output=True)
    case.unlink()
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def plot(record: dict[str, Any], file: Path) -> None:
    """Peak memory against the number of members."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "leakmatch"
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(5.5, 3.4), layout="constrained")
    for kind, form in itertools.product(KINDS, FORMATS):
        rows = [row for row in record["results"] if (row["kind"], row["format"]) == (kind, form)]
        axes.plot([r["members"] for r in rows], [r["peak_mib"] for r in rows], "o-", label=f"{form} of {kind}")
    axes.set(xlabel="members of the archive", ylabel="peak memory of all processes, MiB", xscale="log", ylim=(0, None))
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(file, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[10_000, 200_000])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--look", action="store_true", help="look at every picture: 3 ms of a core for each")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--svg", type=Path, help="also plot the result here (takes matplotlib)")
    parser.add_argument("--lock", type=Path, help="hold this file's lock in each scan (machines that several share)")
    parser.add_argument("--one", nargs=3, type=Path, metavar=("SOURCE", "GALLERY", "CASE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        if not arguments.look:
            process.subprocess.Popen = canned
        print(json.dumps(measure(*arguments.one)))
        return
    results = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        gallery, case = folder / "memory.gallery", folder / "memory.case"
        generated.gallery(gallery, load_pack("opencv-zoo"), 1000)
        for kind, form in itertools.product(arguments.kinds, arguments.formats):
            sources = [folder / f"{count}.{form}" for count in sorted(arguments.members)]
            for source, count in zip(sources, sorted(arguments.members), strict=True):
                write(source, kind, count)
            with alone(arguments.lock):
                found = [measured_alone(source, gallery, case, look=arguments.look) for source in sources]
            for count, row in zip(sorted(arguments.members), found, strict=True):
                share = round(row["peak_mib"] / found[0]["peak_mib"], 3)
                results.append({"kind": kind, "format": form, "members": count, **row, "to_the_smallest": share})
                print(results[-1], flush=True)
    record = {"machine": machine(), "results": results}
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    if arguments.svg:
        plot(record, arguments.svg)


if __name__ == "__main__":
    main()

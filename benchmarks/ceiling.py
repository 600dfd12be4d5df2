"""How many photos a second the one reader and the one parent of a scan can serve, however many cores look at them.

    python benchmarks/ceiling.py PHOTOS.zip [--count 6000] [--rounds 3] [--json FILE]

A scan in which looking costs nothing: analysers look at their first 20 photos and answer all others with what they saw.
Everything else is real: the walk, the memory files, the frames, the join with the gallery, the ledger, the disk. The
processor time of the reader and of the parent for a photo are what a machine with many cores waits for in the end: one
over the larger of the two is the most that a scan can do. Small photos (as they are in PHOTOS.zip) are the hard case
for the parent, large ones (``--large`` bytes, by bytes behind the end of the picture) for the reader.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from race_pipeline import alone
from scaling import FORMATS, ROLES, pack_up, photos_of

from leakmatch.bench import generated
from leakmatch.bench.machine import machine
from leakmatch.bench.processes import cpu_by_role
from leakmatch.faces.packs import load_pack
from leakmatch.offered import ONE_THREAD
from leakmatch.pipeline import process
from leakmatch.pipeline.scan import scan
from leakmatch.settings import Settings

_POPEN = subprocess.Popen
_WORKER = str(Path(__file__).parent / "peers" / "canned_worker.py")
_SOURCES = 100  # different photos
_LOOKED_AT = 40  # photos until every analyser has looked at what it looks at


def canned(command: list[str], **options: Any) -> subprocess.Popen[bytes]:
    if "leakmatch.pipeline.worker" not in command:
        return _POPEN(command, **options)
    at = command.index("-m")
    return _POPEN([*command[:at], _WORKER, *command[at + 1 :]], **options)


def repeated(photos: list[tuple[str, bytes]], count: int, size: int) -> list[tuple[str, bytes]]:
    """``count`` files made of ``photos`` by a number behind the end of the picture; of ``size`` bytes or more."""
    found = []
    for number in range(count):
        name, data = photos[number % len(photos)]
        data += number.to_bytes(8, "big")
        found.append((f"{number:07}/{name}", data + os.urandom(max(0, size - len(data)))))
    return found


def serve(source: Path, folder: Path, workers: int) -> dict[str, float]:
    """Milliseconds for a photo between the first looks and the end: by the clock, and of the processors by role."""
    case = folder / "ceiling.case"
    seen: list[tuple[int, float, Counter[str]]] = []

    def progress(*, items: int, **_: int) -> None:
        if items > _LOOKED_AT and (not seen or time.perf_counter() > seen[-1][1] + 0.2):
            seen.append((items, time.perf_counter(), cpu_by_role(os.getpid())))

    scan([source], folder / "ceiling.gallery", case, Settings(workers=workers, engine="onnxruntime"), progress)
    case.unlink()
    (few, began, before), (many, ended, after) = seen[0], seen[-1]
    each = 1000 / (many - few)
    return {"clock": each * (ended - began)} | {role: each * (after[role] - before[role]) for role in ROLES}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=6000, help="photos of the size they have")
    parser.add_argument("--large", type=int, default=3_000_000, help="bytes of a large photo; few of these")
    parser.add_argument("--gallery", type=int, default=1000, help="made-up templates in the gallery")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--lock", type=Path, help="hold this file's lock in each round (machines that several share)")
    arguments = parser.parse_args()
    os.environ.update(ONE_THREAD)
    process.subprocess.Popen = canned
    runs: dict[tuple[str, int], list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photos = photos_of(arguments.photos, _SOURCES)
        generated.gallery(folder / "ceiling.gallery", load_pack("opencv-zoo"), arguments.gallery)
        sizes = {0: arguments.count, arguments.large: arguments.count // 20}
        for size, count in sizes.items():
            pack_up(repeated(photos, count, size), folder)
        with alone(arguments.lock):
            for _, (size, count), kind in itertools.product(range(arguments.rounds), sizes.items(), FORMATS):
                run = serve(folder / f"{count}.{kind}", folder, arguments.workers)
                runs.setdefault((kind, size), []).append(run)
    results = []
    for (kind, size), each in runs.items():
        row = {role: round(statistics.median(run[role] for run in each), 3) for role in ("clock", *ROLES)}
        most = round(1000 / max(row["parent"], row["reader"]))
        results.append({"format": kind, "bytes": size or "as they are", "ms_per_photo": row, "most_per_second": most})
        print(f"{kind:<7} {size or 'small':>8}  ms of a photo: {row}  at most {most} photos/s", flush=True)
    record = {"machine": machine(), "gallery": arguments.gallery, "rounds": arguments.rounds, "results": results}
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

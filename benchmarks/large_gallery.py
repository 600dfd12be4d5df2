"""A large gallery, from a template file to a search and an update: seconds, memory, bytes for each template.

    python benchmarks/large_gallery.py MILLIONS [--folder DIR] [--json FILE]
    python benchmarks/large_gallery.py MILLIONS --folder DIR --json FILE --step "import 1 of 10"

Templates are random unit vectors of the default pack's length: strangers that are alike by chance only. Each step is a
process of its own, so that its peak memory is its own. They come in files of a million.
Needs about 0.8 GB of disk for a million, and as much again for a while. With --step one step is done, on what the steps
before left in the folder, and its figures are added to the file: for a machine that is shared.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from leakmatch.bench.machine import machine
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.matching.join import TemplateIndex
from leakmatch.sealed.keys import Keys
from leakmatch.sealed.keys import generate as new_key

FILE = 1_000_000
PART = 100_000
PROBES = 1024
THRESHOLD = 0.5
KEY = "key"


def generate(file: Path, count: int, seed: int) -> None:
    """An npz of ``count`` templates, each of a subject of its own."""
    pack = load_pack("opencv-zoo")
    random = np.random.default_rng(seed)
    width = len(f"{seed}-{count:09}")
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        with archive.open("model_id.npy", "w") as member:
            np.lib.format.write_array(member, np.array(pack.model_id))
        with archive.open("vectors.npy", "w", force_zip64=True) as member:
            header = {"descr": "<f4", "fortran_order": False, "shape": (count, pack.embedder.dimension)}
            np.lib.format.write_array_header_1_0(member, header)
            for start in range(0, count, PART):
                shape = (min(PART, count - start), pack.embedder.dimension)
                vectors = random.standard_normal(shape, dtype=np.float32)
                member.write((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).tobytes())
        with archive.open("subject_id.npy", "w", force_zip64=True) as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": f"<U{width}", "fortran_order": False, "shape": (count,)}
            )
            for start in range(0, count, PART):
                ids = [f"{seed}-{number:09}" for number in range(start, min(count, start + PART))]
                member.write(np.array(ids, f"<U{width}").tobytes())


def search(gallery: Path) -> dict[str, float]:
    """Open the index and compare it with probes, a few of which are enrolled."""
    with Gallery.open(gallery, keys=Keys(key_file=gallery.with_name(KEY)), steady=True) as opened:
        began = time.perf_counter()
        templates = opened.templates()
        index = TemplateIndex(templates, templates.enrolment_id)
        opened_in = time.perf_counter() - began
        probes = np.random.default_rng(99).standard_normal((PROBES, opened.dimension), dtype=np.float32)
        probes /= np.linalg.norm(probes, axis=1, keepdims=True)
        probes[:10] = templates[np.linspace(0, len(templates) - 1, 10).astype(np.int64)]
        began = time.perf_counter()
        found = index.join(probes, THRESHOLD)
        seconds = time.perf_counter() - began
        assert len(found) >= 10, "an enrolled person was not found"
        return {
            "open_index_s": opened_in,
            "search_s": seconds,
            "pairs_per_s": PROBES * len(templates) / seconds,
            "found": len(found),
        }


def measured(*command: str | Path) -> dict[str, float]:
    """Seconds and peak memory (MB) of a process, and what it prints as JSON."""
    began = time.perf_counter()
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
    found: dict[str, float] = json.loads(output) if output.startswith(b"{") else {}
    return {"seconds": time.perf_counter() - began, "peak_mb": usage.ru_maxrss / 1024} | found


def steps(millions: float, folder: Path) -> dict[str, Callable[[], dict[str, float]]]:
    """By name, in order: what is done, and what was measured of it."""
    count = int(millions * 1_000_000)
    gallery, file = folder / "g.gallery", folder / "templates.npz"
    leakmatch = (sys.executable, "-m", "leakmatch", "gallery")
    os.environ["LEAKMATCH_KEY_FILE"] = str(folder / KEY)
    if not (folder / KEY).exists():
        new_key(folder / KEY)

    def imported(templates: int, seed: int) -> dict[str, float]:
        measured(sys.executable, __file__, str(templates / 1e6), "--generate", file, "--seed", str(seed))
        found = measured(*leakmatch, "import", gallery, file, "-q")
        file.unlink()
        return found | {"templates": templates, "bytes_of_gallery": gallery.stat().st_size}

    files = [min(FILE, count - start) for start in range(0, count, FILE)]
    return {
        **{f"import {number} of {len(files)}": partial(imported, size, number) for number, size in enumerate(files, 1)},
        "import 1 % more": lambda: imported(max(count // 100, 1), 0),
        "remove a subject": lambda: measured(*leakmatch, "remove", gallery, f"1-{files[0] // 2:09}", "--yes"),
        "verify": lambda: measured(*leakmatch, "verify", gallery),
        "search": lambda: measured(sys.executable, __file__, str(millions), "--search", gallery),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("millions", type=float)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--step")
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    for own in ("--generate", "--search"):
        parser.add_argument(own, type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.generate:
        generate(arguments.generate, int(arguments.millions * 1_000_000), arguments.seed)
        return
    if arguments.search:
        print(json.dumps(search(arguments.search)))
        return
    if arguments.step and not (arguments.folder and arguments.json):
        parser.error("--step needs --folder and --json")
    with contextlib.ExitStack() as stack:
        folder = arguments.folder
        if not arguments.step:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        work = steps(arguments.millions, folder)
        names = [arguments.step] if arguments.step else list(work)
        done = {name: work[name]() for name in names}
    if arguments.step and arguments.json.exists():
        done = json.loads(arguments.json.read_text(encoding="utf-8"))["steps"] | done
    result = {"machine": machine(), "templates": int(arguments.millions * 1_000_000), "steps": done}
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

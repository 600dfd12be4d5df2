"""A large gallery, from a template file to a search and an update: seconds, memory, bytes for each template.

    python benchmarks/large_gallery.py MILLIONS [--folder DIR] [--json FILE]

Templates are random unit vectors of the default pack's length: strangers that are alike by chance only. Each step is a
process of its own, so that its peak memory is its own. Needs about 1.4 GB of disk for a million.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np

from leakmatch.bench.machine import machine
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.matching.join import TemplateIndex

PART = 100_000
PROBES = 1024
THRESHOLD = 0.5


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
    with Gallery.open(gallery, steady=True) as opened:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("millions", type=float)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--search", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.search:
        print(json.dumps(search(arguments.search)))
        return
    count = int(arguments.millions * 1_000_000)
    leakmatch = (sys.executable, "-m", "leakmatch", "gallery")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        gallery, file, more = (Path(folder) / name for name in ("g.gallery", "a.npz", "b.npz"))
        generate(file, count, 1)
        generate(more, max(count // 100, 1), 2)
        steps = {"import": measured(*leakmatch, "import", gallery, file, "-q")}
        steps["import 1 % more"] = measured(*leakmatch, "import", gallery, more, "-q")
        steps["remove a subject"] = measured(*leakmatch, "remove", gallery, f"1-{count // 2:09}", "--yes")
        steps["verify"] = measured(*leakmatch, "verify", gallery)
        steps["search"] = measured(sys.executable, __file__, str(arguments.millions), "--search", gallery)
        size = gallery.stat().st_size
    result = {
        "machine": machine(),
        "templates": count,
        "bytes_per_template": size / count,
        "steps": steps,
    }
    text = json.dumps(result, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

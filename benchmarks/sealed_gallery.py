"""What sealing costs: opening and loading a gallery, adding to it, and scanning with it, beside the same one in plain.

    python benchmarks/sealed_gallery.py PHOTOS.zip [--templates 1000000] [--rounds 5] [--folder DIR] [--json FILE]

Made-up templates of 128 numbers, one for each subject, each with a SHA-256 of its own, are imported into a sealed and
an unsealed gallery; DIR keeps them. Then, each in a process of its own with one thread, sides by turns, medians:

- load: from nothing to the templates as one float32 matrix, and to the form a scan joins with (`index`), and the most
  memory that took above what the process held before. The peers: `numpy.load` of the matrix, and a pickle of a
  dictionary by subject, which is what many face tools keep; both are neither encrypted nor checked.
- limit: AES-256-GCM of as many bytes in pieces of 16 KiB, alone.
- add: 1,000 more templates, one transaction: bytes that the file grew by, and whether what was there is untouched.
- join: 1,024 probes with the index; an int8 index reads the templates that it named from the file.
- scan: PHOTOS.zip with a gallery of 100,000 templates, and its first photo alone, which is mostly start-up; `steady` is
  the difference. An unsealed gallery is verified row by row when a scan starts; a sealed one is when it is opened.

A JSON file that is there is added to, so that it can be run in pieces (`--only`). Files are in the page cache. Times by
the clock and of the processor: other work on the machine moves the latter less.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from race_pipeline import alone, timed

from leakmatch.arrays import FloatArray
from leakmatch.bench.generated import unit_vectors
from leakmatch.bench.machine import machine
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.gallery.table import Rows
from leakmatch.matching.join import TemplateIndex
from leakmatch.offered import ONE_THREAD
from leakmatch.pipeline.fused import SubjectTemplates
from leakmatch.sealed.keys import Keys, generate

PART = 50_000
SCANNED = 100_000
MORE = 1_000
PROBES = 1_024
THRESHOLD = 0.5
BLOCK = 16_384
SIDES = ("sealed", "plain")
LOADS = {"matrix": ("sealed", "plain", "npy", "pickle"), "index": SIDES, "limit": ("aes-gcm",)}


# Making


def make(folder: Path, count: int) -> None:
    """The galleries, and what the peers load."""
    if not (folder / "key").exists():
        generate(folder / "key")
    for name, size in (("large", count), ("scanned", SCANNED)):
        vectors = unit_vectors(size, 128, seed=size)
        for side in SIDES:
            path = folder / f"{name}-{side}.gallery"
            if not path.exists():
                print(f"making {path.name}", flush=True)
                _import(path, vectors, keys(folder) if side == "sealed" else None)
    if not (folder / "npy").exists():
        vectors = unit_vectors(count, 128, seed=count)
        with (folder / "npy").open("wb") as file:
            np.save(file, vectors)
        with (folder / "pickle").open("wb") as file:
            pickle.dump({f"s{n:08}": vector for n, vector in enumerate(vectors)}, file, protocol=5)


def keys(folder: Path) -> Keys:
    return Keys(key_file=folder / "key")


def _import(path: Path, vectors: FloatArray, sealed_with: Keys | None) -> None:
    pack = load_pack("opencv-zoo")
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with Gallery.create(new, pack.name, pack.model_id, 128, keys=sealed_with) as gallery:
        gallery.add_table(_parts(vectors, 0), [])
    new.rename(path)


def _parts(vectors: FloatArray, seed: int) -> Iterator[Rows]:
    chance = np.random.default_rng(seed)
    for start in range(0, len(vectors), PART):
        part = vectors[start : start + PART]
        count = len(part)
        names = [f"s{seed}-{n:08}" for n in range(start, start + count)]
        digests = chance.bytes(32 * count)
        yield Rows(
            vectors=part,
            subject_id=names,
            name=[""] * count,
            expires=[""] * count,
            path=[f"{name}.jpg" for name in names],
            sha256=[digests[32 * n : 32 * n + 32] for n in range(count)],
            quality=[1.0] * count,
            detail=[""] * count,
            hashes=[],
        )


# Measuring: each of these runs in a process of its own


def measured(do: Callable[[], Any]) -> dict[str, float]:
    """Seconds by the clock and of the processor, and the most memory above that before, in MB."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, began, spent = _memory("VmRSS"), time.perf_counter(), time.process_time()
    kept = do()
    seconds, cpu = time.perf_counter() - began, time.process_time() - spent
    peak = _memory("VmHWM") - before
    del kept
    return {"seconds": seconds, "cpu_seconds": cpu, "peak_mb": peak}


def _memory(what: str) -> float:
    """In units of a million bytes."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return int(line.split()[1]) * 1024 / 1e6


def load(folder: Path, form: str, side: str) -> dict[str, float]:
    if form == "limit":
        return _limit(folder)
    if side == "npy":
        return measured(lambda: np.load(folder / "npy"))
    if side == "pickle":
        return measured(lambda: _stacked(folder / "pickle"))
    _warm(folder / f"large-{side}.gallery")
    return measured(lambda: _loaded(_opened(folder, side), form))


def _warm(path: Path) -> None:
    """Into the page cache, and imports and derivations that a process does once whatever the gallery's size."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


def _opened(folder: Path, side: str, name: str = "large", *, writable: bool = False) -> Gallery:
    path = folder / f"{name}-{side}.gallery"
    key = keys(folder) if side == "sealed" else None
    return Gallery.open(path, keys=key, steady=not writable, writable=writable, action="bench")


def _loaded(gallery: Gallery, form: str) -> Any:
    with gallery:
        return _matrix(gallery) if form == "matrix" else _index(gallery)


def _matrix(gallery: Gallery) -> FloatArray:
    stored = gallery.templates()
    matrix = np.empty(stored.shape, np.float32)
    done = 0
    for part in stored.parts():
        matrix[done : done + len(part)] = part
        done += len(part)
    return matrix


def _index(gallery: Gallery) -> TemplateIndex:
    """As the matcher of a scan makes it."""
    subjects = SubjectTemplates(gallery.templates(), gallery.first_enrolments(), None)
    return TemplateIndex(subjects, subjects.subject)


def _stacked(path: Path) -> FloatArray:
    with path.open("rb") as file:
        return np.stack(list(pickle.load(file).values()))


def _limit(folder: Path) -> dict[str, float]:
    """As many bytes as the sealed gallery has, decrypted in memory."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher, nonce, content = AESGCM(bytes(32)), bytes(12), os.urandom(BLOCK)
    sealed = cipher.encrypt(nonce, content, None)
    count = (folder / "large-sealed.gallery").stat().st_size // len(sealed)

    def decrypt() -> None:
        for _ in range(count):
            cipher.decrypt(nonce, sealed, None)

    return measured(decrypt)


def add(folder: Path, side: str, seed: int) -> dict[str, float]:
    """More people into the large gallery; what the file grew by, and whether it begins as before."""
    path = folder / f"large-{side}.gallery"
    before, inode = path.stat().st_size, path.stat().st_ino
    vectors = unit_vectors(MORE, 128, seed=1000 + seed)

    def added() -> None:
        with _opened(folder, side, writable=True) as gallery:
            gallery.add_table(_parts(vectors, 1000 + seed), [])

    found = measured(added)
    return found | {"grown_mb": (path.stat().st_size - before) / 1e6, "same_file": float(path.stat().st_ino == inode)}


def join(folder: Path, side: str) -> dict[str, float]:
    with _opened(folder, side) as gallery:
        index = _index(gallery)
        probes = unit_vectors(PROBES, 128, seed=7)
        index.join(probes[:8], THRESHOLD)
        found = measured(lambda: index.join(probes, THRESHOLD))
        return found | {"million_pairs_per_s": PROBES * len(index) / found["seconds"] / 1e6}


def scan(folder: Path, side: str, photos: Path) -> dict[str, float]:
    """A whole command, the same with one photo, and what is between."""
    whole, first = _command(folder, side, photos), _command(folder, side, folder / "first.zip")
    start = {f"start_{name}": value for name, value in first.items()}
    return whole | start | {f"steady_{name}": value - first[name] for name, value in whole.items()}


def _first_of(photos: Path, target: Path) -> None:
    with zipfile.ZipFile(photos) as source, zipfile.ZipFile(target, "w") as made:
        name = next(name for name in source.namelist() if name.endswith(".jpg"))
        made.writestr(name, source.read(name))


def _command(folder: Path, side: str, photos: Path) -> dict[str, float]:
    case = folder / "bench.case"
    command = [sys.executable, "-m", "leakmatch", "scan", str(photos), "--quiet", "--case", str(case)]
    command += ["--gallery", str(folder / f"scanned-{side}.gallery"), "--key-file", str(folder / "key")]
    try:
        seconds, cpu, _ = timed([command], {0, 3})
    finally:
        case.unlink(missing_ok=True)
    return {"seconds": seconds, "cpu_seconds": cpu}


# All of it


def apart(*arguments: str | Path) -> dict[str, float]:
    """One measurement in a process of its own, of one thread."""
    done = subprocess.run(
        [sys.executable, __file__, *map(str, arguments)],
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(statistics.median(each[name] for each in rounds), 3) for name in rounds[0]}


def race(sides: tuple[str, ...], rounds: int, run: Callable[[str, int], dict[str, float]]) -> dict[str, Any]:
    """The sides by turns; the medians, and all seconds."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for number in range(rounds):
        for side in sides[number % 2 :] + sides[: number % 2]:
            found[side].append(run(side, number))
    told = {
        side: medians(each) | {"all_seconds": [round(r["seconds"], 3) for r in each]} for side, each in found.items()
    }
    print(json.dumps(told), flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--templates", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="keep the galleries here")
    parser.add_argument("--lock", type=Path, help="hold this file while measuring, where several share the machine")
    parser.add_argument(
        "--only", nargs="*", choices=("load", "add", "join", "scan"), default=["load", "add", "join", "scan"]
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(options.folder, *options.one)))
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        make(folder, options.templates)
        with alone(options.lock):
            steps = _steps(folder, options)
    sizes = {side: (folder / f"large-{side}.gallery").stat().st_size for side in SIDES} if options.folder else {}
    if options.json and options.json.exists():
        steps = json.loads(options.json.read_text(encoding="utf-8"))["steps"] | steps
    result: dict[str, Any] = {"machine": machine(), "templates": options.templates}
    result |= {"bytes": sizes, "raw_mb": options.templates * 512 / 1e6, "steps": steps}
    print(json.dumps(result, indent=2))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def _one(folder: Path, step: str, *arguments: str) -> dict[str, float]:
    if step == "add":
        return add(folder, arguments[0], int(arguments[1]))
    return join(folder, arguments[0]) if step == "join" else load(folder, step, arguments[0])


def _steps(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    def one(*arguments: str) -> dict[str, float]:
        return apart(options.photos, "--folder", folder, "--one", *arguments)

    steps: dict[str, Any] = {}
    if "load" in options.only:
        for form, sides in LOADS.items():
            steps[f"load, {form}"] = race(sides, options.rounds, lambda side, _, form=form: one(form, side))  # type: ignore[misc]
    if "join" in options.only:
        steps["join"] = race(SIDES, options.rounds, lambda side, _: one("join", side))
    if "scan" in options.only:
        _first_of(options.photos, folder / "first.zip")
        steps["scan"] = race(SIDES, options.rounds, lambda side, _: scan(folder, side, options.photos))
    if "add" in options.only:
        for side in SIDES:  # so that the same thousand can be added each time
            shutil.copyfile(folder / f"large-{side}.gallery", folder / f"kept-{side}")
        try:
            steps["add"] = race(SIDES, options.rounds, lambda side, number: one("add", side, str(number)))
        finally:
            for side in SIDES:
                (folder / f"kept-{side}").replace(folder / f"large-{side}.gallery")
    return steps


if __name__ == "__main__":
    main()

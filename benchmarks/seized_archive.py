"""The main job at size: enrol people, scan an archive built from other photos of them, compare with the truth.

    python benchmarks/seized_archive.py lfw.zip --work DIR [--people 500 --strangers 1500 --workers 2 --json FILE]

DATA is a zip with one folder per person. PEOPLE persons with two or more photos are enrolled with one photo each; the
archive holds another photo of each, and photos of others, shuffled into nested zips and a tar.gz, some recompressed,
mirrored, halved, or converted to PNG or WebP. Reports the share of mated photos whose first-ranked candidate is the
enrolled person (as exported by default), false candidates, whether the ledger equals an independent listing, time, and
the peak resident memory of all processes together. Standard output: one JSON object.
"""

from __future__ import annotations

import argparse
import collections
import io
import json
import os
import platform
import random
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import psutil
from PIL import Image, ImageOps


def recompressed(image: Image.Image) -> tuple[str, bytes]:
    return ".jpg", encoded(image, "JPEG", quality=40)


def mirrored(image: Image.Image) -> tuple[str, bytes]:
    return ".jpg", encoded(ImageOps.mirror(image), "JPEG", quality=92)


def halved(image: Image.Image) -> tuple[str, bytes]:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return ".jpg", encoded(half, "JPEG", quality=92)


def as_png(image: Image.Image) -> tuple[str, bytes]:
    return ".png", encoded(image, "PNG")


def as_webp(image: Image.Image) -> tuple[str, bytes]:
    return ".webp", encoded(image, "WEBP", quality=80)


CHANGES: list[Callable[[Image.Image], tuple[str, bytes]] | None] = [
    None, None, None, recompressed, mirrored, halved, as_png, as_webp,
]  # fmt: skip


def encoded(image: Image.Image, format: str, **options: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def build(data: Path, work: Path, people: int, strangers: int, seed: int) -> dict[str, dict[str, str]]:
    """Write people/ and seized.zip; returns what is in the archive: path -> {"person", "change"}."""
    chance = random.Random(seed)
    with zipfile.ZipFile(data) as source:
        photos: dict[str, list[str]] = collections.defaultdict(list)
        for name in sorted(source.namelist()):
            if not name.endswith("/"):
                photos[name.split("/")[0]].append(name)
        several = sorted(person for person, names in photos.items() if len(names) > 1)
        enrolled = chance.sample(several, people)
        for person in enrolled:
            target = work / "people" / person / Path(photos[person][0]).name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read(photos[person][0]))
        wanted = [(person, photos[person][1]) for person in enrolled]
        others = [n for person, names in photos.items() if person not in set(enrolled) for n in names]
        wanted += [("", name) for name in chance.sample(others, strangers)]
        chance.shuffle(wanted)
        members = [
            changed(source.read(name), Path(name).name, person, i, chance) for i, (person, name) in enumerate(wanted)
        ]
    return pack(members, work / "seized.zip")


Photo = tuple[str, bytes, str, str, str]  # name, bytes, person or "", change, name of the photo it was made from


def changed(data: bytes, photo: str, person: str, number: int, chance: random.Random) -> Photo:
    change = chance.choice(CHANGES)
    if change is None:
        return f"{number:05}.jpg", data, person, "none", photo
    suffix, result = change(Image.open(io.BytesIO(data)).convert("RGB"))
    return f"{number:05}{suffix}", result, person, change.__name__, photo


def pack(members: list[Photo], archive: Path) -> dict[str, dict[str, str]]:
    """A zip with loose photos, a zip in the zip, a zip in that, and a tar.gz."""
    quarter = len(members) // 4
    parts = [members[i * quarter : (i + 1) * quarter if i < 3 else None] for i in range(4)]
    truth: dict[str, dict[str, str]] = {}

    def note(prefix: str, part: list[Photo]) -> None:
        for name, _, person, change, photo in part:
            truth[f"{prefix}{name}"] = {"person": person, "change": change, "photo": photo}

    deep = zipped([(f"c/{m[0]}", m[1]) for m in parts[2]])
    inner = zipped([(f"b/{m[0]}", m[1]) for m in parts[1]] + [("deep.zip", deep)])
    tar_bytes = io.BytesIO()
    with tarfile.open(fileobj=tar_bytes, mode="w:gz") as tar:
        for name, data, *_ in parts[3]:
            info = tarfile.TarInfo(f"d/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    loose = [(f"a/{m[0]}", m[1]) for m in parts[0]]
    archive.write_bytes(
        zipped([*loose, ("inner.zip", inner), ("rest.tar.gz", tar_bytes.getvalue()), ("readme.txt", b"faces")])
    )
    note("a/", parts[0])
    note("inner.zip!/b/", parts[1])
    note("inner.zip!/deep.zip!/c/", parts[2])
    note("rest.tar.gz!/rest.tar!/d/", parts[3])
    return truth


def zipped(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return buffer.getvalue()


def listing(data: bytes, prefix: str = "") -> list[str]:
    """An independent listing of the archive, by the standard library: every member at every depth."""
    names = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            names.append(prefix + name)
            if name.endswith(".zip"):
                names += listing(archive.read(name), f"{prefix}{name}!/")
            if name.endswith(".tar.gz"):
                inner = f"{prefix}{name}!/{Path(name).name.removesuffix('.gz')}"
                names.append(inner)
                with tarfile.open(fileobj=io.BytesIO(archive.read(name))) as tar:
                    names += [f"{inner}!/{member.name}" for member in tar if member.isfile()]
    return names


def leakmatch(*arguments: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "leakmatch", *map(str, arguments)], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode not in (0, 3):
        raise SystemExit(f"leakmatch {arguments[0]} ended with {done.returncode}")
    return done.stdout


class Memory(threading.Thread):
    """Watches the resident memory of this process's children, all together, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            total = 0
            for child in psutil.Process().children(recursive=True):
                try:
                    total += child.memory_info().rss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total)


def evaluate(work: Path, truth: dict[str, dict[str, str]]) -> dict[str, object]:
    case = work / "seized.case"
    stored = [json.loads(line) for line in leakmatch("export", case, "candidates", "--all").splitlines()]
    candidates = [row for row in stored if row["decision"] != "weak"]
    items = [json.loads(line) for line in leakmatch("export", case, "items").splitlines()]
    first: dict[str, set[str]] = collections.defaultdict(set)
    false = collections.Counter()
    false_matches: list[dict[str, object]] = []
    for row in candidates:
        if row["rank"] == 1:
            first[row["path"]].add(row["subject_id"])
        if truth[row["path"]]["person"] != row["subject_id"]:
            false[row["decision"]] += 1
            if row["decision"] == "match":
                told = {key: row[key] for key in ("subject_id", "face", "score", "expected_false")}
                false_matches.append({"photo": truth[row["path"]]["photo"], **told})
    mated = {path: fact for path, fact in truth.items() if fact["person"]}
    hits = [path for path, fact in mated.items() if fact["person"] in first[path]]
    by_change = {
        change: f"{sum(1 for p in hits if truth[p]['change'] == change)}/"
        f"{sum(1 for f in mated.values() if f['change'] == change)}"
        for change in sorted({fact["change"] for fact in mated.values()})
    }
    ranked_first = {(row["path"], row["subject_id"]) for row in stored if row["rank"] == 1}
    members = sorted(row["path"] for row in items if row["kind"] != "frame" and row["path"] != "seized.zip")
    return {
        "mated": len(mated),
        "first_ranked": len(hits),
        "share": round(len(hits) / len(mated), 4),
        "share_with_weak": round(sum((p, f["person"]) in ranked_first for p, f in mated.items()) / len(mated), 4),
        "by_change": by_change,
        "false_candidates": dict(false),
        "false_matches": false_matches,
        "decisions": dict(collections.Counter(row["decision"] for row in candidates)),
        "ledger_equals_listing": members == sorted(listing((work / "seized.zip").read_bytes())),
        "outcomes": dict(collections.Counter(row["outcome"] for row in items)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--work", type=Path, required=True, help="an empty or new folder")
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--strangers", type=int, default=1500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, help="also write the result here")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    truth = build(options.data, options.work, options.people, options.strangers, options.seed)
    workers = ("--workers", options.workers)
    os.environ["LEAKMATCH_KEY_FILE"] = str(options.work / "school.key")
    leakmatch("gallery", "keys", "generate", options.work / "school.key")
    memory = Memory()
    memory.start()
    began = time.monotonic()
    leakmatch("enroll", options.work / "school.gallery", options.work / "people", *map(str, workers))
    enrolled = time.monotonic()
    case = ("--gallery", options.work / "school.gallery", "--case", options.work / "seized.case")
    leakmatch("scan", options.work / "seized.zip", *case, *map(str, workers))
    scanned = time.monotonic()
    memory.ended.set()
    leakmatch("verify", options.work / "seized.case")
    result = {
        **evaluate(options.work, truth),
        "enrol_seconds": round(enrolled - began, 1),
        "scan_seconds": round(scanned - enrolled, 1),
        "photos_per_second": round(len(truth) / (scanned - enrolled), 1),
        "peak_resident_mb": round(memory.peak / 1e6),
        "settings": {"people": options.people, "strangers": options.strangers, "seed": options.seed},
        "machine": {"platform": platform.platform(), "cores": os.cpu_count(), "workers": options.workers},
    }
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""Which copies of an enrolled photo are called the same picture, and whether any other photo is.

    python benchmarks/copies.py PORTRAITS.zip --same PAIRS.csv [--photos 500] [--seeds 1 2] [--json FILE]

PORTRAITS.zip holds one folder per person, and several photos of many of them: photos of one sitting are the hard case.
All are enrolled, each as a subject of its own, and then go the way of a scan: decode, hash, detect, embed, join,
verdict. First every photo as it is: whatever else than itself it is called the same picture of is listed. PAIRS.csv
(``a,b``) names pairs that are one picture; ``lfw_same_pictures.csv`` is that of the LFW photos used here. Look at what
is listed before you believe it. Then, for each seed, as many photos, drawn at random, are changed in every way below;
here, too, every other photo they are called is counted.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.bench.machine import machine
from leakmatch.evaluation.figures import Proportion
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.gallery.store import Gallery
from leakmatch.hashing.copies import COPY_SCORE
from leakmatch.imaging.decode import decode
from leakmatch.matching.verdict import Verdict
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.enrol import enroll
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.stages import Looker
from leakmatch.records import Budget, Evidence, ImageAnalysis
from leakmatch.settings import Settings

Change = Callable[[ByteArray, np.random.Generator], Any]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
LIMITS = (16, 20, 28, 32, 40, 48, 56, 64, 72, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180, 190, 200)
LISTED = 12  # pairs of photos whose contrast maps are nearest
SAVED = 90  # JPEG quality of a changed copy, unless the change says another


def jpeg(bgr: ByteArray, quality: int) -> ByteArray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1), np.uint8)


def halved(bgr: ByteArray) -> ByteArray:
    return np.asarray(cv2.resize(bgr, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def cropped(bgr: ByteArray, left: float, top: float, right: float, bottom: float) -> ByteArray:
    """Without these shares of the width and the height."""
    height, width = bgr.shape[:2]
    rows = slice(round(height * top), height - round(height * bottom))
    return np.ascontiguousarray(bgr[rows, round(width * left) : width - round(width * right)])


def cropped_on_one_side(bgr: ByteArray, rng: np.random.Generator) -> ByteArray:
    sides = np.zeros(4)
    sides[rng.integers(4)] = 0.1
    return cropped(bgr, *sides.tolist())


def gray(bgr: ByteArray) -> ByteArray:
    return np.asarray(cv2.cvtColor(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR), np.uint8)


def captioned(bgr: ByteArray, rng: np.random.Generator, place: str) -> ByteArray:
    """A bar with words, 8 to 15 % of the height, black on white or white on black: over the picture or below it."""
    height, width = bgr.shape[:2]
    rows = round(height * rng.uniform(0.08, 0.15))
    ground = int(rng.choice([0, 255]))
    bar = np.full((rows, width, 3), ground, np.uint8)
    ink = (255 - ground,) * 3
    words = str(rng.choice(["EXCLUSIVE 2024", "photo: agency / archive", "@some_account"]))
    cv2.putText(bar, words, (4, int(rows * 0.7)), cv2.FONT_HERSHEY_SIMPLEX, rows / 45, ink, 1, cv2.LINE_AA)
    if place == "below":
        return np.vstack([bgr, bar])
    changed = bgr.copy()
    changed[slice(None, rows) if place == "top" else slice(height - rows, None)] = bar
    return changed


def gamma(bgr: ByteArray, exponent: float) -> ByteArray:
    table = np.rint((np.arange(256) / 255) ** exponent * 255).astype(np.uint8)
    return np.asarray(cv2.LUT(bgr, table), np.uint8)


def mirror(bgr: ByteArray) -> ByteArray:
    return np.ascontiguousarray(bgr[:, ::-1])


def shifted(bgr: ByteArray, levels: int) -> ByteArray:
    return np.clip(bgr.astype(np.int16) + levels, 0, 255).astype(np.uint8)


CHANGES: dict[str, Change] = {
    "JPEG quality 30": lambda bgr, rng: jpeg(bgr, 30),
    "half size": lambda bgr, rng: halved(bgr),
    "5 % off each side": lambda bgr, rng: cropped(bgr, 0.05, 0.05, 0.05, 0.05),
    "10 % off each side": lambda bgr, rng: cropped(bgr, 0.1, 0.1, 0.1, 0.1),
    "10 % off one side": cropped_on_one_side,
    "mirrored": lambda bgr, rng: mirror(bgr),
    "grayscale": lambda bgr, rng: gray(bgr),
    "caption over the bottom": lambda bgr, rng: captioned(bgr, rng, "bottom"),
    "caption over the top": lambda bgr, rng: captioned(bgr, rng, "top"),
    "caption below": lambda bgr, rng: captioned(bgr, rng, "below"),
    "40 % brighter": lambda bgr, rng: cv2.convertScaleAbs(bgr, alpha=1.4),
    "40 % darker": lambda bgr, rng: cv2.convertScaleAbs(bgr, alpha=0.6),
    "40 levels brighter": lambda bgr, rng: shifted(bgr, 40),
    "40 levels darker": lambda bgr, rng: shifted(bgr, -40),
    "gamma 0.6": lambda bgr, rng: gamma(bgr, 0.6),
    "gamma 1.6": lambda bgr, rng: gamma(bgr, 1.6),
    "turned by 90": lambda bgr, rng: np.rot90(bgr, 1),
    "turned by 180": lambda bgr, rng: np.rot90(bgr, 2),
    "turned by 270": lambda bgr, rng: np.rot90(bgr, 3),
    "turned by 90, mirrored": lambda bgr, rng: mirror(np.rot90(bgr, 1)),
    "half size, JPEG 30": lambda bgr, rng: jpeg(halved(bgr), 30),
    "10 % off each side, half size, JPEG 50": lambda bgr, rng: jpeg(halved(cropped(bgr, 0.1, 0.1, 0.1, 0.1)), 50),
    "mirrored, gray, JPEG 50": lambda bgr, rng: jpeg(mirror(gray(bgr)), 50),
    "caption over the bottom, half size, JPEG 50": lambda bgr, rng: jpeg(halved(captioned(bgr, rng, "bottom")), 50),
}


class Matching(Matcher):
    """The matcher of a scan, which also notes what it compared: the distance by enrolled photo."""

    compared: dict[str, int | None]

    def copy_distances(
        self, analysis: ImageAnalysis, verdicts: Sequence[Verdict]
    ) -> Iterator[tuple[Verdict, int, int | None]]:
        self.compared = {}
        for verdict, enrolment, distance in super().copy_distances(analysis, verdicts):
            self.compared[verdict.subject_id] = distance
            yield verdict, enrolment, distance


class Judge:
    """The way of a scan, against a gallery in which every photo is a subject of its own."""

    def __init__(self, gallery: Gallery, settings: Settings) -> None:
        pack = load_pack(settings.pack)
        require_searchable(gallery, pack)
        self._looker = Looker(FaceEngine(pack), Budget(), mirrored=False)
        self.matcher = Matching(gallery, calibration_for(gallery, pack, settings), settings)

    def same_pictures(self, payload: bytes) -> dict[str, list[Any]]:
        """The enrolled photos that the picture in ``payload`` is called the same picture of: distance, score, face."""
        analyses = self._looker.look(payload)
        (verdicts,) = self.matcher.match([(None, analyses[0])])
        return {
            verdict.subject_id: [verdict.hash_distance, verdict.score, verdict.face]
            for verdict in verdicts
            if verdict.evidence is Evidence.SAME_PICTURE
        }


def png(bgr: ByteArray) -> bytes:
    return cv2.imencode(".png", np.ascontiguousarray(bgr), [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def saved(bgr: ByteArray, change: str) -> bytes:
    """As a file: JPEG of quality 90, and what was recompressed without another loss."""
    if "JPEG" in change:
        return png(bgr)
    return cv2.imencode(".jpg", np.ascontiguousarray(bgr), [cv2.IMWRITE_JPEG_QUALITY, SAVED])[1].tobytes()


def enrol(photos: Path, names: list[str], gallery: Path, settings: Settings) -> None:
    """Enrol all photos, each as a subject named for its place."""
    with tempfile.TemporaryDirectory() as temporary, zipfile.ZipFile(photos) as archive:
        table = Path(temporary, "photos.csv")
        with table.open("w", newline="", encoding="utf-8") as lines:
            rows = csv.writer(lines)
            rows.writerow(["subject_id", "path"])
            for i, name in enumerate(names):
                path = Path(temporary, f"{i:06d}{Path(name).suffix}")
                path.write_bytes(archive.read(name))
                rows.writerow([name, path.name])
        report = enroll(gallery, [table], settings)
    print(f"{report.enrolled} photos enrolled, {len(report.refused)} refused", flush=True)


def different(judge: Judge, archive: zipfile.ZipFile, names: list[str], same: set[frozenset[str]]) -> dict[str, Any]:
    """Every photo as it is: the pairs called the same picture, and those of them that nobody said are."""
    called: dict[tuple[str, str], list[Any]] = {}
    past: dict[bool, set[frozenset[str]]] = {True: set(), False: set()}  # the gate, by whether of one person
    nearest: dict[frozenset[str], int] = {}
    for name in names:
        for other, about in judge.same_pictures(archive.read(name)).items():
            if other != name:
                called[name, other] = about
        for other, distance in judge.matcher.compared.items():
            pair = frozenset((name, other))
            if other != name and pair not in same:
                past[person(name) == person(other)].add(pair)
                if distance is not None:
                    nearest[pair] = min(distance, nearest.get(pair, distance))
    by_distance = sorted((distance, *sorted(pair)) for pair, distance in nearest.items())
    pairs = {frozenset(pair) for pair in called}
    return {
        "pairs_of_photos": len(names) * (len(names) - 1) // 2,
        "pairs_of_one_person": sum(n * (n - 1) // 2 for n in _photos_by_person(names)),
        "named_as_the_same_photo": sorted(sorted(pair) for pair in same),
        "of_those_called_same_picture": len(pairs & same),
        "past_the_template_gate": {"of_one_person": len(past[True]), "of_two_people": len(past[False])},
        "contrast_maps_within": {limit: sum(row[0] <= limit for row in by_distance) for limit in LIMITS},
        "contrast_maps_nearest": by_distance[:LISTED],
        "contrast_maps_nearest_of_two_people": [row for row in by_distance if person(row[1]) != person(row[2])][:1],
        "others_called_same_picture": [
            [*pair, *about] for pair, about in called.items() if frozenset(pair) not in same
        ],
    }


def person(name: str) -> str:
    return name.rpartition("/")[0]


def _photos_by_person(names: list[str]) -> list[int]:
    return [int(n) for n in np.unique([person(name) for name in names], return_counts=True)[1]]


def copies(
    judge: Judge,
    archive: zipfile.ZipFile,
    chosen: list[str],
    changes: list[str],
    seed: int,
    same: set[frozenset[str]],
) -> Iterator[tuple[str, int, list[list[Any]]]]:
    """For each of ``changes``: its name, how many copies were recognised, and what other photos they were called."""
    originals = [next(decode(archive.read(name), Budget())).bgr for name in chosen]
    for change in changes:
        make = CHANGES[change]
        rng = np.random.default_rng(seed)
        kept, wrong = 0, []
        for name, original in zip(chosen, originals, strict=True):
            found = judge.same_pictures(saved(make(original, rng), change))
            kept += name in found
            wrong += [
                [name, other, *about]
                for other, about in found.items()
                if other != name and frozenset((name, other)) not in same
            ]
        yield change, kept, wrong


def summary(by_seed: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Over all seeds: the share of each change with its interval, and every wrong photo."""
    of = sum(seed["photos"] for seed in by_seed.values())
    rates = {}
    for change in CHANGES:
        found = Proportion(sum(seed["kept"][change] for seed in by_seed.values()), of)
        rates[change] = {
            "kept": found.count,
            "of": of,
            "share": round(found.rate, 4),
            "wilson_95": [round(limit, 4) for limit in found.interval()],
            "by_seed": {name: round(seed["kept"][change] / seed["photos"], 4) for name, seed in by_seed.items()},
        }
    return rates


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="zip with one folder per person")
    parser.add_argument("--same", type=Path, help="CSV with columns a,b: pairs that show the same photo")
    parser.add_argument("--gallery", type=Path, help="keep the enrolled photos here, for the next time")
    parser.add_argument("--pack", default=Settings().pack)
    parser.add_argument("--photos", type=int, default=500, help="photos changed for each seed (default 500)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path, help="the record, which grows; what it holds is not measured again")
    return parser.parse_args()


def main() -> None:
    options = parse()
    cv2.setNumThreads(1)
    same: set[frozenset[str]] = set()
    if options.same:
        with options.same.open(newline="", encoding="utf-8") as lines:
            same = {frozenset((row["a"], row["b"])) for row in csv.DictReader(lines)}
    settings = replace(Settings(), pack=options.pack, workers=1, isolation=False)
    record: dict[str, Any] = {}
    if options.json and options.json.exists():
        record = json.loads(options.json.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(options.images) as archive:
        names = sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES)
        path = options.gallery or Path(folder, "photos.gallery")
        if not path.exists():
            enrol(options.images, names, path, settings)
        record |= {"machine": machine(), "photos": len(names), "template_gate": COPY_SCORE}
        with Gallery.open(path, steady=True) as gallery:
            judge = Judge(gallery, settings)
            for _ in measured(judge, archive, names, same, options, record):
                if options.json:
                    options.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    for change, figures in record["copies"].items():
        print(f"{change:<45} {figures['share']:.4f}  {figures['wilson_95']}")


def measured(
    judge: Judge,
    archive: zipfile.ZipFile,
    names: list[str],
    same: set[frozenset[str]],
    options: argparse.Namespace,
    record: dict[str, Any],
) -> Iterator[None]:
    """Add to ``record`` what it does not hold, one part at a time."""
    if "different_pictures" not in record:
        record["different_pictures"] = different(judge, archive, names, same)
        print(json.dumps(record["different_pictures"], indent=1), flush=True)
        yield
    by_seed = record.setdefault("by_seed", {})
    for seed in options.seeds:
        chosen = np.random.default_rng(seed).choice(len(names), min(options.photos, len(names)), replace=False)
        part = by_seed.get(str(seed)) or {"photos": len(chosen), "kept": {}, "called_another_photo": []}
        missing = [change for change in CHANGES if change not in part["kept"]]
        for change, kept, others in copies(judge, archive, [names[i] for i in chosen], missing, seed, same):
            part["kept"][change] = kept
            part["called_another_photo"] += [[change, *other] for other in others]
            print(f"seed {seed}  {change:<45} {kept / len(chosen):.4f}  {len(others)} wrong", flush=True)
        by_seed[str(seed)] = part
        record["copies"] = summary({name: one for name, one in by_seed.items() if one["kept"].keys() >= CHANGES.keys()})
        yield


if __name__ == "__main__":
    main()

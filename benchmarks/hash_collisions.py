"""How near the hashes of different pictures come, and how near those of copies stay.

The source of the thresholds and chances in ``leakmatch/hashing/evidence.py``. Compares every two pictures of a labelled
set (a zip or folder with one folder per person), straight and mirrored, for three kinds of picture: the whole picture,
the aligned face crop, and the portrait on a plain white ground, as on identity photos. Whole pictures are compared
turned by quarters, too. Then makes copies of them.

    python benchmarks/hash_collisions.py PORTRAITS.zip --models MODELS --same PAIRS.csv

MODELS is a folder with the two files of the default pack. PAIRS.csv (``a,b``) names pairs that show the same photo:
look at what ``--nearest`` lists, and leave them out of the collisions. Distances are phash plus dhash bits, of 128.
"""

from __future__ import annotations

import argparse
import csv
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.decode import decode
from leakmatch.records import Budget

Words = np.ndarray[Any, np.dtype[np.uint64]]
Change = Callable[[ByteArray, np.random.Generator], Any]

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MOST = 32  # distances above this are of no interest
LIMITS = (0, 2, 4, 6, 8, 10, 12, 14, 16, 20)


@dataclass(frozen=True)
class Hashes:
    """``straight`` and ``mirror`` uint64[N,2] (phash, dhash), ``turned`` uint64[T,N,2] by quarters, T being 0 or 3;
    ``quality`` float32[N], the lesser of the two."""

    straight: Words
    mirror: Words
    turned: Words
    quality: FloatArray

    @classmethod
    def of(cls, images: list[ByteArray], turned: bool) -> Hashes:
        batches = picture_hashes(images, mirrored=True, turned=turned)
        words = np.stack([batch.bits.view(np.uint64).reshape(-1) for batch in batches])
        pairs = words.reshape(-1, 2, len(images)).transpose(0, 2, 1)
        return cls(pairs[0], pairs[1], pairs[2:], np.minimum(batches[0].quality, batches[1].quality))

    def __getitem__(self, rows: Any) -> Hashes:
        return Hashes(self.straight[rows], self.mirror[rows], self.turned[:, rows], self.quality[rows])

    def ways(self) -> Iterator[tuple[str, Words, Words]]:
        """Every way in which a scanned picture meets an enrolled one: its name, hashes as scanned, as enrolled."""
        for name, scanned in (("", self.straight), *zip((" 90", " 180", " 270"), self.turned, strict=False)):
            yield f"straight{name}", scanned, self.straight
            yield f"mirrored{name}", scanned, self.mirror


def pictures(source: Path) -> Iterator[tuple[str, ByteArray]]:
    """Name (``person/file``) and pixels of every picture in a zip or folder, sorted by name."""
    if source.is_dir():
        files = {str(path.relative_to(source)): path for path in source.rglob("*") if path.suffix.lower() in SUFFIXES}
        for name in sorted(files):
            yield name, next(decode(files[name].read_bytes(), Budget())).bgr
        return
    with zipfile.ZipFile(source) as archive:
        for name in sorted(n for n in archive.namelist() if Path(n).suffix.lower() in SUFFIXES):
            yield name, next(decode(archive.read(name), Budget())).bgr


class Aligner:
    """The largest, most central face as OpenCV aligns it: uint8[112,112,3], or ``None``."""

    def __init__(self, models: Path) -> None:
        detector, embedder = (
            models / "face_detection_yunet_2023mar.onnx",
            models / "face_recognition_sface_2021dec.onnx",
        )
        self._detector = cv2.FaceDetectorYN.create(str(detector), "", (320, 320), 0.6)
        self._recognizer = cv2.FaceRecognizerSF.create(str(embedder), "")

    def __call__(self, bgr: ByteArray) -> ByteArray | None:
        height, width = bgr.shape[:2]
        self._detector.setInputSize((width, height))
        faces = self._detector.detect(bgr)[1]
        if faces is None:
            return None
        offset = faces[:, :2] + faces[:, 2:4] / 2 - (width / 2, height / 2)
        best = np.argmax(faces[:, 2] * faces[:, 3] - 2 * (offset**2).sum(axis=1))
        return np.asarray(self._recognizer.alignCrop(bgr, faces[best]), np.uint8)


def on_plain_ground(bgr: ByteArray) -> ByteArray:
    """Head and shoulders of a centred portrait on white, recompressed: identity photos made alike by their rules."""
    height, width = bgr.shape[:2]
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, int(0.45 * height)), (int(0.19 * width), int(0.27 * height)), 0, 0, 360, 255, -1)
    outline = [(0.4, 0.64), (0.6, 0.64), (0.63, 0.74), (0.86, 0.82), (0.9, 1), (0.1, 1), (0.14, 0.82), (0.37, 0.74)]
    cv2.fillPoly(mask, [(np.array(outline) * (width, height)).astype(np.int32)], 255)
    weight = cv2.GaussianBlur(mask, (5, 5), 0)[..., None] / 255.0
    return recoded((bgr * weight + 255 * (1 - weight)).astype(np.uint8), ".jpg", 85)


def recoded(bgr: ByteArray, suffix: str, quality: int) -> ByteArray:
    flag = {".jpg": cv2.IMWRITE_JPEG_QUALITY, ".webp": cv2.IMWRITE_WEBP_QUALITY, ".png": cv2.IMWRITE_PNG_COMPRESSION}
    payload = cv2.imencode(suffix, bgr, [flag[suffix], quality])[1].tobytes()
    return next(decode(payload, Budget())).bgr


def scaled(bgr: ByteArray, factor: float) -> ByteArray:
    area = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=area), np.uint8)


def cropped(bgr: ByteArray, share: float, rng: np.random.Generator) -> ByteArray:
    """``share`` of width and of height cut away, split between the two sides at random."""
    height, width = bgr.shape[:2]
    cut_x, cut_y = int(width * share), int(height * share)
    left, top = int(rng.integers(0, cut_x + 1)), int(rng.integers(0, cut_y + 1))
    return np.ascontiguousarray(bgr[top : top + height - cut_y, left : left + width - cut_x])


COPIES: dict[str, Change] = {
    "JPEG quality 30": lambda bgr, rng: recoded(bgr, ".jpg", 30),
    "half size": lambda bgr, rng: scaled(bgr, 0.5),
    "half size, JPEG 60": lambda bgr, rng: recoded(scaled(bgr, 0.5), ".jpg", 60),
    "double size": lambda bgr, rng: scaled(bgr, 2.0),
    "mirrored": lambda bgr, rng: np.ascontiguousarray(bgr[:, ::-1]),
    "turned by 90": lambda bgr, rng: np.ascontiguousarray(np.rot90(bgr)),
    "PNG": lambda bgr, rng: recoded(bgr, ".png", 1),
    "WebP quality 80": lambda bgr, rng: recoded(bgr, ".webp", 80),
    "grayscale": lambda bgr, rng: cv2.cvtColor(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR),
    "20 % brighter": lambda bgr, rng: cv2.convertScaleAbs(bgr, alpha=1.2),
    "20 % darker": lambda bgr, rng: cv2.convertScaleAbs(bgr, alpha=0.8),
    "5 % cropped": lambda bgr, rng: cropped(bgr, 0.05, rng),
    "10 % cropped": lambda bgr, rng: cropped(bgr, 0.10, rng),
    "25 % cropped": lambda bgr, rng: cropped(bgr, 0.25, rng),
}


def totals(probes: Words, others: Words) -> tuple[LongArray, LongArray]:
    """phash distance and phash plus dhash distance, int64[...], of uint64[...,2] with uint64[...,2]."""
    distance = np.bitwise_count(probes ^ others).astype(np.int64)
    return distance[..., 0], distance.sum(axis=-1)


@dataclass(frozen=True)
class Collisions:
    """Pairs of different pictures.

    ``joint`` int64[2,65,65]: pairs of two people and of one person, by phash and dhash distance. ``nearest``: total,
    phash distance, way, names.
    """

    joint: LongArray
    nearest: list[tuple[int, int, str, str, str]]

    def within(self, most: int) -> tuple[int, int]:
        """Pairs of two people, and of one person, at most ``most`` bits apart."""
        phash, dhash = np.indices((65, 65))
        near = self.joint[:, phash + dhash <= most].sum(axis=1)
        return int(near[0]), int(near[1])


def collisions(
    names: list[str], hashes: Hashes, same: set[frozenset[str]], min_quality: float, most: int
) -> Collisions:
    keep = np.flatnonzero(hashes.quality >= min_quality)
    names, hashes = [names[i] for i in keep], hashes[keep]
    person = np.unique([Path(name).parent.name for name in names], return_inverse=True)[1]
    place = {name: i for i, name in enumerate(names)}
    hidden = {(place[a], place[b]) for a, b in map(sorted, same) if a in place and b in place}
    joint, near = np.zeros(2 * 65 * 65, np.int64), []
    for i in range(len(names) - 1):
        different = np.ones(len(names) - 1 - i, np.bool_)
        different[[b - i - 1 for a, b in hidden if a == i]] = False
        for way, scanned, enrolled in hashes.ways():
            phash, total = totals(enrolled[i + 1 :], scanned[i])
            cell = ((person[i + 1 :] == person[i]) * 65 + phash) * 65 + total - phash
            joint += np.bincount(cell[different], minlength=2 * 65 * 65)
            for j in np.flatnonzero(total <= most):
                near.append((int(total[j]), int(phash[j]), way, names[i], names[i + 1 + j]))
    return Collisions(joint.reshape(2, 65, 65), sorted(near))


def kept(originals: list[ByteArray], hashes: Hashes, change: Change, view: Change | None) -> LongArray:
    """Counts int64[66,66] of copies by phash and dhash distance to their original, the nearest of all ways.

    ``view`` cuts the part that is hashed out of the changed picture. Where it finds none the copy counts at 65, 65.
    """
    rng = np.random.default_rng(0)
    joint = np.zeros((66, 66), np.int64)
    for i, original in enumerate(originals):
        copy = change(original, rng)
        part = copy if view is None else view(copy, rng)
        if part is None:
            joint[65, 65] += 1
            continue
        probe = Hashes.of([part], turned=len(hashes.turned) > 0)
        scanned = np.concatenate([probe.straight[None], probe.turned])[:, 0]
        enrolled = np.stack([hashes.straight[i], hashes.mirror[i]])[:, None]
        phashes, sums = totals(scanned, enrolled)
        phash, total = phashes.flat[sums.argmin()], sums.min()
        joint[phash, total - phash] += 1
    return joint


def share_within(joint: LongArray, most: int) -> float:
    phash, dhash = np.indices(joint.shape)
    return float(joint[phash + dhash <= most].sum() / joint.sum())


def best_box(scope: Collisions, copies: dict[str, LongArray], allowed: int) -> tuple[int, int, float]:
    """The pair of limits (phash, dhash) that keeps most copies with at most ``allowed`` pairs of different people."""
    everything = sum(copies.values())
    best = (0, 0, 0.0)
    for phash in range(0, 65, 2):
        for dhash in range(65):
            if scope.joint[0, : phash + 1, : dhash + 1].sum() > allowed:
                break
            share = float(everything[: phash + 1, : dhash + 1].sum() / everything.sum())
            best = max(best, (phash, dhash, share), key=lambda box: box[2])
    return best


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="zip or folder with one folder per person")
    parser.add_argument("--models", type=Path, help="folder with the default pack's files; without it no face crops")
    parser.add_argument("--same", type=Path, help="CSV with columns a,b: pairs that show the same photo")
    parser.add_argument("--copies", type=int, default=1500, help="pictures of which copies are made (default 1500)")
    parser.add_argument("--min-quality", type=float, default=0.75, help="hashes below are left out (default 0.75)")
    parser.add_argument("--nearest", type=int, default=-1, help="also list the pairs at most this many bits apart")
    parser.add_argument("--json", action="store_true", help="print one JSON record")
    return parser.parse_args(arguments)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    same: set[frozenset[str]] = set()
    if options.same:
        with options.same.open(newline="", encoding="utf-8") as lines:
            same = {frozenset((row["a"], row["b"])) for row in csv.DictReader(lines)}
    loaded = list(pictures(options.images))
    names, originals = [name for name, _ in loaded], [bgr for _, bgr in loaded]
    views: dict[str, Change | None] = {"picture": None, "plain ground": lambda bgr, rng: on_plain_ground(bgr)}
    if options.models:
        aligner = Aligner(options.models)
        views["face"] = lambda bgr, rng: aligner(bgr)
    step = max(1, len(originals) // options.copies)
    return {
        scope: _measure(names, originals, view, same, step, options, turned=scope != "face")
        for scope, view in views.items()
    }


def _measure(
    names: list[str],
    originals: list[ByteArray],
    view: Change | None,
    same: set[frozenset[str]],
    step: int,
    options: argparse.Namespace,
    turned: bool,
) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    parts = originals if view is None else [view(bgr, rng) for bgr in originals]
    found = [i for i, part in enumerate(parts) if part is not None]
    hashes = Hashes.of([parts[i] for i in found], turned)
    scope = collisions([names[i] for i in found], hashes, same, options.min_quality, options.nearest)
    chosen = slice(None, None, step)
    copies = {
        name: kept([originals[i] for i in found[chosen]], hashes[chosen], change, view)
        for name, change in COPIES.items()
    }
    return {
        "pictures": len(found),
        "quality_percentiles_0_1_50": np.percentile(hashes.quality, [0, 1, 50]).round(3).tolist(),
        "below_min_quality": int((hashes.quality < options.min_quality).sum()),
        "pairs": scope.joint.sum(axis=(1, 2)).tolist(),
        "within": {most: scope.within(most) for most in range(0, MOST + 1, 2)},
        "kept": {name: {most: share_within(joint, most) for most in LIMITS} for name, joint in copies.items()},
        "best_box": best_box(scope, copies, allowed=0),
        "nearest": scope.nearest,
    }


def show(scope: str, record: dict[str, Any]) -> None:
    other, one = record["pairs"]
    print(f"\n{scope}: {record['pictures']} pictures, quality (least, 1st percentile, median) ", end="")
    print(f"{record['quality_percentiles_0_1_50']}, {record['below_min_quality']} left out")
    print(f"pairs at most so many bits apart, of {other} of two people and {one} of one person")
    for most, (two_people, one_person) in record["within"].items():
        print(f"{most:>4} {two_people:>10} {one_person:>8}   {two_people / max(other, 1):.1e}")
    print("copies within" + "".join(f"{most:>7}" for most in LIMITS))
    for name, shares in record["kept"].items():
        print(f"{name:<20}" + "".join(f"{share:7.3f}" for share in shares.values()))
    print("separate limits (phash, dhash) that keep most copies and no pair of two people:", record["best_box"])
    for pair in record["nearest"]:
        print("  ", *pair)


def main() -> None:
    options = parse()
    cv2.setNumThreads(1)
    record = measure(options)
    if options.json:
        print(json.dumps(record))
        return
    for scope, measured in record.items():
        show(scope, measured)


if __name__ == "__main__":
    main()

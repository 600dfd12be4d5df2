"""Which faces the rungs find, against single scales: ordinary, frame-filling and small ones, and the time it takes.

    python benchmarks/detector_ladder.py PHOTOS.zip [--pack opencv-zoo] [--photos 1500] [--json FILE]

PHOTOS.zip holds photos with one face in the middle, such as LFW's. That face is looked for again in

- the photo itself;
- the photo cut to the face's box, to the inner 80 % of it, and to the aligned 112x112 crop, each enlarged so that the
  face fills a picture of 112 to 2048 pixels;
- a 12-megapixel canvas that holds the photo shrunk to a face of 16 to 40 pixels.

Found means: a face whose box overlaps the true place by 0.4 or more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np

from leakmatch.faces.align import aligned_crops
from leakmatch.faces.detect import detect, detect_at, open_detector, overlaps
from leakmatch.faces.geometry import similarities
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.gallery.enrolment import subject_face
from leakmatch.records import FaceBatch

Find = Callable[[np.ndarray], FaceBatch]
#: A picture and the true places of its faces, float32[K,4].
Case = tuple[np.ndarray, np.ndarray]


def methods(pack: Pack) -> dict[str, Find]:
    """The rungs; and, for a YuNet, OpenCV's detector at the picture's own size or its longer side at 640 or 1280."""
    detector = open_detector(pack)
    found: dict[str, Find] = {"rungs": lambda bgr: detect(detector, bgr)}
    if pack.detector.kind == "yunet":
        found |= {f"OpenCV {side or 'own size'}": opencv(pack, side) for side in (None, 640, 1280)}
    return found


def opencv(pack: Pack, side: int | None) -> Find:
    path, spec = str(pack.folder / pack.detector.file), pack.detector
    detector = cv2.FaceDetectorYN.create(path, "", (320, 320), spec.score_threshold, spec.nms_iou)

    def find(bgr: np.ndarray) -> FaceBatch:
        factor = side / max(bgr.shape[:2]) if side else 1.0
        if factor != 1:
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
            bgr = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=how)
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        rows = detector.detect(bgr)[1]
        rows = np.zeros((0, 15), np.float32) if rows is None else rows.astype(np.float32)
        boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1) / np.float32(factor)
        landmarks = rows[:, 4:14].reshape(-1, 5, 2) / np.float32(factor)
        return FaceBatch(np.zeros(len(rows), np.int32), boxes, landmarks, np.ascontiguousarray(rows[:, 14]))

    return find


def recall(find: Find, cases: Iterable[Case]) -> dict[str, float | int]:
    places = found = others = pictures = 0
    seconds = 0.0
    for bgr, truth in cases:
        began = time.perf_counter()
        faces = find(bgr)
        seconds += time.perf_counter() - began
        hits = sum(bool((overlaps(place, faces.boxes) >= 0.4).any()) for place in truth)
        places, found, pictures = places + len(truth), found + hits, pictures + 1
        others += len(faces) - hits
    return {"faces": places, "missed": places - found, "others": others, "ms": round(1000 * seconds / pictures, 2)}


def tight(photos: list[Case], landmarks: list[np.ndarray], cut: str, side: int) -> Iterable[Case]:
    for (bgr, truth), points in zip(photos, landmarks, strict=True):
        if cut == "aligned":
            crop = aligned_crops(bgr, similarities(points[None]))[0]
        else:
            share = 1.0 if cut == "box" else 0.8
            centre, half = (truth[0, :2] + truth[0, 2:]) / 2, (truth[0, 2:] - truth[0, :2]) / 2 * share
            x0, y0 = np.maximum(np.round(centre - half), 0).astype(int)
            x1, y1 = np.round(centre + half).astype(int)
            crop = bgr[y0:y1, x0:x1]
        factor = side / max(crop.shape[:2])
        crop = cv2.resize(crop, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
        # The face's own box reaches beyond what is left of it, so any place in the picture counts.
        yield crop, np.array([[0, 0, crop.shape[1], crop.shape[0]]], np.float32)


def small(photos: list[Case], width: int) -> Iterable[Case]:
    """Canvases of 4000x3000 with 48 photos each, whose faces are ``width`` pixels wide."""
    rng = np.random.default_rng(0)
    for first in range(0, len(photos), 48):
        canvas = cv2.GaussianBlur(rng.integers(90, 160, (3000, 4000, 3), dtype=np.uint8), (0, 0), 3)
        places = []
        for i, (bgr, truth) in enumerate(photos[first : first + 48]):
            factor = width / (truth[0, 2] - truth[0, 0])
            photo = cv2.resize(bgr, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            y, x = i // 8 * 480 + 40, i % 8 * 490 + 37
            canvas[y : y + photo.shape[0], x : x + photo.shape[1]] = photo
            places.append(truth[0] * factor + np.array([x, y, x, y]))
        yield canvas, np.array(places, np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos_zip", type=Path, metavar="PHOTOS.zip")
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--photos", type=int, default=1500)
    parser.add_argument(
        "--only", default="", help="only the methods whose names begin so; others keep their rows in --json"
    )
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_pack(arguments.pack)
    detector = open_detector(pack)
    photos, landmarks = [], []
    with zipfile.ZipFile(arguments.photos_zip) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        for i in np.random.default_rng(0).permutation(len(names))[: arguments.photos]:
            bgr = cv2.imdecode(np.frombuffer(archive.read(names[i]), np.uint8), cv2.IMREAD_COLOR)
            faces = detect_at(detector, bgr, 1.5)
            taken = subject_face(faces, bgr.shape[1], bgr.shape[0])
            photos.append((bgr, faces.boxes[taken : taken + 1]))
            landmarks.append(faces.landmarks[taken])
    kept: list[dict[str, object]] = []
    if arguments.only and arguments.json and arguments.json.exists():
        kept = json.loads(arguments.json.read_text(encoding="utf-8"))["rows"]
    few, points = photos[: len(photos) // 5], landmarks[: len(photos) // 5]
    sets: dict[str, Callable[[], Iterable[Case]]] = {"photos": lambda: photos}
    for cut in ("box", "inner 80 %", "aligned"):
        for side in (112, 480, 1024, 2048):
            sets[f"{cut} at {side}"] = lambda cut=cut, side=side: tight(few, points, cut, side)
    for width in (16, 20, 24, 32, 40):
        sets[f"{width} px in 12 MP"] = lambda width=width: small(few, width)
    rows: list[dict[str, object]] = []
    for what, cases in sets.items():
        for name, find in methods(pack).items():
            if not name.startswith(arguments.only):
                rows += [row for row in kept if (row["set"], row["method"]) == (what, name)]
                continue
            rows.append({"set": what, "method": name} | recall(find, cases()))
            print(
                "{set:20} {method:15} missed {missed:4} of {faces:4}  others {others:4}  {ms:8} ms".format(**rows[-1])
            )
    if arguments.json:
        record = {"machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread", "opencv": cv2.__version__}
        lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
        head = json.dumps(record)[:-1]
        arguments.json.write_text(f'{head}, "rows": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()

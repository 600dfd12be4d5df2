"""Small faces in large photos: what is found by decoding no larger than needed and looking closely only at detail.

    python benchmarks/small_faces.py PHOTOS.zip [--pictures 40] [--json FILE]

JPEGs of 12 megapixels are made from those in the zip (250x250, one person in the middle): people shrunk to faces of 18
to 60 pixels, at a quarter of their contrast or more, half of them out of focus, with soft edges on a ground of another
photo's left border, and sensor noise (standard deviation 3) over all. They are looked for by

- leakmatch: as in a scan;
- everywhere: the same ladder of scales, all pixels decoded, every look at the whole picture (the slow reference);
- opencv: FaceDetectorYN with the same file and thresholds, at the picture's own size.

Found means: a face whose box overlaps the true place by 0.35 or more. Times are processor time of one thread, with the
decode. ``detail`` is what decides where to look closely (:mod:`leakmatch.faces.regions`): its largest value within each
face that the slow reference finds, the least and the fifth percentile of these.
"""

from __future__ import annotations

import argparse
import json
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.bench.machine import machine
from leakmatch.faces.detect import detect, open_detector, overlaps
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.picture import Picture, View
from leakmatch.faces.regions import detail
from leakmatch.imaging.decode import decode, decode_larger
from leakmatch.records import Budget

HEIGHT, WIDTH = 3000, 4000
FACES = (18, 20, 24, 28, 32, 40, 60)
EACH = 2  # faces of each size in a picture
LFW_FACE = 94  # pixels of a face in the photos, which are 250 wide
OVERLAP = 0.35
BUDGET = Budget()

Find = Callable[[bytes], FloatArray]


def made(photo: Callable[[], ByteArray], random: np.random.Generator) -> tuple[bytes, FloatArray, list[int]]:
    """A JPEG, and the places float32[K,4] and sizes of the faces in it."""
    ground = cv2.resize(photo()[:, :50], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC).astype(np.float32)
    boxes: list[FloatArray] = []
    sizes = [size for size in FACES for _ in range(EACH)]
    taken: list[tuple[int, int]] = []
    for size in sizes:
        side = round(size / LFW_FACE * 250)
        x, y = _free_place(taken, side, random)
        taken.append((x, y))
        person = _person(photo(), side, size, random)
        rows, columns = np.mgrid[0:side, 0:side]
        radius = np.hypot(columns - side / 2, rows - side / 2) / (side / 2)
        mask = ((1 - radius) / 0.4).clip(0, 1)[..., None]
        part = ground[y : y + side, x : x + side]
        part[:] = part * (1 - mask) + person * mask
        middle, reach = np.array([x, y]) + side / 2, np.array([0.45, 0.58]) * size
        boxes.append(np.concatenate([middle - reach, middle + reach]))
    noisy = ground + random.normal(0, 3, ground.shape)
    payload = cv2.imencode(".jpg", noisy.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    return payload, np.array(boxes, np.float32), sizes


def _free_place(taken: list[tuple[int, int]], side: int, random: np.random.Generator) -> tuple[int, int]:
    """A corner that is far enough from those taken, so that no two people touch."""
    while True:
        x, y = int(random.integers(0, WIDTH - side)), int(random.integers(0, HEIGHT - side))
        if all(max(abs(a - x), abs(b - y)) > 200 + side for a, b in taken):
            return x, y


def _person(photo: ByteArray, side: int, size: int, random: np.random.Generator) -> FloatArray:
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    contrast = random.uniform(0.25, 1)
    small = small * contrast + random.uniform(0, 255 * (1 - contrast))
    if random.random() < 0.5:
        small = cv2.GaussianBlur(small, (0, 0), float(random.uniform(0.5, size / 20)))
    return np.asarray(small, np.float32)


def whole(payload: bytes) -> ByteArray:
    return np.asarray(cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR))


def finders(pack: Pack) -> dict[str, Find]:
    detector = open_detector(pack)
    spec = pack.detector
    yunet = cv2.FaceDetectorYN.create(
        str(pack.folder / spec.file), "", (WIDTH, HEIGHT), spec.score_threshold, spec.nms_iou
    )

    def leakmatch(payload: bytes) -> FloatArray:
        def larger(scale: float, colour: bool) -> View:
            return View(*decode_larger(payload, BUDGET, scale, colour=colour))

        first = next(decode(payload, BUDGET))
        return detect(detector, Picture(View(first.bgr, first.scale), first.source_size, larger)).boxes

    def everywhere(payload: bytes) -> FloatArray:
        return detect(detector, whole(payload), everywhere=True).boxes

    def opencv(payload: bytes) -> FloatArray:
        rows = yunet.detect(whole(payload))[1]
        rows = np.zeros((0, 15), np.float32) if rows is None else rows
        return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)

    return {"leakmatch": leakmatch, "everywhere": everywhere, "opencv": opencv}


def largest_detail(payload: bytes, boxes: FloatArray) -> list[float]:
    """The largest detail within each of ``boxes``, in the view that decides where to look closely."""
    first = next(decode(payload, BUDGET))
    values = np.sqrt(detail(cv2.cvtColor(first.bgr, cv2.COLOR_BGR2GRAY).astype(np.float32)).clip(0))
    places = (boxes * first.scale).round().astype(int)
    return [float(values[y0 : y1 + 1, x0 : x1 + 1].max()) for x0, y0, x1, y1 in places.tolist()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    random = np.random.default_rng(7)
    find = finders(load_pack("opencv-zoo"))
    hits = {name: Counter[int]() for name in find}
    seconds, boxes_found = dict.fromkeys(find, 0.0), Counter[str]()
    details: list[float] = []
    with zipfile.ZipFile(arguments.photos) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))

        def photo() -> ByteArray:
            return whole(archive.read(names[random.integers(len(names))]))

        for _ in range(arguments.pictures):
            payload, truth, sizes = made(photo, random)
            for name, run in find.items():
                began = time.process_time()
                boxes = run(payload)
                seconds[name] += time.process_time() - began
                boxes_found[name] += len(boxes)
                found = [len(boxes) > 0 and bool(overlaps(box, boxes).max() >= OVERLAP) for box in truth]
                hits[name].update(size for size, hit in zip(sizes, found, strict=True) if hit)
                if name == "everywhere":
                    details += largest_detail(payload, truth[np.array(found)])
    count = arguments.pictures * EACH
    results: dict[str, Any] = {
        name: {
            "found": {str(size): hits[name][size] for size in FACES},
            "boxes": boxes_found[name],
            "cpu_ms": round(1000 * seconds[name] / arguments.pictures, 1),
        }
        for name in find
    }
    for name, result in results.items():
        print(
            f"{name:<11} {result['cpu_ms']:>7} ms  of {count} each: {result['found']}  boxes in all {result['boxes']}"
        )
    least, low = np.percentile(details, [0, 5]).round(2).tolist()
    print(f"detail: least {least}, fifth percentile {low}")
    if arguments.json:
        body = {"machine": machine(), "of_each_size": count, "detail": {"least": least, "percentile_5": low}}
        arguments.json.write_text(json.dumps(body | {"results": results}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

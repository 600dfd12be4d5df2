"""Photos of growing size: what is gained by decoding no larger than needed and by looking closely only at detail.

    python benchmarks/photo_size.py PHOTOS.zip [--each 8] [--rounds 3] [--json FILE] [--plot FILE.svg]

One thread. JPEG photos of 0.06 to 48 megapixels are made from those in the zip (250x250, one person each): the photo,
enlarged to half the height, stands in front of a ground of its own blurred surroundings, and sensor noise (standard
deviation 3) lies over all of it. The other side is the same pipeline that decodes every photo in full and looks at all
of it on every rung (``everywhere``), which is the slow reference. Medians of rounds taken in turns. A face counts as
found by both where the boxes overlap by half; templates are compared by cosine.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import time
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from leakmatch.arrays import ByteArray
from leakmatch.bench.machine import machine
from leakmatch.faces.detect import overlaps
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.colour import to_bgr
from leakmatch.pipeline.stages import Looker
from leakmatch.records import Budget, FaceBatch, TemplateBatch

MEGAPIXELS = (0.0625, 0.25, 1.0, 3.0, 6.0, 12.0, 24.0, 48.0)


def made(photo: ByteArray, megapixels: float, random: np.random.Generator) -> bytes:
    """A JPEG of 4:3 (the photo itself below 0.1 megapixels)."""
    if megapixels < 0.1:
        return encoded(photo)
    height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
    width = round(megapixels * 1e6 / height)
    ground = cv2.resize(cv2.GaussianBlur(photo, (0, 0), 12), (width, height), interpolation=cv2.INTER_CUBIC)
    side = max(height // 2, 250)
    top, left = height - side, int(random.integers(0, width - side))
    how = cv2.INTER_CUBIC if side > len(photo) else cv2.INTER_AREA
    ground[top:, left : left + side] = cv2.resize(photo, (side, side), interpolation=how)
    noise = np.empty(ground.shape, np.int16)
    cv2.setRNGSeed(int(random.integers(1 << 30)))
    cv2.randn(noise, 0, 3)
    return encoded((ground + noise).clip(0, 255).astype(np.uint8))


def encoded(bgr: ByteArray) -> bytes:
    return bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])[1])


def in_full(engine: FaceEngine, payload: bytes) -> tuple[FaceBatch, TemplateBatch]:
    """The slow reference: all pixels, everywhere; hashed as well, from all pixels."""
    image = Image.open(io.BytesIO(payload))
    image.load()
    bgr = to_bgr(image)
    picture_hashes([bgr], mirrored=False)
    faces, templates, crops = engine.analyse(bgr, everywhere=True)
    picture_hashes(list(crops), mirrored=False)
    return faces, templates


def compared(engine: FaceEngine, looker: Looker, photos: list[bytes], rounds: int) -> dict[str, Any]:
    ours: list[float] = []
    full: list[float] = []
    found = same = extra = 0
    cosines: list[float] = []
    for number in range(rounds + 1):
        for payload in photos:
            began = time.perf_counter()
            (analysis,) = looker.look(payload)
            between = time.perf_counter()
            faces, templates = in_full(engine, payload)
            if number:
                ours.append(between - began)
                full.append(time.perf_counter() - between)
                continue
            found += len(faces)
            extra += len(analysis.faces)
            for box, vector in zip(faces.boxes, templates.vectors, strict=True):
                share = overlaps(box, analysis.faces.boxes)
                if len(share) and share.max() >= 0.5 and analysis.templates is not None:
                    same += 1
                    cosines.append(float(vector @ analysis.templates.vectors[int(share.argmax())]))
    return {
        "ms": 1e3 * statistics.median(ours),
        "ms_in_full": 1e3 * statistics.median(full),
        "ratio": statistics.median(full) / statistics.median(ours),
        "faces_in_full": found,
        "of_them_found": same,
        "faces": extra,
        "cosine_median": float(np.median(cosines)),
        "cosine_least": float(np.min(cosines)),
    }


def plot(rows: dict[str, dict[str, Any]], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4))
    sizes = [float(size) for size in rows]
    axes.loglog(sizes, [1e3 / row["ms"] for row in rows.values()], "o-", label="as LeakMatch decodes and looks")
    axes.loglog(sizes, [1e3 / row["ms_in_full"] for row in rows.values()], "s--", label="in full, everywhere")
    axes.set(xlabel="megapixels", ylabel="photos a second, one thread", title="JPEG photos with one face")
    axes.legend()
    axes.grid(True, which="both", alpha=0.3)
    figure.tight_layout()
    figure.savefig(file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", type=float, nargs="*", default=MEGAPIXELS)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    engine = FaceEngine(load_pack("opencv-zoo"))
    looker = Looker(engine, Budget(), mirrored=False)
    with zipfile.ZipFile(arguments.photos) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        picked = np.random.default_rng(1).permutation(len(names))[: arguments.each]
        photos = [cv2.imdecode(np.frombuffer(archive.read(names[i]), np.uint8), cv2.IMREAD_COLOR) for i in picked]
    rows: dict[str, dict[str, Any]] = {}
    for megapixels in arguments.sizes:
        random = np.random.default_rng(round(100 * megapixels))
        payloads = [made(photo, megapixels, random) for photo in photos]
        rows[str(megapixels)] = compared(engine, looker, payloads, arguments.rounds)
        print(megapixels, {name: round(value, 4) for name, value in rows[str(megapixels)].items()}, flush=True)
    if arguments.json:
        body = {"machine": machine(), "photos": arguments.each, "megapixels": rows}
        arguments.json.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
    if arguments.plot:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()

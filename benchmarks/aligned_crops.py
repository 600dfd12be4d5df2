"""Aligned crops as data sets have them: what the detector finds in them, and what embedding them as they are adds.

``python benchmarks/aligned_crops.py lfw_dev.zip [--people 60]``: the best face of a photo of each person is aligned,
and spoilt in some ways; scores are with another photo of the person. Then parts of photos without a face, and what they
score.
"""

from __future__ import annotations

import argparse
import random
import zipfile
from collections import defaultdict
from collections.abc import Iterator

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import load_pack

_CLEAR = 0.45  # a score that few strangers reach


def spoilt(crop: ByteArray) -> Iterator[tuple[str, ByteArray]]:
    """The crop, and what may have become of it."""
    yield "as it is", crop
    yield "blurred (sigma 4)", cv2.GaussianBlur(crop, (0, 0), 4)  # type: ignore[misc]
    for size in (24, 16):
        small = cv2.resize(crop, (size, size), interpolation=cv2.INTER_AREA)
        yield f"enlarged from {size} pixels", cv2.resize(small, (CROP_SIZE, CROP_SIZE))  # type: ignore[misc]
    yield "lower half black", np.where(np.arange(CROP_SIZE)[:, None, None] < 60, crop, np.uint8(0))
    yield "a tenth of the light", crop // 10


def padded(crop: ByteArray) -> ByteArray:
    """The crop with its mirrored surroundings, at twice its size."""
    wide = cv2.copyMakeBorder(crop, 40, 40, 40, 40, cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.resize(wide, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC), np.uint8)


def crops_of_people(engine: FaceEngine, pairs: list[tuple[ByteArray, ByteArray]]) -> list[FloatArray]:
    """Print what is found and how it scores; returns the templates of the other photos."""
    scores: dict[tuple[str, str], list[float | None]] = defaultdict(list)
    gallery: list[FloatArray] = []
    for photo, other in pairs:
        _, templates, _ = engine.analyse(other)
        _, crops = engine.find(photo)
        if not len(templates) or not len(crops):
            continue
        gallery.append(templates.vectors[0])
        for name, crop in spoilt(crops[0]):
            for way, picture in (("detected", crop), ("detected, padded", padded(crop))):
                _, found, _ = engine.analyse(picture)
                scores[name, way].append(float((found.vectors @ gallery[-1]).max()) if len(found) else None)
            as_it_is = engine.templates(*engine.as_aligned(crop))[0].vectors
            scores[name, "as it is"].append(float(as_it_is[0] @ gallery[-1]) if len(as_it_is) else None)
    print(f"| crop ({len(gallery)}) | way | found | mean score | above {_CLEAR} |\n|---|---|---|---|---|")
    for (name, way), values in scores.items():
        known = np.array([value for value in values if value is not None])
        print(f"| {name} | {way} | {len(known)} | {known.mean():.2f} | {(known > _CLEAR).sum()} |")
    return gallery


def parts_without_a_face(engine: FaceEngine, photos: list[ByteArray], gallery: FloatArray) -> None:
    """Print what corners of photos in which no face is found score when they are taken for crops."""
    found = []
    for photo in photos:
        for corner in (photo[-CROP_SIZE:, :CROP_SIZE], photo[:CROP_SIZE, -CROP_SIZE:]):
            tile = np.ascontiguousarray(corner)
            if not len(engine.find(tile)[0]):
                vectors = engine.templates(*engine.as_aligned(tile))[0].vectors
                found += [gallery @ vector for vector in vectors]
    tiles, faces = np.array(found).ravel(), (gallery @ gallery.T)[np.triu_indices(len(gallery), 1)]
    print(f"\n{len(found)} of {2 * len(photos)} parts are without a face. Scores of them, and of faces of strangers:")
    for share in (50, 99, 99.9):
        print(f"  {share} %: {np.percentile(tiles, share):.3f}, {np.percentile(faces, share):.3f}")


def main() -> None:
    """Measure, and print what docs/detection.md has."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archive")
    parser.add_argument("--people", type=int, default=60)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    engine = FaceEngine(load_pack("opencv-zoo"))
    with zipfile.ZipFile(arguments.archive) as archive:
        people: dict[str, list[str]] = defaultdict(list)
        for name in archive.namelist():
            if name.endswith(".jpg"):
                people[name.split("/")[-2]].append(name)
        several = sorted(names[0] for names in people.values() if len(names) > 1)
        chosen = random.Random(1).sample(several, min(arguments.people, len(several)))

        def read(name: str) -> ByteArray:
            return np.asarray(cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR), np.uint8)

        pairs = [(read(people[name.split("/")[-2]][1]), read(name)) for name in chosen]
    gallery = crops_of_people(engine, pairs)
    parts_without_a_face(engine, [photo for pair in pairs for photo in pair], np.stack(gallery))


if __name__ == "__main__":
    main()

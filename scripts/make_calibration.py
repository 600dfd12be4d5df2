"""Measures a pack's impostor distribution on labelled photos and writes its calibration.json.

    python scripts/make_calibration.py PHOTOS.zip [--pack opencv-zoo] [--output FILE] [--name TEXT] [--cache FILE]

PHOTOS.zip holds one folder per person. All pairs of photos of two people are counted both ways, the large and central
face of each photo: one as a probe, one as enrolled (its template averaged with that of its mirror image). Labels are
never quite right (one person under two names, two people in one photo): two people with a pair at --label-error or
above are taken for one, and none of their pairs is counted. The default was set for LFW and SFace by looking at the
names: at 0.59 and more they are aliases, other spellings and listed errata; the next pair of people scores 0.56.
"""

from __future__ import annotations

import argparse
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from leakmatch.assets import sha256_of
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import CALIBRATION, Pack, load_pack, shipped
from leakmatch.gallery.enrolment import subject_face
from leakmatch.matching.calibration import GRID, count_at_or_above, write_calibration


def embedded(pack: Pack, photos: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Templates float32[N,D] as probes and as enrolled, the person int64[N] of each, and how many photos gave none."""
    engine = FaceEngine(pack)
    probes, enrolled, people, failures = [], [], [], 0
    with zipfile.ZipFile(photos) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".png")))
        for name in names:
            bgr = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            faces, templates, _ = engine.analyse(bgr)
            if not len(faces):
                failures += 1
                continue
            face = subject_face(faces, bgr.shape[1], bgr.shape[0])
            probes.append(templates.vectors[face])
            enrolled.append(engine.analyse(bgr, mirrored=True)[1].vectors[face])
            people.append(PurePosixPath(name).parts[0])
    return np.stack(probes), np.stack(enrolled), np.unique(people, return_inverse=True)[1], failures


def mislabelled(vectors: np.ndarray, people: np.ndarray, score: float) -> set[tuple[int, int]]:
    """Pairs of people, lower number first, of which some photos score ``score`` or above."""
    found = set()
    for i in range(len(vectors)):
        for j in np.flatnonzero((vectors[i + 1 :] @ vectors[i] >= score) & (people[i + 1 :] != people[i])) + i + 1:
            found.add((min(people[i], people[j]), max(people[i], people[j])))
    return found


def impostor_counts(
    probes: np.ndarray, enrolled: np.ndarray, people: np.ndarray, left_out: set[tuple[int, int]]
) -> np.ndarray:
    one = {person: [] for pair in left_out for person in pair}
    for a, b in left_out:
        one[a].append(b)
        one[b].append(a)
    counts = np.zeros(len(GRID), np.int64)
    for i in range(len(probes)):
        others = people != people[i]
        if people[i] in one:
            others &= ~np.isin(people, one[people[i]])
        counts += count_at_or_above((enrolled @ probes[i])[others])
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--output", type=Path, help="default: the shipped pack's folder")
    parser.add_argument("--name", default="Labeled Faces in the Wild (deep-funneled), a part")
    parser.add_argument("--label-error", type=float, default=0.58)
    parser.add_argument("--cache", type=Path, help="keep the templates here (.npz) for another run")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pack = load_pack(arguments.pack)
    if arguments.cache and arguments.cache.exists():
        with np.load(arguments.cache) as kept:
            probes, enrolled = kept["probes"], kept["enrolled"]
            people, failures = kept["people"], int(kept["failures"])
    else:
        probes, enrolled, people, failures = embedded(pack, arguments.photos)
        if arguments.cache:
            np.savez(arguments.cache, probes=probes, enrolled=enrolled, people=people, failures=failures)
    left_out = mislabelled(probes, people, arguments.label_error)
    counts = impostor_counts(probes, enrolled, people, left_out)
    data = {
        "name": arguments.name,
        "sha256": sha256_of(arguments.photos),
        "people": len(np.unique(people)),
        "photos": len(probes),
        "failures_to_acquire": failures,
        "pairs": int(counts[0]),
        "which": "all pairs of photos of two people, each as probe and as enrolled",
        "label_errors": f"{len(left_out)} pairs of people with a score of {arguments.label_error} or above left out",
    }
    output = arguments.output or shipped(pack.name) / CALIBRATION
    detector = pack.asset(pack.detector.file).sha256
    write_calibration(output, pack.model_id, detector, counts, data)
    print(f"{output}: {data}")


if __name__ == "__main__":
    main()

"""Measures a pack's impostor distribution on labelled photos and writes its calibration.json.

    python scripts/make_calibration.py PHOTOS.zip [--pack opencv-zoo] [--errata FILE] [--output FILE] [--cache FILE]

PHOTOS.zip holds one folder per person. Every photo as a probe is compared with every photo of another person as
enrolled (its template averaged with that of its mirror image), after the normalisation that is learned from the same
photos; the large and central face of a photo counts.

Labels are never quite right, and what is wrong in them looks like the best impostors. Taken out are only pairs of
people of whom two photos are the same picture (by the rule of leakmatch.hashing.evidence), and those that --errata
lists, a CSV with columns a, b (people), why. Both are named in the file, with what the figures were without taking any
out. Nobody is taken out for a high score: that would hide the look-alikes that a calibration is about.
"""

from __future__ import annotations

import argparse
import csv
import zipfile
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from leakmatch.assets import sha256_of
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import CALIBRATION, Pack, load_pack, shipped
from leakmatch.gallery.enrolment import subject_face
from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.hashing.evidence import WHOLE_PICTURE, same_picture
from leakmatch.hashing.perceptual import picture_hashes
from leakmatch.imaging.decode import decode
from leakmatch.matching.calibration import Calibration, make_calibration
from leakmatch.matching.impostors import Impostors
from leakmatch.matching.normalisation import Normalisation
from leakmatch.records import Budget

ERRATA = Path(__file__).with_name("lfw_errata.csv")
SHOWN_RATES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7)


def analysed(pack: Pack, photos: Path) -> dict[str, np.ndarray]:
    """Of each photo with a face its name, templates float32[N,D] as a probe and as enrolled, hashes and their quality.

    ``hashes`` uint8[N,4,8]: phash, dhash, and both of the mirror image.
    """
    engine = FaceEngine(pack)
    kept: dict[str, list[object]] = {"names": [], "probes": [], "enrolled": [], "hashes": [], "quality": []}
    failures = 0
    with zipfile.ZipFile(photos) as archive:
        for name in sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png"))):
            image = next(iter(decode(archive.read(name), Budget())))
            faces, crops = engine.find(image.bgr)
            if not len(faces):
                failures += 1
                continue
            face = subject_face(faces, *image.source_size)
            enrolled, plain = engine.templates(faces, crops, mirrored=True)
            batches = {batch.algorithm: batch for batch in picture_hashes([image.bgr], mirrored=True)}
            kept["names"].append(name)
            kept["probes"].append(plain.vectors[face])
            kept["enrolled"].append(enrolled.vectors[face])
            kept["hashes"].append([batches[a].bits[0] for a in (PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR)])
            kept["quality"].append(min(batches[a].quality[0] for a in (PHASH, DHASH)))
    return {name: np.array(values) for name, values in kept.items()} | {"failures": np.array(failures)}


def seen(photos: Path, pack: str, cache: Path | None) -> dict[str, np.ndarray]:
    """What :func:`analysed` says, from ``cache`` where it is there, else kept in it."""
    if cache and cache.exists():
        with np.load(cache) as kept:
            return dict(kept)
    cv2.setNumThreads(1)
    found = analysed(load_pack(pack), photos)
    if cache:
        np.savez(cache, **found)
    return found


def numbered(found: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The names of the people, which are the photos' folders, and the number int64[N] of the person of each photo."""
    folders = np.array([PurePosixPath(str(name)).parts[-2] for name in found["names"]])
    names, people = np.unique(folders, return_inverse=True)
    return names, people


def same_pictures(found: dict[str, np.ndarray], people: np.ndarray) -> list[tuple[int, int, int]]:
    """Pairs of photos of two people that are the same picture, with the bits in which they differ."""
    straight, mirrored, quality = found["hashes"][:, :2], found["hashes"][:, 2:], found["quality"]
    pairs = []
    for i in range(len(straight)):
        others = np.flatnonzero(people[:i] != people[i])
        for stored in (straight, mirrored):
            bits = np.bitwise_count(stored[others] ^ straight[i]).sum(axis=2, dtype=np.int64)
            least = np.minimum(quality[others], quality[i])
            near = np.flatnonzero(same_picture(bits[:, 0], bits[:, 1], least, WHOLE_PICTURE))
            pairs += [(int(others[k]), i, int(bits[k].sum())) for k in near]
    return pairs


def people_left_out(
    found: dict[str, np.ndarray], names: np.ndarray, people: np.ndarray, errata: Path
) -> dict[tuple[int, int], dict[str, str]]:
    """Pairs of people, lower number first, and why their pairs are no impostor pairs."""
    number = {str(name): i for i, name in enumerate(names)}
    left_out: dict[tuple[int, int], dict[str, str]] = {}
    with errata.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row["a"] in number and row["b"] in number:
                pair = tuple(sorted((number[row["a"]], number[row["b"]])))
                left_out[pair] = {"a": row["a"], "b": row["b"], "why": f"published error: {row['why']}"}
    for a, b, bits in same_pictures(found, people):
        pair = tuple(sorted((int(people[a]), int(people[b]))))
        files = [PurePosixPath(str(found["names"][i])).name for i in (a, b)]
        left_out[pair] = {"a": files[0], "b": files[1], "why": f"the same picture: {bits} of 128 bits differ"}
    return left_out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--errata", type=Path, default=ERRATA, help="default: what is known of LFW")
    parser.add_argument("--output", type=Path, help="default: the shipped pack's folder")
    parser.add_argument("--name", default="Labeled Faces in the Wild (deep-funneled), a part")
    parser.add_argument("--cache", type=Path, help="keep what was seen here (.npz) for another run")
    arguments = parser.parse_args()
    pack = load_pack(arguments.pack)
    found = seen(arguments.photos, arguments.pack, arguments.cache)
    names, people = numbered(found)
    normalisation = Normalisation.learn(found["enrolled"], people)
    probes, enrolled = normalisation.apply(found["probes"]), normalisation.apply(found["enrolled"])
    left_out = people_left_out(found, names, people, arguments.errata)
    data = {
        "name": arguments.name,
        "sha256": sha256_of(arguments.photos),
        "people": len(names),
        "photos": len(probes),
        "failures_to_acquire": int(found["failures"]),
        "detector_sha256": pack.asset(pack.detector.file).sha256,
        "which": "all pairs of photos of two people, each as probe and as enrolled",
        "left_out": list(left_out.values()),
    }

    def made(taken_out: frozenset[tuple[int, int]], told: dict[str, object]) -> bytes:
        impostors = Impostors.of(probes, people, enrolled, people, taken_out)
        return make_calibration(pack.model_id, impostors, told, normalisation, repeat=True)

    everything = Calibration.parse(made(frozenset(), data), "with all pairs")
    data["thresholds_with_nobody_left_out"] = {f"{rate:g}": everything.threshold(rate) for rate in SHOWN_RATES}
    content = made(frozenset(left_out), data)
    output = arguments.output or shipped(pack.name) / CALIBRATION
    output.write_bytes(content)
    calibration = Calibration.parse(content, str(output))
    print(f"{output}: {calibration.pairs:,} pairs, {calibration.tail}; without and with the {len(left_out)} left out:")
    for rate in SHOWN_RATES:
        score = calibration.threshold(rate)
        low, high = calibration.interval(score)
        print(f"  {rate:g}: {score:.4f} ({low:.2g} to {high:.2g}), {everything.threshold(rate):.4f}")
    print(f"  repeat: {calibration.repeat}")
    for row in left_out.values():
        print(f"  left out: {row}")


if __name__ == "__main__":
    main()

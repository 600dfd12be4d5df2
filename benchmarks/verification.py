"""LFW verification: LeakMatch against OpenCV's own detector and recognizer, in one run.

    python benchmarks/verification.py IMAGES.zip PAIRS.csv [--pack opencv-zoo] [--json FILE]

IMAGES.zip holds the photos, PAIRS.csv the columns fold,same,a,b with paths inside the zip. Both sides use the same
two model files, the same score threshold, and take the large and central face of a photo. The figure is LFW's: for
each fold the threshold is the best one on the other folds; correct pairs are summed over the folds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from leakmatch.evaluation.figures import NOT_COMPARED, fold_accuracy, true_match_rates
from leakmatch.evaluation.verification import Pair, read_pairs
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.gallery.enrolment import subject_face
from leakmatch.records import FaceBatch

#: From a picture to the template of its subject, or None where no face was found.
Embed = Callable[[np.ndarray], np.ndarray | None]


def ours(pack: Pack) -> Embed:
    engine = FaceEngine(pack)

    def embed(bgr: np.ndarray) -> np.ndarray | None:
        faces, templates, _ = engine.analyse(bgr)
        return templates.vectors[subject_face(faces, bgr.shape[1], bgr.shape[0])] if len(faces) else None

    return embed


def opencv(pack: Pack) -> Embed:
    detector = cv2.FaceDetectorYN.create(
        str(pack.folder / pack.detector.file), "", (250, 250), pack.detector.score_threshold, pack.detector.nms_iou
    )
    recognizer = cv2.FaceRecognizerSF.create(str(pack.folder / pack.embedder.file), "")

    def embed(bgr: np.ndarray) -> np.ndarray | None:
        detector.setInputSize((bgr.shape[1], bgr.shape[0]))
        _, rows = detector.detect(bgr)
        if rows is None:
            return None
        corners = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1).astype(np.float32)
        landmarks = rows[:, 4:14].reshape(-1, 5, 2).astype(np.float32)
        faces = FaceBatch(np.zeros(len(rows), np.int32), corners, landmarks, rows[:, 14].astype(np.float32))
        row = rows[subject_face(faces, bgr.shape[1], bgr.shape[0])]
        feature = recognizer.feature(recognizer.alignCrop(bgr, row))[0]
        return feature / np.linalg.norm(feature)

    return embed


def score(a: np.ndarray | None, b: np.ndarray | None) -> float:
    return NOT_COMPARED if a is None or b is None else float(a @ b)


def run(name: str, embed: Embed, images: zipfile.ZipFile, pairs: list[Pair]) -> dict[str, object]:
    vectors: dict[str, np.ndarray | None] = {}
    seconds = 0.0
    for photo in sorted({photo for pair in pairs for photo in (pair.a, pair.b)}):
        bgr = cv2.imdecode(np.frombuffer(images.read(photo), np.uint8), cv2.IMREAD_COLOR)
        began = time.perf_counter()
        vectors[photo] = embed(bgr)
        seconds += time.perf_counter() - began
    failures = sum(vector is None for vector in vectors.values())
    scores = np.array([score(vectors[pair.a], vectors[pair.b]) for pair in pairs])
    same = np.array([pair.same for pair in pairs])
    accuracy = fold_accuracy(scores, same, [pair.fold for pair in pairs])
    at_1_percent = true_match_rates(scores, same)[1e-2]
    return {
        "who": name,
        "pairs": len(scores),
        "correct": accuracy.correct.count,
        "accuracy": round(accuracy.correct.rate, 5),
        "failures_to_acquire": failures,
        "tmr_at_fmr_1e-2": None if at_1_percent is None else round(at_1_percent.matched.rate, 5),
        "ms_per_photo": round(1000 * seconds / len(vectors), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("pairs", type=Path)
    parser.add_argument("--pack", default="opencv-zoo")
    parser.add_argument("--json", type=Path, help="also write the result here")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    pack, pairs = load_pack(arguments.pack), read_pairs(arguments.pairs)
    sides = {"leakmatch": ours(pack)}
    if pack.detector.kind == "yunet":
        sides["opencv"] = opencv(pack)
    with zipfile.ZipFile(arguments.images) as images:
        results = [run(name, embed, images, pairs) for name, embed in sides.items()]
    record = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, one thread",
        "opencv": cv2.__version__,
        "results": results,
    }
    print(json.dumps(record, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

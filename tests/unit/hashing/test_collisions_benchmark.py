"""The measurement behind the rule runs, on a folder of made-up pictures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "hash_collisions.py"


def test_it_counts_pairs_and_copies(tmp_path):
    for person in range(2):
        (tmp_path / f"person {person}").mkdir()
        for photo in range(3):
            rng = np.random.default_rng(10 * person + photo)
            waves = cv2.resize(rng.integers(0, 256, (9, 12, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(tmp_path / f"person {person}" / f"{photo}.png"), waves)
    (tmp_path / "same.csv").write_text("a,b\nperson 0/0.png,person 1/0.png\n", encoding="utf-8")
    command = [sys.executable, SCRIPT, tmp_path, "--same", tmp_path / "same.csv", "--min-quality", "0", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    picture = json.loads(done.stdout)["picture"]
    assert picture["pictures"] == 6
    assert picture["pairs"] == [64, 48]  # 9 - 1 pairs of two people and 6 of one person, each in eight ways
    assert picture["within"]["8"] == [0, 0]
    assert picture["kept"]["PNG"]["0"] == picture["kept"]["mirrored"]["0"] == 1.0
    assert picture["kept"]["turned by 90"]["4"] == 1.0
    assert set(json.loads(done.stdout)) == {"picture", "plain ground"}

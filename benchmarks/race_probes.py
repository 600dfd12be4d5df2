"""A probe image against a gallery: LeakMatch and two packages of the same models, on all cores, in one run.

    python -m venv moca && moca/bin/pip install moca-face-matcher==0.2.2 opencv-python-headless==5.0.0.93
    moca/bin/pip uninstall -y opencv-python                          # both carry cv2; the headless one needs no display
    moca/bin/pip install --force-reinstall --no-deps opencv-python-headless==5.0.0.93
    python -m venv alchemy && alchemy/bin/pip install alchemyface==1.2.0
    python benchmarks/race_probes.py PHOTOS.zip --moca moca/bin/python --alchemyface alchemy/bin/python [--json FILE]

PHOTOS.zip holds 1,500 photos or more. LeakMatch's time of an image is that of the steady rate of a scan, as in
race_pipeline.py. The others are called in one process as their READMEs show, image after image, with the threads that
their libraries take by themselves; the time is the median over the images after the first. moca-face-matcher reads its
gallery again for every probe, so it is asked few of them, and also with a gallery of 1,000.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from race_pipeline import FEW, GALLERY, MANY, alone, first_photos, leakmatch, steady

from leakmatch.bench import generated
from leakmatch.bench.machine import machine
from leakmatch.faces.packs import load_pack

PROBES = 200
SMALL_GALLERY, SLOW_PROBES = 1000, 5


def peer(python: Path, script: str, folder: Path, gallery: Path, models: Path, probes: int) -> dict[str, Any]:
    """What a peer's script says about ``probes`` photos."""
    command = [str(python), str(Path(__file__).parent / "peers" / script)]
    command += [str(folder), str(gallery), str(models), str(probes)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    said: dict[str, Any] = json.loads(done.stdout)
    seconds = said.pop("seconds")
    return said | {"ms_per_image": round(1000 * statistics.median(seconds), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--moca", type=Path, help="the Python of an environment with moca-face-matcher")
    parser.add_argument("--alchemyface", type=Path, help="the Python of an environment with alchemyface")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--lock", type=Path, help="hold this file's lock in each round (machines that several share)")
    arguments = parser.parse_args()
    pack = load_pack("opencv-zoo")
    found: dict[str, list[dict[str, Any]]] = {}
    few: list[dict[str, Any]] = []
    many: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for count in (FEW, MANY):
            first_photos(arguments.photos, folder / f"{count}.zip", count)
        with zipfile.ZipFile(folder / f"{FEW}.zip") as photos:
            photos.extractall(folder / "photos", photos.namelist()[:PROBES])
        generated.gallery(folder / "race.gallery", pack, GALLERY)
        vectors = generated.unit_vectors(GALLERY, pack.embedder.dimension)
        large, small = folder / "large.npy", folder / "small.npy"
        np.save(large, vectors)
        np.save(small, vectors[:SMALL_GALLERY])
        asked = []
        if arguments.alchemyface:
            asked.append(("alchemyface", arguments.alchemyface, "alchemyface_scan.py", large, PROBES))
        if arguments.moca:
            asked.append(("moca, gallery of 1,000", arguments.moca, "moca_scan.py", small, PROBES // 4))
            asked.append(("moca", arguments.moca, "moca_scan.py", large, SLOW_PROBES))
        ours = leakmatch(folder, arguments.engine)
        for _ in range(arguments.rounds):
            with alone(arguments.lock):
                few.append(ours(FEW))
                many.append(ours(MANY))
                for side, python, script, gallery, probes in asked:
                    said = peer(python, script, folder / "photos", gallery, pack.folder, probes)
                    found.setdefault(side, []).append(said)
    result = steady(few, many)
    print(f"leakmatch: {result['ms_per_photo']} ms an image")
    results: dict[str, Any] = {f"leakmatch, {arguments.engine}": result}
    for side, rounds in found.items():
        ms = statistics.median(said["ms_per_image"] for said in rounds)
        times = round(ms / result["ms_per_photo"], 1)
        results[side] = rounds[0] | {"ms_per_image": ms, "leakmatch_times_faster": times}
        print(f"{side}: {ms} ms an image; leakmatch is {times} times as fast")
    record = {"machine": machine(), "gallery": GALLERY, "rounds": arguments.rounds, "results": results}
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""alchemyface on photos, one after the other: started by race_probes.py with the Python of its own environment.

    python alchemyface_scan.py FOLDER GALLERY.npy MODELS COUNT

FOLDER holds photos; MODELS the two model files (``model_dir``, as its README says). The gallery is loaded by its own
``InMemoryStore.load``. Prints the seconds of each photo, from the file to the answer, and the faces, as JSON.
"""

import json
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path


def main(folder, gallery, models, count):
    import cv2
    import numpy as np
    from alchemyface import Recognizer

    vectors = np.load(gallery)
    labels = np.array([f"{number:08}" for number in range(len(vectors))])
    recognizer = Recognizer(model_dir=models)
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "gallery.npz"
        empty = json.dumps([{}] * len(vectors))
        np.savez(file, vectors=vectors, labels=labels, entry_ids=labels, metadata=np.array(empty), dim=vectors.shape[1])
        recognizer.store.load(file)
    photos = sorted(Path(folder).rglob("*.jpg"))[: int(count)]
    seconds, faces = [], 0
    for photo in photos[:1] + photos:  # the first one twice: its first look makes the network ready
        began = time.perf_counter()
        found = recognizer.identify(cv2.imread(str(photo)))
        seconds.append(time.perf_counter() - began)
        faces += len(found) if len(seconds) > 1 else 0
    version = metadata.version("alchemyface")
    print(json.dumps({"version": version, "photos": len(photos), "faces": faces, "seconds": seconds[1:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])

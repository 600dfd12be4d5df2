"""moca-face-matcher on photos, one after the other: started by race_probes.py with the Python of its own environment.

    python moca_scan.py FOLDER GALLERY.npy MODELS COUNT

FOLDER holds photos; MODELS the two model files (the variable FACE_MATCH_MODELS). The package keeps the features of a
gallery's photos in a file beside them: that file is written here with its own function, and the photos are empty.
``find_matches`` is called as its README shows. Prints the seconds of each photo, and in how many it found a face, as
JSON.
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path


def main(folder, gallery, models, count):
    os.environ["FACE_MATCH_MODELS"] = models
    import numpy as np
    from face_match import __version__
    from face_match.core import CACHE_NAME, save_cache
    from face_match.search import find_matches

    photos = sorted(Path(folder).rglob("*.jpg"))[: int(count)]
    with tempfile.TemporaryDirectory() as name:
        database = Path(name)
        cache = {}
        for number, vector in enumerate(np.load(gallery)):
            path = database / f"{number:08}.jpg"
            path.touch()
            cache[path.name] = (path.stat().st_mtime, vector[None])
        save_cache(database / CACHE_NAME, cache)
        seconds, found = [], 0
        for photo in photos[:1] + photos:  # the first one twice: its first look warms the caches of the system
            began = time.perf_counter()
            try:
                find_matches(query=photo, db=database)
                found += 1
            except ValueError:  # what it raises where there is no face
                pass
            seconds.append(time.perf_counter() - began)
    print(json.dumps({"version": __version__, "photos": len(photos), "with_face": found - 1, "seconds": seconds[1:]}))


if __name__ == "__main__":
    main(*sys.argv[1:])

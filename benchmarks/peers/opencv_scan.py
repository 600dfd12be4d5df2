"""One process of a scan as OpenCV 5's own classes make it: started by race_pipeline.py, once for each core.

    python opencv_scan.py PHOTOS.zip GALLERY.npy DETECTOR.onnx RECOGNIZER.onnx SCORE NMS PART PARTS COUNT

Looks at every PARTS-th of the first COUNT photos, on one thread: decode, FaceDetectorYN at the photo's own size,
FaceRecognizerSF for every face, and the ten best of the gallery by faiss's IndexFlatIP, in batches and with BLAS, which
is faiss at its fastest. Prints the number of photos, faces and candidates as JSON.
"""

import json
import sys
import zipfile

import cv2
import faiss
import numpy as np

BATCH = 256
BEST = 10
THRESHOLD = 0.363  # OpenCV's published one


def main(photos, gallery, detector_file, recognizer_file, score, nms, part, parts, count):
    cv2.setNumThreads(1)
    faiss.omp_set_num_threads(1)
    faiss.cvar.distance_compute_blas_threshold = 1
    index = faiss.IndexFlatIP(np.load(gallery, mmap_mode="r").shape[1])
    index.add(np.load(gallery))
    detector = cv2.FaceDetectorYN.create(detector_file, "", (320, 320), float(score), float(nms))
    recognizer = cv2.FaceRecognizerSF.create(recognizer_file, "")
    faces = candidates = looked = 0
    waiting = []
    with zipfile.ZipFile(photos) as archive:
        names = [name for name in archive.namelist() if name.endswith(".jpg")][: int(count)]
        for name in names[int(part) :: int(parts)]:
            image = cv2.imdecode(np.frombuffer(archive.read(name), np.uint8), cv2.IMREAD_COLOR)
            detector.setInputSize((image.shape[1], image.shape[0]))
            _, found = detector.detect(image)
            looked += 1
            for row in () if found is None else found:
                feature = recognizer.feature(recognizer.alignCrop(image, row))[0]
                waiting.append(feature / np.linalg.norm(feature))
                faces += 1
            if len(waiting) >= BATCH:
                candidates += search(index, waiting)
                waiting = []
    candidates += search(index, waiting) if waiting else 0
    print(json.dumps({"photos": looked, "faces": faces, "candidates": candidates}))


def search(index, probes):
    scores, _ = index.search(np.array(probes, np.float32), BEST)
    return int((scores >= THRESHOLD).sum())


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What workers say about pictures, made up: no picture is looked at."""

from __future__ import annotations

import dataclasses

import numpy as np

from leakmatch.hashing.algorithms import CONTRAST_LEVELS, DHASH, HASH_BYTES, PHASH, PHASH_TURNED
from leakmatch.records import FaceBatch, HashBatch, ImageAnalysis, Outcome, TemplateBatch


def analysis(faces: int = 2, frame: int = 0, *, plain: bool = True) -> ImageAnalysis:
    rng = np.random.default_rng(faces)
    vectors = rng.normal(size=(faces, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = np.arange(faces, dtype=np.int32)
    quality = rng.random(faces, np.float32)
    picture, face = (
        tuple(
            HashBatch(name, rng.integers(0, 256, (n, HASH_BYTES[name]), np.uint8), rng.random(n, np.float32), rows)
            for name in names
        )
        for names, n, rows in (
            ((PHASH, DHASH, *PHASH_TURNED), 1, np.zeros(1, np.int32)),
            ((PHASH, CONTRAST_LEVELS, DHASH), faces, index),
        )
    )
    return ImageAnalysis(
        frame,
        Outcome.DONE,
        "",
        640,
        480,
        picture,
        FaceBatch(
            np.zeros(faces, np.int32),
            rng.random((faces, 4), np.float32),
            rng.random((faces, 5, 2), np.float32),
            rng.random(faces, np.float32),
        ),
        TemplateBatch(vectors, quality, np.ones(faces, np.bool_), "model"),
        face,
        tuple(bytes([i]) * (i + 1) for i in range(faces)),
        (("imaging", "truncated", "half"),),
        TemplateBatch(vectors[:, ::-1].copy(), quality, np.ones(faces, np.bool_), "model") if plain else None,
        rng.random(faces, np.float32) if plain else None,
        75 if plain else None,
    )


def equal(a: object, b: object) -> bool:
    if dataclasses.is_dataclass(a) and type(a) is type(b):
        return all(equal(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return np.array_equal(a, b) if isinstance(a, np.ndarray) and isinstance(b, np.ndarray) else a == b

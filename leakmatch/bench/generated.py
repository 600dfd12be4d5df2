"""Made-up input for measurements: photos of nobody, and galleries of people who do not exist."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.packs import Pack
from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.sealed.keys import Keys

_BLOCK: Final = 10_000  # enrolments of one transaction
_QUALITY: Final = 90


def picture(random: np.random.Generator, height: int, width: int) -> ByteArray:
    """uint8[height,width,3]: soft clouds of colour under fine grain, which a JPEG packs about as it packs a photo."""
    clouds = random.integers(0, 256, (height // 32 + 2, width // 32 + 2, 3), np.uint8)
    soft = cv2.resize(clouds, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grained: ByteArray = (soft + random.integers(-6, 7, soft.shape, np.int16)).clip(0, 255).astype(np.uint8)
    return grained


def archive(path: Path, pictures: int, height: int, width: int, seed: int = 0) -> None:
    """Write a zip of ``pictures`` JPEGs, no two alike. There is no face in any of them."""
    random = np.random.default_rng(seed)
    with zipfile.ZipFile(path, "w") as out:
        for number in range(pictures):
            options = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
            jpeg = cv2.imencode(".jpg", picture(random, height, width), options)[1]
            out.writestr(f"{number // 100:04}/{number:06}.jpg", jpeg.tobytes())


def unit_vectors(count: int, dimension: int, seed: int = 0) -> FloatArray:
    """float32[count,dimension] of unit norm, in all directions alike."""
    vectors = np.random.default_rng(seed).standard_normal((count, dimension), np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def gallery(path: Path, pack: Pack, subjects: int, seed: int = 0, keys: Keys | None = None) -> None:
    """Create a gallery of ``subjects``, one template each, sealed with ``keys``; plain where they are ``None``."""
    vectors = unit_vectors(subjects, pack.embedder.dimension, seed)
    with Gallery.create(path, pack.name, pack.model_id, pack.embedder.dimension, keys=keys) as made:
        for begin in range(0, subjects, _BLOCK):
            made.add(
                [_enrolment(number, vectors[number]) for number in range(begin, min(begin + _BLOCK, subjects))], [], {}
            )


def _enrolment(number: int, vector: FloatArray) -> Enrolment:
    name = f"generated-{number:08}"
    photo = Photo(name, f"{name}/0", number.to_bytes(32, "big"), "", "", 1.0)
    return Enrolment(photo, vector, (), ())

"""Galleries for tests, made from templates: no photo is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from leakmatch.arrays import ByteArray, FloatArray
from leakmatch.faces.packs import Pack, read_pack, shipped
from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.gallery.table import Rows
from leakmatch.hashing.algorithms import DHASH, DHASH_MIRROR, PHASH, PHASH_MIRROR
from leakmatch.records import HashBatch


@dataclass(frozen=True)
class Shot:
    """A photo to enrol: whose it is, float32[D], and what tells it from others (its bytes and its hash uint8[8])."""

    subject: str
    vector: FloatArray
    content: int
    bits: ByteArray | None = None


def pack() -> Pack:
    """The default pack as it is shipped: without model files, with its calibration."""
    return read_pack(shipped("opencv-zoo"))


def people(
    generator: np.random.Generator, count: int, photos: int | Sequence[int] = 1, spread: float = 0.4
) -> list[Shot]:
    """``count`` people with ``photos`` each (or by person), somewhat alike: no two photos are the same."""
    each = [photos] * count if isinstance(photos, int) else photos
    shots = []
    for person, number in enumerate(each):
        middle = generator.normal(size=128)
        for _ in range(number):
            vector = middle + spread * generator.normal(size=128)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            shots.append(Shot(f"p{person:04}", vector, len(shots)))
    return shots


def gallery_of(path: Path, shots: Sequence[Shot]) -> Gallery:
    """An open gallery with these photos, which are named ``SUBJECT/CONTENT.jpg``; their hashes are far apart."""
    default = pack()
    gallery = Gallery.create(path, default.name, default.model_id, 128)
    add(gallery, shots)
    return gallery


def add(gallery: Gallery, shots: Sequence[Shot]) -> None:
    """Enrol more."""
    gallery.add([_enrolment(shot) for shot in shots], [], {})


def _enrolment(shot: Shot) -> Enrolment:
    random = np.random.default_rng(shot.content)
    hashes = tuple(
        HashBatch(
            name,
            random.integers(0, 256, (1, 8), np.uint8) if shot.bits is None else shot.bits[None],
            np.ones(1, np.float32),
            np.zeros(1, np.int32),
        )
        for name in (PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR)
    )
    sha256 = shot.content.to_bytes(32, "big")
    return Enrolment(
        Photo(shot.subject, f"{shot.subject}/{shot.content}.jpg", sha256, "", "", 0.7), shot.vector, hashes, ()
    )


def rows_of(vectors: FloatArray, subjects: str) -> Rows:
    """Templates float32[N,D] of as many subjects, as a file has them that is imported: no hashes."""
    count = len(vectors)
    names = [f"{subjects}{n:07}" for n in range(count)]
    digests = np.random.default_rng(count).bytes(32 * count)
    return Rows(
        vectors=vectors,
        subject_id=names,
        name=[""] * count,
        expires=[""] * count,
        path=[f"{name}.jpg" for name in names],
        sha256=[digests[32 * n : 32 * n + 32] for n in range(count)],
        quality=[0.5] * count,
        detail=[""] * count,
        hashes=[],
    )

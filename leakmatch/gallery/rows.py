"""What goes into a gallery and comes out of it: photos, enrolments, hashes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from leakmatch.arrays import ByteArray, FloatArray, LongArray
from leakmatch.records import HashBatch

PICTURE: Final = "picture"
FACE: Final = "face"


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo that was offered for enrolment. ``refusal`` is empty where a template was made."""

    subject_id: str
    path: str
    sha256: bytes | None
    refusal: str
    detail: str
    quality: float


@dataclass(frozen=True, slots=True)
class Enrolment:
    """An accepted photo: its template float32[D] and its hashes (one row per batch)."""

    photo: Photo
    vector: FloatArray
    picture_hashes: tuple[HashBatch, ...]
    face_hashes: tuple[HashBatch, ...]


@dataclass(frozen=True, slots=True)
class Hashes:
    """All hashes of one scope and algorithm.

    ``bits`` uint8[M,B/8], ``quality`` float32[M], ``enrolment_id`` int64[M].
    """

    bits: ByteArray
    quality: FloatArray
    enrolment_id: LongArray

"""What passes between stages: frozen, slotted records over columnar arrays.

Boxes are xyxy in pixels of the source image after EXIF orientation. Landmarks are left eye, right eye, nose,
left and right mouth corner as seen in the image. A score is a cosine in [-1, 1]; a distance is in bits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from leakmatch.arrays import BoolArray, ByteArray, FloatArray, IntArray, LongArray, check, check_finite
from leakmatch.locator import Locator


class Outcome(StrEnum):
    """How an item ended. Every member of every container ends in exactly one."""

    DONE = "done"
    NO_FACE = "no-face"
    DUPLICATE = "duplicate"
    PARTIAL = "partial"
    UNREADABLE = "unreadable"
    NEEDS_PASSWORD = "needs-password"  # noqa: S105 - an outcome, not a password
    NEEDS_VOLUME = "needs-volume"
    NEEDS_EXTRA = "needs-extra"
    OVER_BUDGET = "over-budget"
    QUARANTINED = "quarantined"
    NOT_IMAGE = "not-image"
    WALKED = "walked"


#: Outcomes of items that were looked at in full; any other makes the run incomplete (exit code 3).
LOOKED_AT: Final = frozenset({Outcome.DONE, Outcome.NO_FACE, Outcome.DUPLICATE, Outcome.NOT_IMAGE, Outcome.WALKED})


class ItemKind(StrEnum):
    """What an item is."""

    CONTAINER = "container"
    IMAGE = "image"
    FRAME = "frame"
    OTHER = "other"


#: The closed list of incident codes.
INCIDENT_CODES: Final = frozenset(
    {
        "truncated",  # the data ends early
        "corrupt",  # the data contradicts itself
        "unsupported",  # a format, method or variant that is not read
        "encrypted",  # a password is needed
        "volume-missing",  # another part of the set is needed
        "extra-missing",  # an optional package is needed
        "over-budget",  # a limit was reached
        "no-permission",  # the operating system refused
        "io-error",  # the medium failed
        "name-undecodable",  # a name in no known encoding; shown escaped
        "worker-lost",  # a worker died or hung over this item
        "frames-sampled",  # not every frame of an animation or video was looked at
        "changed",  # the file changed while it was read
        "ambiguous",  # the same bytes can be read in two ways; both were
        "password",  # a password of the list opened it
        "link",  # a symbolic or hard link, or a special file; not followed
    }
)


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that went wrong or is worth knowing about one item."""

    locator: Locator
    stage: str
    code: str
    message: str

    def __post_init__(self) -> None:
        if self.code not in INCIDENT_CODES:
            raise ValueError(f"unknown incident code {self.code!r}")


@dataclass(frozen=True, slots=True)
class Budget:
    """Limits on what one source file may cost. A limit that is hit is an outcome, never an abort.

    ``depth``: containers inside containers. ``members``: per source file. ``bytes``: expanded, per source file.
    ``member_bytes``: one image held in memory. ``ratio``: expanded to stored, per container and member, applied
    past ``ratio_floor`` expanded bytes. ``pixels``: width times height of one picture. ``frames``: looked at per
    animation, ``video_frames`` per video.
    ``seconds``: for one picture, or for one member beyond what its bytes explain.
    ``buffer_bytes``: nested containers up to this size are held in memory; larger ones are read in place.
    ``memory``: resident bytes of one worker. ``scratch_bytes``: what a worker may put on disk.
    """

    depth: int = 32
    members: int = 50_000_000
    bytes: int = 4 << 40
    member_bytes: int = 512 << 20
    ratio: float = 1100.0
    ratio_floor: int = 256 << 20
    pixels: int = 200_000_000
    frames: int = 16
    video_frames: int = 256
    seconds: float = 30.0
    buffer_bytes: int = 128 << 20
    memory: int = 1 << 30
    scratch_bytes: int = 8 << 30


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the ledger as the walk finds it.

    ``position`` counts items of one source file in walk order, a container before its members; it is the same in
    every walk of the same bytes. ``outcome`` is ``None`` for a picture that is still to be looked at; then
    ``payload`` holds its bytes. ``sha256`` is the digest of the item's bytes (32 bytes), or ``None`` where they
    could not all be read. ``members``: of a container, how many its reader gave, each of which has an entry of its own
    (those inside of them not counted); ``None`` for what was not opened as one. ``format``: of a container or picture,
    as its signature says ("zip", "JPEG"); else empty. ``cut``: its reading ended where another one might get further,
    for want of time or memory.
    """

    locator: Locator
    position: int
    kind: ItemKind
    size: int
    sha256: bytes | None
    outcome: Outcome | None
    detail: str = ""
    payload: bytes | None = field(default=None, repr=False)
    members: int | None = None
    format: str = ""
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Stop:
    """Where every later walk of a file ends an item, so that positions behind it stay what they are.

    The item at ``position`` and all that is in it have the positions below ``next``. It is not opened again, unless
    something in it is still to be read. ``outcome`` (quarantined, or over budget) and ``reason`` are those of its row.
    """

    position: int
    next: int
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A picture after EXIF orientation.

    ``bgr`` uint8[H,W,3]. ``source_size`` (w, h) of the full picture, ``scale`` = pixels of ``bgr`` for one of it: 1, or
    1/2, 1/4, 1/8 of a large JPEG. ``frame`` is its number in an animation (0 for the first or only one), ``seconds``
    when it is shown, where that is known. ``complete`` is false where the data ended early; missing pixels are a flat
    colour. ``bilevel``: it has two colours only. ``jpeg_quality`` (1 to 100) of a JPEG file
    that was read in full: see :mod:`leakmatch.imaging.jpeg`.
    """

    bgr: ByteArray
    source_size: tuple[int, int]
    scale: float = 1.0
    frame: int = 0
    complete: bool = True
    detail: str = ""
    jpeg_quality: int | None = None
    seconds: float | None = None
    bilevel: bool = False

    def __post_init__(self) -> None:
        check(self.bgr, (None, None, 3), np.uint8, "bgr")


@dataclass(frozen=True, slots=True)
class HashBatch:
    """Perceptual hashes by one algorithm. ``bits`` uint8[N,B/8], most significant bit first.

    ``quality`` float32[N] in [0, 1]: 0 for a flat picture, whose hash says nothing. ``image_index`` int32[N].
    """

    algorithm: str
    bits: ByteArray
    quality: FloatArray
    image_index: IntArray

    def __post_init__(self) -> None:
        n = len(self.bits)
        check(self.bits, (n, None), np.uint8, "bits")
        check(self.quality, (n,), np.float32, "quality")
        check(self.image_index, (n,), np.int32, "image_index")
        check_finite(self.quality, "quality")


@dataclass(frozen=True, slots=True)
class FaceBatch:
    """Detected faces, best score first within an image. Arrays may be empty (F = 0)."""

    image_index: IntArray
    boxes: FloatArray
    landmarks: FloatArray
    scores: FloatArray

    def __post_init__(self) -> None:
        n = len(self.scores)
        check(self.image_index, (n,), np.int32, "image_index")
        check(self.boxes, (n, 4), np.float32, "boxes")
        check(self.landmarks, (n, 5, 2), np.float32, "landmarks")
        check(self.scores, (n,), np.float32, "scores")
        for name in ("boxes", "landmarks", "scores"):
            check_finite(getattr(self, name), name)

    def __len__(self) -> int:
        return len(self.scores)


_UNIT_TOLERANCE: Final = 1e-3  # of the norm of a template


@dataclass(frozen=True, slots=True)
class TemplateBatch:
    """Face templates: ``vectors`` float32[F,D] of unit norm, ``quality`` float32[F] in [0, 1], ``valid`` bool[F].

    Where ``valid`` is false the vector is all zero. ``model_id`` names the model file as shipped (SHA-256), its
    precision and the template recipe: only equal ids may be compared.
    """

    vectors: FloatArray
    quality: FloatArray
    valid: BoolArray
    model_id: str

    def __post_init__(self) -> None:
        n = len(self.vectors)
        check(self.vectors, (n, None), np.float32, "vectors")
        check(self.quality, (n,), np.float32, "quality")
        check(self.valid, (n,), np.bool_, "valid")
        check_finite(self.vectors, "vectors")
        check_finite(self.quality, "quality")
        norms = np.sqrt(np.einsum("ij,ij->i", self.vectors, self.vectors))
        if not (np.abs(norms - self.valid) <= _UNIT_TOLERANCE).all():
            raise ValueError("vectors: not of unit norm")

    def __len__(self) -> int:
        return len(self.vectors)


@dataclass(frozen=True, slots=True)
class CandidateBatch:
    """Pairs above the operating point, sparse.

    ``probe_index`` int32[K], ``enrolment_id`` int64[K], ``score`` float32[K].
    """

    probe_index: IntArray
    enrolment_id: LongArray
    score: FloatArray

    def __post_init__(self) -> None:
        n = len(self.score)
        check(self.probe_index, (n,), np.int32, "probe_index")
        check(self.enrolment_id, (n,), np.int64, "enrolment_id")
        check(self.score, (n,), np.float32, "score")

    def __len__(self) -> int:
        return len(self.score)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Where a face is decided match: ``threshold`` is the score at which chance alone gives ``expected_false``
    candidates in ``searches`` searches of a gallery of ``gallery_size`` people; ``None`` where no score is that rare
    as far as the calibration's data shows."""

    model_id: str
    threshold: float | None
    expected_false: float
    gallery_size: int
    searches: int
    calibration_sha256: str


@dataclass(frozen=True, slots=True)
class ImageAnalysis:
    """All that a worker says about one picture (an image, or a frame of one).

    ``picture_hashes`` and ``face_hashes`` hold one batch per algorithm; in ``face_hashes`` the ``image_index`` is
    the face. ``crops`` are aligned 112x112 JPEGs, one per face. ``jpeg_quality`` and ``seconds`` as in
    :class:`DecodedImage`.

    Only the gallery's side has ``plain``, templates of the same faces as a scan would make them, and ``sharpness``
    float32[F] (:func:`leakmatch.faces.quality.sharpness`): what an evaluation needs beside what enrolment does.
    """

    frame: int
    outcome: Outcome
    detail: str
    width: int
    height: int
    picture_hashes: tuple[HashBatch, ...]
    faces: FaceBatch
    templates: TemplateBatch | None
    face_hashes: tuple[HashBatch, ...]
    crops: tuple[bytes, ...]
    incidents: tuple[tuple[str, str, str], ...] = ()
    plain: TemplateBatch | None = None
    sharpness: FloatArray | None = None
    jpeg_quality: int | None = None
    seconds: float | None = None


class Evidence(StrEnum):
    """Why an item is a candidate, strongest first."""

    SAME_FILE = "same-file"
    SAME_PICTURE = "same-picture"
    SAME_FACE = "same-face"


class QualityReason(StrEnum):
    """What bounds the quality of a face that is low (:func:`leakmatch.faces.defects.quality_reasons`)."""

    NONE = ""
    SMALL = "small"
    BLURRED = "blurred"
    TURNED = "turned"


class Decision(StrEnum):
    """The band of a candidate."""

    MATCH = "match"
    REVIEW = "review"
    WEAK = "weak"


#: Bands, in multiples of the number of false candidates that the user accepts.
REVIEW_BAND: Final = 100.0
STORED_BAND: Final = 1000.0

#: A score that more than this share of impostor pairs reach says nothing about who it is: such pairs are no candidates,
#: however few were compared. It matters in small scans only, where one accepted false candidate would admit any face.
LARGEST_CHANCE: Final = 0.01


def decide(expected_false: float, accepted: float) -> Decision:
    """The band of a candidate that chance alone would give ``expected_false`` times in the whole scan."""
    if expected_false <= accepted:
        return Decision.MATCH
    return Decision.REVIEW if expected_false <= REVIEW_BAND * accepted else Decision.WEAK

"""How fast pictures are hashed, against imagehash; and lists of hashes compared, against faiss and the memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Final

import imagehash
import numpy as np
from PIL import Image

from leakmatch.arrays import ByteArray
from leakmatch.bench.figures import Figure
from leakmatch.bench.generated import picture
from leakmatch.bench.limits import limits
from leakmatch.hashing.evidence import WHOLE_PICTURE
from leakmatch.hashing.join import HASH_BYTES, HammingIndex, HashPairs
from leakmatch.hashing.perceptual import picture_hashes

SIZES: Final = (112, 250, 1000)
PROBES: Final = (64, 1024)
HASHES: Final = 1_000_000
_ROUNDS: Final = 5
_PIXELS: Final = 2_000_000  # hashed in one round, by each side


def run(
    sizes: Sequence[int] = SIZES, probes: Sequence[int] = PROBES, hashes: int = HASHES, seed: int = 0
) -> list[Figure]:
    """Pictures of each of ``sizes`` (pixels a side) hashed a second, and pairs of ``probes`` with ``hashes`` compared.

    One core, sides by turns, medians. imagehash and faiss do the same work on the same data, and the results are
    compared: raises ``AssertionError`` if they differ.
    """
    return [*(_pictures(size, seed) for size in sizes), *_joins(probes, hashes, seed)]


def _pictures(size: int, seed: int) -> Figure:
    count = max(2, min(64, _PIXELS // size**2))
    images = [picture(size, size, seed + i) for i in range(count)]
    pillow = [Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])) for image in images]

    def theirs() -> list[bytes]:
        return [_packed(imagehash.phash(image)) + _packed(imagehash.dhash(image)) for image in pillow]

    def ours() -> list[bytes]:
        phash, dhash = picture_hashes(images, mirrored=False)
        return [p.tobytes() + d.tobytes() for p, d in zip(phash.bits, dhash.bits, strict=True)]

    if ours() != theirs():
        raise AssertionError(f"hashes of {size}x{size} pixels differ from imagehash's")
    mine, peer = _by_turns([ours, theirs])
    return Figure(
        f"phash and dhash, {size}x{size}, 1 core",
        count / mine,
        "images/s",
        detail={"imagehash": count / peer, "times_imagehash": peer / mine, "note": _NOTE_PICTURES}
        | {"share": None},
    )


def _packed(found: imagehash.ImageHash) -> bytes:
    return np.packbits(found.hash).tobytes()

"""How fast pictures are hashed, beside imagehash; and hash lists joined, beside faiss and what the memory can do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

import cv2
import faiss
import imagehash
import numpy as np
from PIL import Image

from leakmatch.arrays import ByteArray
from leakmatch.bench.alone import alone, answer, arguments
from leakmatch.bench.figures import Figure
from leakmatch.bench.generated import picture
from leakmatch.bench.limits import limits
from leakmatch.errors import IntegrityError
from leakmatch.hashing.evidence import WHOLE_PICTURE
from leakmatch.hashing.join import HASH_BYTES, HammingIndex
from leakmatch.hashing.perceptual import picture_hashes

SIZES: Final = (112, 250, 1000)
PROBES: Final = (64, 1024)
HASHES: Final = 1_000_000
_ROUNDS: Final = 5
_PIXELS: Final = 2_000_000  # hashed in one round
_DISTANCE: Final = WHOLE_PICTURE.max_distance


def run(
    sizes: Sequence[int] = SIZES, probes: Sequence[int] = PROBES, hashes: int = HASHES, seed: int = 0
) -> list[Figure]:
    """Pictures of ``sizes`` (pixels a side) hashed a second, and pairs a second of ``probes`` and ``hashes`` joined.

    All on one core, the sides by turns, medians. imagehash and faiss do the same work on the same generated data, and
    where they find something else the measurement fails. In a process of its own: only so does the BLAS keep to one
    thread.
    """
    return [Figure(**figure) for figure in alone("leakmatch.bench.hash", list(sizes), list(probes), hashes, seed)]


def measure(sizes: Sequence[int], probes: Sequence[int], hashes: int, seed: int) -> list[Figure]:
    """:func:`run` in this process, which must have :data:`~leakmatch.offered.ONE_THREAD` in its environment.

    Raises :class:`IntegrityError` if imagehash or faiss find something else.
    """
    cv2.setNumThreads(1)
    random = np.random.default_rng(seed)
    figures = [figure for size in sizes for figure in _pictures(size, random)]
    return [*figures, *(_joins(probes, hashes, random) if probes else [])]


def _pictures(size: int, random: np.random.Generator) -> list[Figure]:
    images = [picture(random, size, size) for _ in range(max(2, min(64, _PIXELS // size**2)))]
    pillow = [Image.fromarray(np.ascontiguousarray(image[:, :, ::-1])) for image in images]

    def by_imagehash(*kinds: Callable[[Image.Image], imagehash.ImageHash]) -> list[bytes]:
        return [b"".join(np.packbits(kind(image).hash).tobytes() for kind in kinds) for image in pillow]

    def ours() -> list[bytes]:
        phash, dhash = picture_hashes(images, mirrored=False)
        return [p.tobytes() + d.tobytes() for p, d in zip(phash.bits, dhash.bits, strict=True)]

    if ours() != by_imagehash(imagehash.phash, imagehash.dhash):
        raise IntegrityError(f"The hashes of pictures of {size}x{size} pixels are not those of imagehash.")
    mine, both, one = _by_turns(
        ours,
        lambda: by_imagehash(imagehash.phash, imagehash.dhash),
        lambda: by_imagehash(imagehash.phash),
    )
    detail = {"times_imagehash": both / mine, "times_imagehash_phash_alone": one / mine}
    name = f"{size}x{size}, 1 core"
    return [
        Figure(f"phash and dhash, {name}", len(images) / mine, "images/s", detail=detail),
        Figure(f"the same by imagehash, {name}", len(images) / both, "images/s"),
    ]


def _joins(probes: Sequence[int], count: int, random: np.random.Generator) -> list[Figure]:
    stored = random.integers(0, 256, (count, HASH_BYTES), np.uint8)
    began = time.perf_counter()
    index = HammingIndex(stored, _DISTANCE)
    seconds = time.perf_counter() - began
    faiss.omp_set_num_threads(1)
    flat = faiss.IndexBinaryFlat(8 * HASH_BYTES)
    flat.add(stored)
    read = limits(1).read / HASH_BYTES
    figures = [Figure(f"indexing {count:,} hashes", seconds, "s", detail={"times_a_hash_ns": 1e9 * seconds / count})]
    for number in probes:
        near = _near(stored[random.integers(0, count, number)], random)
        figures += _join(near, index, flat, count, read)
    return figures


def _join(probes: ByteArray, index: HammingIndex, flat: Any, count: int, read: float) -> list[Figure]:
    found = index.join(probes)
    ends, distance, stored = flat.range_search(probes, _DISTANCE + 1)
    owner = np.repeat(np.arange(len(probes)), np.diff(ends.astype(np.int64)))
    theirs = set(zip(owner.tolist(), stored.tolist(), distance.astype(int).tolist(), strict=True))
    if theirs != set(
        zip(found.probe_index.tolist(), found.gallery_index.tolist(), found.distance.tolist(), strict=True)
    ):
        raise IntegrityError("The join of hashes does not find the pairs that faiss finds.")
    mine, peer = _by_turns(lambda: index.join(probes), lambda: flat.range_search(probes, _DISTANCE + 1))
    pairs = len(probes) * count
    detail = {"distance": _DISTANCE, "pairs_found": len(found), "times_faiss": peer / mine, "hashes": count}
    name, limit = f"{len(probes)} hashes, 1 core", "each pair read from memory once"
    return [
        Figure(f"join with {name}", pairs / mine, "pairs/s", read, limit, detail),
        Figure(f"the same by faiss, {name}", pairs / peer, "pairs/s", read, limit),
    ]


def _near(hashes: ByteArray, random: np.random.Generator) -> ByteArray:
    """``hashes`` with about one bit in 16 turned: copies, some of them past the distance looked for."""
    turned: ByteArray = hashes ^ np.packbits(random.random((len(hashes), 8 * HASH_BYTES)) < 1 / 16, axis=1)
    return turned


def _by_turns(*sides: Callable[[], object]) -> list[float]:
    """The median seconds of each of ``sides``."""
    seconds: list[list[float]] = [[] for _ in sides]
    for _ in range(_ROUNDS):
        for side, taken in zip(sides, seconds, strict=True):
            began = time.perf_counter()
            side()
            taken.append(time.perf_counter() - began)
    return [median(taken) for taken in seconds]


if __name__ == "__main__":
    answer([asdict(figure) for figure in measure(*arguments())])

"""The names of the hash algorithms, apart from their code: who compares hashes needs no decoder."""

from __future__ import annotations

from typing import Final

#: The decode that the pictures went through; the same string as :data:`leakmatch.imaging.decode.CANONICAL`, written
#: out because stages do not import each other. Hashes of two decodes are never compared.
DECODE: Final = "pillow-rgb8/2"

#: Algorithm ids, as they are stored. ``mirror`` is the hash of the horizontally mirrored picture: comparing a picture
#: with it finds mirrored copies.
PHASH: Final = f"phash64/{DECODE}"
DHASH: Final = f"dhash64/{DECODE}"
PHASH_MIRROR: Final = f"phash64-mirror/{DECODE}"
DHASH_MIRROR: Final = f"dhash64-mirror/{DECODE}"

#: What galleries hold to be searched through; the rest is looked up.
INDEXED: Final = frozenset({PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR})

#: The hashes of a scanned picture turned by a quarter, a half and three quarters, counter-clockwise: comparing them
#: with the enrolled hashes and their mirror images finds pictures turned and mirrored in all eight ways.
PHASH_TURNED: Final = tuple(f"phash64-turn{degrees}/{DECODE}" for degrees in (90, 180, 270))
DHASH_TURNED: Final = tuple(f"dhash64-turn{degrees}/{DECODE}" for degrees in (90, 180, 270))

#: Contrast maps of face crops (:mod:`leakmatch.hashing.contrast`): a sign per cell as galleries hold it, and a level
#: per cell as scans make it.
CONTRAST_SIGNS: Final = f"contrast48/{DECODE}"
CONTRAST_LEVELS: Final = f"contrast48-levels/{DECODE}"

#: Cells along a side of a contrast map; bytes of its signs; what stands for neither brighter nor darker, and for each
#: standard deviation, in its levels.
MAP_SIDE: Final = 48
MAP_BYTES: Final = MAP_SIDE * MAP_SIDE // 8
LEVEL_ZERO: Final = 128
LEVEL_SCALE: Final = 32

#: The length of each hash in bytes.
HASH_BYTES: Final = {
    **dict.fromkeys((PHASH, DHASH, PHASH_MIRROR, DHASH_MIRROR, *PHASH_TURNED, *DHASH_TURNED), 8),
    CONTRAST_SIGNS: MAP_BYTES,
    CONTRAST_LEVELS: MAP_SIDE * MAP_SIDE,
}

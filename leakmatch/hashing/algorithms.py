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

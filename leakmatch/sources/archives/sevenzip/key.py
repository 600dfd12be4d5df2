"""The key that 7z makes of a password: SHA-256 over the password many times, with a counter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

import numpy as np

from leakmatch.sources.guard import unsupported
from leakmatch.sources.names import decode_name

MOST_ROUNDS: Final = 24  # a power of two
USUAL_ROUNDS: Final = 19
_NOT_HASHED: Final = 0x3F
_AT_ONCE: Final = 1 << 12
_KEPT: Final = 256


class Keys:
    """Keys by password, rounds and salt; the last ones are kept. ``pulse`` is called while they are made."""

    def __init__(self, pulse: Callable[[], None]) -> None:
        self._pulse = pulse
        self._known: dict[tuple[bytes, int, bytes], bytes] = {}

    def key(self, password: bytes, rounds: int, salt: bytes) -> bytes:
        """32 bytes. ``rounds`` is a power of two. Raises :class:`ItemError` where they are more than 7-Zip allows."""
        place = password, rounds, salt
        if place not in self._known:
            if len(self._known) >= _KEPT:
                self._known.clear()
            self._known[place] = self._made(decode_name(password).encode("utf-16-le", "surrogatepass"), rounds, salt)
        return self._known[place]

    def _made(self, password: bytes, rounds: int, salt: bytes) -> bytes:
        if rounds == _NOT_HASHED:
            return (salt + password)[:32].ljust(32, b"\0")
        if rounds > MOST_ROUNDS:
            raise unsupported(f"a key of 2^{rounds} rounds is not made")
        fixed = salt + password
        digest = hashlib.sha256()
        count = min(_AT_ONCE, 1 << rounds)
        block = np.empty((count, len(fixed) + 8), np.uint8)
        block[:, : len(fixed)] = np.frombuffer(fixed, np.uint8)
        for start in range(0, 1 << rounds, count):
            counters = np.arange(start, start + count, dtype="<u8")
            block[:, len(fixed) :] = counters.view(np.uint8).reshape(count, 8)
            digest.update(block.data)
            if not start % (1 << 18):
                self._pulse()
        self._pulse()
        return digest.digest()

"""CRC-32C (Castagnoli), as TFRecord files have it; no package for it is among those we need.

Long data are cut into lanes of equal length, computed beside each other, and joined by a table that says what a number
of zero bytes does to a checksum (the checksum is linear over GF(2)).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]

_POLYNOMIAL: Final = 0x82F63B78  # reflected
_MOST_LANES: Final = 4096
_LONG: Final = 1 << 11
_ALL: Final = 0xFFFFFFFF


def _table() -> Words:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (np.uint32(_POLYNOMIAL) * (table & np.uint32(1)))
    return table


_TABLE: Final = _table()
_PLAIN: Final = _TABLE.tolist()


def crc32c(data: bytes | memoryview, before: int = 0) -> int:
    """The checksum of ``data``, behind bytes whose checksum is ``before``."""
    crc = before ^ _ALL
    if len(data) >= _LONG:
        count = min(1 << len(data).bit_length() - 5, _MOST_LANES)
        length = len(data) // count
        lanes = np.frombuffer(data, np.uint8, count * length).reshape(count, length).T.copy()
        crcs = np.zeros(count, np.uint32)
        crcs[0] = crc
        for column in lanes:
            crcs = (crcs >> 8) ^ _TABLE[(crcs ^ column) & 0xFF]
        crc, data = _joined(crcs, length), data[count * length :]
    for byte in data:
        crc = (crc >> 8) ^ _PLAIN[(crc ^ byte) & 0xFF]
    return crc ^ _ALL


def masked_crc(data: bytes | memoryview) -> int:
    """The checksum of a TFRecord: turned, and a constant added."""
    return mask(crc32c(data))


def mask(crc: int) -> int:
    """What TFRecord makes of a checksum."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & _ALL


def masked_crcs(data: bytes, size: int) -> Words:
    """:func:`masked_crc` of the ``size`` bytes from each place of ``data`` on: uint32[len(data) - size + 1]."""
    bytes_ = np.frombuffer(data, np.uint8)
    count = max(len(bytes_) - size + 1, 0)
    crcs = np.full(count, _ALL, np.uint32)
    for offset in range(size):
        crcs = (crcs >> 8) ^ _TABLE[(crcs ^ bytes_[offset : offset + count]) & 0xFF]
    crcs ^= np.uint32(_ALL)
    turned: Words = np.bitwise_or(crcs >> np.uint32(15), crcs << np.uint32(17))
    return turned + np.uint32(0xA282EAD8)


def _joined(crcs: Words, length: int) -> int:
    """The checksum of lanes of ``length`` bytes each (a power of two of them), without the inversions."""
    zeros = _zeros(length)
    while len(crcs) > 1:
        crcs = _apply(zeros, crcs[::2]) ^ crcs[1::2]
        zeros = _apply(zeros, zeros)
    return int(crcs[0])


@lru_cache(maxsize=64)
def _zeros(length: int) -> Words:
    """What ``length`` zero bytes make of each single bit: uint32[32]."""
    result, power = _bits(), _bits()
    power = (power >> 8) ^ _TABLE[power & 0xFF]
    while length:
        if length & 1:
            result = _apply(power, result)
        power = _apply(power, power)
        length >>= 1
    return result


def _bits() -> Words:
    return np.array([1 << n for n in range(32)], np.uint32)


def _apply(matrix: Words, values: Words) -> Words:
    chosen = np.where(values[:, None] & _bits(), matrix, np.uint32(0))
    return np.asarray(np.bitwise_xor.reduce(chosen, axis=1), np.uint32)

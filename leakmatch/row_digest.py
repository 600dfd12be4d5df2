"""A digest of the content of tables that does not depend on the order of rows, and is changed at the cost of a row.

It is the sum, modulo 2**256, of the SHA-256 of each row (Bellare and Micciancio 1997, AdHash). It shows damage and
clumsy tampering; it is no signature, since whoever can write the file can compute it anew.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import numpy as np

Row = tuple[Any, ...]

MODULUS: Final = 1 << 256


def plain_value(value: Any) -> Any:
    """``value`` as SQLite gives it back. Left to itself it stores a numpy scalar as raw bytes, and NaN as null."""
    if type(value) in (int, str, bytes) or value is None:
        return value
    if isinstance(value, np.generic):
        return plain_value(value.item())
    if isinstance(value, float):
        if value != value:
            raise ValueError("NaN cannot be stored")
        return value
    if isinstance(value, int | str):  # a bool, a StrEnum
        return int(value) if isinstance(value, int) else str(value)
    raise TypeError(f"a {type(value).__name__} cannot be stored")


def row_digest(table: str, row: Row) -> int:
    """SHA-256 over an injective encoding: type and length before each value.

    A number is written by its value, since a column decides whether 1 comes back as 1 or as 1.0.
    """
    known = _ENCODED.get
    parts = [table.encode(), b"\0"]
    for value in row:
        if type(value) is bytes:
            parts += (b"bytes:%d:" % len(value), value)
        else:
            parts.append(known(value) or _encoded(value))
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest(), "big")


#: The first values that were met, encoded: most of a row is words and small numbers that come again and again.
_ENCODED: Final[dict[int | float | str | None, bytes]] = {}
_MOST_ENCODED: Final = 8192
_LONGEST_ENCODED: Final = 64


def _encoded(value: float | str | None) -> bytes:
    """A value that is no bytes. (Equal numbers of two types are encoded alike, so one may stand for the other.)"""
    kind = type(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    data = repr(value).encode("utf-8", "surrogatepass")
    name = b"number" if kind is int or kind is float else kind.__name__.encode()
    encoded = b"%b:%d:%b" % (name, len(data), data)
    if len(data) <= _LONGEST_ENCODED and len(_ENCODED) < _MOST_ENCODED:
        _ENCODED[value] = encoded
    return encoded

"""The gallery's hashes as columns."""

from __future__ import annotations

import itertools
from collections.abc import Collection

import numpy as np

from leakmatch.arrays import ByteArray
from leakmatch.database import Database
from leakmatch.gallery.rows import Hashes
from leakmatch.gallery.templates import PART


def stored_hashes(database: Database, scope: str, algorithms: Collection[str] | None) -> dict[str, Hashes]:
    """Every hash of a scope, by algorithm: of ``algorithms``, or of all."""
    counts = database.select("SELECT algorithm, count(*) FROM hashes WHERE scope = ? GROUP BY 1", (scope,))
    return {
        algorithm: _column(database, scope, algorithm, count)
        for algorithm, count in list(counts)
        if algorithms is None or algorithm in algorithms
    }


def _column(database: Database, scope: str, algorithm: str, count: int) -> Hashes:
    rows = database.select(
        "SELECT bits, quality, photo FROM hashes WHERE scope = ? AND algorithm = ? ORDER BY photo",
        (scope, algorithm),
    )
    bits: list[ByteArray] = []
    quality, photo = np.empty(count, np.float32), np.empty(count, np.int64)
    done = 0
    while part := list(itertools.islice(rows, PART)):  # as Python objects, all at once would take a lot of memory
        bits.append(np.frombuffer(b"".join(row[0] for row in part), np.uint8).reshape(len(part), -1))
        quality[done : done + len(part)] = [row[1] for row in part]
        photo[done : done + len(part)] = [row[2] for row in part]
        done += len(part)
    return Hashes(np.concatenate(bits), quality, photo)

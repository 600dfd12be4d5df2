"""The columns of every table of a case, and what they hold. docs/ledger.md explains each."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

#: One row of a table.
Record = dict[str, object]


class Kind(StrEnum):
    """What a column holds; docs/ledger.md says where it may be null."""

    TEXT = "text"
    WHOLE = "whole"  # int
    REAL = "real"  # float
    FLAG = "flag"  # bool
    BOX = "box"  # [x0, y0, x1, y1]
    POINTS = "points"  # [[x, y], ...], five of them
    NESTED = "nested"  # lists and dicts of JSON


Columns = Mapping[str, Kind]

_PLACE: Final = {"source": Kind.TEXT, "path": Kind.TEXT, "locator": Kind.TEXT}

#: The columns of each table, in order.
COLUMNS: Final[Mapping[str, Columns]] = {
    "candidates": {
        **_PLACE,
        "sha256": Kind.TEXT,
        "face": Kind.WHOLE,
        "box": Kind.BOX,
        "subject_id": Kind.TEXT,
        "enrolment": Kind.WHOLE,
        "rank": Kind.WHOLE,
        "score": Kind.REAL,
        "expected_false": Kind.REAL,
        "expected_false_low": Kind.REAL,
        "expected_false_high": Kind.REAL,
        "extrapolated": Kind.FLAG,
        "evidence": Kind.TEXT,
        "hash_distance": Kind.WHOLE,
        "looks": Kind.WHOLE,
        "decision": Kind.TEXT,
    },
    "subjects": {
        "subject_id": Kind.TEXT,
        "decision": Kind.TEXT,
        "evidence": Kind.TEXT,
        "files": Kind.WHOLE,
        "pictures": Kind.WHOLE,
        "score": Kind.REAL,
        "expected_false": Kind.REAL,
        "expected_false_low": Kind.REAL,
        "expected_false_high": Kind.REAL,
        "extrapolated": Kind.FLAG,
        "expected_false_shown": Kind.REAL,
        "source": Kind.TEXT,
        "folder": Kind.TEXT,
        "rests_on": Kind.WHOLE,
        "folder_pictures": Kind.WHOLE,
    },
    "items": {
        **_PLACE,
        "sha256": Kind.TEXT,
        "bytes": Kind.WHOLE,
        "kind": Kind.TEXT,
        "outcome": Kind.TEXT,
        "detail": Kind.TEXT,
        "width": Kind.WHOLE,
        "height": Kind.WHOLE,
        "faces": Kind.WHOLE,
        "members": Kind.WHOLE,
    },
    "faces": {
        **_PLACE,
        "sha256": Kind.TEXT,
        "face": Kind.WHOLE,
        "box": Kind.BOX,
        "landmarks": Kind.POINTS,
        "detector_score": Kind.REAL,
        "quality": Kind.REAL,
        "quality_reason": Kind.TEXT,
        "size": Kind.REAL,
    },
    "incidents": {**_PLACE, "stage": Kind.TEXT, "code": Kind.TEXT, "message": Kind.TEXT},
    "run": {
        "case_id": Kind.TEXT,
        "version": Kind.TEXT,
        "started": Kind.TEXT,
        "finished": Kind.TEXT,
        "complete": Kind.FLAG,
        "isolation": Kind.FLAG,
        "confinement": Kind.NESTED,
        "expected_false": Kind.REAL,
        "threshold": Kind.REAL,
        "planned": Kind.NESTED,
        "searches": Kind.WHOLE,
        "face_comparisons": Kind.WHOLE,
        "pictures": Kind.WHOLE,
        "picture_comparisons": Kind.WHOLE,
        "outcomes": Kind.NESTED,
        "sources": Kind.NESTED,
        "files": Kind.NESTED,
        "gallery": Kind.NESTED,
        "pack": Kind.NESTED,
        "calibration": Kind.NESTED,
        "approximate": Kind.NESTED,
        "kept_templates": Kind.FLAG,
        "forgotten": Kind.NESTED,
        "rescan": Kind.NESTED,
        "settings": Kind.NESTED,
        "machine": Kind.NESTED,
        "summary": Kind.NESTED,
        "content_digest": Kind.TEXT,
    },
}

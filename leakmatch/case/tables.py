"""The rows that a case gives. ``leakmatch export`` writes them, the report and the Python API read them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from leakmatch.case.columns import COLUMNS, Record
from leakmatch.case.decisions import Judge
from leakmatch.case.frames import Table
from leakmatch.case.people import people
from leakmatch.case.places import places
from leakmatch.case.rows import Candidate, as_candidate, columns_of
from leakmatch.case.store import Case
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.records import LOOKED_AT, Decision, ItemKind, Outcome

# Every item joined with the results of what was looked at: its own, or those of the item that it is a copy of. The
# order of the joins is fixed, so that rows come in source order without a sort of the whole table.
_RESULTS = """FROM items i CROSS JOIN {table} r ON r.file = coalesce(i.primary_file, i.file)
    AND r.position = coalesce(i.primary_position, i.position)
    AND (r.frame = i.frame OR i.primary_file IS NOT NULL)
    LEFT JOIN items p ON p.file = i.primary_file AND p.position = i.primary_position AND p.frame = r.frame
    AND r.frame > 0"""

_CANDIDATES = f"""SELECT i.locator, i.sha256, i.file, i.position, i.primary_file, p.locator, {columns_of("r")}, f.box
    {_RESULTS.format(table="candidates")}
    LEFT JOIN faces f ON f.file = r.file AND f.position = r.position AND f.frame = r.frame AND f.face = r.face
    ORDER BY i.file, i.position, i.frame, r.frame, r.score IS NOT NULL, r.score DESC, r.rank, r.face, r.subject_id"""

_FACES = f"""SELECT i.locator, p.locator, i.sha256, r.face, r.box, r.landmarks, r.detector_score,
    r.quality, r.quality_reason {_RESULTS.format(table="faces")}
    ORDER BY i.file, i.position, i.frame, r.frame, r.face"""

_ITEMS = """SELECT i.locator, i.primary_file, coalesce(p.frame, 0), i.sha256, i.bytes, i.kind, i.outcome,
    i.detail, coalesce(p.width, i.width), coalesce(p.height, i.height), coalesce(p.faces, i.faces),
    i.members, p.locator FROM items i
    LEFT JOIN items p ON p.file = i.primary_file AND p.position = i.primary_position
    ORDER BY i.file, i.position, i.frame, p.frame"""

_INCIDENTS = "SELECT locator, stage, code, message FROM incidents ORDER BY file, locator, rowid"


#: The tables whose rows are decided by X.
DECIDED: Final = ("candidates", "subjects")

__all__ = [
    "DECIDED",
    "Finding",
    "Table",
    "calibration",
    "findings",
    "is_complete",
    "rows",
    "source_files",
    "table",
    "unread",
]


def rows(case: Case, what: str, accepted: float | None = None, every: bool = False) -> Iterator[Record]:
    """The rows of one table of ``COLUMNS`` as dicts, in source order (people best first), streamed.

    ``accepted`` decides candidates and people anew (:class:`Judge` says how far); ``every`` includes weak ones.
    Raises :class:`UsageError` for an unknown table or an X that does not apply, before the first row.
    """
    if what not in COLUMNS:
        raise UsageError(f"There is no table {what!r} in a case. There are: {', '.join(COLUMNS)}.")
    if what in DECIDED:
        judge = Judge.of(case, accepted)
        return _subjects(case, judge, every) if what == "subjects" else _candidates(case, judge, every)
    if accepted is not None or every:
        raise UsageError(f"--expected-false and --all are about candidates and subjects; {what} are the same with any.")
    return _READERS[what](case)


def table(case: Case, what: str, accepted: float | None = None, every: bool = False) -> Table:
    """The same rows, held in memory as a :class:`Table`."""
    return Table(COLUMNS.get(what, {}), rows(case, what, accepted, every))


@dataclass(frozen=True, slots=True)
class Finding:
    """A candidate at one place. ``item`` (file, position) is the item there, ``candidate.key`` what was looked at."""

    item: tuple[int, int]
    is_copy: bool
    candidate: Candidate
    decision: Decision
    record: Record


def findings(case: Case, judge: Judge, every: bool = False) -> Iterator[Finding]:
    """Candidates decided match or review (``every``: weak ones too) at every place where the picture is.

    In source order; within an item those without a score first (the very file, the very picture), then by score.
    """
    place = places(case)
    names = tuple(COLUMNS["candidates"])
    for locator, sha256, file, position, copied, frame, *fields, box in case.select(_CANDIDATES):
        candidate = as_candidate(case.path, tuple(fields))
        decision = judge.decision(candidate)
        if decision is Decision.WEAK and not every:
            continue
        values = (
            *place(locator, frame),
            _hex(sha256),
            candidate.face,
            None if box is None else _floats(case, box, 4),
            candidate.subject_id,
            candidate.enrolment,
            candidate.rank,
            _rounded(candidate.score),
            judge.expected_false(candidate),
            *judge.interval(candidate),
            judge.extrapolated(candidate),
            str(candidate.evidence),
            candidate.hash_distance,
            candidate.looks,
            str(decision),
        )
        record: Record = dict(zip(names, values, strict=True))
        yield Finding((file, position), copied is not None, candidate, decision, record)


def _candidates(case: Case, judge: Judge, every: bool) -> Iterator[Record]:
    return (finding.record for finding in findings(case, judge, every))


def _subjects(case: Case, judge: Judge, every: bool) -> Iterator[Record]:
    names = tuple(COLUMNS["subjects"])
    for person in people(case, judge):
        if person.decision is Decision.WEAK and not every:
            break  # they come last
        values = (
            person.subject_id,
            str(person.decision),
            str(person.evidence),
            person.files,
            person.pictures,
            _rounded(person.score),
            person.expected_false,
            *person.interval,
            person.extrapolated,
            person.shown,
            *person.folder,
            len(person.rests_on),
            person.folder_pictures,
        )
        yield dict(zip(names, values, strict=True))


def unread(case: Case) -> dict[Outcome, int]:
    """How many items could not be looked at in full, by outcome. Empty where coverage is complete so far."""
    return {outcome: count for outcome, count in case.outcomes().items() if outcome not in LOOKED_AT}


def is_complete(case: Case) -> bool:
    """Whether the scan came to its end and everything was looked at."""
    return case.finished is not None and not unread(case)


def _items(case: Case) -> Iterator[Record]:
    place = places(case)
    names = tuple(COLUMNS["items"])
    for row in case.select(_ITEMS):
        locator, copied, frame, sha256, size, kind, outcome, detail, *seen, original = row
        if copied is not None:
            named = ": ".join(place(original)[:2]) if original else "an item that is not recorded yet"
            detail = f"duplicate of {named}" + (f"; {detail}" if detail else "")
            kind = str(ItemKind.FRAME) if frame else kind
        values = (*place(locator, original if copied is not None and frame else None), _hex(sha256))
        yield dict(zip(names, (*values, size, kind, outcome, detail, *seen), strict=True))


def _faces(case: Case) -> Iterator[Record]:
    place = places(case)
    names = tuple(COLUMNS["faces"])
    for locator, frame, sha256, face, box, landmarks, score, quality, reason in case.select(_FACES):
        x0, y0, x1, y1 = corners = _floats(case, box, 4)
        flat = _floats(case, landmarks, 10)
        points = [flat[i : i + 2] for i in range(0, 10, 2)]
        size = round(min(x1 - x0, y1 - y0), 2)
        where = (*place(locator, frame), _hex(sha256))
        values = (*where, face, corners, points, _rounded(score), _rounded(quality), reason, size)
        yield dict(zip(names, values, strict=True))


def _incidents(case: Case) -> Iterator[Record]:
    place = places(case)
    names = tuple(COLUMNS["incidents"])
    for locator, *fields in case.select(_INCIDENTS):
        yield dict(zip(names, (*place(locator), *fields), strict=True))


def _run(case: Case) -> Iterator[Record]:
    run, finished, totals = case.run, case.finished or {}, case.totals()
    settled: Record = {
        **{key: run.get(key) for key in COLUMNS["run"]},
        "finished": finished.get("finished"),
        "threshold": run.get("threshold") if finished.get("threshold") is None else finished.get("threshold"),
        "calibration": calibration(run),
        "approximate": case.approximate,
        "kept_templates": case.keeps,
        "forgotten": case.forgotten,
        "complete": is_complete(case),
        "searches": totals.searches,
        "face_comparisons": totals.face_pairs,
        "pictures": totals.pictures,
        "picture_comparisons": totals.picture_pairs,
        "outcomes": {str(outcome): count for outcome, count in case.outcomes().items()},
        "files": list(source_files(case)),
        "summary": {key: value for key, value in finished.items() if key != "finished"},
        "content_digest": case.digest,
    }
    yield settled


def calibration(run: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What the model was calibrated on, as the run recorded it; ``None`` where it was not calibrated."""
    pack = run.get("pack")
    told = run.get("calibration") or (pack.get("calibration") if isinstance(pack, Mapping) else None)
    return told if isinstance(told, Mapping) else None


def source_files(case: Case, limit: int = -1) -> Iterator[Record]:
    """``source``, ``path``, ``bytes`` and ``sha256`` (``None`` unless read to its end) of the files on disk."""
    place = places(case)
    for locator, size, sha256 in case.select(
        """SELECT s.locator, s.size, f.sha256 FROM files s LEFT JOIN finished_files f ON f.file = s.file
           ORDER BY s.file LIMIT ?""",
        (limit,),
    ):
        argument, path, _ = place(locator)
        yield {"source": argument, "path": path, "bytes": size, "sha256": _hex(sha256)}


_READERS: Final[Mapping[str, Callable[[Case], Iterator[Record]]]] = {
    "items": _items,
    "faces": _faces,
    "incidents": _incidents,
    "run": _run,
}


def _hex(digest: bytes | None) -> str | None:
    return None if digest is None else digest.hex()


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _floats(case: Case, blob: bytes, count: int) -> list[float]:
    """Coordinates in pixels, from float32 little-endian, to 2 decimals."""
    try:
        values = struct.unpack(f"<{count}f", blob)
    except (struct.error, TypeError) as error:
        raise IntegrityError(f"{case.path}: damaged: a box or landmark has another length.") from error
    if not all(map(math.isfinite, values)):
        raise IntegrityError(f"{case.path}: damaged: a box or landmark is not finite.")
    return [round(value, 2) for value in values]

"""Results on their way into a case, as the rows they become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from leakmatch.case.rows import Candidate, Key
from leakmatch.database import Row
from leakmatch.locator import Locator, printable
from leakmatch.records import Entry, ImageAnalysis, Incident, ItemKind, Outcome, QualityReason, Stop

_NO_PRIMARY: Final = (None, None)
_LARGEST: Final = (1 << 63) - 1


class Batch:
    """Results waiting to be committed together by :meth:`leakmatch.case.store.Case.write`."""

    def __init__(self) -> None:
        self.items: list[Row] = []
        self.faces: list[Row] = []
        self.candidates: list[Row] = []
        self.crops: list[Row] = []
        self.incidents: list[Row] = []
        self.finished_files: list[Row] = []
        self.stops: list[Row] = []
        self.kept: list[Row] = []
        self.approximate: dict[str, Any] | None = None  #: how faces were compared so far, where not exactly

    def __len__(self) -> int:
        return len(self.items) + len(self.finished_files) + len(self.incidents) + len(self.stops)

    def add_entry(self, file: int, entry: Entry, outcome: Outcome, detail: str, primary: Key | None = None) -> None:
        """An item that is not (or no longer) looked at: a container, no picture, a duplicate, a failure."""
        self.items.append(
            (file, entry.position, 0, *_described(entry, entry.locator, entry.kind), str(outcome))
            + (printable(detail), None, None, 0, 0, None)
            + (_NO_PRIMARY if primary is None else (primary.file, primary.position))
            + (entry.members,)
        )

    def add_analysis(self, file: int, entry: Entry, analysis: ImageAnalysis, reasons: Sequence[QualityReason]) -> Key:
        """A picture that was looked at: its row and its faces, with the reason of a low quality for each."""
        key = Key(file, entry.position, analysis.frame)
        locator = entry.locator.frame(analysis.frame, analysis.seconds) if analysis.frame else entry.locator
        kind = ItemKind.FRAME if analysis.frame else entry.kind
        searches = 0 if analysis.templates is None else int(np.count_nonzero(analysis.templates.valid))
        seen = (
            str(analysis.outcome),
            printable(analysis.detail),
            analysis.width,
            analysis.height,
            len(analysis.faces),
            searches,
            # Straight phash and dhash come first; the turned ones are of no use for telling pictures apart.
            b"".join(batch.bits[0].tobytes() for batch in analysis.picture_hashes[:2]) or None,
        )
        members = None if analysis.frame else entry.members
        self.items.append((*key, *_described(entry, locator, kind), *seen, *_NO_PRIMARY, members))
        faces = analysis.faces
        for face, reason in enumerate(reasons):
            quality = 0.0 if analysis.templates is None else float(analysis.templates.quality[face])
            box, landmarks = faces.boxes[face].tobytes(), faces.landmarks[face].tobytes()
            self.faces.append((*key, face, box, landmarks, float(faces.scores[face]), quality, str(reason)))
        for stage, code, message in analysis.incidents:
            self.add_incident(file, Incident(locator, stage, code, message))
        return key

    def add_candidates(self, candidates: Iterable[Candidate], crops: Mapping[int, bytes]) -> None:
        """Candidates of one picture, and the crops of their faces by face number."""
        seen: set[int] = set()
        for c in candidates:
            face = (c.face, c.subject_id, c.enrolment, c.rank, c.score, c.chance, c.chance_low, c.chance_high, c.looks)
            self.candidates.append((*c.key, *face, str(c.evidence), c.hash_distance, c.picture_chance))
            if c.face is not None and c.face in crops and c.face not in seen:
                seen.add(c.face)
                self.crops.append((*c.key, c.face, crops[c.face]))

    def add_kept(self, file: int, position: int, sealed: bytes) -> None:
        """What was seen in an item, sealed, for a case that keeps it."""
        self.kept.append((file, position, sealed))

    def add_incident(self, file: int, incident: Incident) -> None:
        """Something that went wrong or is worth knowing."""
        message = printable(incident.message)
        self.incidents.append((file, incident.locator.to_json(), incident.stage, incident.code, message))

    def add_stop(self, file: int, stop: Stop) -> None:
        """Where walks of a source file end an item."""
        self.stops.append((file, stop.position, stop.next, str(stop.outcome), printable(stop.reason)))

    def add_finished_file(self, file: int, sha256: bytes | None, entries: int) -> None:
        """A source file that was read to its end."""
        self.finished_files.append((file, sha256, entries))


def _described(entry: Entry, locator: Locator, kind: ItemKind) -> Row:
    size = min(entry.size, _LARGEST)  # a hostile header may claim more than a column can hold
    return locator.to_json(), entry.sha256, size, str(kind)

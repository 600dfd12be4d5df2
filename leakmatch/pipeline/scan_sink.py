"""What becomes of what the workers of a scan find: it is joined with the gallery and written to the case."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final

import numpy as np

from leakmatch.case.batch import Batch
from leakmatch.case.rows import Candidate, Key
from leakmatch.case.store import Case
from leakmatch.faces.defects import quality_reasons
from leakmatch.pipeline.kept import KeptTemplates
from leakmatch.pipeline.matcher import Matcher
from leakmatch.pipeline.progress import Progress
from leakmatch.pipeline.start import Inventory
from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import Entry, ImageAnalysis, Incident, Outcome, QualityReason, Stop
from leakmatch.sources.folder import SourceFile

COMMIT_SECONDS: Final = 1.0
COMMIT_ITEMS: Final = 1024
COMMIT_BYTES: Final = 32 << 20  # of templates and crops that wait: a picture may show thousands of faces
_FACE_BYTES: Final = 512  # box, landmarks, hashes
_DIRECTORY_BEGINS: Final = 0.98  # of a zip: further positions say nothing about progress


class ScanSink(Sink):
    """Turns what workers find into rows of the case, one transaction at a time."""

    def __init__(
        self,
        case: Case,
        matcher: Matcher,
        inventory: Inventory,
        progress: Progress,
        check_interrupt: Callable[[], None],
        kept: KeptTemplates | None = None,
    ) -> None:
        """``kept``: what seals the templates that the case keeps; ``None``: it keeps none."""
        self._kept = kept
        self._case = case
        self._matcher = matcher
        self._files = inventory.files
        self._progress = progress
        self._check_interrupt = check_interrupt
        self._batch = Batch()
        self._pending: list[tuple[FileTask, Entry, Sequence[ImageAnalysis]]] = []
        self._pending_bytes = 0
        self._in_flight: dict[bytes, Key] = {}
        self._lost: list[bytes] = []
        self._roots: dict[int, bytes | None] = {}
        self._reading: dict[int, int] = {}  # how far files are walked, from their first member on
        self._committed = time.monotonic()
        self._total = sum(file.size for file in inventory.files)
        done = case.finished_files()
        self._read = sum(file.size for number, file in enumerate(inventory.files) if number in done)
        self._items = self._faces = self._candidates = 0
        numbers = {file.locator: number for number, file in enumerate(inventory.files)}
        for incident in inventory.incidents:
            self._batch.add_incident(numbers.get(incident.locator, 0), incident)
        for number, file in enumerate(inventory.files):
            if file.outcome is not None and number not in done:
                entry = file.entry()
                self._batch.add_entry(number, entry, file.outcome, file.detail)
                self._batch.add_finished_file(number, None, 1)

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Record the item; whether it is a picture not looked at yet."""
        self._items += 1
        self._reading.setdefault(task.file, 0)
        if entry.position == 0:
            self._roots[task.file] = entry.sha256
        if entry.outcome is not None:
            self._batch.add_entry(task.file, entry, entry.outcome, entry.detail)
            self._add_same_file(task, entry)
            return False
        key = Key(task.file, entry.position)
        if entry.sha256 is not None:
            primary = self._in_flight.get(entry.sha256) or self._case.primary(entry.sha256)
            if primary is not None:
                self._batch.add_entry(task.file, entry, Outcome.DUPLICATE, "", primary)
                return False
            self._in_flight[entry.sha256] = key
        return True

    def incident(self, task: FileTask, incident: Incident) -> None:
        """Record the incident."""
        self._batch.add_incident(task.file, incident)

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """Keep the analyses for the next join."""
        self._pending.append((task, entry, analyses))
        self._pending_bytes += sum(map(held_bytes, analyses))
        if self._pending_bytes >= COMMIT_BYTES:
            self.flush()

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """Record the item as quarantined."""
        self._batch.add_entry(task.file, entry, Outcome.QUARANTINED, message)
        self._add_same_file(task, entry)
        if entry.sha256 is not None:
            self._lost.append(entry.sha256)

    def _add_same_file(self, task: FileTask, entry: Entry) -> None:
        """An item that is not looked at may still be, byte for byte, an enrolled photo."""
        key = Key(task.file, entry.position)
        found = self._matcher.same_file(entry.sha256)
        self._batch.add_candidates([Candidate(key, **asdict(verdict)) for verdict in found], {})

    def stopped(self, task: FileTask, stop: Stop) -> None:
        """Keep it for when the scan is resumed."""
        self._batch.add_stop(task.file, stop)

    def read(self, task: FileTask, position: int) -> None:
        """Note how far the reader is: a container is hashed first, then walked, and only the walk counts.

        The directory of a zip, at its end, is read before its members.
        """
        if task.file in self._reading and position < _DIRECTORY_BEGINS * task.size:
            self._reading[task.file] = position

    def finished(self, task: FileTask, entries: int) -> None:
        """Record that the file was read to its end."""
        self._reading.pop(task.file, None)
        self._read += task.size
        if _changed(self._files[task.file]):
            message = "the file was changed while it was read; what was recorded may be of either state"
            self._batch.add_incident(task.file, Incident(task.root, "sources", "changed", message))
        sha256 = self._roots.pop(task.file, None) or self._case.root_sha256(task.file)
        self._batch.add_finished_file(task.file, sha256, entries)

    def tick(self) -> None:
        """Commit if enough has come together, or if the user wants to stop."""
        try:
            self._check_interrupt()
        except KeyboardInterrupt:
            self.flush()
            raise
        waiting = len(self._batch) + len(self._pending)
        if waiting >= COMMIT_ITEMS or (waiting and time.monotonic() - self._committed > COMMIT_SECONDS):
            self.flush()
        self.progress(again=0)

    def progress(self, again: int) -> None:
        """Tell what was done so far; ``again``: faces of which a second look was taken."""
        self._progress(
            read=self._read + sum(self._reading.values()),
            total=self._total,
            items=self._items,
            faces=self._faces + again,
            candidates=self._candidates,
        )

    def flush(self) -> None:
        """Join what was looked at with the gallery, and commit everything at hand."""
        batch, pending = self._batch, self._pending
        pictures = [(entry.sha256, analysis) for _, entry, analyses in pending for analysis in analyses]
        verdicts = iter(self._matcher.match(pictures))
        for task, entry, analyses in pending:
            if self._kept is not None:
                batch.add_kept(task.file, entry.position, self._kept.seal(task.file, entry.position, analyses))
            for analysis in analyses:
                key = batch.add_analysis(task.file, entry, analysis, _quality_reasons(analysis))
                found = [Candidate(key, **asdict(verdict)) for verdict in next(verdicts)]
                batch.add_candidates(found, dict(enumerate(analysis.crops)))
                self._faces += len(analysis.faces)
                self._candidates += len(found)
        batch.approximate = self._matcher.approximate()
        self._batch, self._pending, self._pending_bytes = Batch(), [], 0
        if len(batch):
            self._case.write(batch)
        for sha256 in [*self._lost, *(entry.sha256 for _, entry, _ in pending)]:
            if sha256 is not None:
                self._in_flight.pop(sha256, None)
        self._lost = []
        self._committed = time.monotonic()


def held_bytes(analysis: ImageAnalysis) -> int:
    """About the memory that an analysis holds until it is committed: crops are also in the frame they came in."""
    vectors = 0 if analysis.templates is None else analysis.templates.vectors.nbytes
    return vectors + 2 * sum(map(len, analysis.crops)) + _FACE_BYTES * len(analysis.faces)


def _quality_reasons(analysis: ImageAnalysis) -> list[QualityReason]:
    faces, templates = analysis.faces, analysis.templates
    return quality_reasons(
        faces.landmarks, np.zeros(len(faces), np.float32) if templates is None else templates.quality
    )


def _changed(file: SourceFile) -> bool:
    try:
        now = file.path.stat()
    except OSError:
        return True
    return (now.st_size, now.st_mtime_ns) != (file.size, file.mtime_ns)

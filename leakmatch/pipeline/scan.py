"""The scan: walks sources, looks at every picture once, joins what it finds with the gallery, writes the case."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from leakmatch.case.store import Batch, Candidate, Case, Key, SourceRow
from leakmatch.errors import IntegrityError, UsageError, os_error
from leakmatch.faces.defects import quality_reasons
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import Runtime, make_ready
from leakmatch.gallery.store import Gallery
from leakmatch.hashing.algorithms import DECODE
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.policy import operating_point
from leakmatch.offered import offered_at_first
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.second_look import SecondLooks
from leakmatch.pipeline.start import Inventory, confinement, describe_passwords, start, take_inventory
from leakmatch.pipeline.tasks import FileTask, Ranges
from leakmatch.records import STORED_BAND, Entry, ImageAnalysis, Incident, Outcome, QualityReason, Stop
from leakmatch.settings import AUTO, ENGINES, Settings, usable_cores
from leakmatch.sources.folder import SourceFile

COMMIT_SECONDS: Final = 1.0
COMMIT_ITEMS: Final = 1024
COMMIT_BYTES: Final = 32 << 20  # of templates and crops that wait: a picture may show thousands of faces
_FACE_BYTES: Final = 512  # box, landmarks, hashes
_DIRECTORY_BEGINS: Final = 0.98  # of a zip: further positions say nothing about progress


class Progress(Protocol):
    """Told what a run has done so far."""

    def __call__(self, *, read: int, total: int, items: int, faces: int, candidates: int) -> None:
        """``read`` of ``total`` bytes of the source files; items, faces and candidates of this run so far."""


def no_progress(*, read: int, total: int, items: int, faces: int, candidates: int) -> None:
    """Keeps quiet."""


def scan(
    sources: Sequence[Path],
    gallery: Path,
    case: Path,
    settings: Settings,
    progress: Progress = no_progress,
    announce: Callable[[Mapping[str, Any]], None] = lambda run: None,
) -> None:
    """Check ``sources`` against ``gallery`` into ``case``; continues the case if it exists.

    On any exception, ``KeyboardInterrupt`` included, what was looked at before is committed or will be looked at again
    by the next call with the same arguments. ``announce`` is told what the run is about to do, as the case records it,
    before the first item is read. Raises :class:`UsageError`, :class:`IntegrityError` (a source, the
    gallery, the pack or a setting is not what the case began with) or :class:`StorageError`.
    """
    _refuse_case_inside(case, sources)
    pack = load_pack(settings.pack)
    inventory = take_inventory(sources)
    runtime = make_ready(pack, _engine(case, settings))
    with (
        closing(start(runtime, settings, inventory, mirrored=False)) as executor,
        Gallery.open(gallery, steady=True) as opened,
    ):
        require_searchable(opened, pack)
        calibration = calibration_for(opened, pack, settings)
        with (
            _case(case, sources, opened, runtime, calibration, settings, inventory) as ledger,
            ThreadPoolExecutor(usable_cores(), "join") as threads,
        ):
            if ledger.finished is not None:
                return
            announce(ledger.run)
            matcher = Matcher(opened, calibration, settings, ledger.totals().searches, ledger.approximate, threads)
            with deferred_interrupt() as check:
                sink = ScanSink(ledger, matcher, inventory, progress, check)
                executor.run(_tasks(ledger, inventory), sink)
                sink.flush()
                SecondLooks(ledger, matcher, settings, check, sink.progress).run(executor)
            if settings.threshold is None:
                ledger.prune(STORED_BAND * settings.expected_false)
            ledger.check_ledger()
            ledger.finish(_summary(ledger, calibration, settings))


def _engine(case: Path, settings: Settings) -> str:
    """What embeds faces: of a case that was begun what it was begun with, for two engines differ in the last digits."""
    if settings.engine != AUTO or not case.exists():
        return settings.engine
    with Case.open(case) as begun:
        engine = str(begun.run.get("pack", {}).get("engine")).partition(" ")[0]
    return engine if engine in ENGINES else AUTO


class ScanSink:
    """Turns what workers find into rows of the case, one transaction at a time."""

    def __init__(
        self,
        case: Case,
        matcher: Matcher,
        inventory: Inventory,
        progress: Progress,
        check_interrupt: Callable[[], None],
    ) -> None:
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
        self._pending_bytes += sum(map(_held_bytes, analyses))
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


def _held_bytes(analysis: ImageAnalysis) -> int:
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


def _tasks(case: Case, inventory: Inventory) -> Iterator[FileTask]:
    done = case.finished_files()
    for number, file in enumerate(inventory.files):
        if number not in done and file.outcome is None:
            stored = Ranges.of(case.stored_positions(number))
            again = case.stops(number), case.carriers(number)
            yield FileTask(number, file.path, file.locator, file.size, stored, *again)


# What the case began with


def _case(
    path: Path,
    sources: Sequence[Path],
    gallery: Gallery,
    runtime: Runtime,
    calibration: Calibration | None,
    settings: Settings,
    inventory: Inventory,
) -> Case:
    run = _run_record(sources, gallery, runtime, calibration, settings)
    if calibration is not None and settings.threshold is None:
        planned = operating_point(calibration, settings.expected_false, run["gallery"]["enrolled"], inventory.pictures)
        run["planned"] = {"searches": planned.searches, "threshold": planned.threshold}
    rows = [
        SourceRow(number, next(file.locator.chain()).ordinal, file.locator, file.size, file.mtime_ns)
        for number, file in enumerate(inventory.files)
    ]
    if not path.exists():
        return Case.create(path, run, rows)
    case = Case.resume(path)
    try:
        case.check_content()  # that the ledger adds up is checked at the end
        _refuse_changes(case, run, rows, inventory, settings)
    except BaseException:
        case.close()
        raise
    return case


def _run_record(
    sources: Sequence[Path], gallery: Gallery, runtime: Runtime, calibration: Calibration | None, settings: Settings
) -> dict[str, Any]:
    info = gallery.info()
    case_id = secrets.token_hex(16)
    held = confinement(settings)
    return {
        "case_id": case_id,
        "version": metadata.version("leakmatch"),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": [os.fspath(source) for source in sources],
        "resolved": [str(source.resolve()) for source in sources],
        "gallery": {
            "id": gallery.id,
            "path": str(gallery.path),
            "digest": gallery.digest,
            "subjects": info["subjects"],
            "enrolled": info["enrolled"],
            "templates": info["templates"],
            "pictures": info["templates"],
        },
        "pack": runtime.describe() | {"calibration_sha256": calibration and calibration.sha256, "decode": DECODE},
        "calibration": calibration and calibration.describe(),
        "settings": asdict(settings) | {"pack": runtime.pack.name},
        "passwords": describe_passwords(settings, case_id),
        "expected_false": settings.expected_false,
        "threshold": settings.threshold,
        "isolation": held is not None,
        "confinement": held and held.to_json() | {"missing": held.missing()},
        "machine": machine(settings),
    }


def machine(settings: Settings) -> dict[str, Any]:
    """What the run ran on, for the record."""
    packages = ("numpy", "faiss-cpu", "onnxruntime", "opencv-python-headless", "pillow", "pillow-heif")
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "offered": asdict(offered_at_first()),
        "workers": settings.worker_count,
        "versions": {name: metadata.version(name) for name in packages},
    }


_FIXED: Final = ("budget", "expected_false", "threshold", "approximate", "approximate_from")


def _refuse_changes(
    case: Case, run: Mapping[str, Any], rows: Sequence[SourceRow], inventory: Inventory, settings: Settings
) -> None:
    """Raise :class:`IntegrityError` naming the first thing that is not what the case began with."""
    began = case.run
    where = f"{case.path}: this case began with"
    for name, then, now in (
        ("LeakMatch version", began.get("version"), run["version"]),
        ("decode of pictures", began.get("pack", {}).get("decode"), run["pack"]["decode"]),
        ("sources", began.get("resolved"), run["resolved"]),
        ("gallery", began.get("gallery", {}).get("id"), run["gallery"]["id"]),
        ("content of the gallery", began.get("gallery", {}).get("digest"), run["gallery"]["digest"]),
        ("model pack", began.get("pack", {}).get("model_id"), run["pack"]["model_id"]),
        ("engine", began.get("pack", {}).get("engine"), run["pack"]["engine"]),
        ("detector", began.get("pack", {}).get("detector_sha256"), run["pack"]["detector_sha256"]),
        ("calibration", began.get("pack", {}).get("calibration_sha256"), run["pack"]["calibration_sha256"]),
        ("list of passwords", began.get("passwords"), describe_passwords(settings, str(began.get("case_id")))),
        ("isolation of the workers", began.get("isolation"), run["isolation"]),
        *((f"setting {s}", began.get("settings", {}).get(s), run["settings"][s]) for s in _FIXED),
    ):
        if then != now:
            raise IntegrityError(
                f"{where} another {name} ({_short(then)}, now {_short(now)}). "
                "Give it what it began with, or begin a new case."
            )
    _refuse_changed_files(case, rows, inventory)


def _refuse_changed_files(case: Case, rows: Sequence[SourceRow], inventory: Inventory) -> None:
    then = {row.locator: row for row in case.files()}
    now = {row.locator: row for row in rows}
    for locator in [*(then.keys() - now.keys()), *(now.keys() - then.keys())]:
        change = "was there when this case began and is gone" if locator in then else "has come since this case began"
        raise IntegrityError(f"{case.path}: the source file {locator.path!r} {change}.")
    digests = case.finished_files()
    for (locator, row), file in zip(now.items(), inventory.files, strict=True):
        began = then[locator]
        if (row.size, row.mtime_ns) == (began.size, began.mtime_ns):
            continue
        known = digests.get(began.file)
        if row.size != began.size or known is None or _sha256(file) != known:
            raise IntegrityError(f"{case.path}: the source file {locator.path!r} has changed since this case began.")


def _sha256(file: SourceFile) -> bytes:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise os_error(error, file.path) from error


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _refuse_case_inside(case: Path, sources: Sequence[Path]) -> None:
    target = case.resolve()
    for source in sources:
        if source.is_dir() and target.is_relative_to(source.resolve()):
            raise UsageError(f"{case}: lies inside the source {source}. Put the case somewhere else.")
        if target == source.resolve():
            raise UsageError(f"{case}: is also a source. Give the case a name of its own.")


def _summary(case: Case, calibration: Calibration | None, settings: Settings) -> dict[str, Any]:
    totals = case.totals()
    threshold = settings.threshold
    if threshold is None and calibration is not None:
        point = operating_point(calibration, settings.expected_false, totals.gallery_people, totals.searches)
        threshold = point.threshold
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "searches": totals.searches,
        "pictures": totals.pictures,
        "face_pairs": totals.face_pairs,
        "picture_pairs": totals.picture_pairs,
        "threshold": threshold,
        "second_looks": case.count("second_looks"),
    }

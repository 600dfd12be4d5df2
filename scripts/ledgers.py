"""What compare_listings.py and fuzz_sources.py share: files through the real reader, and what becomes of each item.

No gallery is needed: the workers are those of a scan, and the sink only takes notes and checks that they add up.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.locator import Locator
from leakmatch.pipeline.start import start, take_inventory
from leakmatch.pipeline.tasks import Executor, FileTask
from leakmatch.records import Entry, ImageAnalysis, Incident, Outcome
from leakmatch.settings import Settings

MEMORY_LIMIT = 1 << 30
SECONDS_LIMIT = 30.0
_SAMPLE_SECONDS = 0.05


@dataclass
class Ledger:
    """The items of one file, and what is wrong with them (``wrong`` is empty where all is as it must be)."""

    task: FileTask
    entries: dict[int, Entry] = field(default_factory=dict)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    incidents: list[Incident] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    longest: float = 0.0
    complete: bool = False

    def check(self, announced: int) -> None:
        """Every position once, each with one outcome, containers before what is in them, reasons for failures."""
        entries = [self.entries[position] for position in sorted(self.entries)]
        if [entry.position for entry in entries] != list(range(announced)):
            self.wrong.append(f"{len(entries)} items were found, {announced} announced")
        if missing := set(self.entries) - set(self.outcomes):
            self.wrong.append(f"{len(missing)} items have no outcome")
        places = {entry.locator.to_json(): entry for entry in entries}
        if len(places) != len(entries):
            self.wrong.append("two items have one locator")
        told = {incident.locator.to_json() for incident in self.incidents}
        for incident in sorted(told - places.keys()):
            self.wrong.append(f"an incident about nothing: {incident[:200]}")
        for entry in entries:
            parent = entry.locator.parent
            holder = places.get(parent.to_json()) if parent else None
            if parent is not None and (holder is None or holder.position >= entry.position):
                self.wrong.append(f"{entry.locator.path[:200]}: what it lies in has no row before it")
        self.complete = True


class Notes:
    """A sink that keeps the ledger of every file. ``look``: whether a picture of this file is looked at."""

    def __init__(self, look: Callable[[FileTask], bool], done: Callable[[Ledger], None]) -> None:
        self._look, self._done = look, done
        self.open: dict[int, Ledger] = {}
        self._moved = time.monotonic()
        self.current: int | None = None

    def begin(self, task: FileTask) -> FileTask:
        """Keep a ledger of this file; for the tasks of a run."""
        self.open[task.file] = Ledger(task)
        return task

    def found(self, task: FileTask, entry: Entry) -> bool:
        ledger = self._on(task)
        if entry.position in ledger.entries:
            ledger.wrong.append(f"position {entry.position} was found twice")
        ledger.entries[entry.position] = Entry(
            entry.locator, entry.position, entry.kind, entry.size, entry.sha256, entry.outcome, entry.detail
        )
        look = self._look(task)
        if entry.outcome is not None:
            self._end(ledger, entry, entry.outcome)
        elif not look:
            self._end(ledger, entry, Outcome.DONE)
        return look

    def incident(self, task: FileTask, incident: Incident) -> None:
        self._on(task).incidents.append(incident)

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        self._end(self._on(task), entry, analyses[0].outcome)

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        self._end(self._on(task), entry, Outcome.QUARANTINED)

    def stopped(self, task: FileTask, stop: Any) -> None:
        """Needed by runs that are resumed only."""

    def read(self, task: FileTask, position: int) -> None:
        self.current = task.file

    def finished(self, task: FileTask, entries: int) -> None:
        ledger = self._on(task)
        del self.open[task.file]
        ledger.check(entries)
        self._done(ledger)

    def tick(self) -> None:
        """Nothing is stored."""

    def _on(self, task: FileTask) -> Ledger:
        """The file's ledger; the time since the last word about any file is held against this one."""
        now, ledger = time.monotonic(), self.open[task.file]
        ledger.longest = max(ledger.longest, now - self._moved)
        self._moved = now
        self.current = task.file
        return ledger

    def _end(self, ledger: Ledger, entry: Entry, outcome: Outcome) -> None:
        if entry.position in ledger.outcomes:
            ledger.wrong.append(f"position {entry.position} ended twice")
        ledger.outcomes[entry.position] = outcome

    def waits(self) -> None:
        """Before a run: the clock begins now."""
        self._moved = time.monotonic()


class Watch:
    """The resident memory of the workers of an executor, the most that was seen; in a thread."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._stop = threading.Event()
        self.most = 0
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self) -> int:
        """The most since this was asked last."""
        most, self.most = self.most, 0
        return most

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            for worker in list(getattr(self._executor, "_workers", [])):
                with contextlib.suppress(OSError, ValueError):
                    pages = int(Path(f"/proc/{worker.process.pid}/statm").read_text().split()[1])
                    self.most = max(self.most, pages * 4096)


class Defects(logging.Handler):
    """What workers reported as defects of LeakMatch itself: tracebacks."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: list[str] = []
        logging.getLogger("leakmatch").addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())

    def take(self) -> list[str]:
        """Those since this was asked last."""
        told, self._told = self._told, []
        return told


@contextlib.contextmanager
def workers(sources: Sequence[Path], settings: Settings) -> Iterator[Executor]:
    """The executor of a scan of ``sources``."""
    runtime = make_ready(load_pack(settings.pack), settings.engine)
    executor = start(runtime, settings, take_inventory(sources), mirrored=False)
    try:
        yield executor
    finally:
        executor.close()


def task_of(number: int, path: Path) -> FileTask:
    """The task for a file that is given by itself."""
    raw = path.name.encode("utf-8", "surrogateescape")
    return FileTask(number, path, Locator.root("source", path.name, raw, number), path.stat().st_size)


def counted(outcomes: Counter[str]) -> str:
    """Outcomes and how often, the most frequent first."""
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())

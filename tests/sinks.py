"""A sink for tests of the pool: it notes how every item ended, and checks what must hold of every run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from leakmatch.pipeline.tasks import FileTask, Sink
from leakmatch.records import Entry, ImageAnalysis, Incident, Stop


class Notes(Sink):
    """What a run told: every item is found once, and every picture ends once.

    ``entries`` by file and position; ``ended``, ``details`` and ``stops`` by position (of several files, the last);
    ``incidents``: code and name; ``lost_positions``: of the pictures that cost workers; ``finished_entries`` by file.
    """

    def __init__(self) -> None:
        self.entries: dict[tuple[int, int], Entry] = {}
        self.ended: dict[int, str] = {}
        self.details: dict[int, str] = {}
        self.incidents: list[tuple[str, str]] = []
        self.stops: dict[int, Stop] = {}
        self.lost_positions: list[int] = []
        self.finished_entries: dict[int, int] = {}
        self.on_tick: Callable[[], None] = lambda: None

    @property
    def names(self) -> dict[int, str]:
        """The names of what was found, by position."""
        return {position: entry.locator.name for (_, position), entry in self.entries.items()}

    def outcomes(self, outcome: str) -> list[str]:
        """The names of what ended so, in the order of their positions."""
        names = self.names
        return [names[position] for position in sorted(self.ended) if self.ended[position] == outcome]

    def found(self, task: FileTask, entry: Entry) -> bool:
        assert (task.file, entry.position) not in self.entries
        self.entries[task.file, entry.position] = entry
        if entry.outcome is not None:
            self.ended[entry.position] = str(entry.outcome)
            self.details[entry.position] = entry.detail
        return entry.outcome is None

    def incident(self, task: FileTask, incident: Incident) -> None:
        self.incidents.append((incident.code, incident.locator.name))

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        assert entry.position not in self.ended
        self.ended[entry.position] = str(analyses[0].outcome)

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        assert entry.position not in self.ended
        self.ended[entry.position] = "quarantined"
        self.details[entry.position] = message
        self.lost_positions.append(entry.position)

    def stopped(self, task: FileTask, stop: Stop) -> None:
        assert stop.position not in self.stops
        self.stops[stop.position] = stop

    def read(self, task: FileTask, position: int) -> None:
        assert 0 <= position <= task.size

    def finished(self, task: FileTask, entries: int) -> None:
        self.finished_entries[task.file] = entries

    def tick(self) -> None:
        self.on_tick()

"""The inventory: what is in the sources, before the long run. Lists every item, and looks at a few pictures."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.start import Inventory, can_isolate, start, take_inventory
from leakmatch.pipeline.tasks import Executor, FileTask, Sink
from leakmatch.records import LOOKED_AT, Entry, ImageAnalysis, Incident, ItemKind, Outcome
from leakmatch.settings import Settings

#: Places with problems that are told apart; what lies in further ones is only counted. Bounds the memory.
PLACES: Final = 100_000
FORMATS: Final = 1000
UNKNOWN: Final = "unknown"


@dataclass(slots=True)
class Tally:
    """How many items, and their bytes."""

    items: int = 0
    bytes: int = 0

    def add(self, size: int) -> None:
        """Count one item of ``size`` bytes."""
        self.items += 1
        self.bytes += size


@dataclass(frozen=True, slots=True)
class Place:
    """A file or a container in which items ended in one way, or itself did. ``detail``: of the first such item.

    ``item``: the first such item's path, where it is not the place itself.
    """

    outcome: Outcome
    source: str
    path: str
    locator: str
    detail: str
    item: str
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long a scan will take, in seconds, and what it was estimated from.

    ``sampled`` pictures were looked at as a scan does, which took ``each`` seconds on one worker on average; ``listed``
    seconds took everything else. ``with_faces``: how many of the sample show faces; ``faces`` about in all pictures.
    """

    seconds: float
    workers: int
    listed: float
    sampled: int
    each: float
    with_faces: int
    faces: int


@dataclass(slots=True)
class Survey:
    """What was found. ``members``: items inside containers. ``stored`` bytes on disk, ``expanded`` of all that is no
    container. ``places``: what cannot be looked at in full as things are; ``unplaced`` items beyond those."""

    sources: list[str]
    files: int = 0
    stored: int = 0
    members: int = 0
    expanded: int = 0
    pictures: dict[str, Tally] = field(default_factory=dict)
    containers: dict[str, Tally] = field(default_factory=dict)
    other: Tally = field(default_factory=Tally)
    places: list[Place] = field(default_factory=list)
    unplaced: int = 0
    opened: int = 0  # by a password of the list
    deepest: int = 0
    estimate: Estimate | None = None

    @property
    def items(self) -> int:
        """Every file and every member."""
        return self.files + self.members

    @property
    def incomplete(self) -> int:
        """Items that a scan could not look at in full."""
        return self.unplaced + sum(place.tally.items for place in self.places)

    def worst(self, *outcomes: Outcome) -> list[Place]:
        """The places with one of these outcomes: those with the most items, then the most bytes, first."""
        chosen = [place for place in self.places if place.outcome in outcomes]
        return sorted(chosen, key=lambda place: (-place.tally.items, -place.tally.bytes, place.locator))


def survey(sources: Sequence[Path], settings: Settings, progress: Progress = no_progress) -> Survey:
    """List what is in ``sources``; nothing is stored. Raises :class:`UsageError` for sources that are not there.

    Everything is read but the pictures, of which a sample is looked at (:class:`leakmatch.pipeline.tasks.Sample`).
    """
    runtime = make_ready(load_pack(settings.pack), settings.engine)
    inventory = take_inventory(sources)
    begun = time.monotonic()
    with closing(start(runtime, settings, inventory, mirrored=False, listing=True)) as executor:
        with deferred_interrupt() as check:
            sink = SurveySink(sources, inventory, executor, progress, check)
            executor.run(sink.tasks(), sink)
        isolated = settings.isolation and can_isolate()
        workers = max(1, min(settings.worker_count, inventory.pictures)) if isolated else 1
        return sink.result(workers, time.monotonic() - begun)


class SurveySink(Sink):
    """Counts what is found."""

    def __init__(
        self,
        sources: Sequence[Path],
        inventory: Inventory,
        executor: Executor,
        progress: Progress,
        check_interrupt: Callable[[], None],
    ) -> None:
        self._files = inventory.files
        self._executor = executor
        self._progress = progress
        self._check_interrupt = check_interrupt
        self._survey = Survey([str(source) for source in sources])
        self._places: dict[tuple[Outcome, str], Place] = {}
        self._sample = _Sampled()
        self._reading: dict[int, int] = {}
        self._read = 0
        self._items = self._pictures = 0
        self._survey.files = len(inventory.files)
        self._survey.stored = sum(file.size for file in inventory.files)
        for number, file in enumerate(inventory.files):
            if file.outcome is not None:
                self.found(FileTask(number, file.path, file.locator, file.size), file.entry())

    def tasks(self) -> list[FileTask]:
        """The files to list."""
        return [
            FileTask(number, file.path, file.locator, file.size)
            for number, file in enumerate(self._files)
            if file.outcome is None
        ]

    def found(self, task: FileTask, entry: Entry) -> bool:
        """Count the item. A picture that came with its bytes is one of the sample."""
        survey, depth = self._survey, entry.locator.depth
        self._items += 1
        survey.members += depth > 0
        survey.deepest = max(survey.deepest, depth)
        if entry.kind is not ItemKind.CONTAINER:
            survey.expanded += entry.size
        if entry.kind is ItemKind.OTHER and entry.outcome in LOOKED_AT:
            survey.other.add(entry.size)
        elif entry.kind is not ItemKind.OTHER:
            tallies = survey.containers if entry.kind is ItemKind.CONTAINER else survey.pictures
            name = entry.format if entry.format in tallies or len(tallies) < FORMATS else UNKNOWN
            tallies.setdefault(name or UNKNOWN, Tally()).add(entry.size)
        if entry.outcome is not None and entry.outcome not in LOOKED_AT:
            self._problem(entry, entry.outcome, entry.detail)
        if entry.outcome is not None:
            return False
        self._pictures += 1
        return self._sample.met(task, entry)

    def incident(self, task: FileTask, incident: Incident) -> None:
        """Note what a password opened; the rest is known from the outcomes."""
        self._survey.opened += incident.code == "password"

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """One of the sample was looked at."""
        faces = sum(len(analysis.faces) for analysis in analyses)
        self._sample.looked(task, entry, self._executor.looking_seconds, faces)
        for analysis in analyses:
            if analysis.frame == 0 and analysis.outcome not in LOOKED_AT:
                self._problem(entry, analysis.outcome, analysis.detail)

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """One of the sample cost workers their life."""
        self._sample.looked(task, entry, self._executor.looking_seconds, 0)
        self._problem(entry, Outcome.QUARANTINED, message)

    def read(self, task: FileTask, position: int) -> None:
        """Note how far the file is read."""
        self._reading[task.file] = min(position, task.size)

    def finished(self, task: FileTask, entries: int) -> None:
        """The file was read to its end."""
        self._reading.pop(task.file, None)
        self._read += task.size

    def tick(self) -> None:
        """Tell how far it is; stop where the user wants to."""
        self._check_interrupt()
        self._progress(
            read=self._read + sum(self._reading.values()),
            total=self._survey.stored,
            items=self._items,
            faces=self._pictures,
            candidates=len(self._places),
        )

    def result(self, workers: int, elapsed: float) -> Survey:
        """All that was counted; ``elapsed``: seconds that it took."""
        self._survey.places = list(self._places.values())
        self._survey.estimate = self._sample.estimate(workers, elapsed)
        return self._survey

    def _problem(self, entry: Entry, outcome: Outcome, detail: str) -> None:
        """Count an item under the container it lies in; a container or a file on disk stands for itself."""
        own = entry.locator
        where = own if own.parent is None or entry.kind is ItemKind.CONTAINER else own.parent
        key = (outcome, where.to_json())
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= PLACES:
                self._survey.unplaced += 1
                return
            source = self._survey.sources[next(own.chain()).ordinal]
            item = "" if where is own else own.path
            place = Place(outcome, source, where.path, key[1], detail, item)
            self._places[key] = place
        place.tally.add(entry.size)


class _Sampled:
    """The sample of pictures: each stands for itself and those since the one before."""

    def __init__(self) -> None:
        self._since = 0
        self._all = 0
        self._weights: dict[tuple[int, int], int] = {}
        self._spent = 0.0
        self._count = self._with_faces = 0
        self._weight = 0
        self._seconds = self._faces = 0.0

    def met(self, task: FileTask, entry: Entry) -> bool:
        self._all += 1
        self._since += 1
        if entry.sha256 is None:
            return False
        self._weights[task.file, entry.position] = self._since
        self._since = 0
        return True

    def looked(self, task: FileTask, entry: Entry, spent: float, faces: int) -> None:
        """``spent``: seconds that all looking has taken so far."""
        weight = self._weights.pop((task.file, entry.position))
        self._count += 1
        self._with_faces += faces > 0
        self._weight += weight
        self._seconds += weight * (spent - self._spent)
        self._faces += weight * faces
        self._spent = spent

    def estimate(self, workers: int, elapsed: float) -> Estimate:
        each = self._seconds / self._weight if self._weight else 0.0
        faces = self._faces / self._weight if self._weight else 0.0
        listed = max(0.0, elapsed - self._spent / workers)
        return Estimate(
            seconds=listed + self._all * each / workers,
            workers=workers,
            listed=listed,
            sampled=self._count,
            each=each,
            with_faces=self._with_faces,
            faces=round(self._all * faces),
        )


def as_json(found: Survey) -> Mapping[str, Any]:
    """The survey as JSON values, every place in it."""

    def tallies(given: Mapping[str, Tally]) -> dict[str, Any]:
        most = sorted(given.items(), key=lambda pair: (-pair[1].items, pair[0]))
        return {name: {"items": tally.items, "bytes": tally.bytes} for name, tally in most}

    estimate = found.estimate
    return {
        "sources": found.sources,
        "files": found.files,
        "bytes_stored": found.stored,
        "bytes_expanded": found.expanded,
        "items": found.items,
        "members": found.members,
        "deepest": found.deepest,
        "pictures": tallies(found.pictures),
        "containers": tallies(found.containers),
        "other": {"items": found.other.items, "bytes": found.other.bytes},
        "opened_with_password": found.opened,
        "incomplete": {
            "items": found.incomplete,
            "places_not_listed": found.unplaced,
            "places": [
                {
                    "outcome": str(place.outcome),
                    "source": place.source,
                    "path": place.path,
                    "locator": place.locator,
                    "items": place.tally.items,
                    "bytes": place.tally.bytes,
                    "detail": place.detail,
                    "first": place.item or None,
                }
                for place in found.worst(*Outcome)
            ],
        },
        "estimate": None
        if estimate is None
        else {
            "seconds": round(estimate.seconds, 1),
            "workers": estimate.workers,
            "listing_seconds": round(estimate.listed, 1),
            "pictures_sampled": estimate.sampled,
            "seconds_each": round(estimate.each, 4),
            "sampled_with_faces": estimate.with_faces,
            "faces": estimate.faces,
        },
    }

"""What a run is made of, whoever executes it: files to walk, a sink for what is found, a setup for the workers.

Two executors share this: :mod:`leakmatch.pipeline.pool` (worker processes) and :mod:`leakmatch.pipeline.inline`
(this process, for platforms without isolation).
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from leakmatch.locator import Locator
from leakmatch.pipeline.channel import ProtocolError
from leakmatch.records import Budget, Entry, ImageAnalysis, Incident, Stop


@dataclass(frozen=True, slots=True)
class Ranges:
    """A set of positions as sorted, half-open ranges: small where it is nearly contiguous."""

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    @classmethod
    def of(cls, positions: Iterable[int]) -> Ranges:
        """The set of these positions, which come in rising order."""
        starts: list[int] = []
        ends: list[int] = []
        for position in positions:
            if ends and ends[-1] == position:
                ends[-1] += 1
            else:
                starts.append(position)
                ends.append(position + 1)
        return cls(tuple(starts), tuple(ends))

    def __contains__(self, position: int) -> bool:
        i = bisect.bisect_right(self.starts, position) - 1
        return i >= 0 and position < self.ends[i]


@dataclass(frozen=True, slots=True)
class FileTask:
    """A file on disk to walk. ``stored``: positions of its ledger that need not be read again; ``stops``: where earlier
    walks of it found that they must not go on; ``carriers``: positions of pictures with an archive behind them."""

    file: int
    path: Path
    root: Locator
    size: int
    stored: Ranges = Ranges()
    stops: tuple[Stop, ...] = ()
    carriers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Setup:
    """What a worker needs to begin: the pack's folder, what runs it, its budget, which side it works for.

    ``model_id`` and ``dimension``: of the templates that must come back. ``in_flight_items`` pictures of
    ``in_flight_bytes`` together, or one that is larger, may be between the reader and the ends of their analyses.
    ``passwords``: for locked archives, each in hexadecimal. They travel in the first frame and are written nowhere.
    ``listing``: only a :class:`Sample` of the pictures is read and looked at; the others come without their bytes.
    ``readable`` and ``listed``: paths in hexadecimal, of the sources that a reader may read, and of the folders whose
    names it may list. ``scratch``: in hexadecimal, the folder of the one worker that is told so.
    """

    pack: str
    engine: str
    budget: Budget
    mirrored: bool
    model_id: str
    dimension: int
    in_flight_items: int = 128
    in_flight_bytes: int = 64 << 20
    passwords: tuple[str, ...] = field(default=(), repr=False)
    listing: bool = False
    readable: tuple[str, ...] = field(default=(), repr=False)
    listed: tuple[str, ...] = field(default=(), repr=False)
    scratch: str = ""

    def for_analyser(self) -> Setup:
        """Without what only a reader needs."""
        return replace(self, passwords=(), readable=(), listed=())

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Setup:
        """From :meth:`to_json`."""
        lists = {name: tuple(value[name]) for name in ("passwords", "readable", "listed")}
        return cls(**{**value, "budget": Budget(**value["budget"]), **lists})

    def check(self, analyses: Sequence[ImageAnalysis]) -> None:
        """Raise :class:`ProtocolError` where an analysis is not what these settings lead to."""
        if len(analyses) > self.budget.frames + 1:
            raise ProtocolError("A worker looked at more frames than it may.")
        for analysis in analyses:
            for templates in (analysis.templates, analysis.plain):
                if templates is not None and (templates.model_id, templates.vectors.shape[1]) != (
                    self.model_id,
                    self.dimension,
                ):
                    raise ProtocolError("A worker made templates with another model.")
            if (analysis.plain is not None) != (self.mirrored and analysis.templates is not None):
                raise ProtocolError("A worker looked at a picture for the other side.")


class Sample:
    """Which of all pictures to look at where a few must speak for them: every one at first, then ever fewer.

    After each ``size`` pictures that were taken the distance to the next one doubles, so that the sample is spread over
    however many there are, and grows with the logarithm of their number. A walk is given both methods; only what
    :meth:`format` has just called a picture is counted, and everything else is wanted.
    """

    def __init__(self, image_format: Callable[[bytes], str | None], size: int = 24) -> None:
        self._image_format = image_format
        self._size = size
        self._at_picture = False
        self._met = self._taken = 0
        self._every = 1

    def format(self, head: bytes) -> str | None:
        """The format of the picture that begins so."""
        found = self._image_format(head)
        self._at_picture = found is not None
        return found

    def __call__(self, position: int) -> bool:
        """Whether this item is one of the sample, or no picture."""
        if not self._at_picture:
            return True
        self._at_picture = False
        self._met += 1
        if self._met % self._every:
            return False
        self._taken += 1
        if self._taken % self._size == 0:
            self._every *= 2
        return True


class Sink:
    """Takes what a run finds, in one thread. An exception from any method ends the run.

    To be inherited; what a sink need not care for does nothing here.
    """

    def found(self, task: FileTask, entry: Entry) -> bool:
        """An item was found. Returns whether to look at it; only asked of pictures (``outcome`` is ``None``)."""
        raise NotImplementedError

    def incident(self, task: FileTask, incident: Incident) -> None:
        """Something is worth knowing about an item."""

    def looked(self, task: FileTask, entry: Entry, analyses: Sequence[ImageAnalysis]) -> None:
        """A picture was looked at."""
        raise NotImplementedError

    def lost(self, task: FileTask, entry: Entry, message: str) -> None:
        """A picture cost two workers their life; it is not tried again."""
        raise NotImplementedError

    def stopped(self, task: FileTask, stop: Stop) -> None:
        """Later walks of this file must be given this among its ``stops``."""

    def read(self, task: FileTask, position: int) -> None:
        """So many bytes of this file were read so far."""

    def finished(self, task: FileTask, entries: int) -> None:
        """Every item of this file was found, and looked at where asked."""

    def tick(self) -> None:
        """Called often; the place to commit."""


class Executor(Protocol):
    """Runs tasks into a sink. ``looking_seconds``: spent on pictures so far, by all workers together."""

    looking_seconds: float

    def run(self, tasks: Iterable[FileTask], sink: Sink) -> None:
        """Walk every file and look at every picture the sink wants."""

    def look_again(self, crops: Iterable[tuple[FileTask, Entry, bytes]], sink: Sink) -> None:
        """Embed crops of faces once more, each together with its mirror image; the sink takes their templates."""

    def close(self) -> None:
        """End all workers."""

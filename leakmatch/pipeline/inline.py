"""The executor without processes: input is parsed in this process, one picture after the other.

For platforms without the Linux facilities the pool rests on, and for debugging. There is no protection against a
file that crashes or hangs a decoder; the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import cv2

from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
from leakmatch.imaging.sniff import image_format
from leakmatch.pipeline.rooms import Rooms
from leakmatch.pipeline.stages import Looker
from leakmatch.pipeline.tasks import FileTask, Sample, Setup, Sink
from leakmatch.records import Entry, Outcome, Stop
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.scratch import Scratch
from leakmatch.sources.walk import Before, walk


class Inline:
    """Walks and looks in the calling thread."""

    def __init__(self, setup: Setup, scratch: str = "") -> None:
        cv2.setNumThreads(1)
        self._budget = setup.budget
        self._passwords = Passwords([bytes.fromhex(line) for line in setup.passwords])
        self._sample = Sample(image_format) if setup.listing else None
        self.looking_seconds = 0.0
        self._rooms = Rooms(scratch)
        self._scratch = Scratch(self._rooms.room(), setup.budget.scratch_bytes)
        engine = FaceEngine(load_pack(Path(setup.pack)), setup.engine)
        self._looker = Looker(engine, setup.budget, mirrored=setup.mirrored)

    def close(self) -> None:
        """Remove the scratch folder."""
        self._rooms.close()

    def run(self, tasks: Iterable[FileTask], sink: Sink) -> None:
        """Walk every file and look at every picture that the sink wants."""
        for task in tasks:
            self._walk(task, sink)
            sink.tick()

    def look_again(self, crops: Iterable[tuple[FileTask, Entry, bytes]], sink: Sink) -> None:
        """Look at every crop of a face."""
        for task, entry, crop in crops:
            sink.looked(task, entry, [self._looker.look_again(crop)])
            sink.tick()

    def _walk(self, task: FileTask, sink: Sink) -> None:
        end = 0
        found = walk(
            task.path,
            task.root,
            self._budget,
            self._sample.format if self._sample else image_format,
            self._sample or (lambda position: position not in task.stored),
            passwords=self._passwords,
            scratch=self._scratch,
            before=Before(
                max(task.stored.ends, default=0),
                {stop.position: stop for stop in task.stops},
                frozenset(task.carriers),
            ),
        )
        for item in found:
            if not isinstance(item, Entry):
                sink.incident(task, item)
                continue
            end = max(end, item.position + 1)
            if item.position in task.stored:
                continue
            if item.cut:
                sink.stopped(task, Stop(item.position, end, item.outcome or Outcome.OVER_BUDGET, item.detail))
            if sink.found(task, item) and item.payload is not None:
                begun = time.monotonic()
                analyses = self._looker.look(item.payload)
                self.looking_seconds += time.monotonic() - begun
                sink.looked(task, item, analyses)
            sink.tick()
        sink.finished(task, max([end, *task.stored.ends, *(stop.next for stop in task.stops)]))

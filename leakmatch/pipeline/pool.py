"""Worker processes: one reader that walks, several analysers that look. Killed and replaced when they fail.

The parent routes: an entry and its memory file come from the reader, the file goes on unopened to an analyser, an
analysis comes back. Payload in flight is bounded by the reader (:class:`leakmatch.pipeline.tasks.Setup`).
A worker that dies, hangs, grows or breaks the protocol is replaced. Its picture is tried once more, alone; a second
failure is reported as lost. A reader shows which item it works on: one that costs a second reader its life is not
opened again, and the walk goes on behind it (docs/isolation.md).
"""

from __future__ import annotations

import logging
import os
import resource
import selectors
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from leakmatch import errors
from leakmatch.errors import LeakMatchError
from leakmatch.locator import printable_lines
from leakmatch.pipeline.channel import ChannelClosed, Message, ProtocolError, memory_file
from leakmatch.pipeline.confine import offered
from leakmatch.pipeline.process import TOO_MUCH, Picture, Worker, start_error
from leakmatch.pipeline.rooms import Rooms
from leakmatch.pipeline.tasks import FileTask, Setup, Sink
from leakmatch.pipeline.walks import POSITIONS_AHEAD, Walk, lost_over
from leakmatch.pipeline.wire import read_analysis, read_entry, read_incident
from leakmatch.pipeline.worker import ANALYSER, READER
from leakmatch.records import Entry, Incident, ItemKind, Stop

#: Pictures an analyser holds: one it looks at, and some to go on with while the parent joins or commits.
AHEAD: Final = 4
FILES_AHEAD: Final = 16  # files the reader is told of, at most, before it has read them
ITEMS_EACH: Final = 2 * AHEAD  # in flight for each analyser
BYTES_EACH: Final = 8 << 20
START_SECONDS: Final = 120.0
START_TRIES: Final = 5
TICK: Final = 0.1
WATCH_SECONDS: Final = 0.05  # between two looks at what workers do
#: No turn counts as longer: what passes beyond it, this process was busy with other things, or stood still.
LONGEST_TURN: Final = 1.0
_TELL_SHARE: Final = 8  # of what may be in flight is done when the reader is told so

_log = logging.getLogger(__name__)


class Pool:
    """An executor of worker processes. Start it before a gallery or a key is read."""

    def __init__(self, setup: Setup, analysers: int, scratch: str = "") -> None:
        self._setup = _for_all(setup, analysers)
        self._confinement = offered().to_json()
        self._rooms = Rooms(scratch)
        self._selector = selectors.DefaultSelector()
        self._workers: list[Worker] = []
        self._queue: deque[Picture] = deque()
        self._walks: dict[int, Walk] = {}  # by file: being read, or with pictures still on their way
        self._unread: deque[Walk] = deque()  # those that are not read to their end
        self._sink: Sink | None = None
        self._released = [0, 0]
        self._crops = 0  # in flight, of a second look
        self._now = self._heard = self._watched = 0.0  # by a clock that goes while this process turns
        self._turned = time.monotonic()
        self._failed_starts = 0  # in a row
        self.looking_seconds = 0.0
        try:
            for role in (READER, *[ANALYSER] * analysers):
                self._spawn(role)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Kill every worker and drop what was in flight."""
        for worker in list(self._workers):
            self._queue.extend(worker.pictures)
            self._kill(worker)
        for picture in self._queue:
            os.close(picture.descriptor)
        self._queue.clear()
        self._selector.close()
        self._rooms.close()

    # The run

    def run(self, tasks: Iterable[FileTask], sink: Sink) -> None:
        """Walk every file and look at every picture that the sink wants; returns when all is done.

        Raises what the sink raises, and :class:`LeakMatchError` where workers cannot be started.
        """
        self._sink = sink
        pending = iter(tasks)
        more = True
        while True:
            # The reader takes no frame while it walks: more walks than fit into its socket would block both sides.
            while more and len(self._unread) < FILES_AHEAD and len(self._walks) < self._setup.in_flight_items:
                task = next(pending, None)
                more = task is not None
                if task is not None:
                    self._begin(Walk(task))
            if not more and not self._walks:
                return
            self._turn()

    def look_again(self, crops: Iterable[tuple[FileTask, Entry, bytes]], sink: Sink) -> None:
        """Have an analyser look at every crop of a face, after :meth:`run`; the sink takes or loses each.

        By new processes: one that hostile pictures may have taken over must not speak about the faces of others.
        """
        self._sink = sink
        for number, (task, entry, crop) in enumerate(crops):
            if number == 0:
                self._renew_analysers()
            self._queue.append(Picture(task, entry, memory_file(crop), again=True))
            self._crops += 1
            while self._crops >= self._setup.in_flight_items:
                self._turn()
        while self._crops:
            self._turn()

    def _renew_analysers(self) -> None:
        for worker in [worker for worker in self._workers if worker.role == ANALYSER]:
            self._kill(worker)
            self._spawn(ANALYSER)

    def _turn(self) -> None:
        for key, _ in self._selector.select(TICK):
            worker: Worker = key.data
            messages: deque[Message] = deque()
            try:
                messages.extend(worker.channel.drain())
                while messages:
                    self._take(worker, messages.popleft())
            except (ChannelClosed, ProtocolError) as error:
                for message in messages:
                    message.discard()
                self._replace(worker, str(error), died=isinstance(error, ChannelClosed))
        before, self._turned = self._turned, time.monotonic()
        self._now += min(self._turned - before, LONGEST_TURN)
        self._dispatch()
        self._release()
        self._watch()
        self._current_sink.tick()

    @property
    def _current_sink(self) -> Sink:
        if self._sink is None:
            raise LeakMatchError("A worker answered before the run began.")
        return self._sink

    def _take(self, worker: Worker, message: Message) -> None:
        if message.descriptor is not None and (worker.role, message.kind) != (READER, "entry"):
            message.discard()
            raise ProtocolError("A worker sent a descriptor that nobody asked for.")
        if message.kind == "ready":
            if worker.ready:
                raise ProtocolError("A worker was ready twice.")
            if message.fields != self._confinement:
                raise LeakMatchError(f"A worker is not confined as this machine can ({message.fields}).")
            worker.ready = True
            self._failed_starts = 0
            worker.since = self._heard = self._now
        elif message.kind == "failed":
            if not worker.ready and message.fields.get("exit_code") != errors.DEFECT:
                raise start_error(message)
            told = str(message.fields.get("message")).strip()
            _log.warning("a worker (%s) met a defect:\n%s", worker.role, printable_lines(told))
            raise ProtocolError(f"a defect in LeakMatch ({told.splitlines()[-1] if told else 'unknown'})")
        elif worker.role == READER:
            self._heard = self._now
            self._take_from_reader(message)
        else:
            self._take_from_analyser(worker, message)

    # Reading

    def _begin(self, walk: Walk) -> None:
        if not self._unread:
            self._heard = self._now
        self._walks[walk.task.file] = walk
        self._unread.append(walk)
        try:
            self._tell_reader(walk)
        except ChannelClosed as error:
            self._replace(self._reader, str(error))

    def _tell_reader(self, walk: Walk) -> None:
        known, task = walk.announced.ranges(), walk.task
        fields = {
            "file": task.file,
            "path": os.fsencode(task.path.absolute()).hex(),
            "root": task.root.to_json(),
            "stored": [known.starts, known.ends],
            "carriers": sorted(walk.carriers),
            "stops": [[stop.position, stop.next, str(stop.outcome), stop.reason] for stop in walk.stops.values()],
        }
        self._reader.channel.send("walk", fields)

    @property
    def _reader(self) -> Worker:
        return next(worker for worker in self._workers if worker.role == READER)

    def _take_from_reader(self, message: Message) -> None:
        walk = self._unread[0] if self._unread else None
        if walk is None or walk.task.file != message.fields.get("file"):
            message.discard()
            raise ProtocolError("The reader spoke of another file than the one it reads.")
        sink = self._current_sink
        if message.kind == "entry":
            self._found(walk, message)
        elif message.kind == "incident":
            sink.incident(walk.task, read_incident(message))
        elif message.kind == "reading":
            position = message.fields.get("position")
            if type(position) is int:
                sink.read(walk.task, position)
        elif message.kind == "walked":
            entries = message.fields.get("entries")
            if type(entries) is not int or entries != walk.announced.end or any(walk.announced.missing(entries)):
                raise ProtocolError("The reader says that it found another number of items than it announced.")
            self._read_to_end(walk, entries)
        else:
            raise ProtocolError(f"The reader sent an unknown frame {message.kind!r}.")

    def _found(self, walk: Walk, message: Message) -> None:
        try:
            entry = read_entry(message)
            self._check_entry(walk, entry, message)
            walk.announced.add(entry.position)
            if entry.members and entry.kind is not ItemKind.CONTAINER:
                walk.carriers.add(entry.position)
            if entry.cut and entry.outcome is not None:
                walk.stop(self._current_sink, Stop(entry.position, walk.announced.end, entry.outcome, entry.detail))
            look = self._current_sink.found(walk.task, entry) and entry.outcome is None
        except BaseException:
            message.discard()
            raise
        if look and message.descriptor is not None:
            walk.open += 1
            self._queue.append(Picture(walk.task, entry, message.descriptor))
        elif message.descriptor is not None:
            os.close(message.descriptor)
            self._released = [self._released[0] + 1, self._released[1] + entry.size]

    def _check_entry(self, walk: Walk, entry: Entry, message: Message) -> None:
        """Refuse an entry that no honest reader sends."""
        if entry.position in walk.announced or entry.position > walk.announced.end + POSITIONS_AHEAD:
            raise ProtocolError("The reader announced an item twice, or out of order.")
        if next(entry.locator.chain()) != walk.task.root or (entry.position == 0) != (entry.locator.parent is None):
            raise ProtocolError("The reader placed an item in another file.")
        unread = entry.outcome is None and self._setup.listing
        if (entry.outcome is None) != (message.descriptor is not None) and not unread:
            raise ProtocolError("The reader sent a picture without its bytes, or bytes of no picture.")
        if len(self._queue) > 2 * self._setup.in_flight_items:
            raise ProtocolError("The reader sent more pictures than it may.")

    def _release(self) -> None:
        """Tell the reader what is done: not of every picture, for each telling costs both sides some time."""
        items, size = self._released
        enough = items < 0 or items >= self._setup.in_flight_items // _TELL_SHARE
        enough = enough or size >= self._setup.in_flight_bytes // _TELL_SHARE
        if (items or size) and (enough or not (self._queue or any(worker.pictures for worker in self._workers))):
            self._released = [0, 0]
            try:
                self._reader.channel.send("released", {"items": items, "bytes": size})
            except ChannelClosed:
                _log.debug("the reader is gone; its successor starts with an empty account")

    def _read_to_end(self, walk: Walk, entries: int) -> None:
        walk.entries = entries
        self._unread.remove(walk)
        self._end_walk(walk)

    def _end_walk(self, walk: Walk) -> None:
        """Finish the file if it is read to its end and all its pictures are looked at."""
        if walk.entries is not None and not walk.open:
            del self._walks[walk.task.file]
            self._current_sink.finished(walk.task, walk.entries)

    # Looking

    def _dispatch(self) -> None:
        idle = [w for w in self._workers if w.role == ANALYSER and w.ready and len(w.pictures) < AHEAD and not w.alone]
        for worker in sorted(idle, key=lambda w: len(w.pictures)):
            while self._queue and len(worker.pictures) < AHEAD and not worker.alone:
                if self._queue[0].failures and worker.pictures:
                    break
                picture = self._queue.popleft()
                if not worker.pictures:
                    worker.since = self._now
                worker.pictures.append(picture)
                try:
                    worker.channel.send("again" if picture.again else "look", descriptor=picture.descriptor)
                except ChannelClosed as error:
                    self._replace(worker, str(error))
                    break

    def _take_from_analyser(self, worker: Worker, message: Message) -> None:
        if not worker.pictures or message.kind not in {"looked", "gave-up"} or message.descriptor is not None:
            raise ProtocolError("An analyser sent something it was not asked for.")
        if message.kind == "looked":
            analyses = read_analysis(message)
            self._setup.check(analyses)
            picture = self._done_with(worker)
            self._current_sink.looked(picture.task, picture.entry, analyses)
        else:
            picture = self._done_with(worker)
            self._current_sink.lost(picture.task, picture.entry, str(message.fields.get("message", "")))
        self._close_picture(picture)

    def _done_with(self, worker: Worker) -> Picture:
        # The pool's clock stands still while this process does, so that only time at work is counted.
        self.looking_seconds += self._now - worker.since
        worker.since = self._now
        return worker.pictures.popleft()

    def _close_picture(self, picture: Picture) -> None:
        os.close(picture.descriptor)
        if picture.again:
            self._crops -= 1
            return
        self._released = [self._released[0] + 1, self._released[1] + picture.entry.size]
        walk = self._walks[picture.task.file]
        walk.open -= 1
        self._end_walk(walk)

    # Failing

    def _watch(self) -> None:
        if self._now - self._watched < WATCH_SECONDS:
            return
        self._watched = self._now
        seconds, memory = self._setup.budget.seconds, self._setup.budget.memory
        for worker in list(self._workers):
            if worker.ended:
                if worker.process.poll() is not None:  # and has said nothing more since
                    self._replace(worker, worker.ended)
            elif not worker.ready:
                if self._now - worker.started > START_SECONDS:
                    raise LeakMatchError(f"A worker did not start within {START_SECONDS:.0f} seconds.")
            elif worker.resident() > memory:
                worker.end(f"it grew past {memory >> 20:,} MiB of memory")
            elif worker.in_memory_files() > memory:
                worker.end(f"it held more than {memory >> 20:,} MiB in memory files")
            elif worker.silence(self._now, self._since(worker)) > seconds:
                worker.end(f"no sign of life for {seconds:g} seconds")

    def _since(self, worker: Worker) -> float:
        """Since when a worker owes an answer, or a sign of life."""
        if worker.role == ANALYSER:
            return worker.since if worker.pictures else self._now
        if not self._unread or (worker.works_on()[2] and self._held()):
            self._heard = self._now
        return self._heard

    def _held(self) -> list[Picture]:
        """The reader's pictures that are on their way."""
        held = [p for p in self._queue if not p.again]
        return held + [p for w in self._workers for p in w.pictures if not p.again]

    def _replace(self, worker: Worker, reason: str, *, died: bool = True) -> None:
        if worker not in self._workers:
            return
        shown = worker.works_on()
        self._kill(worker)
        reason, blame = worker.death(reason, by_itself=died)
        if not worker.ready:
            self._failed_starts += 1
            if self._failed_starts >= START_TRIES:
                raise LeakMatchError(f"Worker processes cannot be started ({reason}).")
        _log.info("a worker (%s) is replaced: %s", worker.role, reason)
        self._spawn(worker.role)
        if worker.role == READER:
            if worker.ready and self._unread:  # else nothing had begun
                end = self._unread[0].lose_reader(self._current_sink, shown, reason, blame)
                if end is not None:
                    self._read_to_end(self._unread[0], end)
            self._resume_reading()
            return
        for picture in reversed(list(worker.pictures)[1:]):
            self._queue.appendleft(picture)
        if worker.pictures:
            self._failed(worker.pictures[0], reason, blame)

    def _failed(self, picture: Picture, reason: str, blame: int) -> None:
        picture.failures += 1
        picture.blame += blame
        if picture.blame < TOO_MUCH:
            self._queue.appendleft(picture)
            return
        sink, detail = self._current_sink, lost_over(picture.failures, reason)
        sink.incident(picture.task, Incident(picture.entry.locator, "pipeline", "worker-lost", detail))
        sink.lost(picture.task, picture.entry, detail)
        self._close_picture(picture)

    def _resume_reading(self) -> None:
        """Tell the new reader where to go on."""
        self._released = [0, 0]
        held = self._held()
        if held:  # the new reader's account: what is still in flight counts against it
            self._released = [-len(held), -sum(p.entry.size for p in held)]
        for walk in self._unread:
            self._tell_reader(walk)

    # Processes

    def _spawn(self, role: str) -> None:
        worker = Worker.start(role, self._setup, self._rooms.room(), self._now)
        self._workers.append(worker)
        self._selector.register(worker.channel, selectors.EVENT_READ, worker)

    def _kill(self, worker: Worker) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.channel)
        worker.kill()
        self._rooms.empty(worker.room)


def _for_all(setup: Setup, analysers: int) -> Setup:
    """``setup`` with as much in flight as so many analysers need. A picture in flight is an open file of the parent."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    items = max(setup.in_flight_items, ITEMS_EACH * analysers)
    size = max(setup.in_flight_bytes, BYTES_EACH * analysers)
    return replace(setup, in_flight_items=min(items, files // 2), in_flight_bytes=size)

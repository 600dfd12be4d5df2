"""A worker process: reads hostile files, or looks at hostile pictures. Holds no gallery, no key, no case.

Started as ``python -m leakmatch.pipeline.worker ROLE FD BOARD PARENT`` by :mod:`leakmatch.pipeline.pool` with a
scrubbed environment, and spoken to over the socket FD; BOARD is a memory file in which a reader shows what it works
on. Before it sees the first hostile byte it is confined (:mod:`leakmatch.pipeline.confine`). It ends when the socket
closes, and dies with its parent.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from leakmatch.errors import LeakMatchError
from leakmatch.locator import Locator
from leakmatch.pipeline.channel import Channel, ChannelClosed, Message, memory_file
from leakmatch.pipeline.confine import Bounds, Confinement, confine, outlive_nobody
from leakmatch.pipeline.tasks import Ranges, Sample, Setup
from leakmatch.pipeline.wire import analysis_message, entry_fields, incident_fields
from leakmatch.records import Entry, Outcome, Stop

READER: Final = "reader"
ANALYSER: Final = "analyser"

HEARTBEAT_SECONDS: Final = 0.25  # between two signs of life from a reader that has nothing else to say

ADDRESS_SPACE: Final = 6 << 30  # of a worker, with the files it maps


class Board:
    """What a reader shows while it works, without a word: which item of which file, and whether it waits for others.

    A memory file that the parent reads. What stands in it is a hint from an untrusted process.
    """

    _FORM: Final = struct.Struct("<qqq")

    def __init__(self, descriptor: int) -> None:
        os.ftruncate(descriptor, self._FORM.size)
        self._memory = mmap.mmap(descriptor, self._FORM.size)
        self.file = -1
        self._position = -1
        self.show(-1)

    def show(self, position: int, *, waits: bool = False) -> None:
        """The item at ``position`` of :attr:`file` is worked on."""
        self._position = position
        self._FORM.pack_into(self._memory, 0, self.file, position, waits)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The item is done, and its bytes wait to be taken."""
        position = self._position
        self.show(position, waits=True)
        yield
        self.show(position)

    @classmethod
    def read(cls, descriptor: int) -> tuple[int, int, bool]:
        """File, position and whether the reader waits; -1, -1, false where nothing sound is shown."""
        content = os.pread(descriptor, cls._FORM.size, 0)
        file, position, waits = cls._FORM.unpack(content) if len(content) == cls._FORM.size else (-1, -1, 0)
        return file, position, waits == 1


class Reader:
    """Walks source files and hands over entries, and the bytes of pictures as anonymous memory files."""

    def __init__(self, channel: Channel, setup: Setup, board: Board) -> None:
        from leakmatch.imaging.sniff import image_format
        from leakmatch.sources.passwords import Passwords
        from leakmatch.sources.scratch import Scratch

        self._channel = channel
        self._setup = setup
        self._board = board
        self._budget = setup.budget
        self._passwords = Passwords([bytes.fromhex(line) for line in setup.passwords])
        self._scratch = Scratch(path_of(setup.scratch), setup.budget.scratch_bytes)
        self._sample = Sample(image_format) if setup.listing else None
        self._tasks: deque[Message] = deque()
        self._waiting_items = 0
        self._waiting_bytes = 0

    def serve(self) -> None:
        """Walk the files that the parent names, one after the other, until it closes the socket."""
        while True:
            while not self._tasks:
                self._receive()
            self._walk(self._tasks.popleft())

    def _receive(self) -> None:
        self._take(self._channel.receive())

    def _take(self, message: Message) -> None:
        if message.kind == "released":
            self._waiting_items -= message.fields["items"]
            self._waiting_bytes -= message.fields["bytes"]
        else:
            self._tasks.append(message)

    def _walk(self, task: Message) -> None:
        from leakmatch.imaging.sniff import image_format
        from leakmatch.sources.walk import Before, walk

        file = task.fields["file"]
        stored = Ranges(tuple(task.fields["stored"][0]), tuple(task.fields["stored"][1]))
        stops = [Stop(at, end, Outcome(outcome), why) for at, end, outcome, why in task.fields["stops"]]
        end = max([*stored.ends, *(stop.next for stop in stops)], default=0)
        self._board.file = file
        found_items = walk(
            path_of(task.fields["path"]),
            Locator.from_json(task.fields["root"]),
            self._budget,
            self._sample.format if self._sample else image_format,
            self._sample or (lambda position: position not in stored),
            self._heartbeat(file),
            self._passwords,
            self._scratch,
            Before(
                max(stored.ends, default=0),
                {stop.position: stop for stop in stops},
                frozenset(task.fields["carriers"]),
            ),
            self._board.show,
        )
        for found in found_items:
            if not isinstance(found, Entry):
                self._channel.send("incident", {"file": file, **incident_fields(found)})
                continue
            end = max(end, found.position + 1)
            if found.position in stored:
                continue
            if found.payload is None:
                self._channel.send("entry", {"file": file, **entry_fields(found)})
            else:
                with self._board.waiting():
                    self._hand_over(file, found, found.payload)
        self._board.file = -1
        self._board.show(-1)
        self._channel.send("walked", {"file": file, "entries": end})

    def _heartbeat(self, file: int) -> Callable[[int], None]:
        """What tells the parent how far into ``file`` the walk is, a few times a second at most."""
        told = -HEARTBEAT_SECONDS

        def tell(position: int) -> None:
            nonlocal told
            now = time.monotonic()
            if now - told >= HEARTBEAT_SECONDS:
                told = now
                self._channel.send("reading", {"file": file, "position": position})

        return tell

    def _hand_over(self, file: int, entry: Entry, payload: bytes) -> None:
        for message in self._channel.drain():  # else what is told of few pictures among many files fills the socket
            self._take(message)
        while self._waiting_items and (
            self._waiting_bytes + len(payload) > self._setup.in_flight_bytes
            or self._waiting_items >= self._setup.in_flight_items
        ):
            self._receive()
        descriptor = memory_file(payload)
        try:
            self._channel.send("entry", {"file": file, **entry_fields(entry)}, descriptor=descriptor)
        finally:
            os.close(descriptor)
        self._waiting_items += 1
        self._waiting_bytes += len(payload)


class Analyser:
    """Looks at the pictures it is handed."""

    def __init__(self, channel: Channel, setup: Setup) -> None:
        import cv2

        from leakmatch.faces.engine import FaceEngine
        from leakmatch.faces.packs import load_pack
        from leakmatch.pipeline.stages import Looker

        cv2.setNumThreads(1)
        self._channel = channel
        engine = FaceEngine(load_pack(Path(setup.pack)), setup.engine)
        self._looker = Looker(engine, setup.budget, mirrored=setup.mirrored)

    def serve(self) -> None:
        """Answer every picture with an analysis, until the parent closes the socket."""
        while True:
            message = self._channel.receive()
            if message.descriptor is None:
                raise ChannelClosed("No picture came with the request.")
            try:
                payload = _contents(message.descriptor)
            finally:
                os.close(message.descriptor)
            try:
                again = message.kind == "again"
                analyses = [self._looker.look_again(payload)] if again else self._looker.look(payload)
                fields, arrays = analysis_message(analyses)
            except MemoryError:
                self._channel.send("gave-up", {"message": "the picture needs more memory than a worker may use"})
                continue
            self._channel.send("looked", fields, arrays)


def _contents(descriptor: int) -> bytes:
    size = os.fstat(descriptor).st_size
    if size == 0:
        return b""
    with mmap.mmap(descriptor, size, prot=mmap.PROT_READ) as memory:
        return memory[:]


def path_of(text: str) -> Path:
    """The path in hexadecimal, as paths travel in frames."""
    return Path(os.fsdecode(bytes.fromhex(text)))


def _confined(setup: Setup) -> Confinement:
    """Hold this process to what ``setup`` lets it reach."""
    budget = setup.budget
    return confine(
        Bounds(
            read=(Path(setup.pack), *map(path_of, setup.readable)),
            listed=tuple(map(path_of, setup.listed)),
            scratch=path_of(setup.scratch),
            file_bytes=max(budget.scratch_bytes, budget.member_bytes),
            memory=budget.memory - budget.memory // 8,  # the rest is for the libraries, which it maps
            address_space=max(ADDRESS_SPACE, 2 * budget.memory),
        )
    )


def main(role: str, descriptor: int, board: int, parent: int) -> None:
    """Serve until the parent closes the socket."""
    channel = Channel(socket.socket(fileno=descriptor))
    with contextlib.suppress(ChannelClosed):
        try:
            if not outlive_nobody(parent):
                return
            setup = Setup.from_json(dict(channel.receive().fields))
            shown = Board(board)
            held = _confined(setup)
            worker = Reader(channel, setup, shown) if role == READER else Analyser(channel, setup)
            channel.send("ready", held.to_json())
            worker.serve()
        except ChannelClosed:
            raise
        except LeakMatchError as error:
            channel.send("failed", {"message": str(error), "exit_code": error.exit_code})
        except BaseException:  # noqa: BLE001 - the parent is told everything, whatever it is
            channel.send("failed", {"message": traceback.format_exc()[-4000:], "exit_code": 1})


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

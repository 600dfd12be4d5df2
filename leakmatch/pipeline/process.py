"""One worker process as the pool sees it: how it is started, what it holds, how it is ended."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from leakmatch import errors
from leakmatch.errors import LeakMatchError
from leakmatch.offered import ONE_THREAD
from leakmatch.ort import NO_TELEMETRY
from leakmatch.pipeline.channel import Channel, Message
from leakmatch.pipeline.tasks import FileTask, Setup
from leakmatch.pipeline.worker import READER, Board
from leakmatch.records import Entry

SEND_SECONDS: Final = 30  # a worker that takes no frame for so long is taken for dead

#: What Python runs as a worker.
PROGRAM: tuple[str, ...] = ("-m", "leakmatch.pipeline.worker")

#: What the loss of a worker counts against what it worked on. One that was killed from outside, and not by the pool, is
#: likely to have fallen to the system or a person: it takes four of those.
LOST: Final = 2
KILLED: Final = 1
TOO_MUCH: Final = 4

#: Arrow's own allocator would ask for a whole gigabyte at once, which a worker is not given.
_SMALL_HEAPS: Final = {"ARROW_DEFAULT_MEMORY_POOL": "system"}

_BRIEF: Final = 1.0  # seconds
_OWN_SHARE: Final = 0.1  # of the time that passes counts in any case

_PAGE: Final = os.sysconf("SC_PAGESIZE")


@dataclass(slots=True, eq=False)
class Picture:
    """A picture on its way to an analyser: where it is, the memory file with its bytes, how many workers were lost over
    it, and what that counts.

    ``again``: it is the crop of a face that was looked at before.
    """

    task: FileTask
    entry: Entry
    descriptor: int
    failures: int = 0
    blame: int = 0
    again: bool = False


@dataclass(slots=True, eq=False)
class Worker:
    """A process, its channel, and what it holds. ``ended``: why the pool has killed it; empty for one that lives."""

    role: str
    process: subprocess.Popen[bytes]
    channel: Channel
    board: int
    room: Path
    started: float
    ready: bool = False
    ended: str = ""
    since: float = 0.0  # when the first of ``pictures`` came to be its next one
    noticed: tuple[float, float] = (-1.0, 0.0)  # since when it owes something, and how long it had waited by then
    pictures: deque[Picture] = field(default_factory=deque)

    @classmethod
    def start(cls, role: str, setup: Setup, room: Path, now: float) -> Worker:
        """Spawn a worker with a scrubbed environment and tell it what to do; it says ``ready`` later.

        ``room``: its scratch folder. ``now``: by the clock of the pool.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        board = os.memfd_create("board", os.MFD_CLOEXEC)
        with theirs:
            command = [sys.executable, "-P", "-s", *PROGRAM, role]
            command += [str(theirs.fileno()), str(board), str(os.getpid())]
            process = subprocess.Popen(
                command,
                env=scrubbed_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("LEAKMATCH_DEBUG") else subprocess.DEVNULL,
                pass_fds=[theirs.fileno(), board],
                start_new_session=True,
            )
        ours.settimeout(SEND_SECONDS)
        worker = cls(role, process, Channel(ours), board, room, now)
        told = replace(setup if role == READER else setup.for_analyser(), scratch=os.fsencode(room).hex())
        worker.channel.send("setup", told.to_json())
        return worker

    def works_on(self) -> tuple[int, int, bool]:
        """What a reader shows: see :meth:`leakmatch.pipeline.worker.Board.read`."""
        return Board.read(self.board)

    def resident(self) -> int:
        """Bytes of memory that the process and its children have, 0 for one that has ended."""
        return sum(map(_resident, _with_children(self.process.pid)))

    def in_memory_files(self) -> int:
        """Bytes of the memory files that the process holds open, which are nobody's resident memory until mapped."""
        return _memory_files(self.process.pid, os.fstat(self.board).st_dev)

    def silence(self, now: float, since: float) -> float:
        """Seconds for which the process could have answered, of those from ``since`` to ``now``.

        While it waits for a core it cannot, on a machine that has too much to do.
        """
        silent = now - since
        if silent < _BRIEF:
            return silent
        waited = _waited(self.process.pid)
        if self.noticed[0] != since:
            self.noticed = since, waited
        return max(silent - (waited - self.noticed[1]), silent * _OWN_SHARE)

    def end(self, reason: str) -> None:
        """Kill the process; what it has said before is still to be read."""
        self.ended = reason
        self._signal()

    @property
    def alone(self) -> bool:
        """Whether it holds a picture that has failed before, and must be given no other."""
        return any(picture.failures for picture in self.pictures)

    def kill(self) -> None:
        """End the process at once and wait for it."""
        self.channel.close()
        self._signal()
        self.process.wait()
        os.close(self.board)

    def _signal(self) -> None:
        """To the process and what it has started: it leads a group of its own."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def death(self, reason: str, *, by_itself: bool) -> tuple[str, int]:
        """Why it was lost, in words, and what that counts. After :meth:`kill`; ``by_itself``: which found it dead."""
        code = self.process.returncode
        if self.ended:
            return self.ended, LOST
        if by_itself and code is not None and code >= 0:
            return f"it ended (exit code {code})", LOST
        if by_itself and code is not None:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
            return f"it was ended by {name}", KILLED if code == -signal.SIGKILL else LOST
        return reason, LOST


def _resident(process: int) -> int:
    try:
        text = Path(f"/proc/{process}/statm").read_text(encoding="ascii")
    except OSError:
        return 0
    return int(text.split()[1]) * _PAGE


def _memory_files(process: int, device: int) -> int:
    """``device``: that of all memory files."""
    held: dict[int, int] = {}
    try:
        with os.scandir(f"/proc/{process}/fd") as descriptors:
            for descriptor in descriptors:
                with contextlib.suppress(OSError):  # closed meanwhile
                    status = descriptor.stat()
                    if status.st_dev == device:
                        held[status.st_ino] = 512 * status.st_blocks
    except OSError:
        return 0
    return sum(held.values())


def _waited(process: int) -> float:
    """Seconds for which the process was ready and had no core; 0 where the kernel does not tell."""
    try:
        text = Path(f"/proc/{process}/schedstat").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(text.split()[1]) / 1e9


def _with_children(process: int) -> list[int]:
    """The process and all below it. A worker that the kernel holds can have none."""
    found = [process]
    for parent in found:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii")
        except OSError:
            continue
        found += map(int, children.split())
    return found


def start_error(message: Message) -> LeakMatchError:
    """Why a worker could not begin, as the error that the user gets."""
    text = str(message.fields.get("message"))
    by_code = {errors.USAGE: errors.UsageError, errors.INTEGRITY: errors.IntegrityError}
    return by_code.get(int(message.fields.get("exit_code", 1)), LeakMatchError)(text)


def scrubbed_environment() -> dict[str, str]:
    """What a worker gets to see: no key, no passphrase, no proxy; every library held to one thread."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    package = str(Path(__file__).resolve().parents[2])
    keep |= ONE_THREAD | NO_TELEMETRY | _SMALL_HEAPS
    return {**keep, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}

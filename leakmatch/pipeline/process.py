"""One worker process as the pool sees it: how it is started, what it holds, how it is ended."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from leakmatch import errors
from leakmatch.errors import LeakMatchError
from leakmatch.offered import ONE_THREAD
from leakmatch.ort import NO_TELEMETRY
from leakmatch.pipeline.channel import Channel, Message
from leakmatch.pipeline.tasks import FileTask, Setup
from leakmatch.records import Entry

SEND_SECONDS = 30  # a worker that takes no frame for so long is taken for dead


@dataclass(slots=True, eq=False)
class Picture:
    """A picture on its way to an analyser: where it is, the memory file with its bytes, how often it failed.

    ``again``: it is the crop of a face that was looked at before.
    """

    task: FileTask
    entry: Entry
    descriptor: int
    failures: int = 0
    again: bool = False


@dataclass(slots=True, eq=False)
class Worker:
    """A process, its channel, and what it holds."""

    role: str
    process: subprocess.Popen[bytes]
    channel: Channel
    started: float
    ready: bool = False
    since: float = 0.0  # when the first of ``pictures`` came to be its next one
    pictures: deque[Picture] = field(default_factory=deque)

    @classmethod
    def start(cls, role: str, setup: Setup) -> Worker:
        """Spawn a worker with a scrubbed environment and tell it what to do; it says ``ready`` later."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            command = [sys.executable, "-P", "-s", "-m", "leakmatch.pipeline.worker", role]
            command += [str(theirs.fileno()), str(os.getpid())]
            process = subprocess.Popen(
                command,
                env=scrubbed_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if os.environ.get("LEAKMATCH_DEBUG") else subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        ours.settimeout(SEND_SECONDS)
        worker = cls(role, process, Channel(ours), time.monotonic())
        worker.channel.send("setup", setup.to_json())
        return worker

    @property
    def alone(self) -> bool:
        """Whether it holds a picture that has failed before, and must be given no other."""
        return any(picture.failures for picture in self.pictures)

    def kill(self) -> None:
        """End the process at once and wait for it."""
        self.channel.close()
        self.process.kill()
        self.process.wait()


def start_error(message: Message) -> LeakMatchError:
    """Why a worker could not begin, as the error that the user gets."""
    text = str(message.fields.get("message"))
    by_code = {errors.USAGE: errors.UsageError, errors.INTEGRITY: errors.IntegrityError}
    return by_code.get(int(message.fields.get("exit_code", 1)), LeakMatchError)(text)


def scrubbed_environment() -> dict[str, str]:
    """What a worker gets to see: no key, no passphrase, no proxy; every library held to one thread."""
    keep = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    package = str(Path(__file__).resolve().parents[2])
    return {**keep, **ONE_THREAD, **NO_TELEMETRY, "PYTHONPATH": package, "PYTHONDONTWRITEBYTECODE": "1"}

"""What a tree of processes takes: memory at its peak, and processor time by role. From ``/proc``, so on Linux only."""

from __future__ import annotations

import os
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

PARENT: Final = "parent"
_EVERY: Final = 0.25  # seconds between two looks
_WORKER: Final = b"leakmatch.pipeline.worker"
_TICK: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(slots=True)
class Usage:
    """``peak_bytes``: the most that all processes together held at one time; pages that several share count once.

    ``cpu_seconds``: processor time of each role (:data:`PARENT`, ``reader``, ``analyser``), all its processes together.
    Both are 0 or empty where the system does not tell.
    """

    peak_bytes: int = 0
    cpu_seconds: Counter[str] = field(default_factory=Counter)
    worker_bytes: int = 0  #: the most that one worker held on its own
    threads: Counter[str] = field(default_factory=Counter)  #: the most that one process of each role had
    role_bytes: Counter[str] = field(default_factory=Counter)  #: the most that all processes of each role held


class Watch:
    """Watches a process, this one unless told, and its workers while it is entered.

    What a process did in its last quarter of a second, before it ended by itself, may be missed. To look at memory
    costs the process that is looked at some milliseconds each time; ``memory`` false leaves it alone.
    """

    def __init__(self, pid: int | None = None, *, memory: bool = True) -> None:
        self._pid = pid or os.getpid()
        self._memory = memory
        self._peak = self._worker = 0
        self._cpu: dict[tuple[str, int], float] = {}
        self._threads: Counter[str] = Counter()
        self._role_bytes: Counter[str] = Counter()
        self._base = _cpu_seconds(self._pid) or 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def usage(self) -> Usage:
        """What was seen so far."""
        seconds: Counter[str] = Counter()
        for (role, _), taken in list(self._cpu.items()):
            seconds[role] += taken  # type: ignore[assignment]
        return Usage(self._peak, seconds, self._worker, Counter(self._threads), Counter(self._role_bytes))

    def _run(self) -> None:
        while not self._stop.wait(_EVERY):
            self._look()
        self._look()

    def _look(self) -> None:
        sizes: Counter[str] = Counter()
        for pid in [self._pid, *_children(self._pid)]:
            role = PARENT if pid == self._pid else _role(pid)
            taken = _cpu_seconds(pid)
            if role is None or taken is None:
                continue
            self._cpu[role, pid] = taken - self._base if role == PARENT else taken
            self._threads[role] = max(self._threads[role], _threads(pid))
            if self._memory:
                size = _proportional_bytes(pid)
                sizes[role] += size
                if role != PARENT:
                    self._worker = max(self._worker, size)
        self._peak = max(self._peak, sizes.total())
        self._role_bytes |= sizes


def cpu_by_role(pid: int) -> Counter[str]:
    """Processor seconds that process ``pid`` and its workers have taken so far, all processes of a role together."""
    seconds: Counter[str] = Counter()
    for process in [pid, *_children(pid)]:
        role = PARENT if process == pid else _role(process)
        if role is not None:
            seconds[role] += _cpu_seconds(process) or 0.0  # type: ignore[assignment]
    return seconds


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        for task in tasks:
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        return found  # ended meanwhile, or not Linux
    return found


def _role(pid: int) -> str | None:
    """``None`` for a process that is no worker of LeakMatch's."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return None
    return words[words.index(_WORKER) + 1].decode() if _WORKER in words else None


def _cpu_seconds(pid: int) -> float | None:
    """User and system time, proc(5): fields 14 and 15 of ``stat``; the name in field 2 may hold anything."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(after_name[11]) + int(after_name[12])) / _TICK


def _threads(pid: int) -> int:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return 0  # ended meanwhile


def _proportional_bytes(pid: int) -> int:
    """Memory held, each shared page divided by the number of processes that share it; 0 where it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

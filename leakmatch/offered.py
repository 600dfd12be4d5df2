"""What the machine really offers this process: cores by affinity and quota, memory by limit and by what is free.

A container sees all cores and all memory of its host, and is held to its share by control groups: of version 2
(``cpu.max``, ``memory.max``) or 1 (``cpu.cfs_quota_us``, ``memory.limit_in_bytes``). The limits of a group's parents
hold as well. Linux only; elsewhere, and where a file is missing or odd, no limit is assumed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Final

#: Keeps the libraries below numpy, faiss and OpenCV to the calling thread. Read when they are first imported.
ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"
)

_GROUPS: Final = "sys/fs/cgroup"
_UNIFIED: Final = ""  # what /proc/self/cgroup calls version 2, which has no list of controllers


@dataclass(frozen=True, slots=True)
class Offered:
    """``affinity``: cores that this process may run on. ``quota``: cores' worth of time it may take, ``None`` for no
    limit. ``memory``: bytes that may still be taken, ``None`` where the system does not tell."""

    affinity: int
    quota: float | None = None
    memory: int | None = None

    @property
    def cores(self) -> int:
        """Processes that can be kept busy. A broken core counts as one: it would be lost otherwise."""
        return self.affinity if self.quota is None else max(1, min(self.affinity, math.ceil(self.quota - 1e-6)))

    def workers(self, each: int) -> int:
        """Workers of ``each`` bytes to start: one for each core, as far as three quarters of the memory carry.

        The last quarter is for the parent, the gallery and the cache of the file system.
        """
        if self.memory is None:
            return self.cores
        return max(1, min(self.cores, self.memory * 3 // 4 // each))


def offered(root: Path = Path("/")) -> Offered:
    """What this process is offered. ``root`` is where ``proc`` and ``sys`` lie."""
    groups = _groups(_text(root / "proc/self/cgroup"))
    quotas = [quota for folder in _folders(root, groups, "cpu") if (quota := _quota(folder)) is not None]
    free = [left for folder in _folders(root, groups, "memory") if (left := _left(folder)) is not None]
    available = _field(_text(root / "proc/meminfo"), "MemAvailable:")
    if available is not None:
        free.append(1024 * available)
    return Offered(_affinity(), min(quotas, default=None), min(free, default=None))


@cache
def offered_at_first() -> Offered:
    """What was offered when this was first asked: later, the workers themselves have taken their part of the memory."""
    return offered()


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(text: str) -> dict[str, str]:
    """The group of this process by controller, from lines ``number:controllers:path`` (cgroups(7))."""
    found = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for controller in controllers.split(","):
            found[controller] = path
    return found


def _folders(root: Path, groups: dict[str, str], controller: str) -> Iterator[Path]:
    """The folders of this process's group and its parents, as far as they can be seen from here.

    In a container the path may be the host's, of which only the container's own part is mounted, as the root.
    """
    base = root / _GROUPS
    mounted = [(base, groups.get(_UNIFIED)), (base / "unified", groups.get(_UNIFIED))]
    if controller in groups:
        joined = next((path for path in _listed(base) if controller in path.name.split(",")), base / controller)
        mounted.append((joined, groups[controller]))
    for folder, path in mounted:
        if path is not None:
            inner = PurePosixPath(path.lstrip("/"))
            if ".." not in inner.parts:
                yield from (folder / part for part in (inner, *inner.parents))


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _quota(folder: Path) -> float | None:
    """Cores' worth of time: microseconds of processor time in each period."""
    words = _text(folder / "cpu.max").split() or [
        _text(folder / "cpu.cfs_quota_us").strip(),
        _text(folder / "cpu.cfs_period_us").strip(),
    ]
    numbers = [_number(word) for word in words]
    if len(numbers) != 2 or numbers[0] is None or not numbers[1] or numbers[0] <= 0:
        return None  # "max" in version 2, -1 in version 1
    return numbers[0] / numbers[1]


def _left(folder: Path) -> int | None:
    """Bytes up to the group's limit; what the kernel would give up first, cache not in use, counts as free."""
    for limit, used, idle in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        most, taken = _number(_text(folder / limit)), _number(_text(folder / used))
        if most is not None and taken is not None:
            return max(0, most - max(0, taken - (_field(_text(folder / "memory.stat"), idle) or 0)))
    return None


def _field(text: str, name: str) -> int | None:
    words = next((line.split() for line in text.splitlines() if line.split()[:1] == [name]), [])
    return _number(words[1]) if len(words) > 1 else None


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""

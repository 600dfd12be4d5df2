"""What a worker gives up before it sees the first hostile byte, and how it says so (docs/isolation.md)."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from leakmatch.pipeline import landlock, seccomp

#: Landlock of this ABI can withhold what is worth withholding of files: truncation was the last that mattered.
_FILES: Final = 3

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
_CAPABILITIES: Final = 0x20080522  # the version of the structures that capset takes
_MOST_DESCRIPTORS: Final = 1024  # open at once; the parent looks through them
_MAY_READ_ALL: Final = 1 << 2  # CAP_DAC_READ_SEARCH: root scans what belongs to others

#: What libraries read of the system: themselves, and what machine this is.
_SYSTEM: Final = (
    *("/usr", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime"),
    *("/etc/alternatives", "/etc/ssl/openssl.cnf", "/nix/store", "/dev/null", "/dev/zero", "/dev/urandom"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/filesystems", "/proc/sys/kernel", "/proc/sys/vm"),
    *("/sys/devices/system", "/sys/fs/cgroup"),
)


@dataclass(frozen=True, slots=True)
class Confinement:
    """What holds a worker. ``landlock``: the ABI number of the kernel, 0 for none. ``seccomp``: whether system calls
    are filtered."""

    landlock: int
    seccomp: bool

    def missing(self) -> list[str]:
        """What a taken-over worker could do all the same, each as the end of a sentence; nothing where all holds."""
        can = []
        if not self.landlock:
            can.append("read and change files of this user")
        elif self.landlock < _FILES:
            can.append("empty files of this user")
        if not self.seccomp:
            can.append("reach the network")
        return can

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def offered() -> Confinement:
    """What this machine has to confine a worker with."""
    return Confinement(landlock.abi(), seccomp.available())


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a worker may reach and take: files to ``read`` and folders whose names it may list, its own folder to
    write in, bytes of one file it writes, bytes of ``memory`` of its own and of ``address_space`` with all it maps."""

    read: tuple[Path, ...]
    listed: tuple[Path, ...]
    scratch: Path
    file_bytes: int
    memory: int
    address_space: int


def outlive_nobody(parent: int) -> bool:
    """End with the parent, and not by Ctrl-C. False where the parent is gone already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return os.getppid() == parent


def confine(bounds: Bounds) -> Confinement:
    """Give up, for good, all that a worker never needs. Returns what holds now.

    Raises ``OSError`` where the kernel refuses what it offers, and ``RuntimeError`` in a process with several threads:
    only the calling one would be held.
    """
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - counted only
        raise RuntimeError("a worker has to be confined before it has threads")
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, bounds.file_bytes)
    _limit(resource.RLIMIT_NOFILE, _MOST_DESCRIPTORS)
    _limit(resource.RLIMIT_DATA, bounds.memory)
    _limit(resource.RLIMIT_AS, bounds.address_space)
    tempfile.tempdir = os.environ["TMPDIR"] = str(bounds.scratch)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    read = [*map(Path, _SYSTEM), Path("/proc/self"), *_python(), *bounds.read]
    held = landlock.restrict(read, bounds.listed, [bounds.scratch])
    _drop_capabilities()
    filtered = seccomp.available()
    if filtered:
        seccomp.restrict()
    return Confinement(held, filtered)


def _python() -> Iterable[Path]:
    """Where Python, the packages and LeakMatch lie; not the folder around a checkout of LeakMatch."""
    package = Path(__file__).resolve().parents[1]
    yield package
    yield package.parent / "models"
    folders = {sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix, *sys.path}
    for folder in sorted(Path(name).resolve() for name in folders if name):
        if folder != Path(folder.anchor) and (folder != package.parent or folder.name == "site-packages"):
            yield folder


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (most, most))


def _drop_capabilities() -> None:
    """Keep of root's powers only that of reading: a worker started by root would else change whatever it can reach."""
    keep = _MAY_READ_ALL if os.geteuid() == 0 else 0
    libc = ctypes.CDLL(None, use_errno=True)
    header = struct.pack("=Ii", _CAPABILITIES, 0)
    effective = permitted = keep
    data = struct.pack("=6I", effective, permitted, 0, 0, 0, 0)
    if libc.capset(header, data) != 0 and keep:
        data = bytes(24)  # root without that power, as in some containers
        if libc.capset(header, data) != 0:
            raise OSError(ctypes.get_errno(), f"capset: {os.strerror(ctypes.get_errno())}")


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")

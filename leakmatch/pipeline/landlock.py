"""Landlock: the process itself names the files it may still reach, and can never take that back (Linux 5.13).

See landlock(7) and the kernel's ``Documentation/userspace-api/landlock.rst``. What a kernel knows is told by its ABI
number: 1 files, 2 moving between folders, 3 truncating, 4 TCP, 5 devices, 6 signals and abstract sockets.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1

_WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL = 1 << 13, 1 << 14, 1 << 15
_MAKE_AND_REMOVE: Final = 0b1_1111_1111 << 4  # REMOVE_DIR to MAKE_SYM
_ODD: Final = 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11  # MAKE_CHAR, MAKE_SOCK, MAKE_FIFO, MAKE_BLOCK
_ABI_1: Final = (1 << 13) - 1
_OF_A_FILE: Final = 1 << 0 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL

_READ: Final = _READ_FILE | _READ_DIR
_WRITE: Final = _READ | _WRITE_FILE | _TRUNCATE | _REFER | (_MAKE_AND_REMOVE & ~_ODD)

_TCP: Final = 0b11  # bind and connect
_SCOPED: Final = 0b11  # abstract sockets and signals reach processes of this domain only


def abi() -> int:
    """What this kernel knows of Landlock; 0 for nothing, or where it is switched off."""
    if sys.platform != "linux":
        return 0
    found = _libc().syscall(ctypes.c_long(_CREATE), None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION_FLAG))
    return max(0, int(found))


def restrict(read: Iterable[Path], listed: Iterable[Path], write: Iterable[Path]) -> int:
    """Leave this process (its one thread, and all that come of it) the right to read ``read``, to list the names in
    ``listed``, and to read and write ``write``, each with all that is below. Programs cannot be run at all.

    Paths that are not there are passed over. Returns :func:`abi`; for 0 nothing was done. No new privileges must have
    been asked for before (``PR_SET_NO_NEW_PRIVS``). Raises ``OSError``.
    """
    known = abi()
    if not known:
        return 0
    handled = _handled(known)
    attributes = struct.pack("=QQQ", handled, _TCP if known >= 4 else 0, _SCOPED if known >= 6 else 0)
    ruleset = _call(_CREATE, attributes, ctypes.c_size_t(8 if known < 4 else 16 if known < 6 else 24), ctypes.c_uint(0))
    try:
        for paths, rights in ((read, _READ), (listed, _READ_DIR), (write, _WRITE)):
            for path in paths:
                _allow(ruleset, path, rights & handled)
        _call(_RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint(0))
    finally:
        os.close(ruleset)
    return known


def _handled(known: int) -> int:
    """Every right over files that the kernel can withhold."""
    rights = _ABI_1
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        if known >= since:
            rights |= right
    return rights


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not there, or beyond reach already
        return
    try:
        if not stat.S_ISDIR(os.fstat(place).st_mode):
            rights &= _OF_A_FILE
        if rights:
            rule = struct.pack("=Qi", rights, place)
            _call(_ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint(0))
    finally:
        os.close(place)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc

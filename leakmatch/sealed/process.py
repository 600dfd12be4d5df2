"""What a process that holds keys does for them."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_PR_SET_DUMPABLE: Final = 4  # linux/prctl.h


def forbid_core_dumps() -> None:
    """From here on a crash of this process writes no memory to disk, and others of its user cannot read its memory.

    The limit on core files alone is not enough: one of zero is ignored where the kernel pipes a dump into a program
    (core(5)); a process that is not dumpable is not dumped at all (prctl(2)).
    """
    try:
        import resource
    except ImportError:  # Windows writes no core files by default
        return
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, most))
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

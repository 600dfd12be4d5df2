"""What a measurement was made on."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from leakmatch.settings import usable_cores

#: Instruction sets that decide how fast the kernels used here are, by their names in ``/proc/cpuinfo``.
INSTRUCTION_SETS: Final = (
    "avx2", "fma", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_int8", "asimddp",
    "i8mm", "sve",
)  # fmt: skip

_PACKAGES: Final = (
    "leakmatch", "numpy", "scipy", "faiss-cpu", "onnxruntime", "openvino", "opencv-python-headless", "pillow",
)  # fmt: skip


def machine() -> dict[str, Any]:
    """The machine and the versions as JSON values. What the system does not tell is ``None``; an absent package is
    left out."""
    facts = _cpu_facts()
    flags = set((facts.get("flags") or facts.get("Features") or "").split())
    return {
        "cpu": facts.get("model name") or platform.processor() or None,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "usable_cores": usable_cores(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_gib": round(memory / 2**30, 1) if (memory := _memory_bytes()) is not None else None,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "versions": _versions(),
    }


def _cpu_facts() -> dict[str, str]:
    """The first processor of ``/proc/cpuinfo``; empty on other systems."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return {}
    lines = (line.split(":", 1) for line in text.split("\n\n", 1)[0].splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, value in lines}


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found

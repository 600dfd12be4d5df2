"""What tests of the command line share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Run(Protocol):
    """``leakmatch ARGUMENTS`` in a process of its own."""

    def __call__(self, *arguments: str | Path, file_limit: int | None = None, **environment: str) -> Done: ...

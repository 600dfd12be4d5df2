"""How a run tells what it has done so far."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told what a run has done so far."""

    def __call__(self, *, read: int, total: int, items: int, faces: int, candidates: int) -> None:
        """``read`` of ``total`` bytes of the source files; items, faces and candidates of this run so far."""


def no_progress(*, read: int, total: int, items: int, faces: int, candidates: int) -> None:
    """Keeps quiet."""

"""Progress on a terminal: what was done, at which rate, and how long it will take. Silent elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from leakmatch.pipeline.progress import Progress, no_progress

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


@contextmanager
def shown(what: str, counted: str, found: str, *, quiet: bool) -> Iterator[Progress]:
    """A progress callback. ``counted`` and ``found`` name the second and third figure."""
    if quiet or not sys.stderr.isatty():
        yield no_progress
        return
    with _bar() as bar:
        task = bar.add_task(what, total=None, counts="starting")
        yield _callback(bar, task, counted, found)


@contextmanager
def _bar() -> Iterator[Bar]:
    """A bar that appears with the first figure: before it, a passphrase may be asked for in its place."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[counts]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    try:
        yield bar
    finally:
        bar.stop()


def _callback(bar: Bar, task: int, counted: str, found: str) -> Progress:
    from rich.progress import TaskID

    def update(*, read: int, total: int, items: int, faces: int, candidates: int) -> None:
        bar.start()
        elapsed = bar.tasks[task].elapsed or 0.0
        rate = items / elapsed if elapsed > 1 else 0.0
        counts = f"{items:,} items ({rate:,.0f}/s), {faces:,} {counted}, {candidates:,} {found}"
        bar.update(TaskID(task), completed=read, total=max(total, 1), counts=counts)

    return update


@contextmanager
def counted(what: str, unit: str, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A callback ``(done, total)`` for work that is a number of things."""
    if quiet or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with _bar() as bar:
        task = bar.add_task(what, total=None, counts="starting")

        def update(done: int, total: int) -> None:
            bar.start()
            elapsed = bar.tasks[0].elapsed or 0.0
            rate = done / elapsed if elapsed > 1 else 0.0
            bar.update(task, completed=done, total=max(total, 1), counts=f"{done:,} {unit} ({rate:,.0f}/s)")

        yield update

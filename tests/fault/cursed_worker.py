"""A worker in which some items do what hostile bytes might make a library do. Run in the place of the real one.

The name of an item says what befalls the reader that opens it; a comment in a JPEG, the analyser that looks at it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import leakmatch.pipeline.stages as stages
import leakmatch.sources.walk as walk
from leakmatch.pipeline.worker import main

CURSE = re.compile(r"(hang|segv|kill|grow|busy|python-grow)!")
BETWEEN = re.compile(r"after-(\d+)-(hang|segv|kill)!")


def _grow() -> None:
    held = []
    while True:  # shared memory, which no limit but the watch bounds
        block = mmap.mmap(-1, 16 << 20)
        block.write(bytes(16 << 20))
        held.append(block)
        time.sleep(0.01)


def _python_grow() -> None:
    held = []
    while True:
        held.append(bytearray(b"x" * (16 << 20)))


def _busy(pulse: Callable[[], None]) -> None:
    while True:
        pulse()


def befall(curse: str, pulse: Callable[[], None]) -> None:
    {
        "hang": lambda: time.sleep(3600),
        "segv": lambda: ctypes.string_at(0),
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "grow": _grow,
        "python-grow": _python_grow,
        "busy": lambda: _busy(pulse),
    }[curse]()


_opened = walk.Walker._opened
_open_container = walk.open_container
_look = stages.Looker.look


def cursed_opened(self, item, position):
    found = CURSE.search(item.locator.name)
    if found is not None and BETWEEN.search(item.locator.name) is None:
        item = replace(item, open=lambda: befall(found[1], self._file.pulse))
    return _opened(self, item, position)


class CursedContainer:
    """A container whose reader comes to grief behind a number of its members."""

    def __init__(self, container, count: int, curse: str) -> None:
        self._container, self._count, self._curse = container, count, curse
        self.notes = container.notes

    def members(self) -> Iterator[object]:
        for number, member in enumerate(self._container.members()):
            if number == self._count:
                befall(self._curse, lambda: None)
            yield member


def cursed_open(opening):
    found = BETWEEN.search(opening.name)
    container = _open_container(opening)
    return container if found is None else CursedContainer(container, int(found[1]), found[2])


def cursed_look(self, payload):
    found = CURSE.search(payload[:100].decode("latin-1"))
    if found is not None:
        befall(found[1], lambda: None)
    return _look(self, payload)


walk.Walker._opened = cursed_opened
walk.open_container = cursed_open
stages.Looker.look = cursed_look

if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))

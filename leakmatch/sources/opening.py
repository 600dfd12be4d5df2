"""What a container reader is given: the bytes, the limits, and what helps to open them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from leakmatch.records import Budget
from leakmatch.sources.passwords import Passwords
from leakmatch.sources.scratch import Scratch
from leakmatch.sources.split.volumes import Volumes


@dataclass(frozen=True, slots=True)
class Opening:
    """A container to open.

    ``kind``: the format, as :func:`leakmatch.sources.registry.detect` names it. ``file``: its ``size`` bytes, seekable.
    ``name``: what the container itself is called. ``pulse`` is to be called now and then by readers that work long
    without reading from ``file``: it tells that they live, and raises where the time for the item is up. ``tried`` is
    to be called instead behind each password that was tried: the time that took is not the item's, since the number of
    tries has a limit of its own. ``ends`` is to be told where the container's own data ends, by readers that know: what
    lies behind that is visited too. ``places``: where pictures begin in what is no container by itself, and the end.
    """

    kind: str
    file: BinaryIO
    size: int
    name: str
    budget: Budget = field(default_factory=Budget)
    passwords: Passwords = field(default_factory=Passwords)
    scratch: Scratch = field(default_factory=Scratch)
    volumes: Volumes = field(default_factory=Volumes)
    pulse: Callable[[], None] = lambda: None
    tried: Callable[[], None] = lambda: None
    ends: Callable[[int], None] = lambda _: None
    places: tuple[int, ...] = ()

    @contextmanager
    def path(self) -> Iterator[Path]:
        """A path under which the container can be opened, for libraries that insist on one: on disk, or of a copy."""
        if self.volumes.path is not None:
            yield self.volumes.path
        else:
            with self.scratch.copied(self.file) as copy:
                yield copy

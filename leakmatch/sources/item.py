"""What the walk visits: the file on disk, a member of a container, an archive that lies in something else."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from leakmatch.locator import Locator
from leakmatch.sources.members import Member, Note
from leakmatch.sources.meter import Meter, metered
from leakmatch.sources.names import decode_name
from leakmatch.sources.split.parts import PartSet
from leakmatch.sources.split.sets import Whole, cut_set
from leakmatch.sources.split.volumes import Volumes
from leakmatch.sources.streams import FURTHEST

# With every level at its longest, the printable form of a locator stays below 1 MiB.
_LONGEST_NAME: Final = 4096
_DEEP: Final = 16
_LONGEST_DEEP_NAME: Final = 1024


@dataclass(frozen=True, slots=True)
class Item:
    """Something to visit.

    ``open`` gives its bytes from the start at each call; ``in_place`` is a file of them that can be sought at no cost.
    ``parts``: the set that its name is of a part of. ``whole``: the archive of which it is the first part, with the
    parts that follow. ``kind``: of the container that it is known to be. ``rest``: archives that are known to lie in
    it, kind and place.
    """

    locator: Locator
    size: int | None
    meter: Meter
    open: Callable[[], BinaryIO]
    in_place: BinaryIO | None = None
    notes: tuple[Note, ...] = ()
    frame: bool = False
    volumes: Volumes = field(default_factory=Volumes)
    parts: PartSet | None = None
    whole: Whole | None = None
    kind: str | None = None
    rest: tuple[tuple[str, int], ...] = ()


def file_item(
    locator: Locator, file: BinaryIO, size: int, meter: Meter, volumes: Volumes, parts: PartSet | None
) -> Item:
    """The file on disk."""

    def opened() -> BinaryIO:
        file.seek(0)
        return file

    return Item(locator, size, meter, opened, file, volumes=volumes, parts=parts, whole=cut_set(parts))


def member_item(container: Item, kind: str, member: Member, index: int, pulse: Callable[[], None]) -> Item:
    """The member of that ``index`` in a container of that ``kind``; ``pulse`` is called at each read of its bytes."""
    raw, name, notes = member.raw, member.name, member.notes
    longest = _LONGEST_NAME if container.locator.depth < _DEEP else _LONGEST_DEEP_NAME
    text = name.encode("utf-8", "surrogateescape")
    if (length := max(len(raw), len(text))) > longest:
        notes = (*notes, Note("corrupt", f"its name of {length} bytes was cut to {longest}"))
        raw, name = raw[:longest], decode_name(text[:longest], utf8=True)
    meter = container.meter.inner(member.stored)
    return Item(
        container.locator.child(kind, name, raw, index),
        None if member.size is None else min(max(member.size, 0), FURTHEST - 1),
        meter,
        cast("Callable[[], BinaryIO]", metered(member.open, meter, pulse)),
        notes=notes,
        frame=member.frame,
    )


def buffered(raw: io.RawIOBase, size: int) -> BinaryIO:
    """``raw`` with reads of ``size`` bytes."""
    return cast(BinaryIO, io.BufferedReader(raw, size))

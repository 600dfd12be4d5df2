"""Sets of parts on disk: read as one file through the part that carries them, and what becomes of the other parts."""

from __future__ import annotations

import io
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from leakmatch.errors import ItemError
from leakmatch.sources.archives.zip.directory import TAIL, last_disk
from leakmatch.sources.guard import volume_missing
from leakmatch.sources.names import decode_name
from leakmatch.sources.registry import HEAD_BYTES, TAR, detect
from leakmatch.sources.split.parts import CUT, PartSet, part_set
from leakmatch.sources.split.volumes import Volumes
from leakmatch.sources.streams import CHUNK, Seekable

_RAR: Final = b"Rar!\x1a\x07"
_MOST_DISKS: Final = 10_000
_UNKNOWN_SIZE: Final = 1 << 20
_NAMED: Final = 10  # names of missing parts in one message


@dataclass(frozen=True, slots=True)
class Extent:
    """A part, and where it begins in the whole. ``name`` is empty for one that is missing."""

    name: str
    start: int
    size: int


class Chained(Seekable):
    """Parts one behind the other as one file; at most one of them is open. ``pulse`` is called at each read.

    Where a part is missing, :class:`ItemError` (``needs-volume``) is raised, or, if ``lenient``, zeros are given.
    """

    def __init__(
        self, volumes: Volumes, extents: list[Extent], pulse: Callable[[], None], *, lenient: bool = False
    ) -> None:
        super().__init__()
        self._volumes, self._extents, self._pulse, self._lenient = volumes, extents, pulse, lenient
        self._open_name, self._file = "", cast(BinaryIO, io.BytesIO())
        self.size = extents[-1].start + extents[-1].size if extents else 0

    def _read_at(self, at: int, size: int) -> bytes:
        self._pulse()
        extent = self._extents[max(bisect_right(self._extents, at, key=lambda extent: extent.start) - 1, 0)]
        size = min(size, extent.start + extent.size - at)
        if size <= 0:
            return b""
        if not extent.name:
            if self._lenient:
                return bytes(size)
            raise volume_missing("it lies in a part that is not there")
        if extent.name != self._open_name:
            self.close_part()
            self._file, self._open_name = self._volumes.open(extent.name), extent.name
        self._file.seek(at - extent.start)
        return self._file.read(size)

    def _end(self) -> int:
        return self.size

    def close_part(self) -> None:
        """Close the part that is open."""
        self._file.close()
        self._open_name = ""

    def close(self) -> None:
        self.close_part()
        super().close()


@dataclass(frozen=True, slots=True)
class Whole:
    """A set as one file of ``size`` bytes, seen from its carrier."""

    parts: PartSet
    size: int
    extents: list[Extent]

    def open(self, pulse: Callable[[], None]) -> BinaryIO:
        """The parts that are there, joined."""
        return cast(BinaryIO, io.BufferedReader(Chained(self.parts.volumes, self.extents, pulse), 1 << 18))

    def failure(self, found: ItemError | None) -> ItemError | None:
        """Why the whole could not be read, if a part of it is missing; else what was ``found``."""
        if self.parts.missing:
            return volume_missing(_missing(self.parts.missing))
        if found is not None and len(self.parts.names) == 1 and found.code in ("truncated", "corrupt"):
            return volume_missing(f"{found}; it may go on in {_shown(self.parts.following)}, which is not there")
        return found


def cut_set(parts: PartSet | None) -> Whole | None:
    """The set of which the file is the first part, if it was cut anywhere. One part alone is a set as well."""
    if parts is None or parts.part.scheme not in CUT or not parts.is_carrier:
        return None
    extents: list[Extent] = []
    at = 0
    for name in parts.names:
        size = parts.volumes.size(name)
        extents.append(Extent(name, at, size))
        at += size
    return Whole(parts, at, extents)


@dataclass(frozen=True, slots=True)
class ZipVolumes:
    """The volumes of a split zip as one file of ``size`` bytes.

    ``starts``: where each begins in it, ``None`` for one that is missing. ``found`` gives zeros for what is missing,
    ``data`` raises. ``failure``: what is missing, if anything.
    """

    found: BinaryIO
    data: BinaryIO
    size: int
    starts: tuple[int | None, ...]
    failure: ItemError | None


def zip_volumes(volumes: Volumes, pulse: Callable[[], None]) -> ZipVolumes | None:
    """The volumes of the split zip of which the file is the last; ``None`` if it is the last of none."""
    parts = part_set(volumes)
    if parts is None or parts.part.scheme != "zip" or not parts.is_carrier:
        return None
    last = _last_disk(volumes, parts.own)
    if not 0 < last <= _MOST_DISKS:
        return None
    names = [parts.part.name(number) for number in range(1, last + 1)]
    usual = max(map(volumes.size, names), default=0) or _UNKNOWN_SIZE  # all but the last are of one size
    extents: list[Extent] = []
    at = 0
    for name in [*names, parts.own]:
        there = volumes.has(name)
        size = volumes.size(name) if there else usual
        extents.append(Extent(name if there else "", at, size))
        at += size
    missing = tuple(name for name in names if not volumes.has(name))
    found, data = (
        cast(BinaryIO, io.BufferedReader(Chained(volumes, extents, pulse, lenient=lenient), CHUNK))
        for lenient in (True, False)
    )
    starts = tuple(extent.start if extent.name else None for extent in extents)
    return ZipVolumes(found, data, at, starts, volume_missing(_missing(missing)) if missing else None)


def follows(parts: PartSet | None, head: bytes, *, picture: bool) -> str | ItemError | None:
    """What becomes of a file with this beginning that is called like a part, but not like the carrier.

    ``None``: it is to be read by itself. A text: it is read with the carrier. An error: it cannot be read without a
    part that is missing. A file that is a picture or an archive by itself is always read by itself too, so that no name
    can hide it.
    """
    if parts is None or parts.is_carrier:
        return None
    own = detect(head)
    if not parts.volumes.has(parts.carrier):
        if picture or own is not None or not parts.part.certain:
            return None
        return volume_missing(f"one part of a split archive, which cannot be read without {_shown(parts.carrier)}")
    if picture or not _belongs(parts, head, own):
        return None
    gap = next((name for name in parts.missing if _before(parts, name)), None)
    if gap is not None and parts.part.scheme != "zip":
        return volume_missing(_missing((gap,)))
    return f"part {parts.number} of {_shown(parts.carrier)}, read with it"


def _belongs(parts: PartSet, head: bytes, own: str | None) -> bool:
    """Whether the carrier, by what is in it, is a set that has such a part."""
    volumes, scheme = parts.volumes, parts.part.scheme
    first = _beginning(volumes, parts.carrier)
    if scheme == "zip":
        return parts.number <= _last_disk(volumes, parts.carrier)
    if scheme in CUT:
        kind = detect(first)
        return kind is not None and (own is None or own == kind == TAR)
    return head.startswith(_RAR) and (_RAR in first or volumes.size(parts.carrier) > HEAD_BYTES)


def _before(parts: PartSet, name: str) -> bool:
    numbers = range(max(parts.part.number - parts.number, 0), parts.part.number)
    return name in {parts.part.name(number) for number in numbers} or name == parts.carrier


def _beginning(volumes: Volumes, name: str) -> bytes:
    try:
        with volumes.open(name) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _last_disk(volumes: Volumes, name: str) -> int:
    try:
        with volumes.open(name) as file:
            size = file.seek(0, io.SEEK_END)
            file.seek(max(size - TAIL, 0))
            return last_disk(file.read(TAIL))
    except OSError:
        return 0


def _missing(names: tuple[str, ...]) -> str:
    shown = ", ".join(map(_shown, names[:_NAMED]))
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"parts of the set are missing: {shown}{more}"


def _shown(name: str) -> str:
    return decode_name(name.encode("utf-8", "surrogateescape"))

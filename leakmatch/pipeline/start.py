"""What enrolment, scan and search begin with: the inventory of the sources, and an executor that is ready."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from leakmatch.errors import UsageError, os_error
from leakmatch.faces.runtime import Runtime
from leakmatch.pipeline.confine import Confinement, offered
from leakmatch.pipeline.tasks import Executor, Setup
from leakmatch.records import Incident
from leakmatch.settings import Settings
from leakmatch.sources.folder import SourceFile, inventory
from leakmatch.sources.split.parts import part_set
from leakmatch.sources.split.volumes import Volumes

_PICTURE_BYTES: Final = 50_000  # a small photo; an archive of this size holds at least one

_PASSWORDS_BYTES: Final = 4 << 20  # it has to fit into one frame
_READABLE_BYTES: Final = 4 << 20  # as does this


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file below the ``sources``, in order, and what was noticed while listing them."""

    files: tuple[SourceFile, ...]
    incidents: tuple[Incident, ...]
    sources: tuple[Path, ...]

    @property
    def pictures(self) -> int:
        """About how many pictures there may be: no worker is started that would have nothing to do."""
        return max(len(self.files), sum(file.size for file in self.files) // _PICTURE_BYTES)


def take_inventory(sources: Sequence[Path]) -> Inventory:
    """List the files below ``sources``. Raises :class:`UsageError` for a source that is missing or holds no file."""
    if not sources:
        raise UsageError("No source was given; there is nothing to read.")
    files: list[SourceFile] = []
    incidents: list[Incident] = []
    for index, source in enumerate(sources):
        before = len(files)
        for found in inventory(source, index):
            if isinstance(found, Incident):
                incidents.append(found)
            else:
                files.append(found)
        if len(files) == before:
            raise UsageError(f"{source}: an empty folder; there is nothing to read.")
    return Inventory(tuple(files), tuple(incidents), tuple(sources))


def can_isolate() -> bool:
    """Whether this platform has what the worker processes rest on (memory files and descriptor passing)."""
    return sys.platform == "linux"


def read_passwords(settings: Settings) -> list[bytes]:
    """The lines of the password list, none where none was given. Raises :class:`UsageError` for what is no list."""
    if not settings.passwords:
        return []
    path = Path(settings.passwords)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise os_error(error, path) from error
    if len(content) > _PASSWORDS_BYTES or b"\0" in content:
        raise UsageError(
            f"{path}: not a list of passwords (text, one on each line, up to {_PASSWORDS_BYTES >> 20} MiB)."
        )
    return content.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n").split(b"\n")


def describe_passwords(settings: Settings, salt: str) -> dict[str, Any] | None:
    """What a case records of the password list: how many lines, and a digest, salted so that equal lists in two cases
    are not seen to be equal; ``None`` where there is no list."""
    lines = read_passwords(settings)
    if not lines:
        return None
    digest = hashlib.sha256(salt.encode() + b"\0" + b"\n".join(lines)).hexdigest()
    return {"lines": len(lines), "digest": digest}


def start(
    runtime: Runtime,
    settings: Settings,
    inventory: Inventory,
    *,
    mirrored: bool,
    listing: bool = False,
    pictures: int | None = None,
) -> Executor:
    """Workers that are ready to read and look. Call it before a gallery or a key is read.

    ``mirrored``: hash the mirror images, too. ``listing``: see :class:`Setup`. ``pictures``: about how many there are
    to look at, where the inventory does not say. Executors are imported here: only one of them runs.
    """
    pack = runtime.pack
    setup = Setup(
        pack=str(pack.folder.absolute()),
        engine=runtime.engine,
        budget=settings.budget,
        mirrored=mirrored,
        model_id=pack.model_id,
        dimension=pack.embedder.dimension,
        passwords=tuple(line.hex() for line in read_passwords(settings)),
        listing=listing,
        readable=tuple(map(_travelling, readable(inventory.sources))),
        listed=tuple({_travelling(source.absolute().parent): None for source in inventory.sources if source.is_file()}),
    )
    if settings.isolation and can_isolate():
        from leakmatch.pipeline.pool import Pool

        expected = inventory.pictures if pictures is None else pictures
        return Pool(setup, max(1, min(settings.worker_count, expected)), settings.scratch)
    from leakmatch.pipeline.inline import Inline

    return Inline(setup, settings.scratch)


def confinement(settings: Settings) -> Confinement | None:
    """What holds the workers of a run on this machine, ``None`` where there are none."""
    return offered() if settings.isolation and can_isolate() else None


def readable(sources: Iterable[Path]) -> list[Path]:
    """What a reader may open of the disk: the sources, and beside a source that is a file what is read with it.

    Where these are more than fit into a frame, the folders that they lie in.
    """
    found: dict[Path, None] = {}
    for source in sources:
        found[source.absolute()] = None
        if source.is_file():
            found |= {source.absolute().with_name(name): None for name in _read_with(source)}
    if sum(2 * len(os.fsencode(path)) for path in found) > _READABLE_BYTES:
        return list({(path if path.is_dir() else path.parent): None for path in found})
    return list(found)


def _read_with(source: Path) -> Iterator[str]:
    """Other parts of a set, the index of a RecordIO file, the log of an SQLite database: as readers ask for them."""
    yield f"{source.name}-wal"
    yield f"{source.stem}.idx"
    found = part_set(Volumes(source))
    if found is not None:
        yield from found.names
        yield found.carrier


def _travelling(path: Path) -> str:
    return os.fsencode(path).hex()

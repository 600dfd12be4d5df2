"""What enrolment, scan and search begin with: the inventory of the sources, and an executor that is ready."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leakmatch.errors import UsageError
from leakmatch.faces.runtime import Runtime
from leakmatch.pipeline.tasks import Executor, Setup
from leakmatch.records import Incident
from leakmatch.settings import Settings
from leakmatch.sources.folder import SourceFile, inventory

_PICTURE_BYTES: Final = 50_000  # a small photo; an archive of this size holds at least one


@dataclass(frozen=True, slots=True)
class Inventory:
    """Every file below the sources, in order, and what was noticed while listing them."""

    files: tuple[SourceFile, ...]
    incidents: tuple[Incident, ...]

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
    return Inventory(tuple(files), tuple(incidents))


def can_isolate() -> bool:
    """Whether this platform has what the worker processes rest on (memory files and descriptor passing)."""
    return sys.platform == "linux"


def start(runtime: Runtime, settings: Settings, inventory: Inventory, *, mirrored: bool) -> Executor:
    """Workers that are ready to read and look. Call it before a gallery or a key is read.

    ``mirrored``: hash the mirror images, too. Executors are imported here: only one of
    them runs.
    """
    pack = runtime.pack
    setup = Setup(
        pack=str(pack.folder.absolute()),
        engine=runtime.engine,
        budget=settings.budget,
        mirrored=mirrored,
        model_id=pack.model_id,
        dimension=pack.embedder.dimension,
    )
    if settings.isolation and can_isolate():
        from leakmatch.pipeline.pool import Pool

        return Pool(setup, max(1, min(settings.worker_count, inventory.pictures)))
    from leakmatch.pipeline.inline import Inline

    return Inline(setup)

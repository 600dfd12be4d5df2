"""The scan: walks sources, looks at every picture once, joins what it finds with the gallery, writes the case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

from leakmatch.case.store import Case
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.gallery.store import Gallery
from leakmatch.pipeline.begun import begun_case, engine_of, refuse_case_inside
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.ended import end_case
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.kept import KeptTemplates
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.scan_sink import ScanSink
from leakmatch.pipeline.second_look import SecondLooks
from leakmatch.pipeline.start import Inventory, start, take_inventory
from leakmatch.pipeline.tasks import FileTask, Ranges
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings, usable_cores


def scan(
    sources: Sequence[Path],
    gallery: Path,
    case: Path,
    settings: Settings,
    progress: Progress = no_progress,
    announce: Callable[[Mapping[str, Any]], None] = lambda run: None,
    *,
    keys: Keys | None = None,
    keep: Keys | None = None,
) -> None:
    """Check ``sources`` against ``gallery`` into ``case``; continues the case if it exists.

    On any exception, ``KeyboardInterrupt`` included, what was looked at before is committed or will be looked at again
    by the next call with the same arguments. ``announce`` is told what the run is about to do, as the case records it,
    before the first item is read. ``keys`` open a sealed gallery. ``keep``: keep the templates of all faces that are
    met, sealed with these keys (:mod:`leakmatch.pipeline.kept`); ``None`` keeps none.

    Raises :class:`UsageError`, :class:`IntegrityError` (a source, the gallery, the pack or a setting is not what the
    case began with) or :class:`StorageError`.
    """
    refuse_case_inside(case, sources)
    pack = load_pack(settings.pack)
    inventory = take_inventory(sources)
    runtime = make_ready(pack, _engine(case, settings))
    with closing(start(runtime, settings, inventory, mirrored=False)) as executor:
        secret = None if keep is None else keep.secret(str(case), new=not case.exists())
        with Gallery.open(
            gallery, keys=keys, steady=True, action="scan", case=str(case.absolute()), sources=[*map(str, sources)]
        ) as opened:
            require_searchable(opened, pack, begun=case.exists())
            calibration = calibration_for(opened, pack, settings)
            with (
                begun_case(case, sources, opened, runtime, calibration, settings, inventory, secret) as ledger,
                ThreadPoolExecutor(usable_cores(), "join") as threads,
            ):
                kept = None if secret is None else KeptTemplates.of(ledger, secret)
                if ledger.finished is not None:
                    return
                announce(ledger.run)
                matcher = Matcher(opened, calibration, settings, ledger.totals().searches, ledger.approximate, threads)
                with deferred_interrupt() as check:
                    sink = ScanSink(ledger, matcher, inventory, progress, check, kept)
                    executor.run(_tasks(ledger, inventory), sink)
                    sink.flush()
                    SecondLooks(ledger, matcher, settings, check, sink.progress).run(executor)
                end_case(ledger, calibration, settings, kept)


def _engine(case: Path, settings: Settings) -> str:
    if not case.exists():
        return settings.engine
    with Case.open(case) as begun:
        return engine_of(begun, settings)


def _tasks(case: Case, inventory: Inventory) -> Iterator[FileTask]:
    done = case.finished_files()
    for number, file in enumerate(inventory.files):
        if number not in done and file.outcome is None:
            stored = Ranges.of(case.stored_positions(number))
            again = case.stops(number), case.carriers(number)
            yield FileTask(number, file.path, file.locator, file.size, stored, *again)

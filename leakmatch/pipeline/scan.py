"""The scan: walks sources, looks at every picture once, joins what it finds with the gallery, writes the case."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from leakmatch.case.store import Case
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.gallery.store import Gallery
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.policy import operating_point
from leakmatch.pipeline.begun import begun_case, refuse_case_inside
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.scan_sink import ScanSink
from leakmatch.pipeline.second_look import SecondLooks
from leakmatch.pipeline.start import Inventory, start, take_inventory
from leakmatch.pipeline.tasks import FileTask, Ranges
from leakmatch.records import STORED_BAND
from leakmatch.sealed.keys import Keys
from leakmatch.settings import AUTO, ENGINES, Settings, usable_cores


def scan(
    sources: Sequence[Path],
    gallery: Path,
    case: Path,
    settings: Settings,
    progress: Progress = no_progress,
    announce: Callable[[Mapping[str, Any]], None] = lambda run: None,
    *,
    keys: Keys | None = None,
) -> None:
    """Check ``sources`` against ``gallery`` into ``case``; continues the case if it exists.

    On any exception, ``KeyboardInterrupt`` included, what was looked at before is committed or will be looked at again
    by the next call with the same arguments. ``announce`` is told what the run is about to do, as the case records it,
    before the first item is read. ``keys`` open a sealed gallery.

    Raises :class:`UsageError`, :class:`IntegrityError` (a source, the gallery, the pack or a setting is not what the
    case began with) or :class:`StorageError`.
    """
    refuse_case_inside(case, sources)
    pack = load_pack(settings.pack)
    inventory = take_inventory(sources)
    runtime = make_ready(pack, _engine(case, settings))
    with (
        closing(start(runtime, settings, inventory, mirrored=False)) as executor,
        Gallery.open(gallery, keys=keys, steady=True, action="scan", case=str(case.absolute())) as opened,
    ):
        require_searchable(opened, pack, begun=case.exists())
        calibration = calibration_for(opened, pack, settings)
        with (
            begun_case(case, sources, opened, runtime, calibration, settings, inventory) as ledger,
            ThreadPoolExecutor(usable_cores(), "join") as threads,
        ):
            if ledger.finished is not None:
                return
            announce(ledger.run)
            matcher = Matcher(opened, calibration, settings, ledger.totals().searches, ledger.approximate, threads)
            with deferred_interrupt() as check:
                sink = ScanSink(ledger, matcher, inventory, progress, check)
                executor.run(_tasks(ledger, inventory), sink)
                sink.flush()
                SecondLooks(ledger, matcher, settings, check, sink.progress).run(executor)
            if settings.threshold is None:
                ledger.prune(STORED_BAND * settings.expected_false)
            ledger.check_ledger()
            ledger.finish(_summary(ledger, calibration, settings))


def _engine(case: Path, settings: Settings) -> str:
    """What embeds faces: of a case that was begun what it was begun with, for two engines differ in the last digits."""
    if settings.engine != AUTO or not case.exists():
        return settings.engine
    with Case.open(case) as begun:
        engine = str(begun.run.get("pack", {}).get("engine")).partition(" ")[0]
    return engine if engine in ENGINES else AUTO


def _tasks(case: Case, inventory: Inventory) -> Iterator[FileTask]:
    done = case.finished_files()
    for number, file in enumerate(inventory.files):
        if number not in done and file.outcome is None:
            stored = Ranges.of(case.stored_positions(number))
            again = case.stops(number), case.carriers(number)
            yield FileTask(number, file.path, file.locator, file.size, stored, *again)


def _summary(case: Case, calibration: Calibration | None, settings: Settings) -> dict[str, Any]:
    totals = case.totals()
    threshold = settings.threshold
    if threshold is None and calibration is not None:
        point = operating_point(calibration, settings.expected_false, totals.gallery_people, totals.searches)
        threshold = point.threshold
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "searches": totals.searches,
        "pictures": totals.pictures,
        "face_pairs": totals.face_pairs,
        "picture_pairs": totals.picture_pairs,
        "threshold": threshold,
        "second_looks": case.count("second_looks"),
    }

"""A rescan: people enrolled later are looked for in the templates that a case keeps, without touching its sources.

The case that is rescanned is evidence and is not changed. What comes of it is a new case with the same ledger, compared
with another gallery: the candidates that a scan of the same sources with that gallery would give, second looks
included, for these need no more than the crops of faces.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from leakmatch.case.batch import Batch
from leakmatch.case.rows import Candidate, Key
from leakmatch.case.store import Case
from leakmatch.database import give_name
from leakmatch.engine import lock
from leakmatch.errors import IntegrityError, ModelMismatch, UsageError
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.gallery.store import Gallery
from leakmatch.hashing.algorithms import DECODE
from leakmatch.matching.calibration import Calibration
from leakmatch.pipeline.begun import engine_of, gallery_record, machine_record
from leakmatch.pipeline.calibrate import calibration_for
from leakmatch.pipeline.ended import end_case
from leakmatch.pipeline.interrupt import deferred_interrupt
from leakmatch.pipeline.kept import KeptTemplates
from leakmatch.pipeline.matcher import Matcher, require_searchable
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.scan_sink import COMMIT_BYTES, COMMIT_ITEMS, held_bytes
from leakmatch.pipeline.second_look import SecondLooks
from leakmatch.pipeline.start import Inventory, start
from leakmatch.records import ImageAnalysis
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings, load, usable_cores

_NO_SOURCES: Final = Inventory((), (), ())
_FACES_PER_WORKER: Final = 10_000  # of which few are near a decision, and looked at again

#: Settings by which a rescan goes; the others are of how the sources were read.
_DECIDING: Final = ("expected_false", "threshold", "approximate", "approximate_from", "workers", "engine")


def rescan(
    case: Path,
    gallery: Path,
    new: Path | None = None,
    given: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
    *,
    keys: Keys | None = None,
    case_keys: Keys,
) -> Path:
    """Match everybody in ``gallery`` against the templates that ``case`` keeps, into a new case; returns its path.

    ``new`` is beside ``case`` unless told, and must not exist. It has its name only once it is complete: a rescan that
    is interrupted leaves nothing, and begins anew. ``given``: settings; where they say nothing of how faces are
    decided, the case's own hold. ``keys`` open a sealed gallery, ``case_keys`` what the case keeps.

    Raises :class:`UsageError` (it keeps nothing, it is not finished), :class:`ModelMismatch`, :class:`WrongKey`,
    :class:`IntegrityError` (something in the case is not what the scan wrote) or :class:`StorageError`.
    """
    with Case.open(case, steady=True) as scanned:
        _require_kept(scanned)
        settings = _settings(scanned, given or {})
        path = _free_name(case) if new is None else new
        if path.exists():
            raise UsageError(f"{path}: is there already; a rescan begins a new case. Name another one.")
        pack = load_pack(settings.pack)
        _require_same_model(scanned, pack)
        runtime = make_ready(pack, engine_of(scanned, settings))
        faces = scanned.totals().searches
        workers = start(runtime, settings, _NO_SOURCES, mirrored=False, pictures=1 + faces // _FACES_PER_WORKER)
        with closing(workers) as executor:
            kept = KeptTemplates.of(scanned, case_keys.secret(str(case)))
            scanned.check_ledger()  # first, since it can name what is missing
            scanned.check_content()
            kept.check_end(scanned)
            with (
                Gallery.open(
                    gallery,
                    keys=keys,
                    steady=True,
                    action="rescan",
                    case=str(case.absolute()),
                    into=str(path.absolute()),
                ) as opened,
                ThreadPoolExecutor(usable_cores(), "join") as threads,
                _growing(path) as part,
            ):
                require_searchable(opened, pack)
                calibration = calibration_for(opened, pack, settings)
                run = _run_record(scanned, opened, calibration, settings)
                with Case.create(part, run, scanned.files()) as ledger, deferred_interrupt() as check:
                    ledger.take_over(scanned)
                    matcher = Matcher(opened, calibration, settings, threads=threads)
                    comparing = _Comparing(ledger, matcher, scanned.count_probes(), progress, check)
                    comparing.compare(_probes(scanned, kept))
                    SecondLooks(ledger, matcher, settings, check, comparing.told).run(executor)
                    end_case(ledger, calibration, settings, None)
    return path


Probe = tuple[Key, bytes | None, list[ImageAnalysis] | None]


def _probes(scanned: Case, kept: KeptTemplates) -> Iterator[Probe]:
    """Each item that is no duplicate: where it is, its SHA-256, and what was seen in it if it was looked at."""
    for key, locator, sha256, sealed in scanned.probes():
        yield key, sha256, None if sealed is None else kept.open(key.file, key.position, sealed, locator.path)


class _Comparing:
    """Joins probes with the gallery as a scan does, in the order of the ledger, and commits what is found."""

    def __init__(
        self, case: Case, matcher: Matcher, total: int, progress: Progress, check_interrupt: Callable[[], None]
    ) -> None:
        self._case = case
        self._matcher = matcher
        self._total = total
        self._progress = progress
        self._check_interrupt = check_interrupt
        self._batch = Batch()
        self._pending: list[tuple[Key, bytes | None, list[ImageAnalysis]]] = []
        self._pending_bytes = 0
        self._items = self._faces = self._candidates = 0

    def compare(self, probes: Iterator[Probe]) -> None:
        """Compare all of ``probes``."""
        for key, sha256, analyses in probes:
            self._items += 1
            if analyses is None:  # it may still be, byte for byte, an enrolled photo
                self._add([Candidate(key, **asdict(verdict)) for verdict in self._matcher.same_file(sha256)], ())
            else:
                self._pending.append((key, sha256, analyses))
                self._pending_bytes += sum(map(held_bytes, analyses))
            if self._items % COMMIT_ITEMS == 0 or self._pending_bytes >= COMMIT_BYTES:
                self._flush()
        self._flush()

    def _flush(self) -> None:
        self._check_interrupt()
        pictures = [(sha256, analysis) for _, sha256, analyses in self._pending for analysis in analyses]
        verdicts = iter(self._matcher.match(pictures))
        for key, _, analyses in self._pending:
            for analysis in analyses:
                seen = key._replace(frame=analysis.frame)
                self._add([Candidate(seen, **asdict(verdict)) for verdict in next(verdicts)], analysis.crops)
                self._faces += len(analysis.faces)
        self._batch.approximate = self._matcher.approximate()
        self._case.write(self._batch)
        self._batch, self._pending, self._pending_bytes = Batch(), [], 0
        self.told(0)

    def _add(self, found: list[Candidate], crops: tuple[bytes, ...]) -> None:
        self._batch.add_candidates(found, dict(enumerate(crops)))
        self._candidates += len(found)

    def told(self, again: int) -> None:
        """Tell what was done so far; ``again``: faces of which a second look was taken."""
        self._progress(
            read=self._items,
            total=self._total,
            items=self._items,
            faces=self._faces + again,
            candidates=self._candidates,
        )


def _require_kept(case: Case) -> None:
    of = case.run.get("rescan")
    if isinstance(of, dict):
        raise UsageError(
            f"{case.path}: is a rescan itself, and keeps no templates. Rescan the case it is of: {of['path']}"
        )
    if case.forgotten is not None:
        raise UsageError(
            f"{case.path}: the templates that it kept were removed on {case.forgotten.get('when')}. "
            "Scan the sources again."
        )
    if not case.keeps:
        raise UsageError(
            f"{case.path}: keeps no templates, so nobody can be looked for in it. Scan the sources again, into another "
            "case; with --keep-templates that case can be rescanned."
        )
    if case.finished is None:
        raise UsageError(f"{case.path}: its scan has not finished. Run that again to go on, then rescan.")


def _settings(case: Case, given: Mapping[str, Any]) -> Settings:
    settings = load(given)
    if given.get("expected_false") is None and given.get("threshold") is None:
        accepted, threshold = case.run.get("expected_false"), case.run.get("threshold")
        if not isinstance(accepted, int | float) or not isinstance(threshold, int | float | None):
            raise IntegrityError(f"{case.path}: what the scan was told is damaged. Restore the case from a copy.")
        settings = replace(settings, expected_false=accepted, threshold=threshold)
    return replace(settings, passwords="")


def _require_same_model(case: Case, pack: Pack) -> None:
    then = case.run.get("pack", {})
    if then.get("model_id") != pack.model_id:
        raise ModelMismatch(
            f"{case.path}: its templates were made by the model {then.get('model_id')} (pack {then.get('name')}), not "
            f"by {pack.model_id} (pack {pack.name}). Give the pack and a gallery of that model, or scan again."
        )
    if then.get("decode") != DECODE:
        raise IntegrityError(
            f"{case.path}: its pictures were decoded by another version of LeakMatch ({then.get('decode')}, now "
            f"{DECODE}): copies of enrolled photos would not be found. Scan again."
        )


def _run_record(case: Case, gallery: Gallery, calibration: Calibration | None, settings: Settings) -> dict[str, Any]:
    """What the scan was told, and in its place what this rescan is told."""
    run, now = case.run, asdict(settings)
    return run | {
        "case_id": secrets.token_hex(16),
        "version": metadata.version("leakmatch"),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "gallery": gallery_record(gallery),
        "pack": run["pack"] | {"calibration_sha256": calibration and calibration.sha256},
        "calibration": calibration and calibration.describe(),
        "settings": run["settings"] | {name: now[name] for name in _DECIDING},
        "expected_false": settings.expected_false,
        "threshold": settings.threshold,
        "planned": None,
        "machine": machine_record(settings),
        "rescan": {
            "case_id": run["case_id"],
            "path": str(case.path),
            "content_digest": case.digest,
            "version": run["version"],
            "started": run["started"],
            "finished": (case.finished or {}).get("finished"),
            "gallery": run["gallery"]["id"],
        },
    }


def _free_name(case: Path) -> Path:
    """The first name beside the case that is free."""
    number = 1
    while (path := case.with_name(f"{case.stem}-rescan-{number}{case.suffix}")).exists():
        number += 1
    return path


@contextmanager
def _growing(path: Path) -> Iterator[Path]:
    """Where to write a case that gets the name ``path`` at the end, and is removed on any exception."""
    part = path.with_name(f".{path.name}.rescan")
    if part.exists():  # left by a process that was killed, unless one is at it
        held = lock(part, shared=False)
        _remove(part)
        if held:
            held.close()
    try:
        yield part
        give_name(part, path)
    except FileExistsError as error:
        raise UsageError(f"{path}: has come to be meanwhile; nothing was written. Name another case.") from error
    finally:
        _remove(part)


def _remove(part: Path) -> None:
    for left in (part, part.with_name(f"{part.name}-journal")):
        left.unlink(missing_ok=True)

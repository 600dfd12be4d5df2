"""What a case begins with: written down once, and held against what it is continued with."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from leakmatch.case.rows import SourceRow
from leakmatch.case.store import Case
from leakmatch.errors import IntegrityError, UsageError, os_error
from leakmatch.faces.runtime import Runtime
from leakmatch.gallery.store import Gallery
from leakmatch.hashing.algorithms import DECODE
from leakmatch.matching.calibration import Calibration
from leakmatch.matching.policy import operating_point
from leakmatch.offered import offered_at_first
from leakmatch.pipeline.start import Inventory, confinement, describe_passwords
from leakmatch.sealed.keys import KeySlots, Secret
from leakmatch.settings import AUTO, ENGINES, Settings
from leakmatch.sources.folder import SourceFile


def begun_case(
    path: Path,
    sources: Sequence[Path],
    gallery: Gallery,
    runtime: Runtime,
    calibration: Calibration | None,
    settings: Settings,
    inventory: Inventory,
    secret: Secret | None = None,
) -> Case:
    """The case at ``path``: a new one, or the one that is there, to be continued.

    ``secret``: what the templates that it keeps are sealed with; ``None``: it keeps none.
    Raises :class:`IntegrityError` where that one began with something else.
    """
    run = _run_record(sources, gallery, runtime, calibration, settings)
    if calibration is not None and settings.threshold is None:
        planned = operating_point(calibration, settings.expected_false, run["gallery"]["enrolled"], inventory.pictures)
        run["planned"] = {"searches": planned.searches, "threshold": planned.threshold}
    rows = [
        SourceRow(number, next(file.locator.chain()).ordinal, file.locator, file.size, file.mtime_ns)
        for number, file in enumerate(inventory.files)
    ]
    if not path.exists():
        return Case.create(path, run, rows, None if secret is None else KeySlots.new(secret)[0])
    case = Case.resume(path)
    try:
        case.check_content()  # that the ledger adds up is checked at the end
        _refuse_other_keeping(case, secret is not None)
        _refuse_changes(case, run, rows, inventory, settings)
    except BaseException:
        case.close()
        raise
    return case


def _run_record(
    sources: Sequence[Path], gallery: Gallery, runtime: Runtime, calibration: Calibration | None, settings: Settings
) -> dict[str, Any]:
    case_id = secrets.token_hex(16)
    held = confinement(settings)
    return {
        "case_id": case_id,
        "version": metadata.version("leakmatch"),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "sources": [os.fspath(source) for source in sources],
        "resolved": [str(source.resolve()) for source in sources],
        "gallery": gallery_record(gallery),
        "pack": runtime.describe() | {"calibration_sha256": calibration and calibration.sha256, "decode": DECODE},
        "calibration": calibration and calibration.describe(),
        "settings": asdict(settings) | {"pack": runtime.pack.name},
        "passwords": describe_passwords(settings, case_id),
        "expected_false": settings.expected_false,
        "threshold": settings.threshold,
        "isolation": held is not None,
        "confinement": held and held.to_json() | {"missing": held.missing()},
        "machine": machine_record(settings),
    }


def gallery_record(gallery: Gallery) -> dict[str, Any]:
    """Which gallery the run compares with, for the record."""
    info = gallery.info()
    return {
        "id": gallery.id,
        "path": str(gallery.path),
        "digest": gallery.digest,
        "purpose": gallery.purpose,
        "legal_basis": gallery.legal_basis,
        "subjects": info["subjects"],
        "enrolled": info["enrolled"],
        "templates": info["templates"],
        "pictures": info["templates"],
    }


def machine_record(settings: Settings) -> dict[str, Any]:
    """What the run ran on, for the record."""
    packages = ("numpy", "faiss-cpu", "onnxruntime", "opencv-python-headless", "pillow", "pillow-heif")
    return {
        "platform": platform.platform(),
        "processor": platform.machine(),
        "python": sys.version.split()[0],
        "cores": os.cpu_count(),
        "offered": asdict(offered_at_first()),
        "workers": settings.worker_count,
        "versions": {name: metadata.version(name) for name in packages},
    }


_FIXED: Final = ("budget", "expected_false", "threshold", "approximate", "approximate_from")


def _refuse_changes(
    case: Case, run: Mapping[str, Any], rows: Sequence[SourceRow], inventory: Inventory, settings: Settings
) -> None:
    """Raise :class:`IntegrityError` naming the first thing that is not what the case began with."""
    began = case.run
    where = f"{case.path}: this case began with"
    for name, then, now in (
        ("LeakMatch version", began.get("version"), run["version"]),
        ("decode of pictures", began.get("pack", {}).get("decode"), run["pack"]["decode"]),
        ("sources", began.get("resolved"), run["resolved"]),
        ("gallery", began.get("gallery", {}).get("id"), run["gallery"]["id"]),
        ("content of the gallery", began.get("gallery", {}).get("digest"), run["gallery"]["digest"]),
        ("model pack", began.get("pack", {}).get("model_id"), run["pack"]["model_id"]),
        ("engine", began.get("pack", {}).get("engine"), run["pack"]["engine"]),
        ("detector", began.get("pack", {}).get("detector_sha256"), run["pack"]["detector_sha256"]),
        ("calibration", began.get("pack", {}).get("calibration_sha256"), run["pack"]["calibration_sha256"]),
        ("list of passwords", began.get("passwords"), describe_passwords(settings, str(began.get("case_id")))),
        ("isolation of the workers", began.get("isolation"), run["isolation"]),
        *((f"setting {s}", began.get("settings", {}).get(s), run["settings"][s]) for s in _FIXED),
    ):
        if then != now:
            raise IntegrityError(
                f"{where} another {name} ({_short(then)}, now {_short(now)}). "
                "Give it what it began with, or begin a new case."
            )
    _refuse_changed_files(case, rows, inventory)


def _refuse_other_keeping(case: Case, keep: bool) -> None:
    if case.keeps == keep:
        return
    if case.forgotten is not None:
        raise IntegrityError(
            f"{case.path}: the templates that it kept were removed (leakmatch forget). Continue it without "
            "--keep-templates, or begin a new case."
        )
    began, now = ("with", "without") if case.keeps else ("without", "with")
    raise IntegrityError(
        f"{case.path}: this case began {began} --keep-templates, and is now to be continued {now}. Give it what it "
        "began with, or begin a new case."
    )


def engine_of(case: Case, settings: Settings) -> str:
    """What embeds faces: as told, else what ``case`` began with, for two engines differ in the last digits."""
    if settings.engine != AUTO:
        return settings.engine
    engine = str(case.run.get("pack", {}).get("engine")).partition(" ")[0]
    return engine if engine in ENGINES else AUTO


def _refuse_changed_files(case: Case, rows: Sequence[SourceRow], inventory: Inventory) -> None:
    then = {row.locator: row for row in case.files()}
    now = {row.locator: row for row in rows}
    for locator in [*(then.keys() - now.keys()), *(now.keys() - then.keys())]:
        change = "was there when this case began and is gone" if locator in then else "has come since this case began"
        raise IntegrityError(f"{case.path}: the source file {locator.path!r} {change}.")
    digests = case.finished_files()
    for (locator, row), file in zip(now.items(), inventory.files, strict=True):
        began = then[locator]
        if (row.size, row.mtime_ns) == (began.size, began.mtime_ns):
            continue
        known = digests.get(began.file)
        if row.size != began.size or known is None or _sha256(file) != known:
            raise IntegrityError(f"{case.path}: the source file {locator.path!r} has changed since this case began.")


def _sha256(file: SourceFile) -> bytes:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except OSError as error:
        raise os_error(error, file.path) from error


def _short(value: object) -> str:
    text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse_case_inside(case: Path, sources: Sequence[Path]) -> None:
    """Raise :class:`UsageError` where the case lies in what it is about."""
    target = case.resolve()
    for source in sources:
        if source.is_dir() and target.is_relative_to(source.resolve()):
            raise UsageError(f"{case}: lies inside the source {source}. Put the case somewhere else.")
        if target == source.resolve():
            raise UsageError(f"{case}: is also a source. Give the case a name of its own.")

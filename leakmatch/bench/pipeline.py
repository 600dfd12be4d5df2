"""How fast a whole scan is: images and faces a second, where the time goes, and what it takes of the machine."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from leakmatch.bench import generated
from leakmatch.bench.figures import Figure
from leakmatch.bench.limits import limits
from leakmatch.bench.processes import Usage, Watch
from leakmatch.bench.stages import Shares, payloads, stage_shares
from leakmatch.bench.work import multiply_adds
from leakmatch.case.store import Case
from leakmatch.errors import UsageError
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.geometry import CROP_SIZE
from leakmatch.faces.packs import load_pack, verified
from leakmatch.faces.runtime import Runtime, make_ready
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.scan import scan
from leakmatch.sealed.keys import Keys, generate
from leakmatch.settings import Settings

PHOTOS: Final = 500
GALLERY: Final = 10_000
_PROFILED: Final = 100
_HEIGHT, _WIDTH = 480, 640
_TOO_FEW: Final = "too few pictures to tell the rate from start-up, which is counted in: give some hundred"
_NO_FACES: Final = "generated pictures hold no faces: only reading, decoding, hashing and detection are measured"


@dataclass(frozen=True, slots=True)
class _Scan:
    """One scan: how long it took, how many different images and faces it looked at, what it used."""

    seconds: float
    images: int
    faces: int
    usage: Usage


def run(
    settings: Settings | None = None,
    archive: Path | None = None,
    gallery: Path | None = None,
    members: int = GALLERY,
    photos: int = PHOTOS,
    progress: Progress = no_progress,
    seed: int = 0,
    *,
    keys: Keys | None = None,
) -> list[Figure]:
    """Scan ``archive`` (a folder, an archive or an image), or ``photos`` generated pictures, against ``gallery``, which
    ``keys`` open, or a generated one of ``members`` templates, which is sealed with a key of its own.

    Rates are steady ones: the time of a scan of a single picture, that is mostly start-up, is taken off. Files are
    written to the system's temporary folder and removed. Raises as :func:`leakmatch.pipeline.scan.scan`.
    """
    settings = settings or Settings()
    runtime = make_ready(load_pack(settings.pack), settings.engine)
    with tempfile.TemporaryDirectory(prefix="leakmatch-bench-") as name:
        folder = Path(name)
        source = archive or folder / "pictures.zip"
        if archive is None:
            generated.archive(source, photos, _HEIGHT, _WIDTH, seed)
        if gallery is None:
            gallery, keys = folder / "generated.gallery", Keys(key_file=folder / "generated.key")
            generate(folder / "generated.key")
            generated.gallery(gallery, runtime.pack, members, seed, keys)
        single = folder / "single.zip"
        generated.archive(single, 1, _HEIGHT, _WIDTH, seed + 1)
        begun = _scan(single, gallery, keys, folder / "single.case", settings, no_progress)
        whole = _scan(source, gallery, keys, folder / "whole.case", settings, progress)
        if not whole.images:
            raise UsageError(f"{source}: holds no picture that can be looked at; there is nothing to measure.")
        shares = stage_shares(
            FaceEngine(runtime.pack, runtime.engine),
            settings.budget,
            islice(payloads(source, settings.budget), _PROFILED),
        )
    return list(_figures(runtime, settings, begun, whole, shares, generated_input=archive is None))


def _scan(source: Path, gallery: Path, keys: Keys | None, case: Path, settings: Settings, progress: Progress) -> _Scan:
    began = time.perf_counter()
    with Watch() as watch:
        scan([source], gallery, case, settings, progress, keys=keys)
    seconds = time.perf_counter() - began
    with Case.open(case) as done:
        totals = done.totals()
    return _Scan(seconds, totals.pictures, totals.searches, watch.usage())


def _figures(
    runtime: Runtime, settings: Settings, begun: _Scan, whole: _Scan, shares: Shares, *, generated_input: bool
) -> Iterator[Figure]:
    detail: dict[str, Any] = {"engine": runtime.engine, "workers": settings.worker_count, "images": whole.images}
    if generated_input:
        detail["note"] = _NO_FACES
    yield from _rates(runtime, settings, begun, whole, detail)
    yield Figure("start-up", begun.seconds, "s", detail={"what": "a scan of one picture"})
    yield from _stages(shares)
    yield from _processor(begun, whole)
    if whole.usage.peak_bytes:
        most = {"largest_worker_mib": whole.usage.worker_bytes / 2**20, "images": whole.images}
        yield Figure("peak memory of all processes", whole.usage.peak_bytes / 2**20, "MiB", detail=most)


def _rates(
    runtime: Runtime, settings: Settings, begun: _Scan, whole: _Scan, detail: dict[str, Any]
) -> Iterator[Figure]:
    images, seconds = whole.images - begun.images, whole.seconds - begun.seconds
    if images <= 0 or seconds <= 0:  # a source so small that start-up is all there is
        images, seconds = whole.images, whole.seconds
        detail |= {"note": "; ".join(filter(None, (detail.get("note"), _TOO_FEW)))}
    rate, faces = images / seconds, whole.faces / seconds
    if not whole.faces:
        yield Figure("images", rate, "images/s", detail=detail)
        return
    embedder = runtime.pack.embedder.file
    most = limits(settings.worker_count)
    embeddings = most.sgemm / multiply_adds(verified(runtime.pack, embedder), CROP_SIZE, CROP_SIZE)
    name = "sgemm, embedding alone"
    per_image = whole.faces / whole.images
    yield Figure("images", rate, "images/s", embeddings / per_image, name, detail | {"faces_per_image": per_image})
    yield Figure("faces", faces, "faces/s", embeddings, name, detail)


def _stages(shares: Shares) -> Iterator[Figure]:
    whole = sum(shares.seconds.values())
    for stage, seconds in shares.seconds.items():
        if shares.pictures:
            detail = {"share": seconds / whole if whole else 0.0, "images": shares.pictures, "faces": shares.faces}
            yield Figure(f"stage {stage}, 1 core", 1000 * seconds / shares.pictures, "ms/image", detail=detail)


def _processor(begun: _Scan, whole: _Scan) -> Iterator[Figure]:
    """What each role takes of the processors for one image; start-up, as seen with one picture, taken off."""
    images = max(whole.images - begun.images, 1)
    spent = {role: max(0.0, taken - begun.usage.cpu_seconds[role]) for role, taken in whole.usage.cpu_seconds.items()}
    for role, seconds in sorted(spent.items()):
        detail = {"share": seconds / sum(spent.values()) if any(spent.values()) else 0.0}
        yield Figure(f"processor time, {role}", 1000 * seconds / images, "ms/image", detail=detail)

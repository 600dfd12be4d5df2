"""Where the time of one picture goes in a worker, stage by stage."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2

from leakmatch.faces.engine import FaceEngine
from leakmatch.imaging.sniff import image_format
from leakmatch.pipeline.stages import Looker
from leakmatch.pipeline.start import take_inventory
from leakmatch.records import Budget, Entry
from leakmatch.sources.walk import walk

#: The functions that a stage consists of: module below ``leakmatch``, name. Read from a profile of the real thing, so
#: what is measured is what runs, however it is put together.
STAGES: Final = {
    "decode": (("imaging/decode.py", "decode"),),
    "hash": (("hashing/perceptual.py", "picture_hashes"),),
    "detect": (("faces/detect.py", "detect"),),
    "align": (("faces/geometry.py", "similarities"), ("faces/align.py", "aligned_crops")),
    "embed": (("faces/embed.py", "embed"),),
}
OTHER: Final = "other"
_ALL: Final = ("pipeline/stages.py", "look")


@dataclass(frozen=True, slots=True)
class Shares:
    """Seconds of each stage (and :data:`OTHER`) over ``pictures`` with ``faces``."""

    pictures: int
    faces: int
    seconds: dict[str, float]


def payloads(source: Path, budget: Budget) -> Iterator[bytes]:
    """The pictures in ``source``, a file or a folder, in the order in which a scan meets them."""
    for file in take_inventory([source]).files:
        for found in walk(file.path, file.locator, budget, lambda head: image_format(head) is not None):
            if isinstance(found, Entry) and found.outcome is None and found.payload is not None:
                yield found.payload


def stage_shares(engine: FaceEngine, budget: Budget, pictures: Iterable[bytes]) -> Shares:
    """Look at ``pictures`` on this thread, as a worker does, under Python's profiler.

    The profiler's own cost falls on Python code, a few hundredths of the whole; the models and the decoder bear none.
    """
    cv2.setNumThreads(1)
    looker = Looker(engine, budget, mirrored=False)
    profile, count, faces = cProfile.Profile(), 0, 0
    for payload in pictures:
        analyses = profile.runcall(looker.look, payload)
        count += 1
        faces += sum(len(analysis.faces) for analysis in analyses)
    taken = _cumulative(profile) if count else lambda where: 0.0
    seconds = {stage: sum(map(taken, functions)) for stage, functions in STAGES.items()}
    seconds[OTHER] = max(0.0, taken(_ALL) - sum(seconds.values()))
    return Shares(count, faces, seconds)


def _cumulative(profile: cProfile.Profile) -> Callable[[tuple[str, str]], float]:
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    root = Path(__file__).parents[1]
    found: dict[tuple[str, str], float] = {}
    for (file, _, name), (_, _, _, cumulative, _) in entries.items():
        if file.startswith(f"{root}/"):
            key = Path(file).relative_to(root).as_posix(), name
            found[key] = found.get(key, 0.0) + cumulative
    return lambda where: found.get(where, 0.0)

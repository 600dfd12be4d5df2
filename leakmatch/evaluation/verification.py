"""Verification (1:1): how well does a model pack tell on labelled pairs whether two photos show the same person?

A photo stands for its subject's face (:func:`leakmatch.gallery.enrolment.subject_face`). A photo without a usable one
is a *failure to acquire*: its pairs stay in every count and are rejected at every threshold, so a same-pair is a miss
and a different-pair a correct rejection. Rates are over all attempts: the generalised rates of ISO/IEC 19795-1.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.errors import UsageError, os_error
from leakmatch.evaluation.figures import (
    NOT_COMPARED,
    FoldAccuracy,
    Point,
    Roc,
    Scores,
    equal_error,
    fold_accuracy,
    roc,
    true_match_rates,
)
from leakmatch.evaluation.photos import Failure, PhotoSink, failures, inside, plain_path
from leakmatch.faces.packs import load_pack
from leakmatch.faces.runtime import make_ready
from leakmatch.locator import SEPARATOR, SOURCE, printable
from leakmatch.matching.join import DECIMALS
from leakmatch.pipeline.progress import Progress, no_progress
from leakmatch.pipeline.start import Inventory, start, take_inventory
from leakmatch.pipeline.tasks import FileTask
from leakmatch.records import LOOKED_AT, Entry, ItemKind, Outcome
from leakmatch.settings import Settings

#: Folds made where the table has none, as in LFW's protocol.
FOLDS: Final = 10


# --- the pairs --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pair:
    """Two paths inside the images, and whether they show the same person."""

    fold: str
    same: bool
    a: str
    b: str


def read_pairs(table: Path) -> list[Pair]:
    """The pairs of a CSV with columns ``same`` (0 or 1), ``a``, ``b``, and perhaps ``fold``.

    Without ``fold``, row by row the pairs of each kind go to folds 0 to 9 in turn, so that every fold holds both.
    Raises :class:`UsageError`, also where either kind is in fewer than two folds: no threshold could be chosen.
    """
    pairs: list[Pair] = []
    seen: Counter[str] = Counter()
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            if not {"same", "a", "b"} <= set(reader.fieldnames or ()):
                raise UsageError(f"{table}: needs the columns same, a and b (and may have fold).")
            for row in reader:
                same, a, b = ((row[name] or "").strip() for name in ("same", "a", "b"))
                fold = (row.get("fold", str(seen[same] % FOLDS)) or "").strip()
                if same not in {"0", "1"} or not (fold and a and b):
                    raise UsageError(f"{table}, line {reader.line_num}: same is not 0 or 1, or a cell is empty.")
                seen[same] += 1
                pairs.append(Pair(fold, same == "1", plain_path(a), plain_path(b)))
    except OSError as error:
        raise os_error(error, table) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: not a CSV file in UTF-8 ({error}).") from error
    if any(len({pair.fold for pair in pairs if pair.same is kind}) < 2 for kind in (True, False)):
        raise UsageError(f"{table}: needs pairs of both kinds (same 1 and same 0) in two folds or more.")
    return pairs


# --- the run ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verification:
    """The result. ``images`` were named by ``same`` and ``different`` pairs; ``failures`` of them have no usable
    face, which spoils ``failed_pairs``; ``partial`` have one although their data ends early."""

    pack: Mapping[str, object]
    same: int
    different: int
    images: int
    partial: int
    failures: tuple[Failure, ...]
    failed_pairs: int
    accuracy: FoldAccuracy
    equal_error: Point
    true_match: Mapping[float, Point | None]
    roc: Roc

    @property
    def complete(self) -> bool:
        """Whether every image could be read in full, with a face in it or not."""
        return not self.partial and all(failure.outcome in LOOKED_AT for failure in self.failures)

    def to_json(self) -> dict[str, Any]:
        """As JSON values: rates in [0, 1], with the counts behind them and their 95 % intervals."""
        return {
            "pack": dict(self.pack),
            "pairs": {"same": self.same, "different": self.different, "failed": self.failed_pairs},
            "images": self.images,
            "partial": self.partial,
            "failures_to_acquire": [asdict(failure) for failure in self.failures],
            "accuracy": self.accuracy.to_json(),
            "equal_error_rate": {"rate": self.equal_error.error, **self.equal_error.to_json()},
            "true_match_rate": [
                {"at_fmr": fmr, "too_few_pairs": point is None, **(point.to_json() if point else {})}
                for fmr, point in self.true_match.items()
            ],
            "roc": self.roc.to_json(),
        }


def verify_pairs(images: Path, table: Path, settings: Settings, progress: Progress = no_progress) -> Verification:
    """Accuracy on the labelled pairs of the CSV ``table`` (:func:`read_pairs`), paths in the folder or
    archive ``images``.

    Only images that a pair names are looked at. Of two members of one name the first counts, of an animation the first
    frame. Raises :class:`UsageError` for a wrong table, and for pairs that name what ``images`` does not hold.
    """
    pairs = read_pairs(table)
    wanted = {path for pair in pairs for path in (pair.a, pair.b)}
    pack = load_pack(settings.pack)
    inventory = take_inventory([images])
    if images.is_dir():  # told now, not when every other image was looked at
        listed = {inside(file.locator) for file in inventory.files}
        _refuse_missing({path for path in wanted if listed.isdisjoint(_holders(path))}, table, images, min(listed))
    asked = _Asked(wanted)
    sink = PhotoSink(asked, pack.model_id, inventory, progress, len(wanted))
    runtime = make_ready(pack, settings.engine)
    with closing(start(runtime, settings, inventory, mirrored=False)) as executor:
        executor.run(_tasks(inventory, wanted), sink)
    photos = sink.photos
    _refuse_missing(wanted - photos.keys(), table, images, asked.example, asked.trouble)
    scores = _scores(pairs, {path: photo.face.plain for path, photo in photos.items() if photo.face})
    same = np.array([pair.same for pair in pairs])
    return Verification(
        pack=runtime.describe(),
        same=int(same.sum()),
        different=int((~same).sum()),
        images=len(wanted),
        partial=sum(photo.face is not None and not photo.read for photo in photos.values()),
        failures=failures(photos.values()),
        failed_pairs=int((scores == NOT_COMPARED).sum()),
        accuracy=fold_accuracy(scores, same, [pair.fold for pair in pairs]),
        equal_error=equal_error(scores, same),
        true_match=true_match_rates(scores, same),
        roc=roc(scores, same),
    )


def _scores(pairs: Sequence[Pair], vectors: Mapping[str, FloatArray]) -> Scores:
    return np.array(
        [
            round(float(vectors[pair.a].astype(np.float64) @ vectors[pair.b].astype(np.float64)), DECIMALS)
            if pair.a in vectors and pair.b in vectors
            else NOT_COMPARED
            for pair in pairs
        ]
    )


def _holders(path: str) -> Iterator[str]:
    """``path`` itself, and the containers that it says it is in."""
    parts = path.split(SEPARATOR)
    return (SEPARATOR.join(parts[: n + 1]) for n in range(len(parts)))


def _tasks(inventory: Inventory, wanted: Collection[str]) -> Iterator[FileTask]:
    holders = {holder for path in wanted for holder in _holders(path)}
    for number, file in enumerate(inventory.files):
        if file.outcome is None and (file.locator.kind == SOURCE or inside(file.locator) in holders):
            yield FileTask(number, file.path, file.locator, file.size)


def _refuse_missing(missing: Collection[str], table: Path, images: Path, example: str, trouble: str = "") -> None:
    if not missing:
        return
    says = f"{table}: {len(missing):,} of the images it names are not in {images}; the first is {min(missing)}."
    says += f" A path in it looks like this: {example}." if example else " No picture was found in it."
    raise UsageError(f"{says} It could not be read to its end: {printable(trouble)}." if trouble else says)


class _Asked:
    """Asks for the wanted images, and notes what helps to say why one is missing."""

    def __init__(self, wanted: Collection[str]) -> None:
        self.example = self.trouble = ""
        self._wanted = wanted

    def __call__(self, task: FileTask, entry: Entry) -> str:
        path = inside(entry.locator)
        if entry.kind is ItemKind.IMAGE:
            self.example = self.example or path
        elif entry.kind is ItemKind.CONTAINER and entry.outcome is not Outcome.WALKED:
            self.trouble = self.trouble or entry.detail
        return path if path in self._wanted else ""

"""Slices: the searches of one sex, age, face size, JPEG quality ..., so that an average hides no one.

A slice holds searches by what is known of the *probe*, mated or not. Labels come from a CSV of the user's; face size,
sharpness and JPEG quality are measured.
"""

from __future__ import annotations

import csv
import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from leakmatch.arrays import BoolArray
from leakmatch.errors import UsageError, os_error
from leakmatch.evaluation.figures import score_interval
from leakmatch.evaluation.open_set import Weights
from leakmatch.evaluation.photos import Photo, plain_path

#: Fewer searches than this say nothing: such a slice has counts only.
FEWEST: Final = 10
#: Numbers of more distinct values than this are cut into four ranges with about as many probes each.
MOST_VALUES: Final = 8

UNKNOWN: Final = "unknown"
NO_FACE: Final = "no face"


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate over subjects, and its 95 % score interval with one trial per subject, at a threshold that is given."""

    rate: float
    subjects: float

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"rate": self.rate, "interval_95": score_interval(self.rate, self.subjects)}


@dataclass(frozen=True, slots=True)
class Slice:
    """One value of one dimension. ``mated`` and ``non_mated`` searches are in it; ``fnir`` and ``fpir`` at the
    thresholds of all searches, by target FPIR: empty where fewer than :data:`FEWEST` searches bear them."""

    dimension: str
    value: str
    mated: int
    non_mated: int
    fnir: Mapping[float, Rate]
    fpir: Mapping[float, Rate]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "slice": self.dimension,
            "value": self.value,
            "mated_searches": self.mated,
            "non_mated_searches": self.non_mated,
            "fnir": [{"at_fpir": fpir, **rate.to_json()} for fpir, rate in self.fnir.items()],
            "fpir": [{"at_fpir": fpir, **rate.to_json()} for fpir, rate in self.fpir.items()],
        }


# --- what a probe is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labels:
    """A user's table: for each of ``dimensions``, the value of a photo or of a subject."""

    dimensions: tuple[str, ...] = ()
    by_path: Mapping[str, Mapping[str, str]] | None = None
    by_subject: Mapping[str, Mapping[str, str]] | None = None

    def of(self, dimension: str, path: str, subject: str) -> str:
        """The value for the photo ``path`` of ``subject``: the photo's own before the subject's, else unknown."""
        for table, key in ((self.by_path, path), (self.by_subject, subject)):
            value = (table or {}).get(key, {}).get(dimension, "")
            if value:
                return value
        return UNKNOWN


def read_labels(table: Path) -> Labels:
    """A CSV with the column ``path`` or ``subject_id`` and one or more others; each other column is a dimension.

    A path is written as in IMAGES, or relative to the table's folder where IMAGES is a CSV. Raises
    :class:`UsageError` for another table, and for a photo or subject that has two rows.
    """
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:
            head = stream.readline()
            stream.seek(0)
            reader = csv.DictReader(stream, delimiter=";" if ";" in head and "," not in head else ",")
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            key = "path" if "path" in columns else "subject_id"
            dimensions = tuple(name for name in columns if name and name not in {"path", "subject_id"})
            if key not in columns or not dimensions:
                raise UsageError(f"{table}: needs the column path or subject_id, and one more or several.")
            rows: dict[str, Mapping[str, str]] = {}
            for row in reader:
                name = (row[key] or "").strip()
                if not name or name in rows:
                    why = f"{key} {name} has a row already" if name else f"{key} is empty"
                    raise UsageError(f"{table}, line {reader.line_num}: {why}.")
                rows[name] = {dimension: (row[dimension] or "").strip() for dimension in dimensions}
    except OSError as error:
        raise os_error(error, table) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: not a CSV file in UTF-8 ({error}).") from error
    if key == "subject_id":
        return Labels(dimensions, by_subject=rows)
    relative = {str(table.parent / name): row for name, row in rows.items()}
    return Labels(dimensions, by_path=relative | {plain_path(name): row for name, row in rows.items()})


@dataclass(frozen=True, slots=True)
class Dimension:
    """What slices are made by: ``mated`` and ``non_mated`` have the value of each search's probe, ``values`` all of
    them in the order in which to show them."""

    name: str
    values: tuple[str, ...]
    mated: Sequence[str]
    non_mated: Sequence[str]


def labelled(labels: Labels, mated: Sequence[tuple[str, str]], non_mated: Sequence[tuple[str, str]]) -> list[Dimension]:
    """A dimension for each of ``labels``; searches are given as (path, subject). Numbers such as ages are cut into
    ranges (:func:`ranges`)."""
    found = []
    for name in labels.dimensions:
        sides = [[labels.of(name, path, subject) for path, subject in side] for side in (mated, non_mated)]
        given = {value for side in sides for value in side}
        if all(value == UNKNOWN or _number(value) is not None for value in given):
            found.append(ranges(name, *([_number(value) for value in side] for side in sides)))
        else:
            in_order = sorted(given, key=lambda value: (value == UNKNOWN, value))
            found.append(Dimension(name, tuple(in_order), *sides))
    return found


def measured(mated: Sequence[Photo], non_mated: Sequence[Photo]) -> list[Dimension]:
    """Face size, sharpness and JPEG quality of the probes."""

    def dimension(name: str, value: Callable[[Photo], float | None], digits: int, otherwise: str) -> Dimension:
        sides = ([value(photo) for photo in side] for side in (mated, non_mated))
        return ranges(name, *sides, digits=digits, otherwise=otherwise)

    return [
        dimension("eye distance, px", lambda photo: photo.face.eye_distance if photo.face else None, 1, NO_FACE),
        dimension("sharpness", lambda photo: photo.face.sharpness if photo.face else None, 3, NO_FACE),
        dimension("JPEG quality", lambda photo: photo.jpeg_quality, 0, "not a JPEG"),
    ]


def ranges(
    name: str,
    mated: Sequence[float | None],
    non_mated: Sequence[float | None],
    *,
    digits: int | None = None,
    otherwise: str = UNKNOWN,
) -> Dimension:
    """Numbers, cut at their quartiles over all probes; up to :data:`MOST_VALUES` distinct ones stay themselves.

    ``digits`` decimals are kept, all of them by default. ``None`` becomes ``otherwise``.
    """

    def rounded(value: float) -> float:
        return value if digits is None else round(value, digits)

    def text(value: float) -> str:
        return f"{value:g}" if digits is None else f"{value:.{digits}f}"

    known = [rounded(value) for value in (*mated, *non_mated) if value is not None]
    edges = sorted(set(known))
    if len(edges) > MOST_VALUES:
        edges = sorted({rounded(float(edge)) for edge in np.quantile(known, [0, 0.25, 0.5, 0.75])})
        names = [f"{text(low)} to {text(high)}" for low, high in pairwise(edges)] + [f"{text(edges[-1])} and more"]
    else:
        names = [text(value) for value in edges]

    def written(value: float | None) -> str:
        return otherwise if value is None else names[max(0, bisect_right(edges, rounded(value)) - 1)]

    values = [*names, otherwise] if None in (*mated, *non_mated) else names
    return Dimension(name, tuple(values), [written(v) for v in mated], [written(v) for v in non_mated])


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


# --- what is found in a slice ------------------------------------------------------------------------------------


def sliced(
    dimensions: Iterable[Dimension],
    mated_weight: Weights,
    non_mated_weight: Weights,
    missed: Mapping[float, BoolArray],
    returned: Mapping[float, BoolArray],
) -> list[Slice]:
    """The slices of every dimension. ``missed`` bool[M] by target FPIR: which mated searches are a miss; ``returned``
    bool[N]: which non-mated ones are a false positive; with the weights float64[M] and float64[N] of the searches."""
    found = []
    for dimension in dimensions:
        mated, non_mated = np.array(dimension.mated), np.array(dimension.non_mated)
        for value in dimension.values:
            here, others = mated == value, non_mated == value
            found.append(
                Slice(
                    dimension.name,
                    value,
                    int(here.sum()),
                    int(others.sum()),
                    _rates(missed, here, mated_weight),
                    _rates(returned, others, non_mated_weight),
                )
            )
    return found


def _rates(events: Mapping[float, BoolArray], here: BoolArray, weights: Weights) -> dict[float, Rate]:
    if here.sum() < FEWEST:
        return {}
    inside = weights[here]
    return {
        fpir: Rate(float(event[here] @ inside / inside.sum()), float(inside.sum())) for fpir, event in events.items()
    }

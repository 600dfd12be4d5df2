"""What ``leakmatch gallery calibrate`` found, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from leakmatch.locator import printable
from leakmatch.pipeline.calibrate import OwnCalibration

_ROW: Final = "{:<10} {:<25} {:<25} {:<18} {}"


def table(made: OwnCalibration) -> Iterator[str]:
    """Lines: the score that one in so many pairs of two people reaches, among the gallery's people and the pack's, and
    who was left out."""
    rows, left_out = made.thresholds(), made.own.about["left_out"]
    head = "nobody left out" if left_out else ""
    yield _ROW.format("1 in", "these people (95 %)", "the model pack (95 %)", "used from now on", head).rstrip()
    for row in rows:
        everybody = f"{row['with_nobody_left_out']:.4f}" if left_out else ""
        used = f"{row['used']:.4f}"
        yield _ROW.format(f"{1 / row['fmr']:,.0f}", _score(row["own"]), _score(row["pack"]), used, everybody).rstrip()
    if any(row["own"]["extrapolated"] for row in rows):
        yield f"* extrapolated: rarer than the {made.own.pairs:,} pairs of two people show"
    for one in left_out:
        a, b = (f"{printable(one[side])} ({printable(one[f'{side}_photo'])})" for side in ("a", "b"))
        yield f"left out: {a} and {b}: {one['why']}"


def summary(made: OwnCalibration) -> Iterator[str]:
    """What it was made of and what it means, a paragraph each."""
    about = made.own.about
    people, of = about["people"], about["gallery"]["people"]
    drawn = f", drawn from {of:,}" if people < of else ""
    yield f"{about['photos']:,} photos of {people:,} people{drawn} were compared with everybody else among them."
    if about["left_out"]:
        yield (
            f"Pairs of subjects with a picture in common were left out ({len(about['left_out'])}): that is a mistake "
            "in the gallery, no likeness. Settle it (leakmatch gallery doubts) and calibrate again."
        )
    if made.general is None:
        yield "The model pack has no calibration: scans use this one alone."
    elif any(_is_stricter(row) for row in made.thresholds()):
        yield (
            "These people are clearly more alike than those of the model pack: scans now ask for the higher score. A "
            f"figure rarer than one in {made.own.pairs:,} is extrapolated, and no face alone is decided match by it."
        )
    else:
        yield "These people are not clearly more alike than those of the model pack, by which scans go on to decide."


def _is_stricter(row: Mapping[str, Any]) -> bool:
    return bool(row["used"] > row["pack"]["score"])


def _score(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return "-"
    mark = "*" if told["extrapolated"] else " "
    return f"{told['score']:.4f}{mark} ({told['low']:.4f}-{told['high']:.4f})"

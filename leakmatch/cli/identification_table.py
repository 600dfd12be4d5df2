"""The result of ``leakmatch evaluate identification`` on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from leakmatch.evaluation.figures import score_interval
from leakmatch.evaluation.identification import Estimate, Identification, OperatingFigures, StepResult
from leakmatch.evaluation.open_set import TARGETS
from leakmatch.evaluation.slices import Rate, Slice
from leakmatch.locator import printable

_STEP: Final = "{:<17}" + "{:>25}" * (len(TARGETS) + 1)
_SLICE: Final = "{:<17} {:<16} {:>7} {:>7}" + "{:>22}" * 2 + "  {}"


def table(result: Identification) -> Iterator[str]:
    """Lines: the steps, what they spare, the thresholds, the slices, and every photo that could not be used."""
    yield _STEP.format("FNIR, %", *(f"at FPIR {100 * fpir:g} %" for fpir in TARGETS), "rank 1, %")
    for step in result.steps:
        yield _STEP.format(step.step.name, *(_fnir(figures) for figures in step.at.values()), _estimate(step.rank_1))
    yield ""
    yield _STEP.format("less plain's", *(f"at FPIR {100 * fpir:g} %" for fpir in TARGETS), "misses spared at 1 %")
    for step in result.steps[1:]:
        yield _STEP.format(step.step.name, *(_to_plain(figures) for figures in step.at.values()), _spared(step))
    yield ""
    yield from _thresholds(result)
    yield ""
    yield from _slices(result)
    yield ""
    yield from _legend(result)
    for kind, failed in (
        ("failure to enrol", result.failures_to_enrol),
        ("failure to acquire", result.failures_to_acquire),
        ("not used", result.unplaced),
    ):
        for failure in failed:
            yield f"{kind}: {failure.path} ({failure.outcome}): {printable(failure.detail)}"


def summary(result: Identification) -> str:
    """What was done, in a few lines."""
    searches = result.to_json()
    mated, non_mated = searches["mated"], searches["non_mated"]
    lines = [
        f"{result.photos:,} photos; {result.enrolled:,} subjects enrolled with {result.enrolled_photos:,} photos.",
        f"{mated['searches']:,} mated searches for {mated['subjects']:,} subjects, {non_mated['searches']:,} non-mated "
        f"searches for {non_mated['subjects']:,} others.",
        f"{len(result.failures_to_enrol):,} failures to enrol ({len(result.not_enrolled):,} subjects not enrolled at "
        f"all), {len(result.failures_to_acquire):,} failures to acquire: they count as misses.",
    ]
    if result.repeated:
        lines.append(f"{result.repeated:,} photos left out: the same file as another one of the subject.")
    return "\n".join(lines) + "\n"


def _thresholds(result: Identification) -> Iterator[str]:
    yield "operating points of the default step:"
    for fpir, figures in result.default.at.items():
        if figures is None:
            yield f"  FPIR {100 * fpir:g} %: too few non-mated searches for this rate and finer ones"
            return
        yield (
            f"  FPIR {100 * fpir:g} %: threshold {figures.threshold:.4f}, FPIR {100 * figures.fpir:.2f} % there, FNIR "
            f"{100 * figures.fnir.value:.2f} %, {100 * figures.fnir_first:.2f} % where the mate must rank first, too"
        )


def _legend(result: Identification) -> Iterator[str]:
    yield "steps:"
    for step in result.steps:
        yield f"  {step.step.name}: {step.step.what}"
        if step.again is not None:
            mated, non_mated = step.again
            yield (
                f"  looked at again, at two more embeddings each: {100 * mated:.1f} % of the faces of mated searches, "
                f"{100 * non_mated:.1f} % of the others"
            )
    if result.in_sample:
        yield "note: the pack's calibration was made from this very archive: normalised and default are in-sample here;"
        yield "      docs/evaluation.md says what they gain on people of whom nothing was learned"


def _slices(result: Identification) -> Iterator[str]:
    target = min((fpir for fpir, figures in result.default.at.items() if figures), default=None, key=_from_one_percent)
    if target is None:
        return
    yield _SLICE.format(
        "slice of default",
        "",
        "mated",
        "others",
        f"FNIR at {100 * target:g} %, %",
        f"FPIR at {100 * target:g} %, %",
        "",
    ).rstrip()
    for part in result.slices:
        yield _SLICE.format(
            printable(part.dimension),
            printable(part.value),
            f"{part.mated:,}",
            f"{part.non_mated:,}",
            _rate(part.fnir, target),
            _rate(part.fpir, target),
            _note(part),
        ).rstrip()


def _from_one_percent(fpir: float) -> float:
    return abs(fpir - 0.01)


def _note(part: Slice) -> str:
    return "" if part.fnir or part.fpir else "too few searches"


def _rate(rates: Mapping[float, Rate], target: float) -> str:
    rate = rates.get(target)
    return _spread(rate.rate, score_interval(rate.rate, rate.subjects)) if rate else "-"


def _fnir(figures: OperatingFigures | None) -> str:
    return _estimate(figures.fnir) if figures else "-"


def _to_plain(figures: OperatingFigures | None) -> str:
    if figures is None or figures.to_plain is None:
        return "-"
    low, high = figures.to_plain.interval
    return f"{100 * figures.to_plain.value:+.2f} ({100 * low:+.2f}, {100 * high:+.2f})"


def _spared(step: StepResult) -> str:
    figures = step.at.get(0.01)
    spared = figures.spared if figures else None
    return "-" if spared is None else f"{100 * spared:.0f} %"


def _estimate(estimate: Estimate) -> str:
    return _spread(estimate.value, estimate.interval)


def _spread(value: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * value:.2f} ({100 * low:.2f}, {100 * high:.2f})"

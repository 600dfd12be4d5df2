"""Plots of an evaluation, as SVG and PNG: DET, ROC, and the scores that are told apart.

The only module that imports matplotlib (``pip install 'leakmatch[plots]'``). The same figures give the same bytes with
the same matplotlib: no date, no random ids.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from leakmatch.errors import MissingExtra, os_error

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from leakmatch.evaluation.identification import Identification
    from leakmatch.evaluation.verification import Verification

EXTRA: Final = "plots"
_FORMATS: Final = ("svg", "png")

#: Colours that the colour-blind tell apart: Okabe and Ito, Color Universal Design (2008), the dark ones of them.
_COLOURS: Final = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
_LINES: Final = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
_BINS: Final = np.linspace(-0.2, 1.0, 61)

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "leakmatch",
    "svg.fonttype": "path",  # the same everywhere, whatever fonts there are
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dddddd",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def require(folder: Path) -> None:
    """Raise :class:`MissingExtra`, :class:`UsageError` or :class:`StorageError` unless plots can be made and written.

    Asked before the photos are looked at. Makes ``folder``.
    """
    with _mapped(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtra("A plot", EXTRA)


def plot_identification(result: Identification, folder: Path) -> list[Path]:
    """``det`` and ``scores``, each as SVG and PNG, in ``folder``, which is made if need be; returns the files."""
    return [*_drawn(folder, "det", lambda axes: _det(axes, result)), *_drawn(folder, "scores", _scores(result))]


def plot_verification(result: Verification, folder: Path) -> list[Path]:
    """``roc`` as SVG and PNG in ``folder``, which is made if need be; returns the files."""
    return list(_drawn(folder, "roc", lambda axes: _roc(axes, result)))


def _drawn(folder: Path, name: str, draw: Callable[[Axes], None]) -> Iterator[Path]:
    """The plot as files. Raises :class:`MissingExtra`, :class:`UsageError` or :class:`StorageError`."""
    require(folder)
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), _mapped(folder):
        figure = Figure(figsize=(7, 4.8), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure.subplots())
        folder.mkdir(parents=True, exist_ok=True)
        for form in _FORMATS:
            file = folder / f"{name}.{form}"
            no_trace = {"Date": None, "Creator": None} if form == "svg" else {"Software": None}
            figure.savefig(file, format=form, dpi=160, metadata=no_trace)
            yield file


@contextmanager
def _mapped(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise os_error(error, folder) from error


def _det(axes: Axes, result: Identification) -> None:
    """FNIR against FPIR, both by their logarithm, as NIST FRTE 1:N shows them."""
    shown = [(step.step.name, step.curve.fpir, step.curve.fnir) for step in result.steps]
    subjects = len(np.unique(result.searches.mated)), len(np.unique(result.searches.non_mated))
    _log(axes.set_xscale, axes.set_xlim, 1 / subjects[1])
    _log(axes.set_yscale, axes.set_ylim, min(_least(fnir) for _, _, fnir in shown) / 1.5)
    for (name, fpir, fnir), colour, line in zip(shown, _COLOURS, _LINES, strict=False):
        axes.step(fpir, fnir, where="post", color=colour, linestyle=line, label=name)
    for target, figures in result.default.at.items():
        if figures is not None:
            axes.axvline(target, color="#999999", linewidth=0.8, linestyle=":")
    axes.set(
        xlabel="FPIR: non-mated searches with a candidate, % (log)",
        ylabel="FNIR: mated searches that miss their mate, % (log)",
        title=f"DET: {result.enrolled:,} subjects enrolled, {subjects[0]:,} searched for, {subjects[1]:,} others",
    )
    _percent(axes.xaxis, axes.yaxis)
    axes.legend(title="step")


def _least(rates: NDArray[np.float64]) -> float:
    """The least rate that is not 0; 1 for none."""
    return float(rates[rates > 0].min(initial=1.0))


def _log(scale: Callable[[str], Any], limits: Callable[[float, float], Any], least: float) -> None:
    """An axis of rates up to 1 by their logarithm. Before anything is drawn, for there may be no rate but 0."""
    limits(min(0.1, least), 1)
    scale("log")


def _percent(*axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    for axis in axes:
        axis.set_major_locator(LogLocator(10, subs=(1.0, 3.0)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g}"))
        axis.set_minor_formatter(NullFormatter())


def _scores(result: Identification) -> Callable[[Axes], None]:
    """Scores of mates and the highest of each non-mated search, with the thresholds between them."""
    found, at = result.default.found, result.default.at

    def draw(axes: Axes) -> None:
        for scores, weights, colour, hatch, name in (
            (found.stranger, result.searches.non_mated_weight, _COLOURS[2], "//", "best of a non-mated search"),
            (found.mate, result.searches.mated_weight, _COLOURS[1], "", "mate of a mated search"),
        ):
            heights, edges = np.histogram(scores.clip(_BINS[0], _BINS[-1]), _BINS, weights=weights / weights.sum())
            axes.stairs(100 * heights, edges, fill=True, facecolor=colour, alpha=0.35, hatch=hatch, edgecolor=colour)
            axes.stairs(100 * heights, edges, color=colour, linewidth=1.4, label=name)
        top = axes.get_ylim()[1]
        axes.set(xlim=(_BINS[0], _BINS[-1]), ylim=(0, 1.12 * top))
        for fpir, figures in at.items():
            if figures is not None:
                axes.axvline(figures.threshold, color="#444444", linewidth=1, linestyle=":")
                axes.text(
                    figures.threshold,
                    1.11 * top,
                    f"{100 * fpir:g} %",
                    rotation=90,
                    ha="right",
                    va="top",
                    fontsize=9,
                    color="#444444",
                )
        axes.set(
            xlabel="comparison score (cosine); dotted: thresholds by FPIR",
            ylabel="share of searches, %",
            title="Scores of the default step",
        )
        axes.legend(loc="upper left")

    return draw


def _roc(axes: Axes, result: Verification) -> None:
    """TMR against FMR by its logarithm, with the FMRs at which TMR is reported."""
    fmr, tmr = result.roc.fmr, result.roc.tmr
    _log(axes.set_xscale, axes.set_xlim, 1 / result.different)
    axes.step(fmr, 100 * tmr, where="post", color=_COLOURS[1])
    reported = [point for point in result.true_match.values() if point is not None]
    if reported:
        reached = [max(point.false.rate, 1 / result.different) for point in reported]  # 0 has no logarithm: on the edge
        matched = [100 * point.matched.rate for point in reported]
        axes.plot(reached, matched, "o", color=_COLOURS[2], markersize=6, clip_on=False, label="TMR reported")
        axes.legend(loc="lower right")
    lowest = min([float(tmr[fmr > 0].min(initial=1.0)), *(point.matched.rate for point in reported)])
    axes.set(
        ylim=(max(0.0, 100 * lowest - 2), 100.2),
        xlabel="FMR: different-pairs matched, % (log)",
        ylabel="TMR: same-pairs matched, %",
        title=f"ROC: {result.same:,} same-pairs, {result.different:,} different-pairs",
    )
    _percent(axes.xaxis)

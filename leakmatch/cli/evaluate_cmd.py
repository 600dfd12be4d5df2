"""``leakmatch evaluate``: accuracy on the user's own labelled data."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from leakmatch import errors
from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.evaluation.figures import Proportion
    from leakmatch.evaluation.verification import Verification

PlotsOption = Annotated[
    Path | None,
    typer.Option(
        "--plots", metavar="DIR", help="Write plots (SVG, PNG) into this folder; pip install leakmatch[plots]."
    ),
]

app = typer.Typer(no_args_is_help=True, help="Accuracy on your own labelled data.")


@app.command()
def verification(
    images: Annotated[Path, typer.Argument(readable=False, metavar="IMAGES", help="A folder or an archive of photos.")],
    pairs: Annotated[
        Path,
        typer.Option("--pairs", metavar="PAIRS.csv", help="Columns same (0 or 1), a, b (paths in IMAGES), fold."),
    ],
    pack: options.PackOption = None,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    isolation: options.IsolationOption = None,
    plots: PlotsOption = None,
    verbose: options.VerboseOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Does a pack tell on labelled pairs of photos whether they show the same person?

    Accuracy is over folds: each is decided at the threshold that is best on the others. Without a column fold, row by
    row the pairs of each kind go to folds 0 to 9 in turn. TMR: same-pairs matched where no more than this share (FMR)
    of different-pairs is. A photo without a usable face is a failure to acquire: its pairs count as not matched, a
    same-pair as a miss, a different-pair as right. Only photos that a pair names are looked at. Intervals are Wilson's
    at 95 %, for independent pairs; pairs that share people say less than their number.

    --plots writes roc.svg and roc.png.

    Example: leakmatch evaluate verification people.zip --pairs pairs.csv
    """
    from leakmatch.cli.progress import shown
    from leakmatch.evaluation import plots as drawing
    from leakmatch.evaluation.verification import verify_pairs

    if plots is not None:
        drawing.require(plots)
    settings = options.settings(pack=pack, workers=workers, engine=engine, isolation=isolation)
    with shown("Looking", "faces", "without", quiet=quiet or as_json) as progress:
        result = verify_pairs(images, pairs, settings, progress)
    if plots is not None:
        drawing.plot_verification(result, plots)
    typer.echo(json.dumps(result.to_json(), indent=2) if as_json else "\n".join(_table(result)))
    if not quiet and not as_json:
        sys.stderr.write(
            f"{result.same + result.different:,} pairs of {result.images:,} images; {len(result.failures):,} images "
            f"without a usable face, in {result.failed_pairs:,} pairs that count as not matched.\n"
        )
    if not result.complete:
        raise typer.Exit(errors.INCOMPLETE)


@app.command()
def identification(
    images: Annotated[
        Path,
        typer.Argument(
            readable=False,
            metavar="IMAGES",
            help="A folder or an archive with one folder per subject, or a CSV with columns subject_id, path.",
        ),
    ],
    enrol: Annotated[
        str, typer.Option(metavar="N|all", help="Photos of a subject to enrol; all: all but the one searched for.")
    ] = "1",
    probes: Annotated[
        str, typer.Option(metavar="1|all", help="Photos of a subject to search for; all: every one not enrolled.")
    ] = "1",
    strangers: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Share (0 to 0.9) of subjects with several photos not to enrol either."),
    ] = 0.0,
    seed: Annotated[
        int, typer.Option(min=0, metavar="N", help="Which photos are enrolled; equal seeds draw alike.")
    ] = 1,
    slices: Annotated[
        Path | None,
        typer.Option(
            "--slices",
            metavar="LABELS.csv",
            help="Columns path or subject_id, and sex, age or what you have: each is shown by value.",
        ),
    ] = None,
    plots: PlotsOption = None,
    pack: options.PackOption = None,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    isolation: options.IsolationOption = None,
    verbose: options.VerboseOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Who of the enrolled is found among strangers, and how often is a stranger taken for one of them?

    Of every subject with two photos or more one is enrolled and another one searched for (mated). Photos of the other
    subjects are searched for, too (non-mated): whatever these find is false. A threshold is set at which no more than
    10, 3, 1 or 0.3 % of them find anyone (FPIR). FNIR is the share of mated searches whose mate is below it, at
    whatever rank. Rank 1: the mate scores highest, without a threshold. A photo that enrolment refuses, or without a
    usable face, stays in the count as a miss.

    Every step of the pipeline is measured on the same searches, from the plain templates to what enroll and scan do
    (default): templates normalised by the pack's calibration, and a second look at faces near a decision. On the photos
    from which that calibration was made, these two look better than they are.

    Intervals are at 95 %, by a bootstrap over subjects; those of slices are Wilson's, at thresholds of all searches.

    With --enrol all --probes all, each photo of a subject is searched for in turn while all its others are enrolled.

    --slices shows the figures by sex, age or whatever the table has; face size, sharpness and JPEG quality of the
    photos searched for are shown always. --plots writes det and scores, as svg and png.

    Example: leakmatch evaluate identification people.zip --slices labels.csv --plots plots
    """
    from leakmatch.cli.identification_table import summary, table
    from leakmatch.cli.progress import shown
    from leakmatch.evaluation import plots as drawing
    from leakmatch.evaluation.identification import identify
    from leakmatch.evaluation.trial import ALL, Protocol

    if not (enrol == "all" or (enrol.isdecimal() and int(enrol) >= 1)):
        raise errors.UsageError(f"--enrol {enrol}: give a number of photos, or all.")
    if probes not in {"1", "all"}:
        raise errors.UsageError(f"--probes {probes}: give 1 or all.")
    if not 0 <= strangers <= 0.9:
        raise errors.UsageError(f"--strangers {strangers:g}: give a share from 0 to 0.9.")
    protocol = Protocol(ALL if enrol == "all" else int(enrol), probes == "all", seed, strangers)
    if plots is not None:
        drawing.require(plots)
    settings = options.settings(pack=pack, workers=workers, engine=engine, isolation=isolation)
    with shown("Looking", "faces", "without", quiet=quiet or as_json) as progress:
        result = identify(images, settings, protocol, slices, progress)
    if plots is not None:
        drawing.plot_identification(result, plots)
    typer.echo(json.dumps(result.to_json(), indent=2) if as_json else "\n".join(table(result)))
    if not quiet and not as_json:
        sys.stderr.write(summary(result))
    if not result.complete:
        raise typer.Exit(errors.INCOMPLETE)


def _table(result: Verification) -> Iterator[str]:
    accuracy, equal = result.accuracy, result.equal_error
    thresholds = [fold.threshold for fold in accuracy.folds]
    yield _LINE.format("measure", "value", "95 % interval", "threshold", "counted")
    used = f"{min(thresholds):.5f} to {max(thresholds):.5f}"
    yield _row("accuracy", accuracy.correct, used, "pairs decided rightly")
    spread = f"standard deviation {100 * accuracy.deviation:.2f} %, over {len(accuracy.folds)} folds"
    yield _LINE.format("  mean of folds", _percent(accuracy.mean), "", "", spread)
    yield _LINE.format("equal error rate", _percent(equal.error), "", f"{equal.threshold:.5f}", "mean of these two:")
    yield _row("  FMR", equal.false, "", "different-pairs matched")
    yield _row("  FNMR", equal.missed, "", "same-pairs not matched")
    for fmr, point in result.true_match.items():
        measure = f"TMR at FMR {100 * fmr:g} %"
        if point is None:
            yield _LINE.format(measure, "-", "", "", "too few pairs for this rate and finer ones")
            break
        yield _row(measure, point.matched, f"{point.threshold:.5f}", "same-pairs matched")
        yield _row("  FMR there", point.false, "", "different-pairs matched")
    for failure in result.failures:
        yield f"{failure.outcome:<8} {failure.path}: {printable(failure.detail)}"


_LINE: Final = "{:<20} {:>9} {:>20} {:>18}  {}"


def _row(measure: str, share: Proportion, threshold: str, what: str) -> str:
    low, high = share.interval()
    interval = f"{100 * low:.2f} to {_percent(high)}"
    return _LINE.format(measure, _percent(share.rate), interval, threshold, f"{share.count:,} of {share.of:,} {what}")


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"

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

    Example: leakmatch evaluate verification people.zip --pairs pairs.csv
    """
    from leakmatch.cli.progress import shown
    from leakmatch.evaluation.verification import verify_pairs

    settings = options.settings(pack=pack, workers=workers, engine=engine, isolation=isolation)
    with shown("Looking", "faces", "without", quiet=quiet or as_json) as progress:
        result = verify_pairs(images, pairs, settings, progress)
    typer.echo(json.dumps(result.to_json(), indent=2) if as_json else "\n".join(_table(result)))
    if not quiet and not as_json:
        sys.stderr.write(
            f"{result.same + result.different:,} pairs of {result.images:,} images; {len(result.failures):,} images "
            f"without a usable face, in {result.failed_pairs:,} pairs that count as not matched.\n"
        )
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

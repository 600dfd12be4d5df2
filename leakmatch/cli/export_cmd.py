"""``leakmatch export``: the rows of a case, for other programs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable


def export(
    case: Annotated[Path, typer.Argument(readable=False, metavar="CASE", help="The case file.")],
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="candidates, subjects, items (the ledger), faces, incidents or run.")
    ],
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="jsonl, csv or parquet.")] = "jsonl",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", readable=False, metavar="FILE", help="Write here; default: standard output."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Candidates, subjects: the weak ones too.")] = False,
    expected_false: Annotated[
        float | None,
        typer.Option(
            "--expected-false",
            metavar="X",
            help="Candidates, subjects: decide anew with X accepted false ones, up to 10 times what the scan was told.",
        ),
    ] = None,
    verbose: options.VerboseOption = False,
) -> None:
    """Write out one table of a case, in the order of the sources.

    candidates: who may be where, and how sure that is. subjects: all that speaks for one person, together. items: how
    every file and member ended. faces: every face that was found. incidents: what went wrong. run: what was run, on
    what, with which models. docs/ledger.md explains every field. CSV is made safe for spreadsheets: a text that would
    be taken for a formula begins with an apostrophe.

    Example: leakmatch export 2026-17.case candidates --format csv -o candidates.csv
    """
    from leakmatch.case.columns import COLUMNS
    from leakmatch.case.decisions import Judge
    from leakmatch.case.export import write
    from leakmatch.case.store import Case
    from leakmatch.case.tables import rows
    from leakmatch.errors import UsageError

    if output is None and format == "parquet" and sys.stdout.isatty():
        raise UsageError("Parquet is not for a terminal. Add -o FILE.")
    with Case.open(case) as opened:
        found = rows(opened, what, expected_false, every)
        if opened.finished is None:
            _warn(f"{case}: this scan has not finished; these are the rows so far, and their figures will change.")
        if every and not Judge.of(opened, expected_false).weak_is_whole:
            _warn(f"{case}: weak candidates are stored for the case's own X only; with this one some are missing.")
        try:
            write(found, COLUMNS[what], format, sys.stdout.buffer if output is None else output)
        except BrokenPipeError:  # the reader has what it wanted (| head); nothing is left to say, not even at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _warn(sentence: str) -> None:
    sys.stderr.write(f"leakmatch: {printable(sentence)}\n")

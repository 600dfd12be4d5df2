"""``leakmatch report``: a case as one HTML file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable


def report(
    case: Annotated[Path, typer.Argument(readable=False, metavar="CASE", help="The case file.")],
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", readable=False, metavar="FILE", help="The report; a report that is there is replaced."
        ),
    ] = Path("report.html"),
    expected_false: Annotated[
        float | None,
        typer.Option(
            "--expected-false",
            metavar="X",
            help="Decide anew with X accepted false matches, up to 10 times what the scan was told.",
        ),
    ] = None,
    verbose: options.VerboseOption = False,
) -> None:
    """Write the report of a case: one HTML file that is readable offline, needs no script, and can be printed.

    It names who was found and where, shows the faces, says what could not be read, and explains how every figure was
    obtained. The case is checked first; the same case gives the same report.

    Example: leakmatch report 2026-17.case -o 2026-17.html
    """
    from leakmatch.case.report import report as compose
    from leakmatch.case.store import Case
    from leakmatch.files import replacing

    with Case.open(case) as opened:
        page = compose(opened, expected_false)
        unfinished = opened.finished is None
    with replacing(output) as stream:
        stream.write(page.encode("utf-8", "backslashreplace"))
    if unfinished:
        sys.stderr.write(f"leakmatch: {printable(str(case))}: this scan has not finished; the report says so.\n")
    sys.stderr.write(f"{printable(str(output))}: written.\n")

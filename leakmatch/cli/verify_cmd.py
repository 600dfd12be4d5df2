"""``leakmatch verify``: is a case what LeakMatch wrote, and does its ledger add up?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from leakmatch.records import Outcome


def verify(
    case: Annotated[Path, typer.Argument(readable=False, metavar="CASE", help="The case file.")],
    verbose: options.VerboseOption = False,
) -> None:
    """Check that a case is intact and that its ledger adds up.

    Every row is read and compared with the digest of the content; every source file and every container must have
    exactly the items that were met in it, each with one outcome. Exit code 0: intact and complete. 3: intact, but the
    scan has not finished or something could not be read. 4: damaged or changed. The digest shows damage and careless
    changes; whoever can write the file can compute it anew, so note it down elsewhere (it is in the report).

    Example: leakmatch verify 2026-17.case
    """
    from leakmatch import errors
    from leakmatch.case.coverage import ADVICE
    from leakmatch.case.store import Case
    from leakmatch.case.tables import unread

    with Case.open(case) as opened, opened.snapshot():
        opened.verify()
        missed = unread(opened)
        files, read = opened.count("files"), opened.count("finished_files")
        items = sum(opened.outcomes().values())
        lines = [
            f"{printable(str(case))}: intact.",
            "file structure: sound",
            f"content digest: {opened.digest}, as written",
            f"ledger: {items:,} items, each with exactly one outcome; it adds up, in each container and in all",
            f"source files: {read:,} of {files:,} read to their end",
            *([_KEPT.format(opened.count("kept"))] if opened.keeps else []),
            f"scan: {'finished' if opened.finished is not None else 'NOT FINISHED; run it again to go on'}",
            "coverage: " + (_words(missed) if missed else "everything that was met was looked at"),
            *(f"  {outcome}: {ADVICE[outcome]}" for outcome in missed),
        ]
        complete = opened.finished is not None and not missed
    typer.echo("\n".join(lines))
    if not complete:
        raise typer.Exit(errors.INCOMPLETE)


_KEPT = "kept templates: of {:,} items, sealed; every item that was looked at has them (leakmatch rescan opens them)"


def _words(missed: Mapping[Outcome, int]) -> str:
    parts = ", ".join(f"{count:,} {outcome}" for outcome, count in missed.items())
    return f"NOT COMPLETE: {sum(missed.values()):,} items could not be looked at in full ({parts})"

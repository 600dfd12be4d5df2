"""``leakmatch rescan|forget``: the templates that a case keeps, to be searched again or to be removed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

CaseArgument = Annotated[Path, typer.Argument(readable=False, metavar="CASE", help="The case file.")]


def rescan(
    case: CaseArgument,
    gallery: options.GalleryOption,
    new: Annotated[
        Path | None,
        typer.Option(
            "--case",
            "-c",
            readable=False,
            metavar="FILE",
            help="The new case to write; default: beside CASE, with -rescan-1 in its name.",
        ),
    ] = None,
    key_file: options.KeyFileOption = None,
    case_key_file: options.CaseKeyFileOption = None,
    pack: options.PackOption = None,
    expected_false: Annotated[
        float | None,
        typer.Option(
            "--expected-false",
            metavar="X",
            help="How many false matches to accept in the whole rescan; default: as the scan was told.",
        ),
    ] = None,
    threshold: options.ThresholdOption = None,
    workers: options.WorkersOption = None,
    verbose: options.VerboseOption = False,
    fail_on_match: Annotated[bool, typer.Option("--fail-on-match", help="Exit with 10 if there is a match.")] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Look for the people of a gallery in the templates that CASE keeps, and write a new case.

    For people who were enrolled after the scan: the sources are not needed any more. CASE has to be scanned with
    --keep-templates. It is not changed; the new case has its ledger and the candidates that a scan with this gallery
    would give. Decided as in CASE unless --expected-false or --threshold says otherwise. A rescan that is interrupted
    leaves nothing and begins anew. docs/rescan.md says what is kept, and how.

    Example: leakmatch rescan 2026-17.case --gallery school-2027.gallery --case-key-file case.key
    """
    from leakmatch.case.store import Case
    from leakmatch.cli.progress import shown
    from leakmatch.cli.scan_cmd import conclude
    from leakmatch.pipeline.rescan import rescan as run

    given = {"pack": pack, "expected_false": expected_false, "threshold": threshold, "workers": workers}
    keys = options.keys(key_file)
    case_keys = options.case_keys(case_key_file, keys)
    with shown("Rescanning", "faces", "candidates", quiet=quiet or as_json) as progress:
        written = run(case, gallery, new, given, progress, keys=keys, case_keys=case_keys)
    with Case.open(written) as finished:
        conclude(finished, as_json=as_json, quiet=quiet, fail_on_match=fail_on_match)


def forget(case: CaseArgument, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False) -> None:
    """Remove the templates that CASE keeps, for good; what was found in it stays.

    The file is written anew without them, and the old one is overwritten. The case records when and by whom. Needs no
    key. It cannot be undone: to look for more people, the sources have to be scanned again.

    Example: leakmatch forget 2026-17.case
    """
    from leakmatch.case.store import Case
    from leakmatch.errors import UsageError
    from leakmatch.pipeline.kept import forget as run

    name = printable(str(case))
    if not yes:
        with Case.open(case) as opened:
            keeps = opened.keeps
        try:
            agreed = not keeps or typer.confirm(f"Remove the templates that {name} keeps for good?", err=True)
        except typer.Abort:
            agreed = False
        if not agreed:
            raise UsageError("Nothing was removed. Answer with y, or give --yes.")
    items = run(case)
    with Case.open(case) as opened:
        digest = opened.digest
    done = "The templates had been removed before" if items is None else f"Removed the templates of {items:,} items"
    sys.stderr.write(f"{name}: {done}. Content digest of the case from now on: {digest}\n")

"""``leakmatch scan``: check a seized set against a gallery."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch import errors
from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.case.store import Case
    from leakmatch.settings import Settings


def scan(
    sources: Annotated[
        list[Path], typer.Argument(readable=False, metavar="SOURCE...", help="Folders, images or archives.")
    ],
    gallery: Annotated[
        Path | None,
        typer.Option("--gallery", "-g", readable=False, metavar="FILE", help="The gallery to compare with."),
    ] = None,
    case: Annotated[
        Path | None,
        typer.Option("--case", "-c", readable=False, metavar="FILE", help="The case to write or to continue."),
    ] = None,
    inventory: Annotated[
        bool,
        typer.Option(
            "--inventory",
            help="Only list what is there: kinds, locked and missing parts, bytes, about how long a scan will take. "
            "Needs neither --gallery nor --case, and writes nothing.",
        ),
    ] = False,
    key_file: options.KeyFileOption = None,
    keep_templates: Annotated[
        bool,
        typer.Option(
            "--keep-templates",
            help="Keep the templates of all faces in the case, sealed with a key of its own, so that people enrolled "
            "later can be looked for without the sources: leakmatch rescan. The case then holds data about strangers.",
            show_default=False,
        ),
    ] = False,
    case_key_file: options.CaseKeyFileOption = None,
    pack: options.PackOption = None,
    expected_false: options.ExpectedFalseOption = None,
    threshold: options.ThresholdOption = None,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    isolation: options.IsolationOption = None,
    passwords: options.PasswordsOption = None,
    approximate: options.ApproximateOption = None,
    verbose: options.VerboseOption = False,
    fail_on_match: Annotated[bool, typer.Option("--fail-on-match", help="Exit with 10 if there is a match.")] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Check folders, images and archives against a gallery, and write a case.

    Archives within archives are read as well; nothing is unpacked to disk. Every file and every member ends in the
    case's ledger with exactly one outcome. Stop it at any time: the same command goes on where it stopped, and does
    nothing twice. Exit code 3 says that something could not be read; `leakmatch report` says what.

    Before a long run, `leakmatch scan SOURCE... --inventory` says what is there and about how long it will take.

    Example: leakmatch scan seized.zip --gallery school.gallery --case 2026-17.case
    """
    from leakmatch.case.store import Case
    from leakmatch.cli.progress import shown
    from leakmatch.pipeline.scan import scan as run

    if not inventory and (gallery is None or case is None):
        missing = " and ".join(
            name for name, given in (("--gallery FILE", gallery), ("--case FILE", case)) if given is None
        )
        raise errors.UsageError(
            f"scan needs {missing}. (To see only what is in the sources, use --inventory: it needs neither.)"
        )

    if case_key_file is not None and not keep_templates:
        raise errors.UsageError("--case-key-file seals kept templates, and none are kept: give --keep-templates, too.")
    settings = options.settings(
        pack=pack,
        workers=workers,
        expected_false=expected_false,
        threshold=threshold,
        engine=engine,
        isolation=isolation,
        passwords=passwords and str(passwords.absolute()),
        approximate=approximate,
    )
    options.warn_of_isolation(settings)
    if gallery is None or case is None or inventory:
        _inventory(sources, settings, as_json=as_json, quiet=quiet)
        return
    with shown("Scanning", "faces", "candidates", quiet=quiet or as_json) as progress:
        announce = _ignored if quiet or as_json else _announce
        keys = options.keys(key_file)
        keep = options.case_keys(case_key_file, keys) if keep_templates else None
        run(sources, gallery, case, settings, progress, announce, keys=keys, keep=keep)
    with Case.open(case) as finished:
        warn_of_kept(finished)
        conclude(finished, as_json=as_json, quiet=quiet, fail_on_match=fail_on_match)


def _inventory(sources: list[Path], settings: Settings, *, as_json: bool, quiet: bool) -> None:
    from leakmatch.cli.inventory_text import in_words
    from leakmatch.cli.progress import shown
    from leakmatch.pipeline import inventory

    with shown("Listing", "pictures", "places with problems", quiet=quiet or as_json) as progress:
        found = inventory.survey(sources, settings, progress)
    if as_json:
        typer.echo(json.dumps(inventory.as_json(found), indent=2))
    elif not quiet:
        typer.echo("\n".join(in_words(found)))
    if found.incomplete:
        raise typer.Exit(errors.INCOMPLETE)


def _ignored(run: Mapping[str, Any]) -> None:
    """Quiet was asked for."""


def _announce(run: Mapping[str, Any]) -> None:
    """Before the scan: what chance will give, and where a match will begin."""
    planned = run.get("planned")
    if planned is None:
        return
    people, accepted = run["gallery"]["enrolled"], run["expected_false"]
    begins = (
        "that is rarer than the calibration's data shows: no face alone will be decided match"
        if planned["threshold"] is None
        else f"a face will be decided match from a score of about {planned['threshold']:.4f}"
    )
    sys.stderr.write(
        f"Planned: about {planned['searches']:,} faces (if photos take 50 kB and show one) against {people:,} people. "
        f"With {accepted:g} false {'match' if accepted == 1 else 'matches'} accepted in the whole scan, {begins}. "
        "What counts in the end is the number of faces met.\n"
    )


def warn_of_kept(case: Case) -> None:
    """One line on standard error where the case holds data about strangers."""
    if case.keeps:
        kinds = " or ".join(dict.fromkeys(slot.kind.replace("-", " ") for slot in case.slots))
        path = printable(str(case.path))
        sys.stderr.write(
            f"leakmatch: WARNING: {path} holds templates of strangers, sealed with its {kinds}. "
            f"Look for people enrolled later with: leakmatch rescan {path} --gallery FILE. "
            f"Destroy them when that is done: leakmatch forget {path}\n"
        )


def conclude(case: Case, *, as_json: bool, quiet: bool, fail_on_match: bool) -> None:
    """Say how a case ended. Ends the command with the exit code that it gives, unless that is 0."""
    from leakmatch.case.approximate import in_words
    from leakmatch.case.tables import rows
    from leakmatch.records import LOOKED_AT, Decision

    outcomes = case.outcomes()
    decided = Counter(Decision(str(row["decision"])) for row in rows(case, "candidates"))
    people = Counter(Decision(str(row["decision"])) for row in rows(case, "subjects"))
    unread = sum(count for outcome, count in outcomes.items() if outcome not in LOOKED_AT)
    if as_json:
        body = {
            "case": str(case.path),
            "kept_templates": case.keeps,
            "outcomes": {str(outcome): count for outcome, count in outcomes.items()},
            "candidates": {str(decision): decided[decision] for decision in (Decision.MATCH, Decision.REVIEW)},
            "subjects_matched": people[Decision.MATCH],
            "subjects_to_review": people[Decision.REVIEW],
        }
        typer.echo(json.dumps(body, indent=2))
    elif not quiet:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.items())
        sys.stderr.write(
            f"{printable(str(case.path))}: {sum(outcomes.values()):,} items: {counts}.\n"
            f"{people[Decision.MATCH]:,} protected people decided match, {people[Decision.REVIEW]:,} to review; "
            f"{decided[Decision.MATCH]:,} candidates decided match, {decided[Decision.REVIEW]:,} to review.\n"
            f"Read it with: leakmatch report {printable(str(case.path))}\n"
        )
        if case.approximate is not None:
            sys.stderr.write(" ".join(in_words(case.approximate)) + "\n")
        if unread:
            sys.stderr.write(f"{unread:,} items could not be looked at in full; the report lists them.\n")
    match = fail_on_match and people[Decision.MATCH] > 0
    code = errors.exit_code([errors.MATCHED] * match + [errors.INCOMPLETE] * bool(unread))
    if code:
        raise typer.Exit(code)

"""``leakmatch gallery import|export``: a gallery's people in a file, for another gallery or other tools, and back."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch.cli import options
from leakmatch.locator import printable, storable

if TYPE_CHECKING:
    from leakmatch.gallery.transfer import Imported


def import_files(
    gallery: options.GalleryArgument,
    files: Annotated[list[Path], typer.Argument(readable=False, metavar="FILE...", help="npz or Parquet files.")],
    key_file: options.KeyFileOption = None,
    import_key_file: Annotated[
        Path | None,
        typer.Option(
            "--import-key-file",
            readable=False,
            metavar="FILE",
            help="What opens a sealed FILE, where that is another key than GALLERY's. Or the passphrase in "
            "LEAKMATCH_IMPORT_PASSPHRASE.",
        ),
    ] = None,
    unsealed: options.UnsealedOption = False,
    purpose: options.PurposeOption = "",
    legal_basis: options.LegalBasisOption = "",
    pack: options.PackOption = None,
    trust_model: Annotated[
        bool, typer.Option("--trust-model", help="Take files that do not say which model made their templates.")
    ] = False,
    without_hashes: Annotated[
        bool, typer.Option("--without-hashes", help="Leave out the hashes that FILE has.", show_default=False)
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Add people from files to GALLERY, which is created if it is not there: exports, or templates of other tools.

    What `leakmatch gallery export` wrote has everything, sealed or not. A file of another tool holds vectors (float32,
    unit norm, one row per template) and subject_id, and may hold name, expires, path, sha256 and quality; it says in
    model_id which model made them (`leakmatch models list --json` has the id of a pack). docs/galleries.md shows how to
    write one. Its people are found by their faces only: it has no picture hashes.

    A file is added as a whole or not at all; one that was imported before adds nothing. Exit code 3 says that rows were
    refused, for instance for a vector that is not of unit norm.

    Example: leakmatch gallery import school.gallery templates.npz
    """
    from leakmatch import errors
    from leakmatch.cli.progress import counted
    from leakmatch.pipeline.exchange import import_files as run

    options.require_said(gallery, unsealed=unsealed)
    given = options.keys(key_file)
    reports = []
    for report in run(
        gallery,
        files,
        options.settings(pack=pack),
        lambda: counted("Importing", "templates", quiet=quiet or as_json),
        keys=None if unsealed and not gallery.exists() else given,
        file_keys=options.other_keys(import_key_file, "LEAKMATCH_IMPORT_PASSPHRASE", given),
        purpose=storable(purpose.strip()),
        legal_basis=storable(legal_basis.strip()),
        trust_model=trust_model,
        hashes=not without_hashes,
    ):
        reports.append(report)
        if not as_json and not quiet:
            _tell(report)
    if as_json:
        typer.echo(json.dumps([_imported(report) for report in reports], indent=2))
    if any(report.refusals for report in reports):
        raise typer.Exit(errors.INCOMPLETE)


def _tell(report: Imported) -> None:
    counts = f"{report.added:,} templates added, {report.known:,} known, {report.refusals:,} refused"
    typer.echo(f"{printable(str(report.file))}: {counts}.", err=True)
    for row, reason in report.refused.items():
        typer.echo(f"  row {row:,}: {printable(str(reason))}", err=True)
    if report.refusals > len(report.refused):
        typer.echo(f"  and {report.refusals - len(report.refused):,} more", err=True)
    warn_of_erased(report.erased_before, report.who)


def warn_of_erased(count: int, who: list[str]) -> None:
    """People who had a right to be erased, and are back."""
    if count:
        named = ", ".join(map(printable, who)) + (f" and {count - len(who):,} more" if count > len(who) else "")
        typer.echo(
            f"WARNING: {count:,} of these people had been removed from this gallery before, and are in it again: "
            f"{named}. If that was not meant: leakmatch gallery remove",
            err=True,
        )


def _imported(report: Imported) -> dict[str, Any]:
    return asdict(report) | {"file": str(report.file)}


def export_file(
    gallery: options.GalleryArgument,
    output: Annotated[Path, typer.Argument(readable=False, metavar="FILE", help="The file to write.")],
    key_file: options.KeyFileOption = None,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="faiss, npz or parquet.")] = "npz",
    export_key_file: Annotated[
        Path | None,
        typer.Option(
            "--export-key-file",
            readable=False,
            metavar="FILE",
            help="What to seal the export with, for somebody who has not GALLERY's key. Or a passphrase in "
            "LEAKMATCH_EXPORT_PASSPHRASE. Without either: the key that opens GALLERY.",
        ),
    ] = None,
    unsealed: Annotated[
        bool,
        typer.Option(
            "--unsealed",
            help="Write FILE without encryption: whoever has it can recognise these people.",
            show_default=False,
        ),
    ] = False,
    quiet: options.QuietOption = False,
) -> None:
    """Write the people in GALLERY into a file: their templates, hashes, names and dates.

    It is sealed, with the key that opens GALLERY or another, and `leakmatch gallery import` reads it. Only --unsealed
    writes what other tools can read. npz and parquet hold everything but the photos that were refused, in an open
    format (docs/galleries.md). faiss is an index for inner product (IndexIDMap2 over IndexFlatIP); its ids are
    enrolment ids, and FILE.csv says whose they are. No other tool could read a sealed index, so it takes --unsealed.

    Example: leakmatch gallery export school.gallery school.npz
    """
    from leakmatch.cli.progress import counted
    from leakmatch.gallery.store import Gallery
    from leakmatch.gallery.transfer import export_templates

    given = options.keys(key_file)
    own = options.other_keys(export_key_file, "LEAKMATCH_EXPORT_PASSPHRASE", given)
    about: dict[str, Any] = {"file": str(output.absolute()), "format": format, "sealed": not unsealed}
    with (
        Gallery.open(gallery, keys=given, steady=True, action="export", **about) as opened,
        counted("Exporting", "templates", quiet=quiet) as progress,
    ):
        same = own is given and opened.sealed
        secret = None if unsealed else own.secret(str(gallery if same else output), new=not same)
        count = export_templates(opened, output, format, progress, secret=secret)
        opened.note("exported", **about, templates=count)
    if quiet:
        return
    if format == "faiss":
        typer.echo(f"{printable(str(output))}.csv: whose templates they are, by enrolment id.", err=True)
    how = (
        "Whoever has this file can recognise these people."
        if unsealed
        else "Sealed with the key that opens the gallery."
        if same
        else "Sealed with the key that was given."
    )
    typer.echo(f"{printable(str(output))}: {count:,} templates. {how}", err=True)

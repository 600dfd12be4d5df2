"""``leakmatch gallery import|export``: templates from other tools, and for other tools."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.gallery.transfer import Imported


def import_files(
    gallery: options.GalleryArgument,
    files: Annotated[list[Path], typer.Argument(readable=False, metavar="FILE...", help="npz or Parquet files.")],
    key_file: options.KeyFileOption = None,
    unsealed: options.UnsealedOption = False,
    pack: options.PackOption = None,
    trust_model: Annotated[
        bool, typer.Option("--trust-model", help="Take files that do not say which model made their templates.")
    ] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Add templates that were made elsewhere to GALLERY, which is created if it is not there.

    A file holds vectors (float32, unit norm, one row per template) and subject_id, and may hold name, path, sha256 and
    quality; it says in model_id which model made them (`leakmatch models list --json` has the id of a pack).
    docs/galleries.md shows how to write one. A file is added as a whole or not at all; one that was imported before
    adds nothing. Exit code 3 says that rows were refused, for instance for a vector that is not of unit norm.

    Imported templates have no picture hashes: such people are found by their faces only.

    Example: leakmatch gallery import school.gallery templates.npz
    """
    from leakmatch import errors
    from leakmatch.cli.progress import counted
    from leakmatch.faces.packs import load_pack
    from leakmatch.gallery.store import Gallery
    from leakmatch.gallery.template_files import open_templates
    from leakmatch.gallery.transfer import import_templates

    for file in files:  # so that a slip in the last name is told before the first file is added
        with open_templates(file):
            pass
    keys = options.keys_for(gallery, key_file, unsealed=unsealed)
    if gallery.exists():
        opened = Gallery.open(gallery, keys=keys, writable=True, action="import")
    else:
        made_with = load_pack(options.settings(pack=pack).pack)
        opened = Gallery.create(gallery, made_with.name, made_with.model_id, made_with.embedder.dimension, keys=keys)
    with opened:
        reports = []
        for file in files:
            with counted("Importing", "templates", quiet=quiet or as_json) as progress:
                reports.append(import_templates(opened, file, trust_model=trust_model, progress=progress))
            if not as_json and not quiet:
                _tell(reports[-1])
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


def _imported(report: Imported) -> dict[str, Any]:
    return asdict(report) | {"file": str(report.file)}


def export_file(
    gallery: options.GalleryArgument,
    output: Annotated[Path, typer.Argument(readable=False, metavar="FILE", help="The file to write.")],
    key_file: options.KeyFileOption = None,
    format: Annotated[str, typer.Option("--format", "-f", metavar="FORMAT", help="faiss, npz or parquet.")] = "npz",
    quiet: options.QuietOption = False,
) -> None:
    """Write the templates of GALLERY for other tools. They leave its protection: a template is as good as a face.

    npz and parquet can be imported again (without the hashes of pictures). faiss is an index for inner product
    (IndexIDMap2 over IndexFlatIP); its ids are enrolment ids, and FILE.csv says whose they are. The file can be read by
    you only.

    Example: leakmatch gallery export school.gallery school.faiss --format faiss
    """
    from leakmatch.cli.progress import counted
    from leakmatch.gallery.store import Gallery
    from leakmatch.gallery.transfer import export_templates

    keys = options.keys(key_file)
    with (
        Gallery.open(gallery, keys=keys, steady=True, action="export", file=str(output.absolute())) as opened,
        counted("Exporting", "templates", quiet=quiet) as progress,
    ):
        count = export_templates(opened, output, format, progress)
    if not quiet and format == "faiss":
        typer.echo(f"{printable(str(output))}.csv: whose templates they are, by enrolment id.", err=True)
    if not quiet:
        typer.echo(
            f"{printable(str(output))}: {count:,} templates. Whoever has this file can recognise these people.",
            err=True,
        )

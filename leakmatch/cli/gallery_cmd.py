"""``leakmatch gallery``: look after a gallery."""

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

app = typer.Typer(
    help="Look after a gallery: what is in it, who is in it, remove a person, check it.", no_args_is_help=True
)

SubjectArgument = Annotated[str, typer.Argument(metavar="SUBJECT", help="The subject id.")]


@app.command()
def info(gallery: options.GalleryArgument, as_json: options.JsonOption = False) -> None:
    """Counts, model and identity of GALLERY."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        about = opened.info()
    if as_json:
        typer.echo(json.dumps(about, indent=2))
        return
    for name, value in about.items():
        typer.echo(f"{name:<16} {printable(str(value))}")


@app.command("list")
def list_subjects(gallery: options.GalleryArgument, as_json: options.JsonOption = False) -> None:
    """The subjects of GALLERY, with the number of photos enrolled and refused."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        for subject in opened.subjects():
            typer.echo(json.dumps(subject) if as_json else _subject_line(subject))


def _subject_line(subject: dict[str, Any]) -> str:
    name = f"  {printable(subject['name'])}" if subject["name"] else ""
    return (
        f"{subject['enrolled']:>5} enrolled {subject['refused']:>5} refused  {printable(subject['subject_id'])}{name}"
    )


@app.command()
def show(gallery: options.GalleryArgument, subject: SubjectArgument, as_json: options.JsonOption = False) -> None:
    """The photos of one subject: enrolled or refused, and why."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        photos = opened.photos(subject)
    for photo in photos:
        if as_json:
            typer.echo(json.dumps(photo))
        else:
            state = photo["refusal"] or "enrolled"
            detail = f": {printable(photo['detail'])}" if photo["detail"] else ""
            typer.echo(f"{state:<12} quality {photo['quality']:.2f}  {printable(photo['path'])}{detail}")


@app.command()
def remove(
    gallery: options.GalleryArgument,
    subject: SubjectArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a subject with all templates and hashes. It cannot be undone."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, writable=True) as opened:
        photos = len(opened.photos(subject))
        if not yes:
            _confirm(f"Remove {printable(subject)} with {photos} photos for good?")
        opened.remove(subject)
    typer.echo(f"Removed {printable(subject)} with {photos} photos.", err=True)


def _confirm(question: str) -> None:
    from leakmatch.errors import UsageError

    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise UsageError("Nothing was removed. Answer with y, or give --yes.")


@app.command("import")
def import_files(
    gallery: options.GalleryArgument,
    files: Annotated[list[Path], typer.Argument(readable=False, metavar="FILE...", help="npz or Parquet files.")],
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
    if gallery.exists():
        opened = Gallery.open(gallery, writable=True)
    else:
        made_with = load_pack(options.settings(pack=pack).pack)
        opened = Gallery.create(gallery, made_with.name, made_with.model_id, made_with.embedder.dimension)
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
    line = f"{report.file}: {report.added:,} templates added, {report.known:,} known, {report.refusals:,} refused."
    typer.echo(line, err=True)
    for row, reason in report.refused.items():
        typer.echo(f"  row {row:,}: {reason}", err=True)
    if report.refusals > len(report.refused):
        typer.echo(f"  and {report.refusals - len(report.refused):,} more", err=True)


def _imported(report: Imported) -> dict[str, Any]:
    return asdict(report) | {"file": str(report.file)}


@app.command("export")
def export_file(
    gallery: options.GalleryArgument,
    output: Annotated[Path, typer.Argument(readable=False, metavar="FILE", help="The file to write.")],
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

    with Gallery.open(gallery, steady=True) as opened, counted("Exporting", "templates", quiet=quiet) as progress:
        count = export_templates(opened, output, format, progress)
    if not quiet and format == "faiss":
        typer.echo(f"{output}.csv: whose templates they are, by enrolment id.", err=True)
    if not quiet:
        typer.echo(f"{output}: {count:,} templates. Whoever has this file can recognise these people.", err=True)


@app.command()
def verify(gallery: options.GalleryArgument) -> None:
    """Check that GALLERY is sound and its content is what LeakMatch wrote (exit code 4 if not)."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        opened.verify()
        about = opened.info()
    typer.echo(f"{gallery}: sound; {about['subjects']} subjects, {about['templates']} templates.")

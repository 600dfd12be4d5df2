"""``leakmatch gallery``: look after a gallery."""

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
    from leakmatch.settings import Settings

app = typer.Typer(
    help="Look after a gallery: what is in it, who is in it, remove a person, check it.", no_args_is_help=True
)

SubjectArgument = Annotated[str, typer.Argument(metavar="SUBJECT", help="The subject id.", callback=storable)]


@app.command()
def info(gallery: options.GalleryArgument, as_json: options.JsonOption = False) -> None:
    """Counts, model and identity of GALLERY; whether it is calibrated on its own people."""
    from leakmatch.gallery.store import Gallery
    from leakmatch.pipeline.calibrate import describe

    with Gallery.open(gallery) as opened:
        about = {**opened.info(), "calibration": describe(opened)}
    if as_json:
        typer.echo(json.dumps(about, indent=2))
        return
    own = about.pop("calibration")
    for name, value in about.items():
        typer.echo(f"{name:<16} {printable(str(value))}")
    typer.echo(f"{'calibration':<16} {_calibration(own, gallery)}")


def _calibration(own: dict[str, Any] | None, gallery: Path) -> str:
    if own is None:
        return "that of the model pack"
    made = f"of its own people too: {own['people']:,} people, {own['photos']:,} photos, {own['date']}"
    if not own["enrolments_changed_since"]:
        return made
    return f"{made}. Others are enrolled since. Run again: leakmatch gallery calibrate {printable(str(gallery))}"


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
    counts = f"{report.added:,} templates added, {report.known:,} known, {report.refusals:,} refused"
    typer.echo(f"{printable(str(report.file))}: {counts}.", err=True)
    for row, reason in report.refused.items():
        typer.echo(f"  row {row:,}: {printable(str(reason))}", err=True)
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
        typer.echo(f"{printable(str(output))}.csv: whose templates they are, by enrolment id.", err=True)
    if not quiet:
        typer.echo(
            f"{printable(str(output))}: {count:,} templates. Whoever has this file can recognise these people.",
            err=True,
        )


@app.command()
def verify(gallery: options.GalleryArgument) -> None:
    """Check that GALLERY is sound and its content is what LeakMatch wrote (exit code 4 if not)."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        opened.verify()
        about = opened.info()
    typer.echo(f"{printable(str(gallery))}: sound; {about['subjects']} subjects, {about['templates']} templates.")


@app.command()
def calibrate(
    gallery: options.GalleryArgument,
    pack: options.PackOption = None,
    remove: Annotated[bool, typer.Option("--remove", help="Drop the calibration that GALLERY has.")] = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Measure how alike the people in GALLERY are to each other, and have scans judge scores by it.

    The model pack was calibrated on other people. Each photo is compared with everybody else in GALLERY, and where
    these are more alike than those of the pack, scans ask for a higher score from then on. The calibration is kept in
    GALLERY; a case that was begun before cannot be continued. It takes about a hundred people; of more than 5,000 so
    many are drawn, the same each time. Do it again when the people have changed.

    Example: leakmatch gallery calibrate school.gallery
    """
    from leakmatch.cli.calibration_table import summary, table
    from leakmatch.pipeline.calibrate import calibrate as run
    from leakmatch.pipeline.calibrate import remove_calibration

    if remove:
        there = remove_calibration(gallery)
        typer.echo("Removed. Scans use the calibration of the model pack." if there else "There was none.", err=True)
        return
    settings = options.settings(pack=pack)
    made = run(gallery, settings)
    if as_json:
        typer.echo(json.dumps(made.to_json(), indent=2))
    elif not quiet:
        for line in table(made):
            typer.echo(line)
        for line in summary(made):
            typer.echo(line, err=True)
        _warn_of_doubts(gallery, settings)


def _warn_of_doubts(gallery: Path, settings: Settings) -> None:
    """Subjects who are one person by mistake make strangers look more alike than they are."""
    from leakmatch.errors import UsageError
    from leakmatch.pipeline.doubts import quick_doubts

    try:
        doubts = quick_doubts(gallery, settings)
        found = doubts.alike_found - sum(bool(pair.shared) for pair in doubts.alike)  # those were left out
    except UsageError as error:
        typer.echo(f"Not checked whether somebody is enrolled twice: {printable(str(error))}", err=True)
        return
    if found:
        typer.echo(
            f"WARNING: there are pairs of subjects who look like one person ({found:,}). If they are, the scores above "
            f"are too high. Settle it (leakmatch gallery doubts {gallery}) and calibrate again.",
            err=True,
        )


@app.command()
def doubts(
    gallery: options.GalleryArgument,
    pack: options.PackOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Subjects of GALLERY who look like one person, and subjects whose photos look like two; the clearest first.

    Both are mistakes to look for before a scan. Everybody is compared with everybody, so it takes seconds for ten
    thousand people and an hour or more for a million. Nothing is changed, and the exit code is 0 whatever is found.

    Example: leakmatch gallery doubts school.gallery
    """
    from leakmatch.cli.doubts_text import in_full, summary
    from leakmatch.cli.progress import counted
    from leakmatch.pipeline.doubts import doubts as run

    with counted("Comparing", "subjects", quiet=quiet or as_json) as progress:
        found = run(gallery, options.settings(pack=pack), progress)
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    for line in in_full(found, gallery):
        typer.echo(line)
    if not quiet:
        typer.echo(summary(found), err=True, nl=False)

"""``leakmatch gallery``: look after a gallery."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

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


@app.command()
def verify(gallery: options.GalleryArgument) -> None:
    """Check that GALLERY is sound and its content is what LeakMatch wrote (exit code 4 if not)."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery) as opened:
        opened.verify()
        about = opened.info()
    typer.echo(f"{gallery}: sound; {about['subjects']} subjects, {about['templates']} templates.")

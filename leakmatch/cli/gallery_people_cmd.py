"""``leakmatch gallery list|show|remove``: the people in a gallery."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from leakmatch.cli import options
from leakmatch.locator import printable, storable

SubjectArgument = Annotated[str, typer.Argument(metavar="SUBJECT", help="The subject id.", callback=storable)]


def list_subjects(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, as_json: options.JsonOption = False
) -> None:
    """The subjects of GALLERY, with the number of photos enrolled and refused."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="list") as opened:
        for subject in opened.subjects():
            typer.echo(json.dumps(subject) if as_json else _subject_line(subject))


def _subject_line(subject: dict[str, Any]) -> str:
    name = f"  {printable(subject['name'])}" if subject["name"] else ""
    return (
        f"{subject['enrolled']:>5} enrolled {subject['refused']:>5} refused  {printable(subject['subject_id'])}{name}"
    )


def show(
    gallery: options.GalleryArgument,
    subject: SubjectArgument,
    key_file: options.KeyFileOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """The photos of one subject: enrolled or refused, and why."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="show") as opened:
        photos = opened.photos(subject)
    for photo in photos:
        if as_json:
            typer.echo(json.dumps(photo))
        else:
            state = photo["refusal"] or "enrolled"
            detail = f": {printable(photo['detail'])}" if photo["detail"] else ""
            typer.echo(f"{state:<12} quality {photo['quality']:.2f}  {printable(photo['path'])}{detail}")


def remove(
    gallery: options.GalleryArgument,
    subject: SubjectArgument,
    key_file: options.KeyFileOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Remove a subject with all templates and hashes. It cannot be undone."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="remove") as opened:
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

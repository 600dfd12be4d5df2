"""``leakmatch gallery list|show|rename|expire``: the people in a gallery."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from leakmatch.cli import options
from leakmatch.errors import UsageError
from leakmatch.locator import printable, storable

SubjectArgument = Annotated[str, typer.Argument(metavar="SUBJECT", help="The subject id.", callback=storable)]


def storable_all(subjects: list[str] | None) -> list[str]:
    """What was given on the command line, as a gallery stores it."""
    return [storable(subject) for subject in subjects or ()]


def list_subjects(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, as_json: options.JsonOption = False
) -> None:
    """The subjects of GALLERY: how many photos are enrolled and refused, and until when to keep them.

    Example: leakmatch gallery list school.gallery
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="list") as opened:
        for subject in opened.people:
            typer.echo(json.dumps(subject) if as_json else _subject_line(subject))


def _subject_line(subject: dict[str, Any]) -> str:
    name = f"  {printable(subject['name'])}" if subject["name"] else ""
    return (
        f"{subject['enrolled']:>5} enrolled {subject['refused']:>5} refused  {printable(subject['subject_id'])}{name}"
        f"{_until(subject)}"
    )


def _until(subject: dict[str, Any]) -> str:
    if not subject["expires"]:
        return ""
    return f"  until {subject['expires']}{', which is PAST' if subject['expired'] else ''}"


def show(
    gallery: options.GalleryArgument,
    subject: SubjectArgument,
    key_file: options.KeyFileOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """The photos of one subject with their enrolment ids: enrolled or refused, and why.

    With --json one object per photo. That somebody looked is noted in the gallery's log, with a digest of the id.

    Example: leakmatch gallery show school.gallery anna
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="show") as opened:
        about, photos = opened.people.about(subject), opened.people.photos(subject)
        opened.note("shown", subject=opened.people.reference(subject))
    if not as_json:
        name = f"  {printable(about['name'])}" if about["name"] else ""
        typer.echo(f"{printable(subject)}{name}{_until(about)}")
    for photo in photos:
        typer.echo(json.dumps(photo) if as_json else _photo_line(photo))


def _photo_line(photo: dict[str, Any]) -> str:
    state = photo["refusal"] or "enrolled"
    detail = f": {printable(photo['detail'])}" if photo["detail"] else ""
    return f"{photo['enrolment_id']:>8}  {state:<12} quality {photo['quality']:.2f}  {printable(photo['path'])}{detail}"


def rename(
    gallery: options.GalleryArgument,
    subject: SubjectArgument,
    to: Annotated[
        str | None, typer.Option("--to", metavar="ID", help="The new subject id, which must be free.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The new name, for people to read; '' for none.")
    ] = None,
    key_file: options.KeyFileOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Give a subject another id, another name, or both. Templates, dates and enrolment ids stay.

    The paths that photos were enrolled from stay, too. Whoever enrols the old folder again enrols the old id again. A
    case that was begun before cannot be continued with GALLERY.

    Example: leakmatch gallery rename school.gallery anna --to p0017 --name "Anna K."
    """
    from leakmatch.gallery.store import Gallery

    if to is None and name is None:
        raise UsageError("Give what to change: --to ID, --name NAME, or both.")
    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="rename") as opened:
        calibrated = opened.calibration() is not None
        opened.people.rename(
            subject, to=None if to is None else storable(to), name=None if name is None else storable(name)
        )
        dropped = calibrated and opened.calibration() is None
    if quiet:
        return
    if to is not None:
        typer.echo(f"{printable(subject)} is {printable(to)} from now on.", err=True)
    if name is not None:
        typer.echo(f"The name is {printable(name)!r} from now on." if name else "There is no name any more.", err=True)
    if dropped:
        typer.echo(f"The gallery's own calibration named the old id and was dropped. {_anew(gallery)}", err=True)


def _anew(gallery: object) -> str:
    return f"Make it anew: leakmatch gallery calibrate {printable(str(gallery))}"


def expire(
    gallery: options.GalleryArgument,
    subjects: Annotated[
        list[str], typer.Argument(metavar="SUBJECT...", help="The subject ids.", callback=storable_all)
    ],
    on: Annotated[
        str, typer.Option("--on", metavar="DATE|never", help="The last day on which to keep them, as 2027-01-31.")
    ],
    key_file: options.KeyFileOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Say until when to keep people. From the next day on (UTC) no new scan or search is made with GALLERY.

    Then remove them (leakmatch gallery remove GALLERY --expired), or give them a later date here. A scan that was begun
    before the day can be continued after it, but not after a change of dates.

    Example: leakmatch gallery expire school.gallery anna bert --on 2027-01-31
    """
    from leakmatch.gallery.people import parse_date
    from leakmatch.gallery.store import Gallery

    date = "" if on == "never" else parse_date(on)
    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="expire") as opened:
        opened.people.expire(dict.fromkeys(subjects, date))
    if not quiet:
        until = f"kept until {date}, and not searched for after" if date else "kept without a date"
        typer.echo(f"{', '.join(map(printable, subjects))}: {until}.", err=True)

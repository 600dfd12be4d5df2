"""``leakmatch gallery remove|erasures``: people taken out of a gallery, and what stays on record of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options
from leakmatch.cli.gallery_people_cmd import storable_all
from leakmatch.errors import LeakMatchError, StorageError, UsageError
from leakmatch.locator import printable, storable

if TYPE_CHECKING:
    from leakmatch.gallery.people import Erasure
    from leakmatch.gallery.store import Gallery

_NAMED = 5

Chosen = Mapping[str, Collection[int] | None]


def remove(
    gallery: options.GalleryArgument,
    subjects: Annotated[
        list[str] | None, typer.Argument(metavar="SUBJECT...", help="The subject ids.", callback=storable_all)
    ] = None,
    enrolments: Annotated[
        list[int] | None,
        typer.Option("--enrolment", metavar="ID", help="Only this photo of the SUBJECT (gallery show); several times."),
    ] = None,
    expired: Annotated[
        bool, typer.Option("--expired", help="Everybody whose date is past.", show_default=False)
    ] = False,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="Why, for the record; name nobody: it stays.", callback=storable),
    ] = "",
    no_compact: Annotated[
        bool,
        typer.Option(
            "--no-compact", help="Leave the file as large as it is, and what was removed in it.", show_default=False
        ),
    ] = False,
    key_file: options.KeyFileOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: options.JsonOption = False,
) -> None:
    """Remove people, or single photos, with all templates and hashes. It cannot be undone.

    The file is then rewritten, so that nothing of them is left in it. What stays is a record without anything of a
    face: when, who, why, how many, and a keyed digest of the subject id (leakmatch gallery erasures). Copies of the
    file, exports, cases and reports are not reached.

    Example: leakmatch gallery remove school.gallery anna --reason "left the school"
    """
    from leakmatch.gallery.store import Gallery

    if bool(subjects) == expired or (enrolments and len(subjects or ()) != 1):
        raise UsageError("Give the SUBJECT ids, or --expired; with --enrolment one SUBJECT.")
    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="remove") as opened:
        if expired:
            subjects = opened.people.expired()
        chosen: Chosen = dict.fromkeys(subjects or (), enrolments or None)
        if chosen and not yes:
            _confirm(_question(opened, chosen))
        calibrated = opened.calibration() is not None
        made = opened.people.erase(chosen, reason)
        left = [subject for subject in chosen if subject in opened.people and not _is_enrolled(opened, subject)]
        if made and not no_compact:
            _compact(opened)
    if as_json:
        typer.echo(json.dumps([asdict(erasure) for erasure in made], indent=2))
    for line in _told(gallery, list(chosen), made, compacted=not no_compact):
        typer.echo(line, err=True)
    for subject in left:
        typer.echo(
            f"{printable(subject)} has no enrolled photo any more and cannot be found, but is still listed. To remove "
            f"the subject: leakmatch gallery remove {printable(str(gallery))} {printable(subject)}",
            err=True,
        )
    if made and calibrated:
        typer.echo(
            "The gallery's own calibration was made of their templates, too, and was dropped; scans use that of the "
            f"model pack. Make it anew: leakmatch gallery calibrate {printable(str(gallery))}",
            err=True,
        )


def _is_enrolled(gallery: Gallery, subject: str) -> bool:
    return any(photo["refusal"] is None for photo in gallery.people.photos(subject))


def _question(gallery: Gallery, chosen: Chosen) -> str:
    photos = sum(len(gallery.people.photos(subject)) if only is None else len(only) for subject, only in chosen.items())
    if any(only is not None for only in chosen.values()):
        return f"Remove {_count(photos, 'photo')} of {_named(list(chosen))} for good?"
    return f"Remove {_named(list(chosen))} with {_count(photos, 'photo')} for good?"


def _confirm(question: str) -> None:
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        agreed = False
    if not agreed:
        raise UsageError("Nothing was removed. Answer with y, or give --yes.")


def _compact(gallery: Gallery) -> None:
    try:
        gallery.compact()
    except LeakMatchError as error:
        raise StorageError(
            f"They were removed, but the file could not be rewritten without them ({error}). Until it is, what they "
            f"left is in the file: leakmatch gallery compact {gallery.path}"
        ) from error


def _told(gallery: Path, subjects: Sequence[str], made: Sequence[Erasure], *, compacted: bool) -> list[str]:
    if not made:
        return ["Nobody's date is past. Nothing was removed."]
    counts = ", ".join(
        _count(sum(getattr(erasure, f"{what}s") for erasure in made), what) for what in ("photo", "template")
    )
    hashes = sum(erasure.hashes for erasure in made)
    numbers = f"{made[0].number}" if len(made) == 1 else f"{made[0].number} to {made[-1].number}"
    lines = [
        f"Removed {'' if made[0].scope == 'subject' else 'from '}{_named(subjects)}: {counts}, "
        f"{_count(hashes, 'hash', 'hashes')}. Erasure {numbers}."
    ]
    if compacted:
        lines.append("The file was rewritten: nothing of what was removed is left in it.")
    else:
        lines.append(
            "WARNING: what was removed is still in the file, for whoever can open it, until: leakmatch gallery compact "
            f"{printable(str(gallery))}"
        )
    lines.append("Not reached: copies and backups of the file, exports, and what cases and reports say of them.")
    return lines


def _named(subjects: Sequence[str]) -> str:
    shown = ", ".join(map(printable, subjects[:_NAMED]))
    return shown if len(subjects) <= _NAMED else f"{len(subjects):,} subjects ({shown}, ...)"


def _count(number: int, what: str, several: str = "") -> str:
    return f"{number:,} {what if number == 1 else several or what + 's'}"


def erasures(
    gallery: options.GalleryArgument,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="ID", help="Only of this subject id, as it was when it was removed."),
    ] = None,
    key_file: options.KeyFileOption = None,
    as_json: options.JsonOption = False,
) -> None:
    """What was removed from GALLERY: when, by whom, why, how much. Who it was, is not in the records.

    They hold a digest of the subject id under a key of the gallery. So who asks "was I erased?" and says the id, can be
    told: --subject ID.

    Example: leakmatch gallery erasures school.gallery --subject anna
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="erasures") as opened:
        wanted = None if subject is None else storable(subject)
        found = opened.people.erasures(wanted)
        there = wanted in opened.people
        left = opened.left_in_file()
    if as_json:
        typer.echo(json.dumps([asdict(erasure) for erasure in found], indent=2))
    else:
        for erasure in found:
            typer.echo(_line(erasure))
    if subject is not None:
        was = f"{_count(len(found), 'erasure')} on record" if found else "no erasure on record"
        typer.echo(f"{printable(subject)}: {was}; {'in' if there else 'not in'} the gallery today.", err=True)
    if left:
        typer.echo(
            "WARNING: what was removed last is still in the file, for whoever can open it. Rewrite it: leakmatch "
            f"gallery compact {printable(str(gallery))}",
            err=True,
        )


def _line(erasure: Erasure) -> str:
    what = "the whole subject" if erasure.scope == "subject" else "photos"
    reason = f": {printable(erasure.reason)}" if erasure.reason else ""
    return (
        f"{erasure.number:>6}  {erasure.erased}  {printable(erasure.who)}  {what} {erasure.subject}: "
        f"{_count(erasure.photos, 'photo')}, {_count(erasure.templates, 'template')}, "
        f"{_count(erasure.hashes, 'hash', 'hashes')}{reason}"
    )

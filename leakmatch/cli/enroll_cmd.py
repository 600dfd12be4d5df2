"""``leakmatch enroll``: a gallery from photos of the protected population."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch import errors
from leakmatch.cli import options
from leakmatch.locator import printable, storable

if TYPE_CHECKING:
    from leakmatch.gallery.store import Photo
    from leakmatch.pipeline.doubts import Doubts
    from leakmatch.pipeline.enrol import EnrolmentReport
    from leakmatch.sealed.keys import Keys
    from leakmatch.settings import Settings


_MANY_PHOTOS = 10  # more of one subject alone are unusual enough to ask whether a folder too many is around them


def enroll(
    gallery: options.GalleryArgument,
    sources: Annotated[
        list[Path],
        typer.Argument(
            readable=False,
            metavar="SOURCE...",
            help="Folders or archives with one folder per subject, or CSV files with columns "
            "subject_id,path[,name][,expires].",
        ),
    ],
    key_file: options.KeyFileOption = None,
    unsealed: options.UnsealedOption = False,
    purpose: options.PurposeOption = "",
    legal_basis: options.LegalBasisOption = "",
    expires: Annotated[
        str,
        typer.Option(
            "--expires",
            metavar="DATE",
            help="The last day (2027-01-31) on which to keep those of whom this run enrols a photo. In a CSV a column "
            "expires says it for each.",
        ),
    ] = "",
    pack: options.PackOption = None,
    workers: options.WorkersOption = None,
    engine: options.EngineOption = None,
    isolation: options.IsolationOption = None,
    passwords: options.PasswordsOption = None,
    verbose: options.VerboseOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Create GALLERY, or add to it, from photos of the people to protect.

    The first folder below SOURCE names the subject: people/anna/1.jpg enrols subject "anna". Several photos of a
    subject are welcome. Each photo that cannot be enrolled is listed with its reason (exit code 3). Run it again to
    add what is new; nothing is enrolled twice. Photos themselves are not stored.

    GALLERY is sealed: give --key-file (leakmatch gallery keys generate makes one) or a passphrase whenever it is used.

    Example: leakmatch enroll school.gallery people/ --purpose "find our pupils in leaks" --expires 2027-07-31
    """
    from leakmatch.cli.progress import shown
    from leakmatch.pipeline.enrol import Terms
    from leakmatch.pipeline.enrol import enroll as run

    settings = options.settings(
        pack=pack,
        workers=workers,
        engine=engine,
        isolation=isolation,
        passwords=passwords and str(passwords.absolute()),
    )
    options.warn_of_isolation(settings)
    terms = Terms(storable(purpose.strip()), storable(legal_basis.strip()), expires)
    keys = options.keys_for(gallery, key_file, unsealed=unsealed)
    with shown("Enrolling", "enrolled", "refused", quiet=quiet or as_json) as progress:
        report = run(gallery, sources, settings, progress, keys=keys, terms=terms)
    if as_json:
        found = _doubts(gallery, settings, keys)
        body = _as_json(report) | {"doubts": found and found.to_json()}
        typer.echo(json.dumps(body, ensure_ascii=True, indent=2))
    else:
        _print(report, gallery, quiet)
        _warn_of_erased(report, gallery)
        if not quiet:
            _warn_of_doubts(gallery, settings, keys)
    if report.refused:
        raise typer.Exit(errors.INCOMPLETE)


def _print(report: EnrolmentReport, gallery: Path, quiet: bool) -> None:
    for photo in report.refused:
        typer.echo(f"refused  {photo.refusal:<12} {_photo(photo)}")
    if quiet:
        return
    for note in report.notes:
        typer.echo(f"enrolled {note.code:<12} {_photo(note.photo)}")
    sys.stderr.write(
        f"{report.enrolled} photos enrolled into {printable(str(gallery))}, {report.known} already known, "
        f"{len(report.refused)} refused, {report.not_pictures} files that are no pictures.\n"
    )
    if report.dated:
        sys.stderr.write(
            f"{report.dated} people got a date until which to keep them. Who was enrolled already and has no new photo "
            "did not: leakmatch gallery expire changes dates.\n"
        )
    if len(report.subjects) == 1 and report.enrolled >= _MANY_PHOTOS:
        (subject,) = report.subjects
        sys.stderr.write(
            f"WARNING: all {report.enrolled} photos were enrolled for one subject, {printable(subject)!r}. If that is "
            "the folder around the subjects' folders, remove the subject and give that folder itself.\n"
        )


def _warn_of_erased(report: EnrolmentReport, gallery: Path) -> None:
    again = sorted(report.erased_before)
    if again:
        shown = ", ".join(map(printable, again[:5])) + (", ..." if len(again) > 5 else "")
        sys.stderr.write(
            f"WARNING: {len(again)} of these subject ids had been removed from this gallery and are in it again: "
            f"{shown}. Why: leakmatch gallery erasures. If they are not to be in it: leakmatch gallery "
            f"remove {printable(str(gallery))} SUBJECT...\n"
        )


def _warn_of_doubts(gallery: Path, settings: Settings, keys: Keys | None) -> None:
    from leakmatch.cli.doubts_text import in_brief

    found = _doubts(gallery, settings, keys)
    if found is not None:
        sys.stderr.write(in_brief(found, gallery))


def _doubts(gallery: Path, settings: Settings, keys: Keys | None) -> Doubts | None:
    """Subjects who look like one person, or one like two: no reason to fail, and none that they cannot be told."""
    from leakmatch.pipeline.doubts import quick_doubts

    if not gallery.exists():  # nothing was enrolled
        return None
    try:
        return quick_doubts(gallery, settings, keys=keys)
    except errors.UsageError as error:
        sys.stderr.write(
            f"Not checked whether subjects look like one person, or one like two: {printable(str(error))} "
            f"To check: leakmatch gallery doubts {printable(str(gallery))}\n"
        )
        return None


def _photo(photo: Photo) -> str:
    return f"{printable(photo.subject_id) or '-'}: {printable(photo.path)}: {printable(photo.detail)}"


def _as_json(report: EnrolmentReport) -> dict[str, Any]:
    def row(photo: Photo, reason: str) -> dict[str, Any]:
        return {
            "subject_id": photo.subject_id,
            "path": photo.path,
            "sha256": photo.sha256.hex() if photo.sha256 else None,
            "reason": reason,
            "detail": photo.detail,
        }

    return {
        "enrolled": report.enrolled,
        "already_known": report.known,
        "not_pictures": report.not_pictures,
        "dated": report.dated,
        "erased_before": sorted(report.erased_before),
        "refused": [row(photo, photo.refusal) for photo in report.refused],
        "notes": [row(note.photo, note.code) for note in report.notes],
    }

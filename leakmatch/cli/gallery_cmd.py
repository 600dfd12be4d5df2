"""``leakmatch gallery``: look after a gallery."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch.cli import (
    gallery_erasure_cmd,
    gallery_keys_cmd,
    gallery_merge_cmd,
    gallery_people_cmd,
    gallery_re_enrol_cmd,
    gallery_safety_cmd,
    gallery_transfer_cmd,
    options,
)
from leakmatch.errors import UsageError
from leakmatch.locator import printable, storable

if TYPE_CHECKING:
    from leakmatch.sealed.keys import Keys
    from leakmatch.settings import Settings


def info(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, as_json: options.JsonOption = False
) -> None:
    """What GALLERY is for, what is in it, its model and identity; whether it is calibrated on its own people.

    Example: leakmatch gallery info school.gallery
    """
    from leakmatch.gallery.store import Gallery
    from leakmatch.pipeline.calibrate import describe

    with Gallery.open(gallery, keys=options.keys(key_file), action="info") as opened:
        about = {**opened.info(), "removals_left_in_file": opened.left_in_file(), "calibration": describe(opened)}
    if as_json:
        typer.echo(json.dumps(about, indent=2))
        return
    own = about.pop("calibration")
    left, expired = about.pop("removals_left_in_file"), about["expired"]
    for name, value in about.items():
        typer.echo(f"{name:<16} {printable(str(value)) if value != '' else 'not stated'}")
    typer.echo(f"{'calibration':<16} {_calibration(own, gallery)}")
    shown = printable(str(gallery))
    if expired:
        typer.echo(
            f"WARNING: the date of {expired:,} of its people is past, so no new scan is made with it. Remove them "
            f"(leakmatch gallery remove {shown} --expired) or give them a later date (leakmatch gallery expire).",
            err=True,
        )
    if left:
        typer.echo(
            "WARNING: what was removed last is still in the file, for whoever can open it. Rewrite it: leakmatch "
            f"gallery compact {shown}",
            err=True,
        )


def _calibration(own: dict[str, Any] | None, gallery: Path) -> str:
    if own is None:
        return "that of the model pack"
    made = f"of its own people too: {own['people']:,} people, {own['photos']:,} photos, {own['date']}"
    if not own["enrolments_changed_since"]:
        return made
    return f"{made}. Others are enrolled since. Run again: leakmatch gallery calibrate {printable(str(gallery))}"


def describe_gallery(
    gallery: options.GalleryArgument,
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="TEXT", help="What GALLERY is for; '' for not stated.")
    ] = None,
    legal_basis: Annotated[
        str | None, typer.Option("--legal-basis", metavar="TEXT", help="What allows it; '' for not stated.")
    ] = None,
    key_file: options.KeyFileOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """State anew what GALLERY is for, and what allows it. Every report says both.

    The log keeps what was stated before. A case that was begun before cannot be continued with GALLERY.

    Example: leakmatch gallery describe school.gallery --purpose "find our pupils in leaks" --legal-basis "consent"
    """
    from leakmatch.gallery.store import Gallery

    if purpose is None and legal_basis is None:
        raise UsageError("Give what to state: --purpose TEXT, --legal-basis TEXT, or both.")
    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="describe") as opened:
        opened.describe(
            purpose=None if purpose is None else storable(purpose.strip()),
            legal_basis=None if legal_basis is None else storable(legal_basis.strip()),
        )
        now = {"Purpose": opened.purpose, "Legal basis": opened.legal_basis}
    if not quiet:
        for name, text in now.items():
            typer.echo(f"{name}: {printable(text) or 'not stated'}", err=True)


def calibrate(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
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

    keys = options.keys(key_file)
    if remove:
        there = remove_calibration(gallery, keys=keys)
        typer.echo("Removed. Scans use the calibration of the model pack." if there else "There was none.", err=True)
        return
    settings = options.settings(pack=pack)
    made = run(gallery, settings, keys=keys)
    if as_json:
        typer.echo(json.dumps(made.to_json(), indent=2))
    elif not quiet:
        for line in table(made):
            typer.echo(line)
        for line in summary(made):
            typer.echo(line, err=True)
        _warn_of_doubts(gallery, settings, keys)


def _warn_of_doubts(gallery: Path, settings: Settings, keys: Keys) -> None:
    """Subjects who are one person by mistake make strangers look more alike than they are."""
    from leakmatch.errors import UsageError
    from leakmatch.pipeline.doubts import quick_doubts

    try:
        doubts = quick_doubts(gallery, settings, keys=keys)
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


def doubts(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
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
        found = run(gallery, options.settings(pack=pack), progress, keys=options.keys(key_file))
    if as_json:
        typer.echo(json.dumps(found.to_json(), indent=2))
        return
    for line in in_full(found, gallery):
        typer.echo(line)
    if not quiet:
        typer.echo(summary(found), err=True, nl=False)


app = typer.Typer(
    help="Look after a gallery: who is in it, why and until when, who may open it, remove a person, check it.",
    no_args_is_help=True,
)
for name, command in (
    ("info", info),
    ("list", gallery_people_cmd.list_subjects),
    ("show", gallery_people_cmd.show),
    ("rename", gallery_people_cmd.rename),
    ("expire", gallery_people_cmd.expire),
    ("remove", gallery_erasure_cmd.remove),
    ("erasures", gallery_erasure_cmd.erasures),
    ("describe", describe_gallery),
    ("import", gallery_transfer_cmd.import_files),
    ("export", gallery_transfer_cmd.export_file),
    ("merge", gallery_merge_cmd.merge),
    ("re-enrol", gallery_re_enrol_cmd.re_enrol),
    ("verify", gallery_safety_cmd.verify),
    ("log", gallery_safety_cmd.log),
    ("seal", gallery_safety_cmd.seal),
    ("compact", gallery_safety_cmd.compact),
    ("calibrate", calibrate),
    ("doubts", doubts),
):
    app.command(name)(command)
app.add_typer(gallery_keys_cmd.app, name="keys")

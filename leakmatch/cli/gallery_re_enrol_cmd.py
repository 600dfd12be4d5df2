"""``leakmatch gallery re-enrol``: what another model takes."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.pipeline.re_enrol import Plan


def re_enrol(
    gallery: options.GalleryArgument,
    sources: Annotated[
        list[Path] | None,
        typer.Argument(
            readable=False,
            metavar="[SOURCE...]",
            help="Folders, archives or CSV files in which to look for the photos; else where they were enrolled from.",
        ),
    ] = None,
    key_file: options.KeyFileOption = None,
    pack: options.PackOption = None,
    table: Annotated[
        Path | None,
        typer.Option("--csv", readable=False, metavar="FILE", help="Write a list of the photos found, for enroll."),
    ] = None,
    passwords: options.PasswordsOption = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Plan how to enrol the people in GALLERY again for another model; nothing is changed.

    Templates of one model cannot be turned into those of another, so each photo has to be looked at again, and GALLERY
    does not hold the photos. It knows each by its SHA-256. This says whose photos are still there, who would be lost,
    and which command enrols the others. With --csv, a list of the photos is written that this command takes.

    Example: leakmatch gallery re-enrol school.gallery people/ --pack antelopev2 --csv photos.csv
    """
    from leakmatch.cli.progress import shown
    from leakmatch.pipeline.re_enrol import plan, write_csv

    settings = options.settings(pack=pack, passwords=passwords and str(passwords.absolute()))
    if sources:
        options.warn_of_isolation(settings)
    with shown("Looking", "found", "missing", quiet=quiet or as_json) as progress:
        made = plan(gallery, sources or [], settings, progress, keys=options.keys(key_file))
    left_out = 0
    if table is not None:
        written, left_out = write_csv(made, table)
        typer.echo(f"{printable(str(table))}: {written:,} photos. It names these people; keep it safe.", err=True)
    if as_json:
        typer.echo(json.dumps(made.to_json(), indent=2))
        return
    for line in (*_people(made), "", *_what_it_means(made), *_what_to_do(made, gallery, table, left_out)):
        typer.echo(line)


def _people(made: Plan) -> Iterator[str]:
    """Each subject, and the photos that are not there; all photos where the old places were looked at."""
    photos: dict[str, list[str]] = {}
    for photo in made.photos:
        if not made.sources or not photo.found:
            photos.setdefault(photo.subject_id, []).append(f"         {photo.state:<10} {printable(photo.path)}")
    for subject in made.subjects:
        state = "LOST    " if not subject.found else "        "
        name = f"  {printable(subject.name)}" if subject.name else ""
        yield f"{state} {subject.found} of {subject.photos} photos found  {printable(subject.subject_id)}{name}"
        yield from photos.get(subject.subject_id, ())


def _what_it_means(made: Plan) -> Iterator[str]:
    yield f"The gallery's model: {printable(made.model_id)} (pack {printable(made.pack)})"
    yield f"The new model:       {printable(made.new_model_id)} (pack {printable(made.new_pack)})"
    if made.templates_stay and made.hashes_stay:
        yield "It is the same model, and the hashes are of this version: nobody has to be enrolled again."
        return
    elif made.templates_stay:
        yield (
            "It is the same model, so the templates stay valid; the hashes are of another version of LeakMatch. Who is "
            "enrolled again gets new ones. The templates of all others can be taken over: leakmatch gallery export, "
            "then import --without-hashes."
        )
    else:
        yield "Templates cannot be turned into those of another model: the photos have to be looked at again."
    yield (
        f"{made.found:,} of {sum(subject.photos for subject in made.subjects):,} photos were found, of "
        f"{len(made.subjects) - len(made.lost):,} of {len(made.subjects):,} people."
    )
    unknown = sum(photo.state == "unknown" for photo in made.photos)
    if unknown:
        yield f"{unknown:,} templates were imported without the SHA-256 of their photo, by which it could be found."
    if made.lost:
        yield f"People who would be lost, for none of their photos was found: {len(made.lost):,}."
        yield from _who_would_be_lost(made)


def _who_would_be_lost(made: Plan) -> Iterator[str]:
    old, pack = _word(made.gallery), _word(made.pack)
    hashed = sum(bool(subject.hashed) for subject in made.lost)
    if not made.hashes_stay:
        yield (
            f"Keep their templates: export {old}, and import that --without-hashes --pack {pack} into a gallery of its "
            "own. Scan with it too: it finds them by face."
        )
        return
    if hashed:
        yield (
            f"Hashes do not depend on the model, and those of {hashed:,} of them stay valid; but a gallery takes none "
            "without a template."
        )
    found_by = "by file, picture and face" if hashed else "by file and face"
    yield f"Keep {old} for them, and scan with it too (--gallery {old} --pack {pack}): it finds them {found_by}."


def _what_to_do(made: Plan, gallery: Path, table: Path | None, left_out: int) -> Iterator[str]:
    from leakmatch.pipeline.re_enrol import new_name

    if made.templates_stay and made.hashes_stay:
        return
    yield ""
    if not made.found:
        yield "Nothing can be enrolled again. Give the folders or archives where the photos are now."
        return
    pack = _word(made.new_pack)
    enroll = f"leakmatch enroll {_word(new_name(gallery, made.new_pack))}"
    if table is not None:
        yield f"To enrol them: {enroll} {_word(table)} --pack {pack}"
        if left_out:
            yield (
                f"{left_out:,} photos that were found are not in that list: they are in archives, or have names that a "
                "CSV cannot hold. Unpack them, or give enroll the archive, with one folder for each subject."
            )
    elif made.labelled():
        yield f"To enrol them: {enroll} {' '.join(map(_word, made.sources))} --pack {pack}"
        yield "This enrols all photos that are there. To enrol those of the gallery only, write a list with --csv FILE."
    else:
        where = " ".join(map(_word, made.sources))
        again = f"leakmatch gallery re-enrol {_word(gallery)} {where}".rstrip()
        yield f"To enrol them: {again} --pack {pack} --csv photos.csv"
        yield f"and then:      {enroll} photos.csv --pack {pack}"


def _word(value: str | Path) -> str:
    """As it is typed into a shell."""
    return shlex.quote(printable(str(value)))

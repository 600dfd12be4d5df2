"""``leakmatch gallery verify|log|seal|compact``: whether a gallery is what it was, who opened it, and what is left."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from leakmatch import errors
from leakmatch.cli import options
from leakmatch.errors import Damaged, IntegrityError, Tampered, WrongKey
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.gallery.salvage import Salvaged
    from leakmatch.sealed.keys import Keys

_STATES: dict[type[IntegrityError], str] = {WrongKey: "wrong-key", Tampered: "tampered", Damaged: "damaged"}


def verify(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
    salvage: Annotated[
        Path | None,
        typer.Option(
            "--salvage",
            readable=False,
            metavar="NEW",
            help="Save what is intact into the new gallery NEW. It is sealed with the same key; GALLERY is only read.",
        ),
    ] = None,
    unsealed: options.UnsealedOption = False,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Check that GALLERY is what LeakMatch wrote: every byte of a sealed one, its counts, its log (exit code 4 if not).

    It tells a wrong key from bytes that a disk has damaged and from parts that somebody exchanged, put back or forged;
    with --json as "state": sound, wrong-key, damaged or tampered. It also says what is odd but no damage: photos that
    are enrolled for two people, templates that are exactly alike.

    Example: leakmatch gallery verify school.gallery --salvage rescued.gallery
    """
    if salvage is not None:
        _salvage(gallery, salvage, key_file, unsealed=unsealed, as_json=as_json, quiet=quiet)
        return
    try:
        found = _verified(gallery, key_file)
    except IntegrityError as error:
        if not as_json:
            raise
        typer.echo(json.dumps({"gallery": str(gallery), "state": _state(error), "message": str(error)}, indent=2))
        raise typer.Exit(error.exit_code) from error
    if as_json:
        typer.echo(json.dumps({"gallery": str(gallery), "state": "sound", **found}, indent=2))
        return
    how = f"sealed with {found['keys']} {'key' if found['keys'] == 1 else 'keys'}" if found["sealed"] else "NOT sealed"
    typer.echo(
        f"{printable(str(gallery))}: sound, {how}; {found['subjects']:,} subjects, {found['templates']:,} templates of "
        f"{found['pack']}; {found['log_entries']:,} log entries, none missing."
    )
    for key, what in _ODD.items():
        if found[key]:
            typer.echo(f"  {found[key]:,} {what}")


_ODD = {
    "photos_of_two_subjects": "photos are enrolled for two subjects (leakmatch gallery doubts names them)",
    "equal_templates": "templates are exactly those of another subject's photo",
}


def _state(wrong: IntegrityError | None) -> str:
    if wrong is None:
        return "sound"
    return next((state for kind, state in _STATES.items() if isinstance(wrong, kind)), "damaged")


def _verified(gallery: Path, key_file: Path | None) -> dict[str, Any]:
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), steady=True, action="verify") as opened:
        opened.verify()
        about = opened.info()
        return {
            **{name: about[name] for name in ("sealed", "subjects", "templates", "pack", "model_id", "digest")},
            "keys": len(opened.keyring) if opened.sealed else 0,
            "log_entries": sum(1 for _ in opened.log()),
            "photos_of_two_subjects": sum(1 for _ in opened.same_files()),
            "equal_templates": opened.equal_templates(),
        }


def _salvage(gallery: Path, new: Path, key_file: Path | None, *, unsealed: bool, as_json: bool, quiet: bool) -> None:
    from leakmatch.cli.progress import counted
    from leakmatch.gallery.salvage import salvage

    if not gallery.is_file():
        raise errors.UsageError(f"{gallery}: there is no such gallery.")
    keys = options.keys(key_file)
    wrong = _wrong_with(gallery, keys, new)
    with counted("Saving", "photos", quiet=quiet or as_json) as progress:
        saved = salvage(gallery, new, keys, None if unsealed else keys, progress)
    if as_json:
        typer.echo(json.dumps({"gallery": str(new), "state": _state(wrong), **asdict(saved)}, indent=2))
    elif not quiet:
        for line in _told(saved, new, wrong):
            typer.echo(line, err=True)
    if wrong or saved.lost_photos or saved.unnamed or saved.lost_values or saved.behind or saved.damaged_places:
        raise typer.Exit(errors.INCOMPLETE)


def _wrong_with(gallery: Path, keys: Keys, new: Path) -> IntegrityError | None:
    """Why it cannot be opened as it is; ``None`` where it can, and what is done with it is in its log then."""
    from leakmatch.gallery.store import Gallery

    try:
        Gallery.open(gallery, keys=keys, action="salvage", into=str(new.absolute())).close()
    except WrongKey:
        raise
    except IntegrityError as error:
        return error
    return None


def _told(saved: Salvaged, new: Path, wrong: IntegrityError | None) -> list[str]:
    lines = [f"WARNING: {printable(str(wrong))}"] if wrong else []
    if isinstance(wrong, Tampered):
        lines.append(
            "WARNING: somebody changed the file. What was saved is authentic, each part by itself; whether it is the "
            "newest, compare with a copy or with the log of erasures."
        )
    lines += [f"{printable(str(new))}: {saved.templates:,} templates of {saved.subjects:,} subjects were saved."]
    if saved.behind:
        lines.append(
            f"WARNING: the last {saved.behind:,} changes or openings are lost. This is the state before them: whoever "
            "was removed since then may be in it again, and whoever was enrolled since then is not."
        )
    if saved.lost_photos:
        named = ", ".join(map(printable, saved.incomplete))
        lines.append(
            f"{saved.lost_photos:,} photos are lost. Enrol again: {named or 'it is not known who was on them'}"
        )
    if saved.without_hashes:
        lines.append(
            f"{saved.without_hashes:,} photos have no hashes, or lost them: their copies are found by their faces."
        )
    if saved.unnamed:
        lines.append(f"Name and dates are lost of: {', '.join(map(printable, saved.unnamed))}")
    if saved.lost_values:
        lines.append(f"Lost: {', '.join(saved.lost_values)}")
    if saved.log_broken:
        lines.append("The log of openings and changes was saved up to its first damaged entry.")
    lines.append(
        "A calibration of the gallery's own people is not carried over: leakmatch gallery calibrate makes one."
    )
    return lines


def log(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, as_json: options.JsonOption = False
) -> None:
    """Who opened GALLERY, scanned with it, changed it or exported from it, and when; the oldest entry first.

    Each entry holds a digest of the one before, so none can be changed or left out unseen (exit code 4). This reading
    is an entry, too. With --json one object per line.

    Example: leakmatch gallery log school.gallery
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="log") as opened:
        for entry in opened.log():
            typer.echo(json.dumps(entry) if as_json else _line(entry))


def _line(entry: dict[str, Any]) -> str:
    rest = ", ".join(
        f"{name} {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in entry.items()
        if name not in ("when", "who", "action", "tool")
    )
    said = f"{entry.get('when', '')}  {entry.get('who', '')}  {entry.get('action', '')}"
    return printable(f"{said}  {rest}".rstrip())


def seal(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
    quiet: options.QuietOption = False,
) -> None:
    """Encrypt GALLERY, which was made with --unsealed, under a key. It takes the place of the plain file.

    The plain file is overwritten, as far as this works: copies, backups and what a solid-state disk keeps of old
    contents are not reached. docs/security.md says more.

    Example: leakmatch gallery seal school.gallery --key-file school.key
    """
    from leakmatch.gallery.store import Gallery

    keys = options.keys(key_file)
    with Gallery.open(gallery, keys=keys, writable=True, action="seal") as opened:
        if opened.sealed:
            raise errors.UsageError(f"{gallery}: it is sealed already. Other keys: leakmatch gallery keys --help")
        opened.seal(keys)
    if not quiet:
        typer.echo(f"{printable(str(gallery))}: sealed. Without its key nobody can open it, you neither.", err=True)


def compact(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, quiet: options.QuietOption = False
) -> None:
    """Rewrite GALLERY without anything that was removed or superseded, and overwrite the old file's keys.

    Nothing of a removed person is left in it. `gallery remove` does it by itself.

    Example: leakmatch gallery compact school.gallery
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="compact") as opened:
        before = gallery.stat().st_size
        opened.compact()
    if not quiet:
        typer.echo(f"{printable(str(gallery))}: {before:,} bytes before, {gallery.stat().st_size:,} now.", err=True)

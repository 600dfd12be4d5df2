"""``leakmatch gallery merge``: the people of one gallery into another."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options
from leakmatch.cli.gallery_transfer_cmd import warn_of_erased
from leakmatch.locator import printable, storable

if TYPE_CHECKING:
    from leakmatch.gallery.merge import Merged


def merge(
    gallery: options.GalleryArgument,
    other: Annotated[
        Path,
        typer.Argument(readable=False, metavar="OTHER", help="The gallery whose people to add. It stays as it is."),
    ],
    key_file: options.KeyFileOption = None,
    other_key_file: Annotated[
        Path | None,
        typer.Option(
            "--other-key-file",
            readable=False,
            metavar="FILE",
            help="What opens OTHER, where that is another key than GALLERY's. Or the passphrase in "
            "LEAKMATCH_OTHER_PASSPHRASE.",
        ),
    ] = None,
    unsealed: Annotated[
        bool, typer.Option("--unsealed", help="GALLERY is not sealed, and stays so.", show_default=False)
    ] = False,
    same_ids: Annotated[
        bool,
        typer.Option("--same-ids", help="A subject id that both have is the same person.", show_default=False),
    ] = False,
    prefix: Annotated[
        str,
        typer.Option(
            "--prefix",
            metavar="TEXT",
            help="Put TEXT before every id that comes in.",
            callback=storable,
            show_default=False,
        ),
    ] = "",
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Add the people of the gallery OTHER to GALLERY: templates, hashes, names and dates. All of it or nothing.

    Both must be of the same model. A photo that both have for the same subject is kept once. A subject id that both
    have, with a photo in common, is one person. Without a common photo it may be one person or two: then nothing is
    changed, the ids are listed, and --same-ids or --prefix settles it. With --prefix, who shares a photo with the same
    id keeps the id. GALLERY keeps its names and its purpose; of two dates the earlier holds.

    Example: leakmatch gallery merge school.gallery second-school.gallery --prefix second-
    """
    from leakmatch.cli.progress import counted
    from leakmatch.gallery.merge import Collisions
    from leakmatch.pipeline.exchange import merge as run

    options.require_said(gallery, unsealed=unsealed)
    keys = options.keys(key_file)
    try:
        with counted("Merging", "templates", quiet=quiet or as_json) as progress:
            merged = run(
                gallery,
                other,
                keys=keys,
                other_keys=options.other_keys(other_key_file, "LEAKMATCH_OTHER_PASSPHRASE", keys),
                same_ids=same_ids,
                prefix=prefix,
                progress=progress,
            )
    except Collisions as error:
        if as_json:
            typer.echo(json.dumps({"collisions": error.subjects}, indent=2))
        raise
    if as_json:
        typer.echo(json.dumps(asdict(merged), indent=2))
    elif not quiet:
        _tell(gallery, other, merged)


def _tell(gallery: Path, other: Path, merged: Merged) -> None:
    where = printable(str(gallery))
    typer.echo(
        f"{printable(str(other))}: {merged.added:,} of its {merged.templates:,} templates added to {where}, "
        f"{merged.known:,} known; {merged.subjects:,} people are new, {merged.same:,} are in both.",
        err=True,
    )
    if merged.twice:
        typer.echo(
            f"WARNING: {merged.twice:,} photos are enrolled for two subjects now. See: leakmatch gallery doubts "
            f"{where}",
            err=True,
        )
    for what, (ours, theirs) in merged.purposes.items():
        stated = [f'"{printable(text)}"' if text else "not stated" for text in (ours, theirs)]
        typer.echo(
            f"WARNING: the {what.replace('_', ' ')} of the two is not the same. {where} keeps its own: {stated[0]}; "
            f"that of those who came in was: {stated[1]}.",
            err=True,
        )
    warn_of_erased(merged.erased_before, merged.who)

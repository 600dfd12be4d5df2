"""``leakmatch gallery keys``: who can open a gallery."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from leakmatch.cli import options
from leakmatch.locator import printable

if TYPE_CHECKING:
    from leakmatch.sealed.keys import Keys

app = typer.Typer(
    help="Who can open a gallery. It has one master key, which each of its keys (a passphrase, or a key file) unlocks; "
    "so a key is added, changed or removed without encrypting the gallery again.",
    no_args_is_help=True,
)

NewKeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--new-key-file",
        readable=False,
        metavar="FILE",
        help="The new key: any file of 32 bytes or more. Without one: the passphrase in LEAKMATCH_NEW_PASSPHRASE, else "
        "it is asked for on a terminal.",
    ),
]
LabelOption = Annotated[
    str | None, typer.Option("--label", metavar="TEXT", help="What to call the key, for instance whose it is.")
]
NumberOption = Annotated[
    int | None, typer.Option("--key", metavar="N", min=1, help="The number of the key, as `keys list` shows it.")
]


def _new(key_file: Path | None) -> Keys:
    from leakmatch.sealed.keys import Keys

    return Keys(key_file, os.environ.pop("LEAKMATCH_NEW_PASSPHRASE", None), options.asked())


@app.command()
def generate(
    path: Annotated[Path, typer.Argument(readable=False, metavar="FILE", help="The key file to make.")],
) -> None:
    """Make a key file: 32 random bytes, readable by you only. Keep a copy apart from the gallery.

    Example: leakmatch gallery keys generate school.key
    """
    from leakmatch.sealed.keys import generate as make

    make(path)
    typer.echo(
        f"{printable(str(path))}: a new key. Keep it apart from the gallery, and keep a copy: without it what it seals "
        "is lost.",
        err=True,
    )


@app.command("list")
def list_keys(
    gallery: options.GalleryArgument, key_file: options.KeyFileOption = None, as_json: options.JsonOption = False
) -> None:
    """The keys of GALLERY: number, kind, since when, label.

    Example: leakmatch gallery keys list school.gallery
    """
    from leakmatch.gallery.keyring import rows
    from leakmatch.gallery.store import Gallery

    keys = options.keys(key_file)
    with Gallery.open(gallery, keys=keys, action="list-keys") as opened:
        used = opened.keyring.used(keys) + 1
        for row in rows(opened.keyring):
            if as_json:
                typer.echo(json.dumps({**row, "used": row["key"] == used}))
            else:
                mark = "  (used now)" if row["key"] == used else ""
                typer.echo(f"{row['key']:>3}  {row['kind']:<10}  {row['created']}  {printable(row['label'])}{mark}")


@app.command()
def add(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
    new_key_file: NewKeyFileOption = None,
    label: LabelOption = None,
) -> None:
    """Let another key open GALLERY, too.

    Example: leakmatch gallery keys add school.gallery --label "Anna" --new-key-file anna.key
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="open-for-keys") as opened:
        opened.keyring.add(_new(new_key_file), label or "")
        count = len(opened.keyring)
    typer.echo(f"{printable(str(gallery))}: {count} keys open it now.", err=True)


@app.command()
def change(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
    new_key_file: NewKeyFileOption = None,
    number: NumberOption = None,
    label: LabelOption = None,
) -> None:
    """Put a new key in the place of the one that is used now (or of number N).

    The old one opens this file no more. Who has it and an older copy of the file can still get at the master key, and
    is shut out by `keys rotate` only.

    Example: leakmatch gallery keys change school.gallery
    """
    from leakmatch.gallery.store import Gallery

    keys = options.keys(key_file)
    with Gallery.open(gallery, keys=keys, writable=True, action="open-for-keys") as opened:
        keyring = opened.keyring
        keyring.exchange(keyring.used(keys) if number is None else number - 1, _new(new_key_file), label)
    typer.echo(f"{printable(str(gallery))}: the key was changed.", err=True)


@app.command()
def remove(
    gallery: options.GalleryArgument,
    number: Annotated[int, typer.Option("--key", metavar="N", min=1, help="The number of the key to remove.")],
    key_file: options.KeyFileOption = None,
) -> None:
    """Let a key open GALLERY no more. The last key cannot be removed.

    Who has it and an older copy of the file can still get at the master key, and is shut out by `keys rotate` only.

    Example: leakmatch gallery keys remove school.gallery --key 2
    """
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), writable=True, action="open-for-keys") as opened:
        opened.keyring.remove(number - 1)
        count = len(opened.keyring)
    typer.echo(f"{printable(str(gallery))}: {count} {'key opens' if count == 1 else 'keys open'} it now.", err=True)


@app.command()
def rotate(
    gallery: options.GalleryArgument,
    key_file: options.KeyFileOption = None,
    new_key_file: NewKeyFileOption = None,
) -> None:
    """Encrypt GALLERY again under a new master key, which the key that is used now opens, or --new-key-file.

    All other keys are dropped; add them again. Do it when a key, or the machine of somebody who had one, is lost.

    Example: leakmatch gallery keys rotate school.gallery
    """
    from leakmatch.gallery.store import Gallery

    keys = options.keys(key_file)
    new = options.other_keys(new_key_file, "LEAKMATCH_NEW_PASSPHRASE", keys)
    with Gallery.open(gallery, keys=keys, writable=True, action="open-for-keys") as opened:
        opened.keyring.used(keys)
        opened.seal(new)
    typer.echo(f"{printable(str(gallery))}: encrypted again; one key opens it now.", err=True)

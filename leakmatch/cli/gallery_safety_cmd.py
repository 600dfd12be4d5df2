"""``leakmatch gallery verify|log|seal|compact|keys``: whether a gallery is what it was, and who can open it."""

from __future__ import annotations

import typer

from leakmatch.cli import options
from leakmatch.locator import printable


def verify(gallery: options.GalleryArgument, key_file: options.KeyFileOption = None) -> None:
    """Check that GALLERY is sound and its content is what LeakMatch wrote (exit code 4 if not)."""
    from leakmatch.gallery.store import Gallery

    with Gallery.open(gallery, keys=options.keys(key_file), action="verify") as opened:
        opened.verify()
        about = opened.info()
    typer.echo(f"{printable(str(gallery))}: sound; {about['subjects']} subjects, {about['templates']} templates.")

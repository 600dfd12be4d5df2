"""Sealed files for tests, under a key file: no key derivation slows them."""

from __future__ import annotations

from pathlib import Path

from leakmatch.sealed.file import PAGE_BYTES, SealedFile
from leakmatch.sealed.header import KeyPage
from leakmatch.sealed.keys import Keys, KeySlots

__all__ = ["PAGE_BYTES", "key_in", "page_of", "sealed_file"]


def key_in(folder: Path, name: str = "key") -> Keys:
    """A new key file in ``folder``; the same one for the same name."""
    path = folder / name
    if not path.exists():
        path.write_bytes(name.encode().ljust(32, b"."))
    return Keys(key_file=path)


def sealed_file(path: Path, keys: Keys) -> SealedFile:
    """A new, empty one, open."""
    slots, master = KeySlots.new(keys.secret(str(path), new=True))
    return SealedFile.create(path, KeyPage.new(slots, master), master)


def page_of(text: str) -> bytes:
    """A whole page that says ``text``."""
    return text.encode().ljust(PAGE_BYTES, b"-")

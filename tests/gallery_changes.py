"""Everything that changes a gallery, to be interrupted: the state before, what is done, how to tell what is there.

``tests/fault/test_crashed_gallery.py`` kills a sample of it, ``scripts/crash_gallery.py`` all, with failing disks and
power cuts.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from galleries import add, pack, people, rows_of
from sealed_files import key_in

from leakmatch.errors import UsageError, WrongKey
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys

#: Who may open a gallery in these tests: the names of key files, and "" for nobody in particular.
NAMES = ("key", "colleague", "")

State = tuple[tuple[str, ...], str]  #: who can open it; a digest of what is in it


@dataclass(frozen=True)
class Change:
    """``begin`` makes the gallery as it is before, ``act`` changes it. Both are given its path and that of the keys."""

    name: str
    begin: Callable[[Path, Path], None]
    act: Callable[[Path, Path], None]


def key(folder: Path, name: str = "key") -> Keys:
    """A key file in ``folder``; a new object, as each process has."""
    return key_in(folder, name)


def nothing(path: Path, folder: Path) -> None:
    """There is no gallery before."""


def sealed(path: Path, folder: Path) -> None:
    """Eight people, one of them removed and still in the file, and a colleague's key."""
    _make(path, key(folder))
    with Gallery.open(path, keys=key(folder), writable=True) as gallery:
        gallery.keyring.add(key(folder, "colleague"), "colleague")
        gallery.remove("p0001")


def plain(path: Path, folder: Path) -> None:
    """Eight people in an unsealed file."""
    _make(path, None)


def _make(path: Path, keys: Keys | None) -> None:
    with _empty(path, keys) as gallery:
        add(gallery, people(np.random.default_rng(3), 8))


def _empty(path: Path, keys: Keys | None) -> Gallery:
    default = pack()
    return Gallery.create(path, default.name, default.model_id, 128, keys=keys, purpose="a test")


def _changing(act: Callable[[Gallery, Path], None]) -> Callable[[Path, Path], None]:
    def changed(path: Path, folder: Path) -> None:
        with Gallery.open(path, keys=key(folder), writable=True) as gallery:
            act(gallery, folder)

    return changed


@_changing
def enrol(gallery: Gallery, folder: Path) -> None:
    add(gallery, people(np.random.default_rng(5), 20)[8:])


@_changing
def take_over(gallery: Gallery, folder: Path) -> None:
    """Many templates in one transaction, which is written out before it ends."""
    generator = np.random.default_rng(9)
    vectors = generator.normal(size=(7_000, 128)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    gallery.add_table([rows_of(vectors, "q")], [])


@_changing
def remove(gallery: Gallery, folder: Path) -> None:
    gallery.remove("p0002")
    gallery.compact()


@_changing
def compact(gallery: Gallery, folder: Path) -> None:
    gallery.compact()


@_changing
def add_key(gallery: Gallery, folder: Path) -> None:
    gallery.keyring.add(key(folder, "third"), "third")


@_changing
def remove_key(gallery: Gallery, folder: Path) -> None:
    gallery.keyring.remove(1)


@_changing
def rotate(gallery: Gallery, folder: Path) -> None:
    gallery.seal(key(folder, "colleague"))


@_changing
def seal(gallery: Gallery, folder: Path) -> None:
    gallery.seal(key(folder))


def make(path: Path, folder: Path) -> None:
    """A new sealed gallery without people."""
    _empty(path, key(folder)).close()


def look(path: Path, folder: Path) -> None:
    """Open it for reading: an entry of the log, and what an interruption left is put in order."""
    with Gallery.open(path, keys=key(folder), steady=True, action="look") as gallery:
        gallery.verify()


@contextmanager
def _synced(path: Path) -> Iterator[list[bytes]]:
    """What is in the file after each time that it is forced to the disk."""
    states: list[bytes] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        states.append(path.read_bytes())

    with patch("os.fsync", fsync):
        yield states


def without_root(path: Path, folder: Path) -> None:
    """An enrolment of which only the root was not written any more."""
    sealed(path, folder)
    with _synced(path) as states:
        enrol(path, folder)
    path.write_bytes(states[-2])


def torn(path: Path, folder: Path) -> None:
    """An enrolment that was cut off in the middle."""
    sealed(path, folder)
    with _synced(path) as states:
        enrol(path, folder)
    announced = states[-3]  # then the blocks, then the root
    path.write_bytes(announced + states[-2][len(announced) : len(announced) + 40_000])


def in_key_change(number: int) -> Callable[[Path, Path], None]:
    """A change of keys that was cut off after so many of its writes."""

    def begin(path: Path, folder: Path) -> None:
        sealed(path, folder)
        with Gallery.open(path, keys=key(folder), writable=True) as gallery, _synced(path) as states:
            gallery.keyring.add(key(folder, "third"), "third")
        path.write_bytes(states[number])

    return begin


CHANGES = (
    Change("create", nothing, make),
    Change("look", sealed, look),
    Change("enrol", sealed, enrol),
    Change("import", sealed, take_over),
    Change("remove", sealed, remove),
    Change("compact", sealed, compact),
    Change("add key", sealed, add_key),
    Change("remove key", sealed, remove_key),
    Change("rotate keys", sealed, rotate),
    Change("seal", plain, seal),
    Change("complete a commit", without_root, look),
    Change("take back a commit", torn, look),
    *(Change(f"complete a change of keys ({n})", in_key_change(n), look) for n in range(5)),
)


# What is there


def state_of(path: Path, folder: Path, *, writable: bool = False) -> State:
    """Who can open it, and what is in it: people, photos, templates and hashes; all of it checked."""
    opened_by, contents = [], set()
    for name in (*NAMES, "third"):
        with _opened(path, key(folder, name) if name else Keys(), writable=writable) as gallery:
            if gallery is not None:
                opened_by.append(name)
                contents.add(_content(gallery))
    (content,) = contents
    return tuple(opened_by), content


@contextmanager
def _opened(path: Path, keys: Keys, *, writable: bool) -> Iterator[Gallery | None]:
    try:
        gallery = Gallery.open(path, keys=keys, writable=writable)
    except WrongKey:
        yield None
    except UsageError as error:
        if "no key was given" not in str(error):
            raise
        yield None
    else:
        with gallery:
            yield gallery


def _content(gallery: Gallery) -> str:
    gallery.verify()
    assert all(isinstance(entry, dict) for entry in gallery.log())
    digest = hashlib.sha256()
    tables = {"subjects": "1", "photos": "1", "templates": "1", "hashes": "1, 2, 3"}
    for table, order in tables.items():
        row: tuple[Any, ...]
        for row in gallery._database.select(f"SELECT * FROM {table} ORDER BY {order}"):
            digest.update(repr((table, row)).encode())
    erased = gallery._database.one("SELECT count(*) FROM erasures")
    return f"{len(list(gallery.subjects()))} people, {erased} erasures, {digest.hexdigest()[:16]}"


def judged(path: Path, folder: Path, old: State | None, new: State) -> str:
    """What is wrong with a gallery whose change was interrupted; empty where nothing is."""
    try:
        if not path.exists():
            return "" if old is None else "the gallery is gone"
        found = state_of(path, folder)
        if found not in (old, new):
            return f"neither the old state nor the new one: {found}"
        if state_of(path, folder, writable=True) != found:
            return "its state changed when it was opened for writing"
        beside = sorted(each.name for each in path.parent.iterdir() if each != path)
        return f"left beside it: {', '.join(beside)}" if beside else ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the gallery does not open
        return f"it does not open: {type(error).__name__}: {error}"

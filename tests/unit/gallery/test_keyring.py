"""Keys of a gallery: who can open it, before and after each change."""

from __future__ import annotations

from pathlib import Path

import pytest
from galleries import pack

from leakmatch.errors import UsageError, WrongKey
from leakmatch.gallery.keyring import rows
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys, generate


@pytest.fixture
def keys(tmp_path: Path) -> list[Keys]:
    """Three key files."""
    paths = [tmp_path / f"{n}.key" for n in range(3)]
    for path in paths:
        generate(path)
    return [Keys(key_file=path) for path in paths]


@pytest.fixture
def path(tmp_path: Path, keys: list[Keys]) -> Path:
    """A gallery that the first key opens."""
    default, path = pack(), tmp_path / "g.gallery"
    Gallery.create(path, default.name, default.model_id, 128, keys=keys[0]).close()
    return path


def opened_by(path: Path, keys: list[Keys]) -> list[bool]:
    found = []
    for each in keys:
        try:
            Gallery.open(path, keys=Keys(key_file=each.key_file)).close()
        except WrongKey:
            found.append(False)
        else:
            found.append(True)
    return found


def change(path: Path, keys: Keys) -> Gallery:
    return Gallery.open(path, keys=keys, writable=True)


def test_keys_are_added_exchanged_and_removed_without_encrypting_again(path: Path, keys: list[Keys]) -> None:
    with change(path, keys[0]) as gallery:
        digest, blocks = gallery.digest, path.read_bytes()[20480:]
        gallery.keyring.add(keys[1], "Anna")
        assert [(row["key"], row["kind"], row["label"]) for row in rows(gallery.keyring)] == [
            (1, "key-file", ""),
            (2, "key-file", "Anna"),
        ]
    assert path.read_bytes()[20480:].startswith(blocks)
    assert opened_by(path, keys) == [True, True, False]
    with change(path, keys[1]) as gallery:
        gallery.keyring.exchange(gallery.keyring.used(keys[1]), keys[2])
        assert [row["label"] for row in rows(gallery.keyring)] == ["", "Anna"]
    assert opened_by(path, keys) == [True, False, True]
    with change(path, keys[2]) as gallery:
        gallery.keyring.remove(0)
        assert gallery.digest == digest
    assert opened_by(path, keys) == [False, False, True]
    with Gallery.open(path, keys=keys[2]) as gallery:
        said = [entry["action"] for entry in gallery.log() if entry["action"].endswith("-key")]
    assert said == ["add-key", "change-key", "remove-key"]


def test_what_cannot_be_done_is_said(path: Path, keys: list[Keys], tmp_path: Path) -> None:
    with change(path, keys[0]) as gallery:
        with pytest.raises(UsageError, match="only key"):
            gallery.keyring.remove(0)
        with pytest.raises(UsageError, match="no key 3"):
            gallery.keyring.exchange(2, keys[1])
        with pytest.raises(UsageError, match="opens it already"):
            gallery.keyring.add(keys[0])
        with pytest.raises(UsageError, match="none of its keys"):
            gallery.keyring.used(keys[2])
    assert opened_by(path, keys) == [True, False, False]
    default = pack()
    with (
        Gallery.create(tmp_path / "plain.gallery", default.name, default.model_id, 128) as plain,
        pytest.raises(UsageError, match="not sealed"),
    ):
        _ = plain.keyring


def test_rotation_shuts_out_who_kept_the_master_key(path: Path, keys: list[Keys]) -> None:
    with change(path, keys[0]) as gallery:
        gallery.keyring.add(keys[1])
        database = gallery._database
        assert database.sealed is not None
        master, identity = database.sealed.master, database.sealed.identity
        gallery.seal(keys[0])
        assert database.sealed is not None
        assert database.sealed.master != master
        assert database.sealed.identity != identity
    assert opened_by(path, keys) == [True, False, False]


def test_a_plain_gallery_is_sealed_with_all_that_is_in_it(path: Path, keys: list[Keys], tmp_path: Path) -> None:
    default, plain = pack(), tmp_path / "plain.gallery"
    Gallery.create(plain, default.name, default.model_id, 128, purpose="to find her").close()
    with Gallery.open(plain, writable=True) as gallery:
        digest = gallery.digest
        gallery.seal(keys[1])
    assert plain.read_bytes().startswith(b"LeakMatch sealed")
    assert opened_by(plain, keys) == [False, True, False]
    with Gallery.open(plain, keys=keys[1]) as gallery:
        assert (gallery.digest, gallery.purpose) == (digest, "to find her")
        assert [entry["action"] for entry in gallery.log()] == ["create", "open", "sealed", "open", "open"]
    assert [found.name for found in tmp_path.iterdir() if "plain" in found.name] == ["plain.gallery"]

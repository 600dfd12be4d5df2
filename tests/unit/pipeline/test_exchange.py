"""Files into a gallery that is made for them: what it is for, and what it may not hold."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from galleries import gallery_of, pack, people

from leakmatch.cli.options import other_keys
from leakmatch.errors import ModelMismatch, UsageError
from leakmatch.gallery.about import About
from leakmatch.gallery.store import FACE, PICTURE, Gallery
from leakmatch.gallery.table import HashKind
from leakmatch.gallery.template_writers import Progress
from leakmatch.gallery.transfer import Imported, export_templates
from leakmatch.hashing.algorithms import CONTRAST_LEVELS, CONTRAST_SIGNS, DHASH, HASH_BYTES, PHASH
from leakmatch.pipeline.exchange import import_files
from leakmatch.sealed.keys import Keys
from leakmatch.settings import Settings

pytestmark = pytest.mark.models


@pytest.fixture(autouse=True)
def installed(pack_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default pack is there."""
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))


@contextmanager
def unwatched() -> Iterator[Progress]:
    yield lambda done, total: None


def bring(path: Path, *files: Path, **given: object) -> list[Imported]:
    return list(import_files(path, files, Settings(), unwatched, **given))  # type: ignore[arg-type]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An export of a gallery with a purpose, without contrast maps, as an older version made it."""
    with gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 3)) as gallery:
        gallery.describe(purpose="to find leaks", legal_basis="a law")
        export_templates(gallery, tmp_path / "a.npz", "npz")
    return tmp_path / "a.npz"


def test_a_new_gallery_is_for_what_the_old_was(out: Path, tmp_path: Path) -> None:
    assert bring(tmp_path / "b.gallery", out, hashes=False)[0].added == 3
    with Gallery.open(tmp_path / "b.gallery") as made:
        assert (made.purpose, made.legal_basis) == ("to find leaks", "a law")
    bring(tmp_path / "c.gallery", out, hashes=False, purpose="more")
    with Gallery.open(tmp_path / "c.gallery") as made:
        assert (made.purpose, made.legal_basis) == ("more", "a law")
    with pytest.raises(UsageError, match="its purpose is another"):
        bring(tmp_path / "c.gallery", out, hashes=False, purpose="less")


def test_hashes_that_would_find_nothing_are_refused(out: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelMismatch, match=r"contrast maps.*--without-hashes"):
        bring(tmp_path / "b.gallery", out)
    assert not (tmp_path / "b.gallery").exists()
    whole = [(scope, name, HASH_BYTES[name]) for scope in (PICTURE, FACE) for name in (PHASH, DHASH)]
    whole.append((FACE, CONTRAST_SIGNS, HASH_BYTES[CONTRAST_SIGNS]))
    for kinds, message in (
        (whole[1:], r"not complete \(picture\)"),
        ([*whole, (FACE, CONTRAST_LEVELS, 7)], "that this version does not make: contrast48-levels"),
        ([*whole, (FACE, "new64/pillow-rgb8/2", 8)], "that this version does not make: new64"),
    ):
        with pytest.raises(ModelMismatch, match=message):
            bring(tmp_path / "b.gallery", with_hashes(tmp_path / "t.npz", kinds))
        assert not (tmp_path / "b.gallery").exists()
    assert bring(tmp_path / "b.gallery", with_hashes(tmp_path / "t.npz", whole))[0].added == 3


def with_hashes(path: Path, kinds: list[tuple[str, str, int]]) -> Path:
    """A file of three templates with hashes of these scopes, algorithms and sizes."""
    shots = people(np.random.default_rng(2), 3)
    hashes = tuple(HashKind(*kind) for kind in kinds)
    np.savez(
        path,
        vectors=np.stack([shot.vector for shot in shots]),
        subject_id=np.array([shot.subject for shot in shots]),
        model_id=np.array(pack().model_id),
        **{f"hash{n}_bits": np.zeros((3, kind.size), np.uint8) for n, kind in enumerate(hashes)},
        **{f"hash{n}_quality": np.ones(3, np.float32) for n in range(len(hashes))},
    )
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("gallery.json", About(hashes=hashes).to_json())
    return path


def test_nothing_is_made_for_a_file_that_does_not_fit(out: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", vectors=np.eye(4, dtype=np.float32), subject_id=np.array(list("abcd")))
    for files, given, error in (
        ((tmp_path / "t.npz",), {}, UsageError),
        ((tmp_path / "t.npz",), {"trust_model": True}, ModelMismatch),
        ((out, tmp_path / "gone.npz"), {"hashes": False}, UsageError),
    ):
        with pytest.raises(error):
            bring(tmp_path / "b.gallery", *files, **given)
        assert not (tmp_path / "b.gallery").exists()


def test_a_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Keys(tmp_path / "k")
    assert other_keys(None, "LEAKMATCH_X_PASSPHRASE", own) is own
    assert other_keys(tmp_path / "x", "LEAKMATCH_X_PASSPHRASE", own).key_file == tmp_path / "x"
    monkeypatch.setenv("LEAKMATCH_X_PASSPHRASE", "word")
    given = other_keys(None, "LEAKMATCH_X_PASSPHRASE", own)
    assert (given.key_file, given.passphrase) == (None, "word")
    assert other_keys(None, "LEAKMATCH_X_PASSPHRASE", own) is own, "it is taken out of the environment"

"""Saving what is intact: damage in every part of a sealed gallery, in a plain one, and at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, add, gallery_of, pack, people

from leakmatch.errors import Damaged, IntegrityError, UsageError
from leakmatch.gallery.leaves import leaves
from leakmatch.gallery.salvage import Salvaged, salvage
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.blocks import HEAD_BYTES, Head, Kind
from leakmatch.sealed.header import BLOCKS_AT, ROOT_AT
from leakmatch.sealed.keys import Keys, generate

PEOPLE, PHOTOS = 110, 3


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    path = tmp_path_factory.mktemp("key") / "k"
    generate(path)
    return Keys(key_file=path)


@pytest.fixture(scope="module")
def shots() -> list[Shot]:
    return people(np.random.default_rng(5), PEOPLE, PHOTOS)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory, keys: Keys, shots: list[Shot]) -> Path:
    """A sealed gallery made in three commits and opened since."""
    path = tmp_path_factory.mktemp("sound") / "g.gallery"
    default = pack()
    with Gallery.create(path, default.name, default.model_id, 128, keys=keys) as gallery:
        for part in range(3):
            add(gallery, shots[part * PEOPLE : (part + 1) * PEOPLE])
    Gallery.open(path, keys=keys).close()
    return path


def blocks(content: bytes) -> Iterator[tuple[int, Head]]:
    offset = BLOCKS_AT
    while offset < len(content):
        head = Head.parse(content[offset : offset + HEAD_BYTES])
        assert head is not None
        yield offset, head
        offset += head.size


def saved(content: bytes, keys: Keys, folder: Path) -> tuple[Salvaged, dict[str, set[int]]]:
    """What salvage says of a file with this content, and whose photos it saved (by their number of the shot)."""
    damaged, new = folder / "damaged.gallery", folder / "new.gallery"
    damaged.write_bytes(content)
    new.unlink(missing_ok=True)
    told = salvage(damaged, new, keys, keys, lambda done, total: None)
    assert damaged.read_bytes() == content
    with Gallery.open(new, keys=keys) as gallery:
        gallery.verify()
        found: dict[str, set[int]] = {}
        for subject in gallery.subjects():
            for photo in gallery.photos(subject["subject_id"]):
                found.setdefault(subject["subject_id"], set()).add(int(photo["sha256"], 16))
        assert gallery.info()["templates"] == told.templates
    return told, found


def test_nothing_is_lost_of_a_sound_gallery(sound: Path, keys: Keys, shots: list[Shot], tmp_path: Path) -> None:
    told, found = saved(sound.read_bytes(), keys, tmp_path)
    assert told == Salvaged(subjects=PEOPLE, templates=PEOPLE * PHOTOS, log_entries=2)
    assert sorted(content for contents in found.values() for content in contents) == [shot.content for shot in shots]


def test_damage_to_any_one_block_costs_at_most_what_was_in_it(sound: Path, keys: Keys, tmp_path: Path) -> None:
    """Every second block in turn; the file is refused as damaged, and what is saved is right."""
    content = sound.read_bytes()
    losses = []
    for offset, head in list(blocks(content))[1::2]:
        changed = bytearray(content)
        changed[offset + HEAD_BYTES + 3] ^= 0x10
        (tmp_path / "d.gallery").write_bytes(changed)
        with pytest.raises(Damaged):
            Gallery.open(tmp_path / "d.gallery", keys=keys)
        try:
            told, found = saved(bytes(changed), keys, tmp_path)
        except IntegrityError as error:
            assert "nothing can be saved" in str(error)  # the page with the table of contents
            assert head.kind == Kind.PAGE
            losses.append(PEOPLE * PHOTOS)
            continue
        assert told.damaged_places == 1
        assert told.behind == 0
        assert all(int(subject[1:]) == content // PHOTOS for subject, each in found.items() for content in each)
        losses.append(PEOPLE * PHOTOS - told.templates)
        if head.kind != Kind.PAGE:
            assert losses[-1] == 0
    assert losses.count(0) > len(losses) / 2  # pages that were superseded, indexes, log, ends of commits
    assert losses.count(PEOPLE * PHOTOS) <= 1  # the page that says which model the templates are of
    assert any(0 < loss < PEOPLE * PHOTOS for loss in losses)


def test_an_older_version_of_a_lost_page_brings_nobody_back(sound: Path, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "g.gallery"
    path.write_bytes(sound.read_bytes())
    before = len(path.read_bytes())
    with Gallery.open(path, keys=keys, writable=True) as gallery, gallery._database.transaction():
        for table in ("templates", "hashes", "photos"):  # without compaction, so that older pages are in the file
            gallery._database.delete(table, "photo <= ?", (PHOTOS,))
        gallery._database.delete("subjects", "subject_id = 'p0000'")
    content = path.read_bytes()
    removal = [(offset, head) for offset, head in blocks(content) if offset >= before and head.kind == Kind.PAGE]
    assert removal
    for offset, _ in removal:
        changed = bytearray(content)
        changed[offset + 100] ^= 1
        try:
            _, found = saved(bytes(changed), keys, tmp_path)
        except IntegrityError:
            continue
        assert "p0000" not in found


@pytest.mark.parametrize("at", [100, 8192 + 100, ROOT_AT + 20])
def test_a_damaged_header_costs_nothing(sound: Path, keys: Keys, tmp_path: Path, at: int) -> None:
    changed = bytearray(sound.read_bytes())
    changed[at] ^= 1
    told, _ = saved(bytes(changed), keys, tmp_path)
    assert told.templates == PEOPLE * PHOTOS
    assert told.damaged_places == 1


def test_of_a_file_that_was_cut_the_state_before_is_saved_and_said_to_be_older(
    sound: Path, keys: Keys, tmp_path: Path
) -> None:
    content = sound.read_bytes()
    commits = [offset for offset, head in blocks(content) if head.kind == Kind.COMMIT]
    told, _ = saved(content[:-5], keys, tmp_path)
    assert (told.templates, told.behind) == (PEOPLE * PHOTOS, 1)
    told, _ = saved(content[: commits[-2] + 1], keys, tmp_path)
    assert told.behind == 2
    assert told.templates == PEOPLE * (PHOTOS - 1)


def test_of_a_plain_gallery_intact_rows_are_saved(tmp_path: Path, keys: Keys, shots: list[Shot]) -> None:
    path = tmp_path / "plain.gallery"
    gallery_of(path, shots).close()
    content = bytearray(path.read_bytes())
    page = 4096
    held = [
        (at, {leaf.rowid for leaf in leaves(bytes(content[at : at + page]), first=False) if len(leaf.row) == 2})
        for at in range(page, len(content), page)
    ]
    at, photos = max(held, key=lambda one: len(one[1]))  # a page of templates: no other table has rows of two columns
    content[at : at + page] = bytes(page)
    told, _ = saved(bytes(content), keys, tmp_path)
    assert (told.templates, told.lost_photos) == (PEOPLE * PHOTOS - len(photos), len(photos))
    assert len(told.incomplete) >= len(photos) // PHOTOS


def test_no_file_is_overwritten_and_no_other_file_is_saved(sound: Path, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is there already"):
        salvage(sound, sound, keys, keys, lambda done, total: None)
    other = tmp_path / "other"
    other.write_bytes(b"no gallery" * 1000)
    with pytest.raises(IntegrityError):
        salvage(other, tmp_path / "new", keys, keys, lambda done, total: None)
    assert not (tmp_path / "new").exists()

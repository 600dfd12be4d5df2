"""Somebody without a key changes a sealed gallery: every change is noticed, and none of them opens an older state.

Here a sample; ``scripts/tamper.py`` changes every byte, and makes every exchange.
"""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from galleries import gallery_of, people
from tampering import ATTACKS, ROOT, Victim, every_place, forged, header_places, put_back, victim

from leakmatch.errors import IntegrityError
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.header import BLOCKS_AT
from leakmatch.sealed.keys import Keys

#: One attack of so many is made here.
SAMPLE = 9


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Victim:
    made = victim(tmp_path_factory.mktemp("tampered"))
    assert len(made.whole) > 64 << 10
    assert len(made.blocks) > 30
    assert len(made.earlier) > 8
    return made


def test_a_changed_byte_is_found(gallery: Victim) -> None:
    gallery.suffers_flips(every_place(gallery, 601))
    gallery.suffers_flips(header_places(gallery)[::SAMPLE])
    assert not gallery.failures


@pytest.mark.parametrize("kind", ATTACKS)
def test_an_exchanged_part_is_found(gallery: Victim, kind: str) -> None:
    sample = forged(gallery, 301) if kind == "forged check sums" else islice(ATTACKS[kind](gallery), 0, None, SAMPLE)
    assert gallery.suffers(sample) > 1
    assert not gallery.failures


def test_everything_that_was_put_back_is_found(gallery: Victim) -> None:
    gallery.suffers(put_back(gallery))
    assert not gallery.failures


def test_an_old_root_is_no_way_to_an_older_state(gallery: Victim) -> None:
    """Put back alone, or with damage behind the end that it tells, it opens nothing, and the file is left as it is."""
    for old in gallery.earlier:
        for damaged in (b"", b"?"):
            changed = gallery.whole[: ROOT.start] + old[ROOT] + gallery.whole[ROOT.stop :]
            changed = changed[: len(old) + 100] + damaged + changed[len(old) + 100 + len(damaged) :]
            gallery.path.write_bytes(changed)
            with pytest.raises(IntegrityError, match=r"of an(other| earlier) time"):
                Gallery.open(gallery.path, keys=gallery.keys)
            assert gallery.path.read_bytes() == changed
    gallery.path.write_bytes(gallery.whole)


def test_of_the_whole_file_only_its_owner_can_tell(gallery: Victim) -> None:
    """What no file can tell of itself; ``info`` gives what to compare, and the reader's log is then shorter."""
    old = gallery.earlier[2]
    gallery.path.write_bytes(gallery.whole)
    with Gallery.open(gallery.path, keys=gallery.keys) as now:
        about = now.info()
    gallery.path.write_bytes(old)
    with Gallery.open(gallery.path, keys=gallery.keys) as before:
        assert before.info()["changes"] < about["changes"]
        assert before.info()["state"] != about["state"]
    gallery.path.write_bytes(gallery.whole)
    assert old[BLOCKS_AT:] == gallery.whole[BLOCKS_AT : len(old)]


def test_a_plain_gallery_in_the_place_of_a_sealed_one_is_told_of(
    gallery: Victim, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Anybody can make one, without the people they do not want to be found. A key that was given expects another."""
    path = tmp_path / "a.gallery"
    gallery_of(path, people(np.random.default_rng(1), 2)).close()
    Gallery.open(path).close()
    Gallery.open(path, keys=Keys()).close()
    Gallery.open(path, keys=gallery.keys, action="seal").close()
    assert not caplog.records
    Gallery.open(path, keys=gallery.keys).close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is NOT sealed" in caplog.text

"""Several processes read and change one gallery: some are refused for a while, and nobody takes that for damage."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from functools import partial
from pathlib import Path

from busy_gallery import CHANGING, READING, busy
from galleries import pack
from sealed_files import key_in

from leakmatch.gallery.store import Gallery

SECONDS = 3.0


def test_processes_at_one_gallery_do_not_spoil_it(tmp_path: Path) -> None:
    path, default = tmp_path / "busy.gallery", pack()
    Gallery.create(path, default.name, default.model_id, 128, keys=key_in(tmp_path)).close()
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        found = pool.map(partial(busy, path, seconds=SECONDS), range(3))
    done = sum(found, Counter[str]())
    assert not [what for what in done if what.startswith("wrong")]
    assert sum(done[what] for what in READING) > 0 < sum(done[what] for what in CHANGING)
    with Gallery.open(path, keys=key_in(tmp_path), writable=True) as gallery:
        gallery.verify()
        entries = list(gallery.log())
    assert len([entry for entry in entries if entry["action"] == "compacted"]) == done["compact"]
    assert sorted(each.name for each in tmp_path.iterdir() if "gallery" in each.name) == ["busy.gallery"]

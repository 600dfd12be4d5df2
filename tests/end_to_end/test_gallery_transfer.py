"""Templates in and out of a gallery, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from commands import Run
from templates import unit

from leakmatch.gallery.store import Gallery


def test_a_slip_in_a_name_leaves_nothing_behind(run: Run, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", vectors=unit(np.random.default_rng(0), 5, 128), subject_id=np.array(list("aabbc")))
    gallery = tmp_path / "new.gallery"
    done = run("gallery", "import", gallery, tmp_path / "t.npz", tmp_path / "gone.npz", "--trust-model")
    assert (done.code, "gone.npz" in done.err) == (2, True)
    assert not gallery.exists()
    done = run("gallery", "import", gallery, tmp_path / "t.npz", "--trust-model")
    assert (done.code, done.err) == (0, f"{tmp_path / 't.npz'}: 5 templates added, 0 known, 0 refused.\n")
    done = run("gallery", "export", gallery, tmp_path / "g.faiss", "--format", "faiss")
    assert done.code == 0
    assert f"{tmp_path / 'g.faiss.csv'}: whose templates they are" in done.err
    assert (tmp_path / "g.faiss.csv").read_text(encoding="utf-8").splitlines()[1] == "1,a,"
    with Gallery.open(gallery) as opened:
        opened.verify()

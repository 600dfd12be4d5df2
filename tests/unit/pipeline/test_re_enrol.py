"""The plan for another model: what is said of each photo, and the list that enroll takes. Sources: end-to-end tests."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, gallery_of, people

from leakmatch.cli.gallery_re_enrol_cmd import _what_it_means, _what_to_do
from leakmatch.errors import UsageError
from leakmatch.gallery.store import Enrolment, Gallery, Photo
from leakmatch.pipeline.re_enrol import PhotoPlan, Plan, State, SubjectPlan, new_name, plan, write_csv
from leakmatch.pipeline.subjects import read_csv
from leakmatch.settings import Settings


def enrol(gallery: Gallery, subject: str, path: str, content: bytes | None) -> None:
    vector = people(np.random.default_rng(len(path)), 1)[0].vector
    digest = None if content is None else hashlib.sha256(content).digest()
    gallery.add([Enrolment(Photo(subject, path, digest, "", "", 0.5), vector, (), ())], [], {})


@pytest.mark.models
def test_what_is_where_it_was(tmp_path: Path, pack_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    kept, changed = tmp_path / "kept.jpg", tmp_path / "changed.jpg"
    kept.write_bytes(b"a photo")
    changed.write_bytes(b"another photo")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to(kept)
    shots: list[Shot] = []
    with gallery_of(tmp_path / "a.gallery", shots) as gallery:
        for name in ("kept.jpg", "changed.jpg", "pipe.jpg", "link.jpg", "gone.jpg", "e.zip!/ann/1.jpg"):
            enrol(gallery, "ann", str(tmp_path / name), b"a photo" + (b"" if "kept" in name else name.encode()))
        enrol(gallery, "ben", "zero\0.jpg", b"x")
        enrol(gallery, "cleo", str(kept), None)
        gallery.add([], [Photo("nobody", str(kept), b"\1" * 32, "no-face", "", 0.0)], {})
    made = plan(tmp_path / "a.gallery", [], Settings())
    assert [photo.state for photo in made.photos] == [
        State.FOUND, State.CHANGED, State.GONE, State.GONE, State.GONE, State.GONE, State.GONE, State.UNKNOWN
    ]  # fmt: skip
    assert [(s.subject_id, s.photos, s.found) for s in made.subjects] == [("ann", 6, 1), ("ben", 1, 0), ("cleo", 1, 0)]
    assert [subject.subject_id for subject in made.lost] == ["ben", "cleo"]
    assert (made.templates_stay, made.hashes_stay, made.labelled()) == (True, True, False)
    assert made.to_json()["photos"] == {"found": 1, "in-archive": 0, "changed": 1, "gone": 5, "unknown": 1}
    with Gallery.open(tmp_path / "a.gallery") as gallery:
        assert [noted["action"] for noted in gallery.log()] == ["create", "re-enrol-plan", "open"]


MADE = Plan(
    gallery="old 1.gallery",
    model_id="old",
    pack="old-pack",
    new_model_id="new",
    new_pack="new-pack",
    sources=("people",),
    templates_stay=False,
    hashes_stay=True,
    subjects=(SubjectPlan("ann", "Ann", "2031-01-01", 2, 2, 2), SubjectPlan("ben", "", "", 1, 0, 1)),
    photos=(
        PhotoPlan("ann", "x", State.FOUND, "people/ann/x.jpg", "ann", True, Path("people/ann/x.jpg")),
        PhotoPlan("ann", "y", State.IN_ARCHIVE, "e.zip!/ann/y.jpg", "ann", True),
        PhotoPlan("ben", "z", State.GONE, hashed=True),
    ),
)


def said(made: Plan, table: Path | None = None, left_out: int = 0) -> str:
    return "\n".join([*_what_it_means(made), *_what_to_do(made, Path("old 1.gallery"), table, left_out)])


def test_what_is_said_of_it() -> None:
    text = said(MADE)
    assert "Templates cannot be turned into those of another model" in text
    assert "2 of 3 photos were found, of 1 of 2 people" in text
    assert "those of 1 of them stay valid" in text
    assert "--gallery 'old 1.gallery' --pack old-pack): it finds them by file, picture and face" in text
    assert "leakmatch enroll 'old 1-new-pack.gallery' people --pack new-pack" in text
    assert "with --csv FILE" in text
    assert "p.csv --pack new-pack" in said(MADE, Path("p.csv"), 1)
    assert "1 photos that were found are not in that list" in said(MADE, Path("p.csv"), 1)
    other = replace(MADE, photos=(replace(MADE.photos[0], subject="x"), *MADE.photos[1:]))
    assert "re-enrol 'old 1.gallery' people --pack new-pack --csv photos.csv" in said(other)
    assert "import that --without-hashes --pack old-pack" in said(replace(MADE, hashes_stay=False))
    assert "Nothing can be enrolled again" in said(replace(MADE, subjects=MADE.subjects[1:], photos=MADE.photos[2:]))
    same = said(replace(MADE, templates_stay=True))
    assert "nobody has to be enrolled again" in same
    assert "leakmatch enroll" not in same
    assert "templates stay valid" in said(replace(MADE, templates_stay=True, hashes_stay=False))


def test_the_list_is_one_that_enroll_reads(tmp_path: Path) -> None:
    odd = tmp_path / 'a;b, "c"\n.jpg'
    subjects = (SubjectPlan("ä, 1", "N; 1", "2031-01-01", 1, 1, 1), SubjectPlan(" blank", "", "", 1, 1, 1))
    photos = (
        PhotoPlan("ä, 1", "x", State.FOUND, str(odd), "q", file=odd),
        PhotoPlan(" blank", "x", State.FOUND, "y", "q", file=tmp_path / "y"),
        PhotoPlan("ä, 1", "x", State.FOUND, "y", "q", file=tmp_path / "y "),
        PhotoPlan("ä, 1", "x", State.FOUND, "y", "q", file=tmp_path / "\udcff.jpg"),
    )
    made = replace(MADE, subjects=(replace(subjects[0], found=3), subjects[1]), photos=photos)
    assert write_csv(made, tmp_path / "p.csv") == (1, 3)
    assert (tmp_path / "p.csv").stat().st_mode & 0o077 == 0
    (row,) = read_csv(tmp_path / "p.csv")
    assert (row.subject_id, row.path, row.name, row.expires) == ("ä, 1", odd, "N; 1", "2031-01-01")
    with pytest.raises(UsageError, match="no photo was found on disk"):
        write_csv(replace(made, photos=photos[1:]), tmp_path / "q.csv")


def test_a_name_that_is_free(tmp_path: Path) -> None:
    assert new_name(tmp_path / "a.gallery", "p") == tmp_path / "a-p.gallery"
    (tmp_path / "a-p.gallery").touch()
    assert new_name(tmp_path / "a.gallery", "p") == tmp_path / "a-p-2.gallery"

"""Two galleries become one: who is one person, what is kept once, what is refused, all of it or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, add, gallery_of, people

from leakmatch.errors import IntegrityError, ModelMismatch, UsageError
from leakmatch.gallery import templates
from leakmatch.gallery.merge import Collisions, Merged, merge
from leakmatch.gallery.store import PICTURE, Enrolment, Gallery, Photo
from leakmatch.records import HashBatch

SHOTS = people(np.random.default_rng(0), 6, 2)
OTHERS = [replace(shot, content=shot.content + 1000) for shot in people(np.random.default_rng(1), 6, 2)]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Galleries of a few photos have several parts."""
    monkeypatch.setattr(templates, "PART", 4)


def of(path: Path, *shots: Shot) -> Gallery:
    return gallery_of(path, shots)


def renamed(shots: list[Shot], prefix: str) -> list[Shot]:
    return [replace(shot, subject=prefix + shot.subject) for shot in shots]


def people_of(gallery: Gallery) -> dict[str, list[str]]:
    return {s["subject_id"]: [p["path"] for p in gallery.photos(s["subject_id"])] for s in gallery.subjects()}


def test_people_of_other_ids_are_added(tmp_path: Path) -> None:
    with of(tmp_path / "a", *SHOTS) as gallery, of(tmp_path / "b", *renamed(OTHERS, "q")) as other:
        other.add(
            [], [Photo("new", "dark.jpg", b"\5" * 32, "no-face", "none", 0.0)], {"new": "Nora"}, {"new": "2031-01-01"}
        )
        before, expected = other.digest, people_of(gallery) | people_of(other)
        seen: list[tuple[int, int]] = []
        found = merge(gallery, other, progress=lambda done, total: seen.append((done, total)))
        assert found == Merged(12, 12, 0, 7, 1, 0, 0, 0, [])
        assert seen == [(0, 12), (4, 12), (8, 12)]
        assert people_of(gallery) == expected
        assert other.digest == before
        stored = gallery.hashes(PICTURE)
        for algorithm, hashes in other.hashes(PICTURE).items():
            np.testing.assert_array_equal(stored[algorithm].bits[12:], hashes.bits)
        np.testing.assert_array_equal(gallery.templates()[12:24], other.templates()[:])
        assert gallery.people.names() == {"new": "Nora"}
        gallery.verify()
        *_, noted = gallery.log()
        assert (noted["action"], noted["other_gallery"], noted["templates"]) == ("merged", other.id, 12)
        again = merge(gallery, other)
        assert (again.added, again.known, again.subjects, again.refused, again.same) == (0, 12, 0, 0, 7)
        assert people_of(gallery) == expected


def test_who_shares_a_photo_is_the_same(tmp_path: Path) -> None:
    more = Shot("p0000", OTHERS[0].vector, 500)
    with of(tmp_path / "a", *SHOTS[:4]) as gallery, of(tmp_path / "b", SHOTS[0], more) as other:
        gallery.people.rename("p0000", name="Anna")
        other.people.rename("p0000", name="Anne")
        found = merge(gallery, other)
        assert (found.added, found.known, found.subjects, found.same) == (1, 1, 0, 1)
        assert len(gallery.photos("p0000")) == 3
        assert gallery.people.names() == {"p0000": "Anna"}


def test_a_template_without_sha256_is_a_photo_too(tmp_path: Path) -> None:
    def unnamed(shot: Shot) -> Enrolment:
        return Enrolment(Photo(shot.subject, "t.npz#1", None, "", "imported", 0.5), shot.vector, (), ())

    with of(tmp_path / "a") as gallery, of(tmp_path / "b") as other:
        gallery.add([unnamed(SHOTS[0])], [], {})
        other.add([unnamed(SHOTS[0]), unnamed(SHOTS[1])], [], {})
        found = merge(gallery, other)
        assert (found.added, found.known, found.same) == (1, 1, 1)


def test_an_id_that_may_be_two_people_is_for_the_user_to_settle(tmp_path: Path) -> None:
    others = [*OTHERS[:4], SHOTS[4], *renamed(OTHERS[6:8], "x")]
    for path in ("a", "c", "d"):
        of(tmp_path / path, *SHOTS[:6]).close()
    of(tmp_path / "b", *others).close()
    with Gallery.open(tmp_path / "b") as other:
        with Gallery.open(tmp_path / "a", writable=True) as gallery:
            before = gallery.digest
            with pytest.raises(
                Collisions, match=r"2 of its ids are in .*'p0000', 'p0001'.*--same-ids.*--prefix"
            ) as told:
                merge(gallery, other)
            assert told.value.subjects == ["p0000", "p0001"]
            assert gallery.digest == before
            with pytest.raises(UsageError, match="Either"):
                merge(gallery, other, same_ids=True, prefix="b-")
        with Gallery.open(tmp_path / "c", writable=True) as gallery:
            found = merge(gallery, other, same_ids=True)
            assert (found.added, found.known, found.subjects, found.same) == (6, 1, 1, 3)
            assert len(gallery.photos("p0000")) == 4
        with Gallery.open(tmp_path / "d", writable=True) as gallery:
            found = merge(gallery, other, prefix="b-")
            assert (found.added, found.known, found.subjects, found.same) == (6, 1, 3, 1)
            assert {s["subject_id"] for s in gallery.subjects()} == {
                "p0000", "p0001", "p0002", "b-p0000", "b-p0001", "b-xp0003"
            }  # fmt: skip
            again = merge(gallery, other, prefix="b-")
            assert (again.added, again.known, again.same) == (0, 7, 1)
            add(gallery, [Shot("c-p0000", SHOTS[7].vector, 900)])
            with pytest.raises(Collisions, match=r"with the prefix 'c-', 1 of its ids .*Give another prefix"):
                merge(gallery, other, prefix="c-")
            gallery.verify()


def test_a_photo_of_two_subjects_is_told(tmp_path: Path) -> None:
    with of(tmp_path / "a", *SHOTS[:2]) as gallery, of(tmp_path / "b", replace(SHOTS[0], subject="q")) as other:
        assert merge(gallery, other).twice == 1


def test_what_the_two_are_for_is_told(tmp_path: Path) -> None:
    with of(tmp_path / "a", *SHOTS[:2]) as gallery, of(tmp_path / "b", *OTHERS[2:4]) as other:
        gallery.describe(purpose="leaks", legal_basis="a law")
        other.describe(purpose="doors", legal_basis="a law")
        assert merge(gallery, other).purposes == {"purpose": ["leaks", "doors"]}
        assert gallery.purpose == "leaks"


def test_other_models_and_hashes_are_refused(tmp_path: Path) -> None:
    old = HashBatch("phash64/old", np.zeros((1, 8), np.uint8), np.ones(1, np.float32), np.zeros(1, np.int32))
    with of(tmp_path / "a", *SHOTS[:2]) as gallery:
        with pytest.raises(UsageError, match="with itself"):
            merge(gallery, gallery)
        with (
            Gallery.create(tmp_path / "b", "test", "another", 128) as other,
            pytest.raises(ModelMismatch, match="model"),
        ):
            merge(gallery, other)
        with of(tmp_path / "c") as other:
            other.add([Enrolment(Photo("x", "x", b"\2" * 32, "", "", 0.5), OTHERS[0].vector, (old,), ())], [], {})
            with pytest.raises(ModelMismatch, match=r"phash64/old \(picture\)"):
                merge(gallery, other)
        assert gallery.info()["templates"] == 2


def test_what_fails_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    with of(tmp_path / "a", *SHOTS[:2]) as gallery, of(tmp_path / "b", *OTHERS[2:]) as other:
        before = gallery.digest, people_of(gallery)

        def stopped(done: int, total: int) -> None:
            if done >= 8:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            merge(gallery, other, progress=stopped)
        assert (gallery.digest, people_of(gallery)) == before
        other.close()
        data = bytearray((tmp_path / "b").read_bytes())
        at = data.index(OTHERS[9].vector.tobytes())
        data[at : at + 64] = b"\x7f" * 64
        (tmp_path / "b").write_bytes(data)
        with Gallery.open(tmp_path / "b") as damaged, pytest.raises(IntegrityError, match="template"):
            merge(gallery, damaged)
        assert (gallery.digest, people_of(gallery)) == before
        gallery.verify()

"""The people in a gallery: dates, names, what is recorded when they go; and galleries of the format before."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from galleries import Shot, add, gallery_of, people

from leakmatch.database import Database
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.gallery.people import parse_date
from leakmatch.gallery.schema import APPLICATION_ID
from leakmatch.gallery.store import Gallery


@pytest.fixture
def gallery(tmp_path: Path) -> Gallery:
    """p0000 with two photos, p0001 and p0002 with one each."""
    return gallery_of(tmp_path / "a.gallery", people(np.random.default_rng(0), 3, [2, 1, 1]))


def day(from_today: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=from_today)).isoformat()


def actions(gallery: Gallery) -> list[str]:
    return [noted["action"] for noted in gallery.log()]


# Dates


def test_the_last_day_itself_is_still_allowed(gallery: Gallery) -> None:
    gallery.people.expire({"p0000": day(0), "p0001": day(1)})
    assert gallery.people.expired() == []
    gallery.require_in_date()
    gallery.people.expire({"p0000": day(-1)})
    assert gallery.people.expired() == ["p0000"]
    with pytest.raises(UsageError, match=r"1 of its people .* remove .* --expired.* expire .* --on DATE"):
        gallery.require_in_date()
    listed = {who["subject_id"]: (who["expires"], who["expired"]) for who in gallery.people}
    assert listed == {"p0000": (day(-1), True), "p0001": (day(1), False), "p0002": (None, False)}
    assert gallery.info()["expired"] == 1
    gallery.people.expire({"p0000": ""})
    gallery.require_in_date()
    gallery.verify()


def test_dates_are_set_for_all_or_for_none(gallery: Gallery) -> None:
    before = gallery.digest
    with pytest.raises(UsageError, match="no subject 'nobody'"):
        gallery.people.expire({"p0000": day(1), "nobody": day(1)})
    assert gallery.digest == before
    gallery.people.expire({"p0000": day(1)})
    noted = list(gallery.log())
    gallery.people.expire({"p0000": day(1)})
    assert list(gallery.log()) == noted, "nothing changed, so nothing is noted"
    assert (noted[-1]["before"], noted[-1]["now"]) == ("never", day(1))
    assert "p0000" not in json.dumps(noted)


@pytest.mark.parametrize("text", ["31.1.2027", "2027-1-31", "20270131", "2027-02-30", "2027-W05-1", "soon", ""])
def test_what_is_no_date(text: str) -> None:
    with pytest.raises(UsageError, match="2027-01-31"):
        parse_date(text)


def test_enrolling_keeps_dates_and_names_that_are_not_given(gallery: Gallery) -> None:
    shot = people(np.random.default_rng(5), 1)[0]
    gallery.people.rename("p0001", name="Ann")
    gallery.people.expire({"p0001": day(3)})
    add(gallery, [Shot("p0001", shot.vector, 900)])
    assert gallery.people.about("p0001") == {"subject_id": "p0001", "name": "Ann", "expires": day(3)}
    gallery.verify()


# Other ids


def test_a_renamed_subject_keeps_everything_but_its_id(gallery: Gallery) -> None:
    gallery.people.expire({"p0000": day(3)})
    photos, templates = gallery.photos("p0000"), gallery.templates()[:]
    gallery.people.rename("p0000", to="new", name="Ann")
    assert gallery.people.about("new") == {"subject_id": "new", "name": "Ann", "expires": day(3)}
    assert gallery.photos("new") == photos
    assert np.array_equal(gallery.templates()[:], templates)
    assert "p0000" not in gallery.people
    assert gallery.names() == {"new": "Ann"}
    noted = list(gallery.log())[-1]
    assert (noted["subject"], noted["now"]) == (gallery.people.reference("p0000"), gallery.people.reference("new"))
    gallery.verify()


def test_an_id_that_is_taken_is_refused(gallery: Gallery) -> None:
    before = gallery.digest
    with pytest.raises(UsageError, match="'p0001' already"):
        gallery.people.rename("p0000", to="p0001")
    with pytest.raises(UsageError, match="empty"):
        gallery.people.rename("p0000", to="")
    with pytest.raises(UsageError, match="no subject 'nobody'"):
        gallery.people.rename("nobody", to="new")
    assert gallery.digest == before


def test_a_calibration_goes_with_an_id_that_it_names(gallery: Gallery) -> None:
    gallery.put_calibration(b'{"left_out": [{"a": "p0001", "b": "p0002"}]}')
    gallery.people.rename("p0000", to="new")
    assert gallery.calibration() is not None
    gallery.people.rename("p0001", to="other")
    assert gallery.calibration() is None


# Out


def test_whoever_has_no_photo_left_is_still_listed(gallery: Gallery) -> None:
    (photo,) = gallery.photos("p0001")
    (erasure,) = gallery.people.erase({"p0001": [photo["enrolment_id"]]})
    assert (erasure.scope, erasure.photos) == ("enrolments", 1)
    assert [who["enrolled"] for who in gallery.people] == [2, 0, 1]
    assert gallery.people.erased_before(["p0001"]) == [], "the subject was not removed"
    gallery.verify()


def test_someone_elses_photo_is_not_removed(gallery: Gallery) -> None:
    before = gallery.digest
    (photo,) = gallery.photos("p0001")
    with pytest.raises(UsageError, match=f"'p0000' has no enrolment {photo['enrolment_id']}"):
        gallery.people.erase({"p0002": None, "p0000": [photo["enrolment_id"]]})
    assert gallery.digest == before
    assert gallery.people.erase({}) == []
    assert "erased" not in actions(gallery)


def test_several_are_removed_at_once_with_a_record_each(gallery: Gallery) -> None:
    gallery.put_calibration(b"{}")
    made = gallery.people.erase({"p0000": None, "p0002": None}, "their year is over")
    assert [erasure.number for erasure in made] == [1, 2]
    assert gallery.remove("p0001").number == 3
    assert gallery.people.erasures("p0002") == made[1:]
    assert gallery.calibration() is None
    assert gallery.info()["erasures"] == 3
    erased = [noted for noted in gallery.log() if noted["action"] == "erased"]
    assert [noted["erasures"] for noted in erased] == [[1, 2], [3, 3]]
    assert gallery.left_in_file() == 2
    gallery.compact()
    assert gallery.left_in_file() == 0
    assert gallery.people.erasures() == [*made, *gallery.people.erasures("p0001")]
    gallery.verify()


def test_who_comes_back_is_known_to_have_been_erased(gallery: Gallery) -> None:
    gallery.remove("p0001")
    assert gallery.people.erased_before(["p0000", "p0001", "somebody"]) == ["p0001"]
    add(gallery, [Shot("p0001", people(np.random.default_rng(5), 1)[0].vector, 900)])
    assert gallery.people.erased_before(["p0001"]) == [], "and is told of once"


# What it is for


def test_what_a_gallery_is_for_is_stated_and_stated_anew(tmp_path: Path) -> None:
    path = tmp_path / "b.gallery"
    Gallery.create(path, "test", "m", 16, purpose="leaks", legal_basis="consent").close()
    with Gallery.open(path, writable=True) as gallery:
        assert (gallery.purpose, gallery.legal_basis) == ("leaks", "consent")
        gallery.require_terms("", "")
        gallery.require_terms("leaks", "consent")
        with pytest.raises(UsageError, match=r"purpose is another \(leaks\).*gallery describe"):
            gallery.require_terms("other", "")
        gallery.describe(purpose="find pupils", legal_basis="consent")
        gallery.describe(purpose="find pupils")
        gallery.verify()
    with Gallery.open(path) as gallery:
        assert gallery.info()["purpose"] == "find pupils"
        described = [noted for noted in gallery.log() if noted["action"] == "described"]
        assert [(noted["before"], noted["now"]) for noted in described] == [
            ({"purpose": "leaks"}, {"purpose": "find pupils"})
        ]


# The format before

VERSION_1 = (
    "CREATE TABLE subjects (subject_id TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE photos (photo INTEGER PRIMARY KEY, subject_id TEXT NOT NULL, path TEXT NOT NULL, sha256 BLOB,
       refusal TEXT NOT NULL, detail TEXT NOT NULL, quality REAL NOT NULL)""",
    "CREATE UNIQUE INDEX photos_by_sha256 ON photos (sha256, subject_id)",
    "CREATE INDEX photos_by_subject ON photos (subject_id)",
    "CREATE TABLE templates (photo INTEGER PRIMARY KEY, vector BLOB NOT NULL)",
    """CREATE TABLE hashes (photo INTEGER NOT NULL, scope TEXT NOT NULL, algorithm TEXT NOT NULL, bits BLOB NOT NULL,
       quality REAL NOT NULL, PRIMARY KEY (photo, scope, algorithm)) WITHOUT ROWID""",
)


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """A gallery of format 1 with one person."""

    def fill(new: Database) -> None:
        new.put("gallery", {"id": "ab", "created": "2026", "pack": "test", "model_id": "m", "dimension": 4})
        new.put("imported", ["cd" * 32])
        new.insert("subjects", [("ann", "Ann")])
        new.insert("photos", [(1, "ann", "ann/1.jpg", bytes(32), "", "", 0.5)])
        new.insert("templates", [(1, np.array([1, 0, 0, 0], "<f4").tobytes())])

    path = tmp_path / "old.gallery"
    Database.create(path, APPLICATION_ID, 1, VERSION_1, fill).close()
    return path


def test_an_older_gallery_is_brought_up_to_date_by_the_first_change(older: Path) -> None:
    with pytest.raises(UsageError, match=r"old.gallery: a gallery of format 1; .*leakmatch gallery seal"):
        Gallery.open(older)
    with Gallery.open(older, writable=True) as gallery:
        gallery.verify()
        assert list(gallery.people) == [
            {"subject_id": "ann", "name": "Ann", "enrolled": 1, "refused": 0, "expires": None, "expired": False}
        ]
        assert (gallery.purpose, gallery.id) == ("", "ab")
        assert gallery.was_imported("cd" * 32)
        assert not gallery.was_imported("ef" * 32)
        gallery.remove("ann")
    with Gallery.open(older) as gallery:
        gallery.verify()
        assert len(gallery.people.erasures("ann")) == 1


def test_a_gallery_of_a_later_format_is_refused(older: Path) -> None:
    with Gallery.open(older, writable=True) as gallery, gallery._database.transaction():
        gallery._database.define("PRAGMA user_version = 3")
    with pytest.raises(UsageError, match=r"format 3; this LeakMatch reads format 2\. Read it with the version"):
        Gallery.open(older, writable=True)


def test_a_gallery_without_the_key_of_its_records_is_damaged(gallery: Gallery) -> None:
    with gallery._database.transaction():
        gallery._database.delete("meta", "key = 'reference_key'")
    with pytest.raises(IntegrityError, match="a key of its records"):
        gallery.people.reference("p0000")

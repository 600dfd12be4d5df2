"""People enrolled for a purpose and until a day: searched for until then, and what the report says of it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from galleries import pack

from leakmatch import api
from leakmatch.bench import generated
from leakmatch.case.report import report
from leakmatch.case.store import Case
from leakmatch.errors import UsageError
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys

pytestmark = pytest.mark.models


def day(from_today: int) -> str:
    return (datetime.now(UTC).date() + timedelta(days=from_today)).isoformat()


@pytest.fixture
def people(sample_photos: Path, tmp_path: Path) -> Path:
    """A CSV of two people, one of whom has a day of her own."""
    for name in ("astronaut.png", "obama.jpg"):
        shutil.copy(sample_photos / name, tmp_path / name)
    table = tmp_path / "people.csv"
    table.write_text(f"subject_id,path,name,expires\neileen,astronaut.png,Eileen,{day(1)}\nobama,obama.jpg,,\n")
    return table


@pytest.fixture
def alone(pack_home: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options for a run in this process."""
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    return {"keys": Keys(key_file=key), "isolation": False}


def test_on_the_command_line(run: Run, people: Path, tmp_path: Path) -> None:
    gallery = tmp_path / "a.gallery"
    terms = ("--purpose", "find our people", "--legal-basis", "consent", "--expires", day(30))
    done = run("enroll", gallery, people, *terms)
    assert done.code == 0, done.err
    assert "2 people got a date" in done.err
    about = json.loads(run("gallery", "info", gallery, "--json").out)
    assert (about["purpose"], about["legal_basis"], about["expired"]) == ("find our people", "consent", 0)
    assert run("gallery", "expire", gallery, "eileen", "--on", day(-1)).code == 0
    done = run("scan", people.parent, "--gallery", gallery, "--case", tmp_path.with_suffix(".case"))
    assert done.code == 2
    assert "1 of its people were to be kept until a day that is past" in done.err
    assert "--expired" in done.err
    assert "--on DATE" in done.err
    assert not tmp_path.with_suffix(".case").exists()


def test_from_enrolment_to_erasure(people: Path, alone: dict[str, Any], sample_photos: Path, tmp_path: Path) -> None:
    gallery, keys, photo = tmp_path / "a.gallery", alone["keys"], sample_photos / "astronaut.png"
    told = api.enroll(gallery, people, purpose="find <our> people.", legal_basis="consent", expires=day(9), **alone)
    assert (told.dated, told.erased_before) == (2, set())
    with pytest.raises(UsageError, match="gallery describe"):
        api.enroll(gallery, people, purpose="something else", **alone)

    api.scan(photo, gallery, tmp_path / "a.case", **alone).close()
    with Case.open(tmp_path / "a.case") as case:
        recorded = case.run["gallery"]
        assert (recorded["purpose"], recorded["legal_basis"]) == ("find <our> people.", "consent")
        assert "Purpose of the gallery: find &lt;our&gt; people. Legal basis: consent." in report(case)

    with Gallery.open(gallery, keys=keys, writable=True) as opened:
        assert {who["subject_id"]: who["expires"] for who in opened.people} == {"eileen": day(1), "obama": day(9)}
        opened.remove("eileen", "asked for it")
        opened.compact()
    assert api.search(photo, gallery, **alone).candidates == []
    assert api.enroll(gallery, people, **alone).erased_before == {"eileen"}


def test_what_was_begun_in_time_goes_on_after_the_day(
    alone: dict[str, Any], sample_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery, photo = tmp_path / "a.gallery", sample_photos / "obama.jpg"
    generated.gallery(gallery, pack(), 2)
    with Gallery.open(gallery, writable=True) as made:
        made.people.expire({who["subject_id"]: day(1) for who in made.people})
    api.scan(photo, gallery, tmp_path / "a.case", **alone).close()
    monkeypatch.setattr("leakmatch.gallery.people.today", lambda: day(2))
    api.scan(photo, gallery, tmp_path / "a.case", **alone).close()
    with pytest.raises(UsageError, match="2 of its people"):
        api.scan(photo, gallery, tmp_path / "b.case", **alone)


def test_a_day_that_is_none_or_past_enrols_nobody(people: Path, alone: dict[str, Any], tmp_path: Path) -> None:
    gallery = tmp_path / "a.gallery"
    for text, told in ((day(-1), "is past"), ("31.1.2027", "is no date")):
        with pytest.raises(UsageError, match=told):
            api.enroll(gallery, people, expires=text, **alone)
    for rows, told in (
        (f"eileen,astronaut.png,{day(-1)}\n", "is past"),
        ("eileen,astronaut.png,soon\n", "line 2: 'soon' is no date"),
        (f"eileen,astronaut.png,{day(1)}\neileen,obama.jpg,{day(2)}\n", "gives the subject 'eileen' two dates"),
    ):
        people.write_text(f"subject_id,path,expires\n{rows}")
        with pytest.raises(UsageError, match=told):
            api.enroll(gallery, people, **alone)
    assert not gallery.exists()

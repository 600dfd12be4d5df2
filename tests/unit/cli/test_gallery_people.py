"""``leakmatch gallery list|show|rename|expire|remove|erasures|describe``: what they do and say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from galleries import add, pack, people
from sealed_files import key_in
from typer.testing import CliRunner, Result

from leakmatch.cli.gallery_cmd import app
from leakmatch.errors import StorageError, UsageError
from leakmatch.gallery.rows import Photo
from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    keys = key_in(tmp_path)
    monkeypatch.setenv("LEAKMATCH_KEY_FILE", str(keys.key_file))
    return keys


@pytest.fixture
def gallery(tmp_path: Path, keys: Keys) -> Path:
    """Sealed; p0000 ("Ann") with two photos, p0001 with one and a refused one, p0002 with one."""
    path = tmp_path / "a.gallery"
    default = pack()
    with Gallery.create(path, default.name, default.model_id, 128, keys=keys) as made:
        add(made, people(np.random.default_rng(0), 3, [2, 1, 1]))
        made.add([], [Photo("p0001", "p0001/no\u202e.jpg", bytes(32), "no-face", "no face was found", 0.0)], {})
        made.people.rename("p0000", name="Ann")
    return path


def leakmatch(*arguments: str | Path, answer: str | None = None) -> Result:
    """``leakmatch gallery ARGUMENTS``; errors of LeakMatch are raised, as the command line's own frame prints them."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def listed(path: Path) -> list[str]:
    return [line.split()[4] for line in leakmatch("list", path).stdout.splitlines()]


def test_the_list_says_until_when(gallery: Path) -> None:
    leakmatch("expire", gallery, "p0000", "p0001", "--on", "2999-01-31")
    done = leakmatch("expire", gallery, "p0001", "--on", "2020-01-31")
    assert done.stderr == "p0001: kept until 2020-01-31, and not searched for after.\n"
    assert leakmatch("list", gallery).stdout.splitlines() == [
        "    2 enrolled     0 refused  p0000  Ann  until 2999-01-31",
        "    1 enrolled     1 refused  p0001  until 2020-01-31, which is PAST",
        "    1 enrolled     0 refused  p0002",
    ]
    about = leakmatch("info", gallery)
    assert "expired          1" in about.stdout
    assert "WARNING: the date of 1 of its people is past" in about.stderr
    leakmatch("expire", gallery, "p0001", "--on", "never")
    rows = [json.loads(line) for line in leakmatch("list", gallery, "--json").stdout.splitlines()]
    assert [row["expires"] for row in rows] == ["2999-01-31", None, None]
    assert leakmatch("info", gallery).stderr == ""


def test_a_date_that_is_none_changes_nothing(gallery: Path) -> None:
    with pytest.raises(UsageError, match=r"'31\.1\.2027' is no date"):
        leakmatch("expire", gallery, "p0000", "--on", "31.1.2027")


def test_show_has_the_enrolment_ids(gallery: Path, keys: Keys) -> None:
    assert leakmatch("show", gallery, "p0001").stdout.splitlines() == [
        "p0001",
        "       3  enrolled     quality 0.70  p0001/2.jpg",
        "       5  no-face      quality 0.00  p0001/no\\u202e.jpg: no face was found",
    ]
    assert leakmatch("show", gallery, "p0000").stdout.splitlines()[0] == "p0000  Ann"
    rows = [json.loads(line) for line in leakmatch("show", gallery, "p0000", "--json").stdout.splitlines()]
    assert [row["enrolment_id"] for row in rows] == [1, 2]
    with Gallery.open(gallery, keys=keys) as opened:
        shown = [noted["subject"] for noted in opened.log() if noted["action"] == "shown"]
        assert shown == [opened.people.reference(subject) for subject in ("p0001", "p0000", "p0000")]


def test_remove_asks_says_and_leaves_a_record(gallery: Path) -> None:
    with pytest.raises(UsageError, match="Nothing was removed"):
        leakmatch("remove", gallery, "p0000", answer="n\n")
    done = leakmatch("remove", gallery, "p0000", "--reason", "asked", answer="y\n")
    question, _, told = done.stderr.partition(" [y/N]:")
    assert question == "Remove p0000 with 2 photos for good?"
    assert told.strip().splitlines() == [
        "Removed p0000: 2 photos, 2 templates, 8 hashes. Erasure 1.",
        "The file was rewritten: nothing of what was removed is left in it.",
        "Not reached: copies and backups of the file, exports, and what cases and reports say of them.",
    ]
    assert listed(gallery) == ["p0001", "p0002"]
    was = leakmatch("erasures", gallery, "--subject", "p0000")
    assert "the whole subject" in was.stdout
    assert was.stdout.endswith("2 photos, 2 templates, 8 hashes: asked\n")
    assert "p0000" not in was.stdout
    assert was.stderr == "p0000: 1 erasure on record; not in the gallery today.\n"
    assert leakmatch("erasures", gallery, "--subject", "p0001").stderr == (
        "p0001: no erasure on record; in the gallery today.\n"
    )
    (row,) = json.loads(leakmatch("erasures", gallery, "--json").stdout)
    assert (row["number"], row["photos"], row["reason"]) == (1, 2, "asked")


def test_the_last_photo_leaves_the_subject(gallery: Path) -> None:
    done = leakmatch("remove", gallery, "p0001", "--enrolment", "3", "--yes")
    assert "Removed from p0001: 1 photo, 1 template, 4 hashes. Erasure 1." in done.stderr
    assert f"still listed. To remove the subject: leakmatch gallery remove {gallery} p0001" in done.stderr
    assert listed(gallery) == ["p0000", "p0001", "p0002"]
    done = leakmatch("remove", gallery, "p0000", "--enrolment", "1", "-y", "--json")
    assert [row["scope"] for row in json.loads(done.stdout)] == ["enrolments"]
    assert "still listed" not in done.stderr
    with pytest.raises(UsageError, match="'p0000' has no enrolment 3"):
        leakmatch("remove", gallery, "p0000", "--enrolment", "3", "--yes")


def test_everybody_past_a_date_goes_at_once(gallery: Path) -> None:
    assert "Nothing was removed" in leakmatch("remove", gallery, "--expired").stderr
    leakmatch("expire", gallery, "p0000", "p0002", "--on", "2020-01-31")
    done = leakmatch("remove", gallery, "--expired", "--yes")
    assert "Removed p0000, p0002: 3 photos, 3 templates, 12 hashes. Erasure 1 to 2." in done.stderr
    assert listed(gallery) == ["p0001"]


@pytest.mark.parametrize("wrong", ["", "p0000 --expired", "--enrolment 1", "p0000 p0001 --enrolment 1"])
def test_whom_to_remove_must_be_clear(gallery: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match="Give the SUBJECT ids"):
        leakmatch("remove", gallery, "--yes", *wrong.split())
    assert len(listed(gallery)) == 3


def test_without_compaction_it_says_loudly_what_is_left(gallery: Path) -> None:
    done = leakmatch("remove", gallery, "p0000", "--yes", "--no-compact")
    assert "WARNING: what was removed is still in the file, for whoever can open it" in done.stderr
    assert f"until: leakmatch gallery compact {gallery}" in done.stderr
    for command in ("info", "erasures"):
        assert "WARNING: what was removed last is still in the file" in leakmatch(command, gallery).stderr
    leakmatch("compact", gallery)
    assert "WARNING" not in leakmatch("erasures", gallery).stderr


def test_a_file_that_cannot_be_rewritten_is_told(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Gallery) -> None:
        raise StorageError("No space left on device")

    monkeypatch.setattr(Gallery, "compact", full)
    with pytest.raises(StorageError, match=r"They were removed, but .*No space left.* leakmatch gallery compact"):
        leakmatch("remove", gallery, "p0000", "--yes")
    assert listed(gallery) == ["p0001", "p0002"]
    assert "still in the file" in leakmatch("erasures", gallery).stderr


def test_a_dropped_calibration_is_told(gallery: Path, keys: Keys) -> None:
    for change in (("rename", gallery, "p0000", "--to", "new"), ("remove", gallery, "p0002", "--yes")):
        with Gallery.open(gallery, keys=keys, writable=True) as opened:
            opened.put_calibration(b'{"a": "p0000"}')
        done = leakmatch(*change)
        assert "was dropped" in done.stderr
        assert f"leakmatch gallery calibrate {gallery}" in done.stderr


def test_rename(gallery: Path) -> None:
    done = leakmatch("rename", gallery, "p0000", "--to", "x1", "--name", "")
    assert done.stderr == "p0000 is x1 from now on.\nThere is no name any more.\n"
    assert listed(gallery) == ["p0001", "p0002", "x1"]
    with pytest.raises(UsageError, match="Give what to change"):
        leakmatch("rename", gallery, "x1")


def test_describe(gallery: Path) -> None:
    assert "purpose          not stated" in leakmatch("info", gallery).stdout
    done = leakmatch("describe", gallery, "--purpose", " find our pupils ")
    assert done.stderr == "Purpose: find our pupils\nLegal basis: not stated\n"
    assert json.loads(leakmatch("info", gallery, "--json").stdout)["purpose"] == "find our pupils"
    with pytest.raises(UsageError, match="Give what to state"):
        leakmatch("describe", gallery)

"""People in and out of galleries, on the command line: files, other galleries, another model."""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from templates import unit

from leakmatch.gallery.store import FACE, PICTURE, Enrolment, Gallery, Photo
from leakmatch.gallery.table import Table
from leakmatch.sealed.keys import Keys, generate

pytestmark = pytest.mark.models


@pytest.fixture
def second_key(tmp_path: Path) -> Path:
    """The key of somebody else."""
    generate(tmp_path / "second.key")
    return tmp_path / "second.key"


def test_a_slip_in_a_name_leaves_nothing_behind(run: Run, key: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", vectors=unit(np.random.default_rng(0), 5, 128), subject_id=np.array(list("aabbc")))
    gallery = tmp_path / "new.gallery"
    done = run("gallery", "import", gallery, tmp_path / "t.npz", tmp_path / "gone.npz", "--trust-model")
    assert (done.code, "gone.npz" in done.err) == (2, True)
    done = run("gallery", "import", gallery, tmp_path / "t.npz")
    assert (done.code, "--trust-model" in done.err) == (2, True)
    assert not gallery.exists()
    done = run("gallery", "import", gallery, tmp_path / "t.npz", "--trust-model")
    assert (done.code, done.err) == (0, f"{tmp_path / 't.npz'}: 5 templates added, 0 known, 0 refused.\n")
    done = run("gallery", "export", gallery, tmp_path / "g.faiss", "--format", "faiss")
    assert (done.code, "--unsealed" in done.err) == (2, True)
    done = run("gallery", "export", gallery, tmp_path / "g.faiss", "--format", "faiss", "--unsealed")
    assert done.code == 0
    assert f"{tmp_path / 'g.faiss.csv'}: whose templates they are" in done.err
    assert "Whoever has this file can recognise these people" in done.err
    assert (tmp_path / "g.faiss.csv").read_text(encoding="utf-8").splitlines()[1] == "1,a,"
    with Gallery.open(gallery, keys=Keys(key)) as opened:
        opened.verify()


def candidates(run: Run, case: Path) -> list[dict[str, Any]]:
    done = run("export", case, "candidates", "--all")
    return [json.loads(line) for line in done.out.splitlines()]


def hashes(table: Table) -> list[list[Any]]:
    return [[*map(str, table.kinds)], *([c.bits.tolist() for c in rows.hashes] for rows in table.rows())]


def test_a_gallery_that_is_handed_over_finds_the_same(
    run: Run, demo: Path, key: Path, second_key: Path, tmp_path: Path
) -> None:
    out, new = tmp_path / "out.npz", tmp_path / "new.gallery"
    done = run("gallery", "export", demo / "demo.gallery", out, "--export-key-file", second_key)
    assert (done.code, "Sealed with the key that was given." in done.err) == (0, True)
    done = run("gallery", "import", new, out)
    assert (done.code, "wrong key" in done.err, new.exists()) == (4, True, False)
    done = run("gallery", "import", new, out, "--import-key-file", second_key, "--key-file", second_key)
    assert done.code == 0, done.err
    with (
        Gallery.open(demo / "demo.gallery", keys=Keys(key)) as first,
        Gallery.open(new, keys=Keys(second_key)) as second,
    ):
        assert second.hashes(PICTURE).keys() == first.hashes(PICTURE).keys() != set()
        assert second.hashes(FACE).keys() == first.hashes(FACE).keys() != set()
        assert hashes(second.table()) == hashes(first.table())
        noted = [entry for entry in first.log() if entry.get("file") == str(out)]
    assert [(e["action"], e["format"], e["sealed"], e.get("templates")) for e in noted] == [
        ("export", "npz", True, None),
        ("exported", "npz", True, len(first_photos(demo, key))),
    ]
    case = tmp_path / "a.case"
    done = run("scan", demo / "seized.zip", "--gallery", new, "--key-file", second_key, "--case", case)
    assert done.code in (0, 3), done.err
    wanted = candidates(run, demo / "demo.case")
    assert len(wanted) > 5
    found = candidates(run, case)
    for row in (*wanted, *found):
        row.pop("source")
    assert found == wanted


def first_photos(demo: Path, key: Path) -> list[int]:
    with Gallery.open(demo / "demo.gallery", keys=Keys(key)) as gallery:
        return gallery.templates().enrolment_id.tolist()


def test_one_gallery_into_another(run: Run, key: Path, second_key: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours.gallery", tmp_path / "theirs.gallery"
    vectors = unit(np.random.default_rng(1), 6, 128)
    np.savez(tmp_path / "a.npz", vectors=vectors[:3], subject_id=np.array(["17", "18", "19"]))
    np.savez(tmp_path / "b.npz", vectors=vectors[2:], subject_id=np.array(["19", "17", "18", "20"]))
    assert run("gallery", "import", ours, tmp_path / "a.npz", "--trust-model", "-q").code == 0
    done = run("gallery", "import", theirs, tmp_path / "b.npz", "--trust-model", "--key-file", second_key, "-q")
    assert done.code == 0, done.err
    done = run("gallery", "merge", ours, theirs)
    assert (done.code, "wrong key" in done.err) == (4, True)
    merge = ("gallery", "merge", ours, theirs, "--other-key-file", second_key)
    done = run(*merge, "--json")
    assert (done.code, json.loads(done.out)) == (2, {"collisions": ["17", "18"]})
    assert "--same-ids" in done.err
    done = run(*merge, "--prefix", "b-")
    assert (done.code, "3 of its 4 templates added" in done.err, "1 are in both" in done.err) == (0, True, True)
    with Gallery.open(ours, keys=Keys(key)) as opened:
        assert [s["subject_id"] for s in opened.subjects()] == ["17", "18", "19", "b-17", "b-18", "b-20"]
        opened.verify()
    with Gallery.open(theirs, keys=Keys(second_key)) as opened:
        *_, noted, merged, _ = opened.log()
        assert (noted["action"], merged["action"], merged["templates"]) == ("merge-into", "merged-into", 3)


def test_a_plan_for_another_model(run: Run, key: Path, sample_photos: Path, tmp_path: Path) -> None:
    """One photo in a folder, one in an archive, one that is gone; what the plan says to do is done."""
    shots = {"ann": "obama.jpg", "ben": "biden.jpg", "cleo": "astronaut.png"}
    old = tmp_path / "old.gallery"
    with Gallery.create(old, "old-pack", "sha256:00/fp32/old", 8, keys=Keys(key)) as made:
        for number, (subject, name) in enumerate(shots.items()):
            digest = hashlib.sha256((sample_photos / name).read_bytes()).digest()
            photo = Photo(subject, f"{tmp_path}/was/{name}", digest, "", "", 0.5)
            made.add([Enrolment(photo, np.eye(8, dtype=np.float32)[number], (), ())], [], {"ann": "Ann"}, {})
    (tmp_path / "was").mkdir()
    shutil.copy(sample_photos / "biden.jpg", tmp_path / "was" / "obama.jpg")
    done = run("gallery", "re-enrol", old, "--json")
    assert done.code == 0, done.err
    plan = json.loads(done.out)
    assert [(row["subject_id"], row["state"]) for row in plan["enrolled"]] == [
        ("ann", "changed"),
        ("ben", "gone"),
        ("cleo", "gone"),
    ]
    assert (plan["templates_stay"], plan["people_lost"]) == (False, 3)
    folder = tmp_path / "now" / "someone"
    folder.mkdir(parents=True)
    shutil.copy(sample_photos / "obama.jpg", folder / "x.jpg")
    with zipfile.ZipFile(tmp_path / "now.zip", "w") as archive:
        archive.write(sample_photos / "biden.jpg", "ben/b.jpg")
    done = run("gallery", "re-enrol", old, tmp_path / "now", tmp_path / "now.zip", "--csv", tmp_path / "p.csv")
    assert done.code == 0, done.err
    assert "LOST     0 of 1 photos found  cleo" in done.out
    assert "2 of 3 photos were found, of 2 of 3 people" in done.out
    assert f"--gallery {old} --pack old-pack" in done.out
    assert "1 photos that were found are not in that list" in done.out
    command = next(line for line in done.out.splitlines() if line.startswith("To enrol them: leakmatch "))
    words = shlex.split(command.removeprefix("To enrol them: leakmatch "))
    assert run(*words).code == 0
    with Gallery.open(words[1], keys=Keys(key)) as new:
        assert [(s["subject_id"], s["name"], s["enrolled"]) for s in new.subjects()] == [("ann", "Ann", 1)]

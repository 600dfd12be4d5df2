"""Keeping templates, looking for a person who was enrolled later, and forgetting them, on the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from commands import Run

from leakmatch.case.store import Case
from leakmatch.case.tables import rows
from leakmatch.sealed.keys import generate


def test_a_person_enrolled_later_is_found_without_the_archive(
    run: Run, demo: Path, sample_photos: Path, tmp_path: Path
) -> None:
    case, key, gallery, new = (tmp_path / name for name in ("a.case", "case.key", "later.gallery", "new.case"))
    archive = shutil.copy(demo / "seized.zip", tmp_path / "seized.zip")
    generate(key)
    before = demo / "demo.gallery", "--key-file", demo / "demo.key"
    keeping = ("scan", archive, "-c", case, "--keep-templates", "-g", *before)
    plain = tmp_path / "plain.gallery"
    assert run("enroll", plain, demo / "people", "--unsealed").code == 0
    refused = run("scan", archive, "-c", case, "--keep-templates", "-g", plain, LEAKMATCH_KEY_FILE="")
    assert refused.code == 2
    assert "--case-key-file FILE or set LEAKMATCH_CASE_PASSPHRASE" in refused.err
    assert not case.exists()
    assert run("scan", archive, "-c", case, "--case-key-file", key, "-g", *before).code == 2
    done = run(*keeping, "--case-key-file", key, "--json")
    assert (done.code, json.loads(done.out)["kept_templates"]) == (3, True)
    assert f"WARNING: {case} holds templates of strangers, sealed with its key file" in done.err
    assert "kept templates: of 10 items" in run("verify", case).out

    shutil.copytree(demo / "people", tmp_path / "people")
    (tmp_path / "people" / "joe-biden").mkdir()
    shutil.copy(sample_photos / "biden.jpg", tmp_path / "people" / "joe-biden")
    assert run("enroll", gallery, tmp_path / "people").code == 0
    assert run("scan", archive, "-g", gallery, "-c", tmp_path / "fresh.case").code == 3
    archive.unlink()
    content = case.read_bytes()

    rescan = ("rescan", case, "--gallery", gallery)
    assert run(*rescan).code == 4  # with the gallery's key, which is another
    done = run(*rescan, "--case-key-file", key, "--case", new, "--fail-on-match", "--json")
    assert (done.code, json.loads(done.out)["subjects_matched"]) == (10, 3)
    with Case.open(new) as found, Case.open(tmp_path / "fresh.case") as fresh:
        found.verify()
        for what in ("items", "faces", "incidents", "candidates", "subjects"):
            every = what in ("candidates", "subjects")
            assert list(rows(found, what, every=every)) == list(rows(fresh, what, every=every))
    assert case.read_bytes() == content
    assert run("report", new, "-o", tmp_path / "report.html").code == 0
    assert "This is a rescan." in (tmp_path / "report.html").read_text(encoding="utf-8")

    assert run("forget", case).code == 2
    assert run("forget", case, "--yes").code == 0
    about = json.loads(run("export", case, "run").out)
    assert (about["kept_templates"], about["forgotten"]["items"]) == (False, 10)
    done = run(*rescan, "--case-key-file", key)
    assert done.code == 2
    assert "were removed on" in done.err

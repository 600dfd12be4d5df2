"""A scan that is interrupted, or loses its workers, while it takes second looks."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from leakmatch.case.rows import Candidate, Key
from leakmatch.case.store import Case
from leakmatch.case.tables import rows
from leakmatch.pipeline import second_look
from leakmatch.pipeline.enrol import enroll
from leakmatch.pipeline.scan import scan
from leakmatch.settings import Settings

pytestmark = pytest.mark.models

PEOPLE = {"collins": "astronaut.png", "obama": "obama.jpg", "biden": "biden.jpg"}


@pytest.fixture
def settings(pack_home: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    monkeypatch.setattr(second_look, "NEAR", (0.0, 1e9))  # these few faces, who are who they are, are all near
    monkeypatch.setattr(second_look, "_COMMIT_FACES", 1)
    return Settings(isolation=False, workers=1)


@pytest.fixture
def gallery(sample_photos: Path, tmp_path: Path, settings: Settings) -> Path:
    for subject, name in PEOPLE.items():
        (tmp_path / "people" / subject).mkdir(parents=True)
        shutil.copy(sample_photos / name, tmp_path / "people" / subject)
    enroll(tmp_path / "a.gallery", [tmp_path / "people"], settings)
    return tmp_path / "a.gallery"


@pytest.fixture
def seized(sample_photos: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "seized"
    folder.mkdir()
    for name in ("obama2.jpg", "obama3.jpg", "obama_partial_face.jpg", "biden.jpg"):
        shutil.copy(sample_photos / name, folder)
    return folder


def exported(path: Path) -> dict[str, list[dict[str, object]]]:
    with Case.open(path) as case:
        case.verify()
        assert case.finished is not None
        return {
            what: list(rows(case, what, every=what == "candidates"))
            for what in ("items", "faces", "candidates", "incidents")
        }


def test_interrupted_at_every_commit_of_a_second_look_the_case_is_the_same(
    gallery: Path, seized: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan([seized], gallery, tmp_path / "whole.case", settings)
    whole = exported(tmp_path / "whole.case")
    looked = [row for row in whole["candidates"] if row["looks"] == 2]
    assert len(looked) >= 2

    write = Case.write_second_looks
    before = True

    def interrupted(self: Case, faces: Iterable[tuple[Key, int]], candidates: Iterable[Candidate]) -> None:
        nonlocal before
        faces = list(faces)
        if not faces:
            return
        if not before:
            write(self, faces, candidates)
        before = not before
        raise KeyboardInterrupt

    stops = 0
    with monkeypatch.context() as patched:
        patched.setattr(Case, "write_second_looks", interrupted)
        for _ in range(20):
            try:
                scan([seized], gallery, tmp_path / "broken.case", settings)
                break
            except KeyboardInterrupt:
                stops += 1
    assert stops >= 4
    assert exported(tmp_path / "broken.case") == whole


def test_a_crop_that_cannot_be_looked_at_again_keeps_its_candidates(
    gallery: Path, seized: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    crop = Case.crop

    def damaged(self: Case, key: Key, face: int) -> bytes | None:
        return None if (found := crop(self, key, face)) is None else found[:40]

    monkeypatch.setattr(Case, "crop", damaged)
    scan([seized], gallery, tmp_path / "a.case", settings)
    found = exported(tmp_path / "a.case")["candidates"]
    assert {row["subject_id"] for row in found if row["decision"] == "match"} == {"obama", "biden"}
    assert {row["looks"] for row in found} == {1}


def test_workers_take_second_looks_as_this_process_does(
    gallery: Path, seized: Path, tmp_path: Path, settings: Settings
) -> None:
    scan([seized], gallery, tmp_path / "inline.case", settings)
    scan([seized], gallery, tmp_path / "pool.case", replace(settings, isolation=True, workers=2))

    def told(path: Path) -> list[dict[str, Any]]:
        return exported(path)["candidates"]

    assert told(tmp_path / "pool.case") == told(tmp_path / "inline.case")

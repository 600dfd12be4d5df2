"""Accuracy on labelled photos, as users measure it: real photos, real models, worker processes."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commands import Run

from leakmatch.evaluation.identification import StepResult, identify
from leakmatch.evaluation.photos import Photo
from leakmatch.evaluation.trial import Protocol, draw
from leakmatch.records import Outcome
from leakmatch.settings import Settings

pytestmark = pytest.mark.models

PEOPLE = {
    "obama": ("obama.jpg", "obama2.jpg", "obama3.jpg"),
    "biden": ("biden.jpg",),
    "collins": ("astronaut.png",),
}


@pytest.fixture
def people(sample_photos: Path, tmp_path: Path) -> Path:
    for name, photos in PEOPLE.items():
        (tmp_path / "people" / name).mkdir(parents=True)
        for photo in photos:
            shutil.copy(sample_photos / photo, tmp_path / "people" / name)
    return tmp_path / "people"


def test_each_photo_of_a_person_is_found_among_the_others(run: Run, people: Path, tmp_path: Path) -> None:
    plots = tmp_path / "plots"
    protocol = ["--enrol", "all", "--probes", "all", "--engine", "onnxruntime"]
    command = ["evaluate", "identification", people, *protocol, "--json", "--plots", plots]
    done = run(*command)
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert found["enrolled"] == {"subjects": 1, "photos": 3}
    assert found["mated"] == {"subjects": 1, "searches": 3}
    assert found["non_mated"] == {"subjects": 2, "searches": 2}
    assert found["failures_to_enrol"] == found["failures_to_acquire"] == []
    for step in found["steps"]:
        curve = step["det"]
        assert (curve[0]["fpir"], curve[0]["fnir"]) == (0.0, 0.0)  # one threshold keeps all mates and no stranger
        assert step["fnir"] == [{"at_fpir": fpir, "too_few_searches": True} for fpir in (0.1, 0.03, 0.01, 0.003)]
    quality = {part["value"]: part for part in found["slices"] if part["slice"] == "JPEG quality"}
    assert quality["not a JPEG"]["non_mated_searches"] == 1
    assert sum(part["mated_searches"] for part in quality.values()) == 3
    assert len(list(plots.iterdir())) == 4
    assert run(*command).out == done.out  # worker processes change no digit


def test_the_default_step_scores_as_enroll_and_scan_do(
    run: Run, people: Path, pack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    photos = {name: [Photo(f"{name}/{photo}", Outcome.DONE) for photo in own] for name, own in PEOPLE.items()}
    (obama,), _ = draw(photos, Protocol(2))
    (tmp_path / "enrolled" / "obama").mkdir(parents=True)
    for photo in obama.gallery:
        shutil.copy(people / photo.path, tmp_path / "enrolled" / "obama")
    engine, gallery = ["--engine", "onnxruntime"], tmp_path / "gallery"
    assert run("enroll", gallery, tmp_path / "enrolled", *engine).code == 0
    searched = people / obama.probes[0].path

    def scanned(accepted: float) -> dict[str, Any]:
        case = tmp_path / f"{accepted}.case"
        sources = [searched, people / "biden", people / "collins"]
        done = run("scan", *sources, "--gallery", gallery, "--case", case, "--expected-false", str(accepted), *engine)
        assert done.code == 0, done.err
        rows = [json.loads(line) for line in run("export", case, "candidates", "--all").out.splitlines()]
        (row,) = [row for row in rows if row["path"] == searched.name]
        return row

    def evaluated(accepted: float) -> StepResult:
        settings = Settings(isolation=False, engine="onnxruntime", expected_false=accepted)
        return identify(people, settings, Protocol(2)).default

    clear, found = scanned(1.0), evaluated(1.0)
    assert (clear["looks"], found.again) == (1, (0.0, 0.0))
    assert found.found.mate.tolist() == [clear["score"]]
    near, found = scanned(clear["expected_false"]), evaluated(clear["expected_false"])
    assert (near["looks"], found.again) == (2, (1.0, 0.0))
    # A second look embeds the crop that a case keeps as JPEG; the evaluation, the crop itself.
    assert found.found.mate[0] == pytest.approx(near["score"], abs=0.01)


def test_what_cannot_be_read_is_said(run: Run, people: Path) -> None:
    (people / "biden" / "half.jpg").write_bytes((people / "biden" / "biden.jpg").read_bytes()[:300])
    done = run("evaluate", "identification", people)
    assert done.code == 3
    assert "half.jpg (unreadable)" in done.out


def test_people_of_a_research_set(run: Run, shared_data: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(shared_data / "lfw_dev.zip") as whole:
        of: dict[str, list[str]] = {}
        for name in sorted(name for name in whole.namelist() if name.endswith(".jpg")):
            of.setdefault(name.split("/")[-2], []).append(name)
        several = [name for name, photos in of.items() if len(photos) > 2][:10]
        single = [name for name, photos in of.items() if len(photos) == 1][:30]
        with zipfile.ZipFile(tmp_path / "some.zip", "w") as some:
            for person in (*several, *single):
                for name in of[person][:3]:
                    some.writestr(f"{person}/{Path(name).name}", whole.read(name))
    labels = tmp_path / "labels.csv"
    rows = [f"{person},{len(person) % 2}" for person in (*several, *single)]
    labels.write_text("\n".join(["subject_id,odd name", *rows, ""]), encoding="utf-8")
    done = run("evaluate", "identification", tmp_path / "some.zip", "--json", "--slices", labels)
    assert done.code == 0
    found = json.loads(done.out)
    assert (found["mated"]["searches"], found["non_mated"]["searches"]) == (10, 30)
    for step in found["steps"]:
        assert step["rank_1"]["value"] >= 0.8
        assert step["fnir"][0]["fnir"]["value"] <= 0.3
        assert step["fnir"][0]["fpir"] <= 0.1
    assert sum(part["mated_searches"] for part in found["slices"] if part["slice"] == "odd name") == 10

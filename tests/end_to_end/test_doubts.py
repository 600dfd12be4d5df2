"""Mistakes in a gallery, its own calibration, and photos of low quality: the commands on real photos."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import cv2
import pytest
from commands import Run

pytestmark = pytest.mark.models


@pytest.fixture
def twice(sample_photos: Path, tmp_path: Path) -> Path:
    """Three people: one of them under two ids (another copy of her photo), one with somebody else's photo among his."""
    photos = {
        "collins": ["astronaut.png"],
        "eileen": ["astronaut.png"],
        "obama": ["obama.jpg"],
        "biden": ["biden.jpg", "astronaut.png"],
    }
    for subject, names in photos.items():
        (tmp_path / "people" / subject).mkdir(parents=True)
        for name in names:
            shutil.copy(sample_photos / name, tmp_path / "people" / subject / name)
    copy = cv2.imread(str(sample_photos / "astronaut.png"))
    (tmp_path / "people" / "eileen" / "astronaut.png").unlink()
    cv2.imwrite(str(tmp_path / "people" / "eileen" / "copy.jpg"), copy, [cv2.IMWRITE_JPEG_QUALITY, 70])
    return tmp_path


def test_one_person_twice_and_two_as_one(run: Run, twice: Path) -> None:
    gallery = twice / "a.gallery"
    enrolled = run("enroll", gallery, twice / "people")
    assert enrolled.code == 0, enrolled.err
    (warning,) = (line for line in enrolled.err.splitlines() if line.startswith("WARNING"))
    assert "look like one person" in warning
    assert "collins and eileen" in warning
    assert "look like two people (biden)" in warning
    assert warning.endswith(f"See: leakmatch gallery doubts {gallery}")

    listed = run("gallery", "doubts", gallery)
    assert listed.code == 0
    assert "the same picture" in listed.out
    assert "the same file" in listed.out
    assert "What to do" in listed.out

    found = json.loads(run("gallery", "doubts", gallery, "--json").out)
    pairs = {tuple(sorted(pair["subjects"])): pair["shared"] for pair in found["alike"]}
    assert pairs["collins", "eileen"].startswith("the same picture")
    assert pairs["biden", "collins"] == "the same file"
    assert not any("obama" in pair for pair in pairs)
    (misfit,) = found["misfits"]
    assert (misfit["subject"], misfit["others"]) == ("biden", 0)
    assert sorted(Path(photo).name for photo in misfit["photos"]) == ["astronaut.png", "biden.jpg"]

    again = json.loads(run("enroll", gallery, twice / "people", "--json").out)
    assert again["enrolled"] == 0
    assert again["doubts"] == found
    assert "WARNING" not in run("enroll", gallery, twice / "people", "--quiet").err


def test_a_gallery_without_mistakes_is_not_warned_of(run: Run, demo: Path) -> None:
    listed = run("gallery", "doubts", demo / "demo.gallery")
    assert (listed.code, listed.out) == (0, "")
    assert "0 pairs of subjects like one person, 0 subjects like two." in listed.err


def test_a_small_gallery_cannot_be_calibrated(run: Run, demo: Path) -> None:
    refused = run("gallery", "calibrate", demo / "demo.gallery")
    assert refused.code == 2
    assert "here are 1, of 2 people with 2 photos" in refused.err
    assert "some 101 people" in refused.err
    assert "calibration      that of the model pack" in run("gallery", "info", demo / "demo.gallery").out
    assert "There was none" in run("gallery", "calibrate", demo / "demo.gallery", "--remove").err


def test_low_quality_has_a_reason(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    picture = cv2.imread(str(sample_photos / "astronaut.png"))
    folder = tmp_path / "people" / "eileen"
    folder.mkdir(parents=True)
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (int(width * 0.3), int(height * 0.3)), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(folder / "small.png"), small)
    cv2.imwrite(str(folder / "blurred.png"), cv2.GaussianBlur(picture, (0, 0), 2.2))
    cv2.imwrite(str(folder / "good.png"), picture)
    gallery, case = tmp_path / "a.gallery", tmp_path / "a.case"
    done = run("enroll", gallery, tmp_path / "people")
    assert done.code == 0, done.err
    noted = {line.split()[1]: line for line in done.out.splitlines() if line.startswith("enrolled ")}
    assert set(noted) == {"small", "blurred"}
    assert noted["small"].endswith("small.png: small: the face has few pixels")
    shown = {Path(row["path"]).stem: row for row in map(json.loads, _show(run, gallery))}
    assert shown["good"]["detail"] == ""
    assert shown["good"]["quality"] > 0.5 >= max(shown["small"]["quality"], shown["blurred"]["quality"])
    assert shown["blurred"]["detail"].startswith("blurred: ")

    assert run("scan", tmp_path / "people", "--gallery", gallery, "--case", case).code == 0
    faces = [json.loads(line) for line in run("export", case, "faces").out.splitlines()]
    assert {Path(row["path"]).stem: row["quality_reason"] for row in faces} == {
        "small": "small",
        "blurred": "blurred",
        "good": "",
    }


def _show(run: Run, gallery: Path) -> list[str]:
    return run("gallery", "show", gallery, "eileen", "--json").out.splitlines()


def test_a_gallery_is_calibrated_on_its_people(run: Run, shared_data: Path, tmp_path: Path) -> None:
    gallery, people = tmp_path / "a.gallery", tmp_path / "people"
    with zipfile.ZipFile(shared_data / "lfw_dev.zip") as photos:
        by_person: dict[str, str] = {}
        for name in sorted(photos.namelist()):
            if name.endswith(".jpg"):
                by_person.setdefault(name.split("/")[-2], name)
        chosen = dict(list(by_person.items())[:110])
        chosen |= {name: by_person[name] for name in ("Hasan_Wirayuda", "Hassan_Wirajuda")}
        for person, name in chosen.items():
            (people / person).mkdir(parents=True)
            (people / person / "1.jpg").write_bytes(photos.read(name))
        (tmp_path / "more" / "new").mkdir(parents=True)
        (tmp_path / "more" / "new" / "1.jpg").write_bytes(photos.read(list(by_person.values())[-1]))

    enrolled = run("enroll", gallery, people)
    assert "Hasan_Wirayuda and Hassan_Wirajuda" in enrolled.err

    done = run("gallery", "calibrate", gallery)
    assert done.code == 0, done.err
    assert [line.split()[0] for line in done.out.splitlines()[1:6]] == [
        "100",
        "1,000",
        "10,000",
        "100,000",
        "1,000,000",
    ]
    assert "112 photos of 112 people" in done.err
    assert "pairs of subjects who look like one person (1)" in done.err

    told: dict[str, Any] = json.loads(run("gallery", "calibrate", gallery, "--json").out)
    assert (told["people"], told["pairs"]) == (112, 112 * 111 // 2)
    common = told["thresholds"][0]
    assert abs(common["own"]["score"] - common["pack"]["score"]) < 0.05
    assert all(row["used"] == row["pack"]["score"] for row in told["thresholds"]), "people of the pack's own kind"
    about = json.loads(run("gallery", "info", gallery, "--json").out)["calibration"]
    assert (about["sha256"], about["enrolments_changed_since"]) == (told["sha256"], False)

    photo = tmp_path / "more" / "new" / "1.jpg"
    case = tmp_path / "a.case"
    assert "others are enrolled" not in run("scan", photo, "--gallery", gallery, "--case", case).err
    recorded = json.loads(run("export", case, "run").out)["calibration"]["gallery"]
    assert (recorded["sha256"], recorded["dataset"]) == (told["sha256"], "the gallery's own people")

    assert run("enroll", gallery, tmp_path / "more").code == 0
    assert json.loads(run("gallery", "info", gallery, "--json").out)["calibration"]["enrolments_changed_since"]
    assert "Others are enrolled since" in run("gallery", "info", gallery).out
    for command in (("search", photo), ("scan", photo, "--case", tmp_path / "b.case")):
        assert "others are enrolled than when it was calibrated" in run(*command, "--gallery", gallery).err
    assert run("gallery", "calibrate", gallery, "--remove").code == 0
    assert json.loads(run("gallery", "info", gallery, "--json").out)["calibration"] is None
    assert run("gallery", "verify", gallery).code == 0

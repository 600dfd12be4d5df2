"""Bad input: one clear sentence, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path

import pytest
from commands import Done, Run


def sentence(done: Done) -> str:
    """The one line of an error; a scan may have said before what it plans."""
    lines = [line for line in done.err.splitlines() if line and not line.startswith("Planned: ")]
    assert len(lines) == 1, done.err
    assert lines[0].startswith("leakmatch: ")
    return lines[0]


@pytest.fixture
def gallery(demo: Path) -> Path:
    return demo / "demo.gallery"


def test_a_wrong_file_as_gallery(run: Run, demo: Path, tmp_path: Path) -> None:
    for wrong, words in (
        (demo / "seized.zip", "not a LeakMatch gallery"),
        (demo / "demo.case", "not a LeakMatch gallery"),
    ):
        done = run("scan", demo / "people", "-g", wrong, "-c", tmp_path / "a.case")
        assert done.code == 2
        assert words in sentence(done)
    assert not (tmp_path / "a.case").exists()


def test_missing_files(run: Run, demo: Path, gallery: Path, tmp_path: Path) -> None:
    for arguments in (
        ("scan", tmp_path / "none.zip", "-g", gallery, "-c", tmp_path / "a.case"),
        ("scan", demo / "people", "-g", tmp_path / "none.gallery", "-c", tmp_path / "a.case"),
        ("search", tmp_path / "none.jpg", "-g", gallery),
        ("enroll", tmp_path / "a.gallery", tmp_path / "none"),
        ("export", tmp_path / "none.case", "items"),
        ("report", tmp_path / "none.case", "-o", tmp_path / "r.html"),
        ("verify", tmp_path / "none.case"),
        ("gallery", "info", tmp_path / "none.gallery"),
    ):
        done = run(*arguments)
        assert done.code == 2, arguments
        assert "there is no such" in sentence(done)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder(run: Run, gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    scanned = run("scan", tmp_path / "empty", "-g", gallery, "-c", tmp_path / "a.case")
    enrolled = run("enroll", tmp_path / "b.gallery", tmp_path / "empty")
    for done in (scanned, enrolled):
        assert done.code == 2
        assert "empty" in sentence(done)
    assert not (tmp_path / "b.gallery").exists()


def test_an_archive_without_pictures(run: Run, gallery: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    done = run("scan", tmp_path / "a.zip", "-g", gallery, "-c", tmp_path / "a.case", "--json")
    assert done.code == 0
    assert json.loads(done.out)["outcomes"] == {"not-image": 1, "walked": 1}
    done = run("enroll", tmp_path / "b.gallery", tmp_path / "a.zip")
    assert done.code == 2
    assert "no photo" in sentence(done)
    assert not (tmp_path / "b.gallery").exists()


def test_an_unreadable_picture_is_listed_and_the_others_are_done(
    run: Run, gallery: Path, sample_photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "photos" / "p"
    folder.mkdir(parents=True)
    shutil.copy(sample_photos / "obama2.jpg", folder)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    done = run("scan", tmp_path / "photos", "-g", gallery, "-c", tmp_path / "a.case", "--json")
    assert done.code == 3
    assert json.loads(done.out)["outcomes"] == {"done": 1, "unreadable": 1}
    done = run("enroll", tmp_path / "b.gallery", tmp_path / "photos", "--json")
    report = json.loads(done.out)
    assert (done.code, report["enrolled"]) == (3, 1)
    assert [(row["reason"], Path(row["path"]).name) for row in report["refused"]] == [("unreadable", "broken.jpg")]


def test_photos_that_cannot_be_enrolled_say_why(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    from PIL import Image, ImageFilter

    folder = tmp_path / "people" / "anna"
    folder.mkdir(parents=True)
    portrait = Image.open(sample_photos / "astronaut.png").convert("RGB")
    Image.new("RGB", (300, 300), (90, 120, 90)).save(folder / "meadow.png")
    portrait.resize((96, 96)).save(folder / "tiny.png")
    portrait.crop((120, 0, 330, 230)).filter(ImageFilter.GaussianBlur(9)).save(folder / "blurred.png")
    pair = Image.new("RGB", (1024, 512))
    pair.paste(portrait, (0, 0))
    pair.paste(portrait.resize((256, 256)), (600, 100))
    pair.save(folder / "pair.png")
    done = run("enroll", tmp_path / "a.gallery", tmp_path / "people", "--json")
    report = json.loads(done.out)
    assert done.code == 3
    reasons = {Path(row["path"]).name: row["reason"] for row in report["refused"]}
    assert reasons == {"meadow.png": "no-face", "tiny.png": "too-small", "blurred.png": reasons["blurred.png"]}
    assert reasons["blurred.png"] in {"too-blurred", "no-face"}
    (note,) = report["notes"]
    assert Path(note["path"]).name == "pair.png"
    assert "2 faces" in note["detail"]
    shown = run("gallery", "show", tmp_path / "a.gallery", "anna").out
    assert "no-face" in shown


def test_no_permission(run: Run, demo: Path, gallery: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    case = closed / "a.case"
    closed.chmod(0o500)
    try:
        if os.access(closed, os.W_OK):  # the superuser may do anything, so use a place where nobody may
            case = Path("/proc/leakmatch/a.case")
        done = run("scan", demo / "people", "-g", gallery, "-c", case)
        assert done.code in (2, 5)
        assert str(case.parent) in sentence(done)
    finally:
        closed.chmod(0o700)


def test_a_full_disk_loses_nothing_and_the_same_command_goes_on(
    run: Run, gallery: Path, sample_photos: Path, tmp_path: Path
) -> None:
    from PIL import Image

    photos = tmp_path / "photos"
    photos.mkdir()
    portrait = Image.open(sample_photos / "astronaut.png").convert("RGB").crop((120, 0, 330, 230))
    for i in range(60):
        portrait.rotate(i / 5).save(photos / f"{i:02}.jpg", quality=80)
    arguments = ("scan", photos, "-g", gallery, "-c", tmp_path / "a.case")
    done = run(*arguments, file_limit=160_000)
    assert done.code == 5, done.err
    assert "same command" in sentence(done)
    assert run(*arguments).code == 0
    assert run("verify", tmp_path / "a.case").code == 0
    whole = tmp_path / "whole.case"
    assert run("scan", photos, "-g", gallery, "-c", whole).code == 0
    for what in ("items", "candidates"):
        assert run("export", whole, what).out == run("export", tmp_path / "a.case", what).out


def test_wrong_pack(run: Run, demo: Path, gallery: Path, pack_home: Path, tmp_path: Path) -> None:
    done = run("scan", demo / "people", "-g", gallery, "-c", tmp_path / "a.case", "--pack", "nonesuch")
    assert done.code == 2
    assert "nonesuch" in sentence(done)
    # the same files under another declaration make other templates
    pack = tmp_path / "pack"
    shutil.copytree(pack_home / "packs" / "opencv-zoo", pack)
    text = (pack / "pack.toml").read_text()
    (pack / "pack.toml").write_text(text.replace('colour = "rgb"', 'colour = "bgr"'))
    done = run("scan", demo / "people", "-g", gallery, "-c", tmp_path / "a.case", "--pack", pack, "--threshold", "0.4")
    assert done.code == 4
    model = next(pack.glob("face_recognition*.onnx"))
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    done = run("search", demo / "people", "-g", gallery, "--pack", pack, "--threshold", "0.4")
    assert done.code == 4


@pytest.fixture
def begun(run: Run, gallery: Path, sample_photos: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A case that has begun (and ended), its source and a gallery of its own."""
    source = tmp_path / "source"
    source.mkdir()
    shutil.copy(sample_photos / "obama2.jpg", source / "a.jpg")
    own = tmp_path / "own.gallery"
    shutil.copy(gallery, own)
    case = tmp_path / "begun.case"
    assert run("scan", source, "-g", own, "-c", case).code == 0
    return source, own, case


def test_resuming_with_a_changed_source(run: Run, begun: tuple[Path, Path, Path], sample_photos: Path) -> None:
    source, own, case = begun
    os.utime(source / "a.jpg")  # touched only: its content is still the same
    assert run("scan", source, "-g", own, "-c", case).code == 0
    shutil.copy(sample_photos / "biden.jpg", source / "b.jpg")
    done = run("scan", source, "-g", own, "-c", case)
    assert done.code == 4
    assert "b.jpg" in sentence(done)
    (source / "b.jpg").unlink()
    (source / "a.jpg").write_bytes((sample_photos / "biden.jpg").read_bytes())
    done = run("scan", source, "-g", own, "-c", case)
    assert done.code == 4
    assert "a.jpg" in sentence(done)
    (source / "a.jpg").unlink()
    (source / "c.jpg").write_bytes(b"x")
    assert run("scan", source, "-g", own, "-c", case).code == 4


def test_resuming_with_another_setting_gallery_or_case(run: Run, begun: tuple[Path, Path, Path], demo: Path) -> None:
    source, own, case = begun
    done = run("scan", source, "-g", own, "-c", case, "--expected-false", "0.1")
    assert done.code == 4
    assert "expected_false" in sentence(done)
    done = run("scan", source, "-g", own, "-c", case, LEAKMATCH_BUDGET_DEPTH="3")
    assert done.code == 4
    assert "budget" in sentence(done)
    assert run("gallery", "remove", own, "barack-obama", "--yes").code == 0
    done = run("scan", source, "-g", own, "-c", case)
    assert done.code == 4
    assert "gallery" in sentence(done)
    done = run("scan", source, "-g", demo / "demo.gallery", "-c", demo / "demo.gallery")
    assert done.code == 2


def test_tampered_and_truncated_files(run: Run, begun: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, own, case = begun
    data = bytearray(case.read_bytes())
    at = data.index(b"a.jpg")
    data[at] ^= 1
    case.write_bytes(bytes(data))
    assert run("verify", case).code == 4
    case.write_bytes(case.read_bytes()[:-5000])
    assert run("verify", case).code == 4
    own.write_bytes(own.read_bytes()[: -own.stat().st_size // 2])
    assert run("gallery", "verify", own).code == 4
    assert run("scan", source, "-g", own, "-c", tmp_path / "other.case").code == 4


def test_a_case_inside_its_source_is_refused(run: Run, begun: tuple[Path, Path, Path]) -> None:
    source, own, _ = begun
    done = run("scan", source, "-g", own, "-c", source / "x.case")
    assert done.code == 2
    assert "inside the source" in sentence(done)


def test_wrong_options(run: Run, begun: tuple[Path, Path, Path], tmp_path: Path) -> None:
    source, own, _ = begun
    for extra in (("--expected-false", "0"), ("--threshold", "7"), ("--workers", "-1")):
        done = run("scan", source, "-g", own, "-c", tmp_path / "a.case", *extra)
        assert done.code == 2
        sentence(done)
    assert run("scan", "--nonsense").code == 2
    assert run("nonsense").code == 2
    assert run("search", source, "-g", own, LEAKMATCH_WORKERS="many").code == 2


def test_csv_enrolment(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "people.csv"
    shutil.copy(sample_photos / "obama.jpg", tmp_path / "o.jpg")
    table.write_text("subject_id,path,name\np1,o.jpg,=HYPERLINK(1)\np2,missing.jpg,\n", encoding="utf-8")
    done = run("enroll", tmp_path / "a.gallery", table, "--json")
    report = json.loads(done.out)
    assert (done.code, report["enrolled"]) == (3, 1)
    ((subject, detail),) = [(row["subject_id"], row["detail"]) for row in report["refused"]]
    assert subject == "p2"
    assert "there is no such file" in detail
    table.write_text("name,photo\na,b\n", encoding="utf-8")
    done = run("enroll", tmp_path / "a.gallery", table)
    assert done.code == 2
    assert "subject_id" in sentence(done)


def test_archives_are_enrolled_by_the_first_folder_within(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    import io
    import tarfile

    photo = (sample_photos / "obama.jpg").read_bytes()
    for number, (mode, suffix, prefix) in enumerate(
        [("w", ".tar", "./"), ("w:gz", ".tar.gz", ""), ("w:gz", ".tgz", "../")]
    ):
        archive = tmp_path / f"people{suffix}"
        with tarfile.open(archive, mode) as target:
            info = tarfile.TarInfo(f"{prefix}anna/1.jpg")
            info.size = len(photo)
            target.addfile(info, io.BytesIO(photo))
        gallery = tmp_path / f"{number}.gallery"
        assert run("enroll", gallery, archive).code == 0
        assert json.loads(run("gallery", "list", gallery, "--json").out)["subject_id"] == "anna"


def test_what_could_not_be_read_once_is_tried_again(run: Run, sample_photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "people" / "anna"
    folder.mkdir(parents=True)
    for name in ("a.rar", "b.rar"):  # two files alike, which no version reads yet
        (folder / name).write_bytes(b"Rar!\x1a\x07\x01\x00" + bytes(100))
    shutil.copy(sample_photos / "obama.jpg", folder)
    budget = {"LEAKMATCH_BUDGET_PIXELS": "1000"}
    done = run("enroll", tmp_path / "a.gallery", folder.parent, "--json", **budget)
    assert (done.code, json.loads(done.out)["enrolled"]) == (3, 0)
    (folder / "b.rar").rename(folder / "c.rar")
    done = run("enroll", tmp_path / "a.gallery", folder.parent, "--json")
    assert (done.code, json.loads(done.out)["enrolled"]) == (3, 1)
    assert run("gallery", "verify", tmp_path / "a.gallery").code == 0
    assert "obama.jpg" in run("gallery", "show", tmp_path / "a.gallery", "anna").out


def test_an_unsealed_gallery_with_rows_taken_out_is_not_scanned_with(
    run: Run, demo: Path, sample_photos: Path, tmp_path: Path
) -> None:
    import sqlite3

    own, source = tmp_path / "own.gallery", sample_photos / "obama2.jpg"
    assert run("enroll", own, demo / "people", "--unsealed").code == 0
    with sqlite3.connect(own) as connection:
        connection.execute("DELETE FROM templates WHERE photo = 1")
    for arguments in (("scan", source, "-c", tmp_path / "new.case"), ("search", source)):
        done = run(*arguments, "-g", own, LEAKMATCH_KEY_FILE="")
        assert done.code == 4
        sentence(done)


def test_a_quarantined_copy_of_an_enrolled_photo_is_still_the_same_file(
    run: Run, demo: Path, gallery: Path, tmp_path: Path
) -> None:
    photo = demo / "people" / "barack-obama" / "obama.jpg"
    done = run("scan", photo, "-g", gallery, "-c", tmp_path / "a.case", LEAKMATCH_BUDGET_PIXELS="1000")
    assert done.code == 3
    (row,) = [json.loads(line) for line in run("export", tmp_path / "a.case", "candidates").out.splitlines()]
    assert (row["subject_id"], row["evidence"], row["face"], row["decision"]) == (
        "barack-obama",
        "same-file",
        None,
        "match",
    )

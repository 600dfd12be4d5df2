"""A person in a video or an animation is found, with the frame and its time."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from PIL import Image

pytest.importorskip("av")

from videos import scene, video

SECOND_OF_THE_PERSON = 2.0


def frames(photo: Path) -> list[np.ndarray[Any, np.dtype[np.uint8]]]:
    """Two seconds of waves, one of the photo, one of other waves, at 10 frames a second."""
    with Image.open(photo) as image:
        picture = np.asarray(image.convert("RGB").resize((320, 400)))
    return [
        *[scene(1, n, (320, 400)) for n in range(20)],
        *[picture] * 10,
        *[scene(4, n, (320, 400)) for n in range(10)],
    ]


def jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def scanned(run: Run, sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("videos")
    person = folder / "people" / "barack-obama"
    person.mkdir(parents=True)
    shutil.copy(sample_photos / "obama.jpg", person)
    seized = folder / "seized"
    seized.mkdir()
    shown = frames(sample_photos / "obama2.jpg")
    (seized / "clip.mp4").write_bytes(video(shown))
    (seized / "copy.mp4").write_bytes((seized / "clip.mp4").read_bytes())
    (seized / "clip.webm").write_bytes(video(shown, "webm"))
    pictures = [Image.fromarray(frame) for frame in shown]
    for name, options in (("clip.gif", {}), ("clip.webp", {"quality": 80}), ("clip.png", {})):
        file = io.BytesIO()
        pictures[0].save(
            file, name.rpartition(".")[2].upper(), save_all=True, append_images=pictures[1:], duration=100, **options
        )
        (seized / name).write_bytes(file.getvalue())
    assert run("enroll", folder / "gallery", folder / "people").code == 0
    done = run("scan", seized, "--gallery", folder / "gallery", "--case", folder / "case")
    assert done.code == 0, done.err
    return folder / "case", seized


def test_the_person_is_found_in_each_at_the_time(run: Run, scanned: tuple[Path, Path]) -> None:
    case, seized = scanned
    found = jsonl(run("export", case, "candidates").out)
    for file in sorted(seized.iterdir()):
        rows = [row for row in found if row["path"].startswith(f"{file.name}!/frame ")]
        assert rows, file.name
        for row in rows:
            assert (row["subject_id"], row["decision"]) == ("barack-obama", "match")
            assert SECOND_OF_THE_PERSON - 0.11 <= float(row["path"].split()[-2]) <= SECOND_OF_THE_PERSON + 1.01


def test_the_ledger_adds_up_and_copies_are_told(run: Run, scanned: tuple[Path, Path]) -> None:
    case, _ = scanned
    items = jsonl(run("export", case, "items").out)
    assert len({row["locator"] for row in items}) == len(items)
    assert run("verify", case).code == 0
    frames_of = {name: [r for r in items if r["path"].startswith(f"{name}!/")] for name in ("clip.mp4", "copy.mp4")}
    assert {row["kind"] for rows in frames_of.values() for row in rows} == {"frame"}
    assert {row["outcome"] for row in frames_of["copy.mp4"]} == {"duplicate"}
    assert [r["path"].split("!/")[1] for r in frames_of["copy.mp4"]] == [
        r["path"].split("!/")[1] for r in frames_of["clip.mp4"]
    ]
    (row,) = [row for row in items if row["path"] == "clip.mp4"]
    assert (row["kind"], row["outcome"]) == ("container", "walked")
    (run_row,) = jsonl(run("export", case, "run").out)
    members = [row for row in items if row["kind"] != "frame" or ".mp4" in row["path"] or ".webm" in row["path"]]
    assert sum(run_row["outcomes"].values()) == len(members)


def test_a_video_is_one_picture_of_a_person(run: Run, scanned: tuple[Path, Path]) -> None:
    case, _ = scanned
    (subject,) = jsonl(run("export", case, "subjects").out)
    assert subject["subject_id"] == "barack-obama"
    assert subject["folder_pictures"] <= 6

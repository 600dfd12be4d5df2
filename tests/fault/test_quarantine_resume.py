"""A case whose scan is ended again and again goes on behind its culprits, and ends as one that was left alone."""

from __future__ import annotations

import io
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from leakmatch.case.store import Case
from leakmatch.case.tables import rows
from leakmatch.pipeline import process
from leakmatch.pipeline.enrol import enroll
from leakmatch.pipeline.scan import scan
from leakmatch.records import Budget
from leakmatch.settings import Settings

HERE = Path(__file__).parent


class _Ended(BaseException):
    """Like a kill, it lets nothing be committed."""


@pytest.fixture
def settings(pack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    monkeypatch.setattr(process, "PROGRAM", (str(HERE / "cursed_worker.py"),))
    monkeypatch.setattr("leakmatch.pipeline.scan_sink.COMMIT_ITEMS", 3)
    (tmp_path / "scratch").mkdir()
    scratch = str(tmp_path / "scratch")
    return Settings(engine="onnxruntime", workers=1, scratch=scratch, budget=Budget(seconds=4.0))


@pytest.fixture
def gallery(sample_photos: Path, tmp_path: Path, settings: Settings) -> Path:
    (tmp_path / "people" / "collins").mkdir(parents=True)
    shutil.copy(sample_photos / "astronaut.png", tmp_path / "people" / "collins")
    enroll(tmp_path / "a.gallery", [tmp_path / "people"], settings)
    return tmp_path / "a.gallery"


def _picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").rotate(number * 3.5).convert("RGB").resize((64, 64)).save(buffer, "JPEG")
    return buffer.getvalue()


def _zip(path: Path | io.BytesIO, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as target:
        for name, content in members.items():
            target.writestr(name, content)


@pytest.fixture
def seized(sample_photos: Path, tmp_path: Path) -> Path:
    inner = io.BytesIO()
    _zip(inner, {f"{n}.jpg": _picture(100 + n) for n in range(8)})
    members = {f"{n:02}.jpg": _picture(n) for n in range(12)}
    members |= {"found.png": (sample_photos / "astronaut.png").read_bytes(), "segv!.jpg": _picture(50)}
    members |= {"after-5-segv!.zip": inner.getvalue(), "busy!.zip": inner.getvalue(), "hang!.bin": b"no picture"}
    members |= {f"{n:02}.jpg": _picture(n) for n in range(12, 24)}
    _zip(tmp_path / "seized.zip", members)
    return tmp_path / "seized.zip"


def exported(path: Path) -> dict[str, list[dict[str, object]]]:
    with Case.open(path) as case:
        case.verify()
        assert case.finished is not None
        tables = ("items", "faces", "candidates", "incidents")
        return {what: list(rows(case, what, every=what == "candidates")) for what in tables}


def test_the_case_of_a_scan_that_was_ended_often_is_the_same(
    gallery: Path, seized: Path, tmp_path: Path, settings: Settings
) -> None:
    scan([seized], gallery, tmp_path / "whole.case", settings)
    whole = exported(tmp_path / "whole.case")
    ended = {str(row["path"]): row["outcome"] for row in whole["items"] if row["outcome"] not in ("done", "no-face")}
    assert ended == {
        "seized.zip": "walked",
        "segv!.jpg": "quarantined",
        "after-5-segv!.zip": "quarantined",
        "busy!.zip": "over-budget",
        "hang!.bin": "quarantined",
    }
    assert len(whole["items"]) == 1 + 12 + 2 + (1 + 5) + 1 + 1 + 12
    assert [row["subject_id"] for row in whole["candidates"]] == ["collins"]

    for attempt in range(30):

        def stop_soon(*, read: int, total: int, items: int, faces: int, candidates: int, most: int = attempt) -> None:
            if items > 8 + 5 * most:
                raise _Ended

        try:
            scan([seized], gallery, tmp_path / "broken.case", settings, stop_soon)
            break
        except _Ended:
            pass
    assert attempt > 1
    assert exported(tmp_path / "broken.case") == whole
    assert list((tmp_path / "scratch").iterdir()) == []


def test_the_run_says_what_held_the_workers(
    gallery: Path, sample_photos: Path, tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(settings, scratch="")
    scan([sample_photos / "biden.jpg"], gallery, tmp_path / "a.case", settings)
    with Case.open(tmp_path / "a.case") as case:
        (row,) = rows(case, "run")
    held = row["confinement"]
    assert isinstance(held, dict)
    assert held.keys() == {"landlock", "seccomp", "missing"}
    assert row["isolation"] is True

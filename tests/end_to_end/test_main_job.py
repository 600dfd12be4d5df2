"""The main job: from photos and an archive to candidates, a ledger and a report."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from commands import Run

from leakmatch.cli.demo_archive import EXPECTED


def jsonl(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_every_member_has_one_row_with_the_outcome_that_is_true(run: Run, demo: Path) -> None:
    items = jsonl(run("export", demo / "demo.case", "items").out)
    outcomes = {row["path"]: row["outcome"] for row in items}
    assert len(outcomes) == len(items)
    assert outcomes == {
        "seized.zip": "walked",
        "set_02/inner.zip": "walked",
        **dict.fromkeys(EXPECTED, "done"),
        "set_02/inner.zip!/readme.txt": "not-image",
        "broken/cut.jpg": "partial",
        "broken/noise.jpg": "unreadable",
    }
    with zipfile.ZipFile(demo / "seized.zip") as archive:
        assert set(archive.namelist()) <= outcomes.keys()
    assert len({row["locator"] for row in items}) == len(items)


def test_the_right_people_are_found_with_the_right_evidence(run: Run, demo: Path) -> None:
    candidates = jsonl(run("export", demo / "demo.case", "candidates").out)
    first = {row["path"]: row for row in candidates if row["rank"] == 1 and row["decision"] == "match"}
    found = {path: (row["subject_id"], row["evidence"]) for path, row in first.items()}
    assert found == {
        "set_01/0001.jpg": ("barack-obama", "same-face"),
        "set_01/0002.jpg": ("barack-obama", "same-picture"),
        "set_01/0003.png": ("eileen-collins", "same-picture"),
        "set_01/0004.jpg": ("barack-obama", found["set_01/0004.jpg"][1]),
        "set_02/square.jpg": ("eileen-collins", "same-face"),
        "set_02/inner.zip!/originals/a.png": ("eileen-collins", "same-file"),
        "set_02/inner.zip!/originals/b.jpg": ("barack-obama", "same-face"),
        "broken/cut.jpg": ("barack-obama", found["broken/cut.jpg"][1]),
    }
    assert not [row for row in candidates if row["path"] == "set_02/0005.jpg"], "Joe Biden is not enrolled"
    for row in candidates:
        assert row["expected_false"] <= 100
        assert (row["decision"] == "match") == (row["expected_false"] <= 1)
    assert first["set_02/inner.zip!/originals/a.png"]["expected_false"] == 0


def test_the_formats_of_export_agree(run: Run, demo: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for what in ("candidates", "items", "faces", "incidents"):
        rows = jsonl(run("export", demo / "demo.case", what).out)
        table = list(csv.DictReader(io.StringIO(run("export", demo / "demo.case", what, "--format", "csv").out)))
        target = tmp_path / f"{what}.parquet"
        assert run("export", demo / "demo.case", what, "--format", "parquet", "-o", target).code == 0
        assert [row["path"] for row in table] == [row["path"] for row in rows]
        assert [row["locator"] for row in parquet.read_table(target).to_pylist()] == [row["locator"] for row in rows]


def test_the_run_row_tells_what_the_figures_rest_on(run: Run, demo: Path) -> None:
    (row,) = jsonl(run("export", demo / "demo.case", "run").out)
    assert row["gallery"]["templates"] == 2
    assert row["searches"] >= 9
    assert row["files"][0]["sha256"]
    assert row["finished"]
    assert row["isolation"] is True


def test_the_report_is_one_file_that_needs_nothing(demo: Path) -> None:
    page = (demo / "report.html").read_text(encoding="utf-8")
    assert "barack-obama" in page
    assert "broken/noise.jpg" in page
    assert "data:image/jpeg;base64," in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_verify_says_what_it_checked_and_that_something_was_unreadable(run: Run, demo: Path) -> None:
    done = run("verify", demo / "demo.case")
    assert done.code == 3
    assert "adds up" in done.out


def test_scanning_again_does_nothing_twice(run: Run, demo: Path) -> None:
    before = (demo / "demo.case").read_bytes()
    arguments = ("scan", demo / "seized.zip", "--gallery", demo / "demo.gallery", "--case", demo / "demo.case")
    assert run(*arguments).code == 3
    assert run(*arguments, "--fail-on-match").code == 10
    assert (demo / "demo.case").read_bytes() == before


def test_enrolling_again_adds_nothing(run: Run, demo: Path) -> None:
    done = run("enroll", demo / "demo.gallery", demo / "people", "--json")
    report = json.loads(done.out)
    assert (done.code, report["enrolled"], report["already_known"], report["refused"]) == (0, 0, 2, [])


def test_search_names_the_person(run: Run, demo: Path, sample_photos: Path) -> None:
    photos = (sample_photos / "obama2.jpg", sample_photos / "biden.jpg")
    done = run("search", *photos, "--gallery", demo / "demo.gallery", "--json")
    candidates = json.loads(done.out)["candidates"]
    assert done.code == 0
    assert [(row["path"], row["subject_id"], row["decision"]) for row in candidates] == [
        ("obama2.jpg", "barack-obama", "match")
    ]


def test_without_isolation_the_result_is_the_same(run: Run, demo: Path, tmp_path: Path) -> None:
    case = tmp_path / "inline.case"
    done = run("scan", demo / "seized.zip", "-g", demo / "demo.gallery", "-c", case, "--no-isolation")
    assert done.code == 3
    assert "no process isolation" in done.err
    for what in ("items", "faces", "candidates", "incidents"):
        assert run("export", case, what).out == run("export", demo / "demo.case", what).out


def test_the_python_interface_reads_like_the_command_line(
    demo: Path, sample_photos: Path, pack_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import leakmatch

    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    gallery = tmp_path / "api.gallery"
    keys = leakmatch.Keys(passphrase="correct horse battery staple")
    report = leakmatch.enroll(gallery, demo / "people", keys=keys)
    assert (report.enrolled, report.refused) == (2, [])
    with leakmatch.Gallery.open(gallery, keys=keys) as opened:
        assert opened.templates().shape == (2, 128)
    with leakmatch.scan(
        sample_photos / "obama2.jpg", gallery, tmp_path / "api.case", keys=keys, expected_false=0.5
    ) as case:
        table = leakmatch.table(case, "candidates")
        assert [row["subject_id"] for row in table] == ["barack-obama"]
    assert leakmatch.search([sample_photos / "biden.jpg"], gallery, keys=keys).candidates == []


def test_importing_is_light_and_help_is_quick() -> None:
    code = "import sys, leakmatch; print(sorted({'numpy', 'cv2', 'onnxruntime', 'faiss'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    code = "import sys; sys.argv[1:] = ['--help']\nfrom leakmatch.cli.app import run\ncode = run(sys.argv[1:])\n"
    code += "print(code, sorted({'numpy', 'cv2', 'onnxruntime', 'faiss', 'rich'} & set(sys.modules)), file=sys.stderr)"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0 []"
    assert "scan" in done.stdout
    assert time.monotonic() - began < 10, "a guard against a hang; the figure is in the closing note"


def test_the_trusted_side_loads_no_decoder() -> None:
    modules = "leakmatch.pipeline.scan, leakmatch.pipeline.enrol, leakmatch.pipeline.search, leakmatch.pipeline.pool"
    code = (
        f"import sys, {modules}; print(sorted({{'PIL.Image', 'cv2', 'pillow_heif', 'onnxruntime'}} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

"""``--approximate`` on the command line: where it does not pay, and where it does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from groups import groups

from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys


def exported(run: Run, case: Path, what: str) -> list[dict[str, Any]]:
    every = ("--all",) if what == "candidates" else ()
    return [json.loads(line) for line in run("export", case, what, *every).out.splitlines()]


@pytest.fixture(scope="module")
def large(run: Run, demo: Path, key: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's gallery with 12,000 people more who do not exist, in 200 groups of people alike."""
    folder = tmp_path_factory.mktemp("large")
    with Gallery.open(demo / "demo.gallery", keys=Keys(key_file=key)) as opened:
        model_id = opened.model_id
    vectors, _ = groups(np.random.default_rng(31), 200, 60)
    ids = np.array([f"nobody-{i:05}" for i in range(len(vectors))])
    np.savez(folder / "t.npz", vectors=vectors, subject_id=ids, model_id=np.array(model_id))
    gallery = folder / "large.gallery"
    gallery.write_bytes((demo / "demo.gallery").read_bytes())
    done = run("gallery", "import", gallery, folder / "t.npz")
    assert (done.code, "12,000 templates added" in done.err) == (0, True)
    return gallery


def test_a_small_scan_is_exact_and_says_so(run: Run, demo: Path, tmp_path: Path) -> None:
    case = tmp_path / "a.case"
    arguments = ("scan", demo / "seized.zip", "-g", demo / "demo.gallery", "-c", case)
    done = run(*arguments, "--approximate")
    assert done.code == 3
    assert "it is tried only after 50,000,000,000 comparisons" in done.err
    assert exported(run, case, "candidates") == exported(run, demo / "demo.case", "candidates")
    (row,) = exported(run, case, "run")
    assert row["approximate"]["searches"] == 0
    assert row["approximate"]["exact_searches"] == row["searches"]
    assert row["settings"]["approximate"] is True
    changed = run(*arguments)
    assert changed.code == 4
    assert "setting approximate (True, now False)" in changed.err


def test_where_it_pays_the_case_says_what_was_measured(run: Run, demo: Path, large: Path, tmp_path: Path) -> None:
    approximate, exact = tmp_path / "a.case", tmp_path / "b.case"
    arguments = ("scan", demo / "seized.zip", "-g", large, "--threshold", "0.55", "-c")
    assert run(*arguments, exact).code == 3
    done = run(*arguments, approximate, "--approximate", LEAKMATCH_APPROXIMATE_FROM="1")
    assert done.code == 3
    assert "So a few candidates may be missing" in done.err
    assert exported(run, approximate, "candidates") == exported(run, exact, "candidates")
    (row,) = exported(run, approximate, "run")
    found = row["approximate"]
    assert (found["searches"], found["exact_searches"]) == (row["searches"], 0)
    assert found["index"] == "IVF256,SQfp16"
    assert found["at_least"] >= 0.999
    assert all(measured["threshold"] <= 0.55 for measured in found["measured"])
    report = tmp_path / "report.html"
    assert run("report", approximate, "-o", report).code == 0
    page = report.read_text(encoding="utf-8")
    assert "Faces were compared approximately." in page
    assert f"{found['measured'][0]['found']:,} of 20,000 pairs were found" in page
    assert run("verify", approximate).code == 3


def test_search_finds_the_same_and_says_what_was_measured(run: Run, large: Path, sample_photos: Path) -> None:
    arguments = ("search", sample_photos / "obama2.jpg", "-g", large, "--threshold", "0.5")
    exact = json.loads(run(*arguments, "--json").out)
    done = run(*arguments, "--json", "--approximate", LEAKMATCH_APPROXIMATE_FROM="1")
    body = json.loads(done.out)
    assert body.pop("approximate")["searches"] == 1
    assert body == exact
    assert [row["subject_id"] for row in body["candidates"]] == ["barack-obama"]


def test_a_wrong_number_of_comparisons_is_refused(run: Run, demo: Path, sample_photos: Path) -> None:
    done = run("search", sample_photos / "obama2.jpg", "-g", demo / "demo.gallery", LEAKMATCH_APPROXIMATE_FROM="0")
    assert done.code == 2
    assert "approximate_from" in done.err

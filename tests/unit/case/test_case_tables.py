"""The rows of a case: against a slow reference, streamed, decided as documented."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from leakmatch.case import tables
from leakmatch.case.columns import COLUMNS
from leakmatch.case.decisions import Judge
from leakmatch.case.store import Case
from leakmatch.case.tables import is_complete, rows, table, unread
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.locator import FILE, FRAME, Locator
from leakmatch.records import Decision, Evidence, Outcome


def by_path(case, what, **told):
    """Rows grouped by path."""
    found: dict[str, list[dict]] = {}
    for row in rows(case, what, **told):
        found.setdefault(row["path"], []).append(row)
    return found


@pytest.mark.parametrize("what", COLUMNS)
def test_rows_have_the_columns_in_order_and_say_where(case, what):
    found = list(rows(case, what))
    assert found
    for row in found:
        assert list(row) == list(COLUMNS[what])
        if "path" in COLUMNS[what]:
            assert row["path"].isprintable()
            assert Locator.from_json(row["locator"]).path == row["path"]


def test_every_item_has_one_row_and_a_locator_of_its_own(case):
    found = list(rows(case, "items"))
    assert len({(row["source"], row["locator"]) for row in found}) == len(found) == 12
    assert {row["outcome"] for row in found} <= set(map(str, Outcome))


def test_a_duplicate_takes_after_its_original_and_names_it(case):
    items = by_path(case, "items")
    (copy,), (original,) = items["copy.jpg"], items["photo.jpg"]
    assert copy["outcome"] == "duplicate"
    assert copy["detail"] == "duplicate of seized.zip: photo.jpg"
    assert [copy[k] for k in ("sha256", "width", "height", "faces")] == [original["sha256"], 640, 480, 2]
    faces = by_path(case, "faces")
    assert len(faces["copy.jpg"]) == len(faces["photo.jpg"]) == 2
    candidates = by_path(case, "candidates", every=True)
    for copied, found in zip(candidates["copy.jpg"], candidates["photo.jpg"], strict=True):
        assert (copied["source"], copied["locator"]) == ("photos", '[["file","copy.jpg",1]]')
        assert {k: v for k, v in copied.items() if k not in ("source", "path", "locator")} == {
            k: v for k, v in found.items() if k not in ("source", "path", "locator")
        }


def test_a_copy_of_an_animation_repeats_its_frames(case):
    (found,) = by_path(case, "candidates")["copy.gif!/frame 1"]
    locator = Locator.from_json(found["locator"])
    assert (locator.kind, locator.ordinal, locator.parent.path) == (FRAME, 1, "copy.gif")
    (item,) = by_path(case, "items")["copy.gif!/frame 1"]
    assert (item["kind"], item["outcome"]) == ("frame", "duplicate")
    assert item["detail"] == "duplicate of seized.zip: a.gif!/frame 1"
    assert len(by_path(case, "faces")["copy.gif!/frame 1"]) == 1


def test_a_copy_whose_original_is_not_recorded_yet_still_has_its_row(tmp_path, kit):
    path = kit.write_sample(tmp_path / "u.case", finished=False)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("DELETE FROM items WHERE file = 0 AND position = 1")
    connection.close()
    with Case.open(path) as case:
        (copy,) = by_path(case, "items")["copy.jpg"]
        assert copy["detail"] == "duplicate of an item that is not recorded yet"
        assert copy["width"] is None


def test_candidates_equal_a_slow_reference(tmp_path, kit):
    """The join against loops over the tables, on a random case with copies of pictures and animations."""
    rng = np.random.default_rng(3)
    w = kit.Writer(tmp_path / "r.case", ["a.zip", "b"], [(0, "/a.zip"), (1, "x"), (1, "y")])
    pictures = []
    for i in range(120):
        file = int(rng.integers(3))
        locator = w.roots[file].child("zip", f"{i}.jpg", b"%d" % i)
        if pictures and rng.random() < 0.4:
            w.duplicate(file, locator, pictures[rng.integers(len(pictures))])
            continue
        frames = [kit.analysis(2, frame=f) for f in range(rng.integers(1, 4))]
        told = [
            {
                "frame": int(rng.integers(len(frames))),
                "face": int(rng.integers(2)),
                "subject_id": f"s{rng.integers(9)}",
                "score": [None, round(float(rng.random()), 1)][rng.integers(2)],
                "chance": float(10 ** rng.uniform(-6, 0)),
            }
            for _ in range(rng.integers(4))
        ]
        pictures.append(w.picture(file, locator, told, *frames))
    w.close()
    with Case.open(tmp_path / "r.case") as case:
        case.verify()
        found = [
            (r["path"], r["face"], r["subject_id"], r["score"], r["expected_false"], r["decision"])
            for r in rows(case, "candidates", every=True)
        ]
        assert len(found) > 100
        assert found == _slow_candidates(case)
        weak = [row for row in found if row[-1] == "weak"]
        assert weak
        assert list(rows(case, "candidates")) == [
            r for r in rows(case, "candidates", every=True) if r["decision"] != "weak"
        ]


def _slow_candidates(case):
    judge = Judge.of(case)
    stored = list(case.candidates())
    expected = []
    for file, position, frame, text, first_file, first_position in case.select(
        "SELECT file, position, frame, locator, primary_file, primary_position FROM items ORDER BY 1, 2, 3"
    ):
        locator = Locator.from_json(text)
        key = (file, position) if first_file is None else (first_file, first_position)
        for c in stored:
            if c.key[:2] == key and (first_file is not None or c.key.frame == frame):
                at = locator.frame(c.key.frame) if first_file is not None and c.key.frame else locator
                figures = c.score, judge.expected_false(c), str(judge.decision(c))
                expected.append((at.path, c.face, c.subject_id, *figures))
    return expected


@pytest.mark.parametrize("query", ["_CANDIDATES", "_FACES", "_ITEMS", "_INCIDENTS"])
def test_no_table_is_sorted_as_a_whole(case, query):
    """A sort would hold every row in memory; candidates of one item may be sorted."""
    plan = [row[3] for row in case.select("EXPLAIN QUERY PLAN " + getattr(tables, query))]
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


def test_faces_are_rounded_and_measured(case):
    first, second, *_ = rows(case, "faces")
    assert first["box"] == [10.13, 20.0, 110.13, 140.0]
    assert first["size"] == 100.0
    assert first["detector_score"] == 0.9123
    assert second["face"] == 1
    assert second["landmarks"] == [[10, 11], [12, 13], [14, 15], [16, 17], [18, 19]]


def test_figures_of_candidates(case):
    same_picture, ada, bob = by_path(case, "candidates")["photo.jpg"]
    assert (ada["score"], ada["expected_false"], ada["decision"]) == (0.6123, 2e-08, "match")
    assert (bob["expected_false"], bob["decision"], bob["rank"]) == (40.0, "review", 2)
    assert [same_picture[k] for k in ("face", "box", "score", "hash_distance")] == [None, None, None, 4]
    assert same_picture["expected_false"] == 2e-05


@pytest.mark.parametrize(
    ("accepted", "decisions"),
    [
        (None, ["match", "match", "review", "weak"]),
        (1e-9, ["weak", "review", "weak", "weak"]),
        (4.0, ["match", "match", "review", "review"]),
        (10.0, ["match", "match", "review", "review"]),
    ],
)
def test_deciding_anew_reads_the_case_only(case, accepted, decisions):
    found = by_path(case, "candidates", accepted=accepted, every=True)["photo.jpg"]
    assert [row["decision"] for row in found] == decisions
    assert len(by_path(case, "candidates", accepted=accepted).get("photo.jpg", [])) == 4 - decisions.count("weak")


def test_the_bands_are_inclusive_at_the_exported_figure(case):
    """X of exactly the exported figure is a match, also where the exact product lies a rounding above it."""
    for row in rows(case, "candidates", every=True):
        accepted = row["expected_false"]
        if accepted and accepted <= 10:
            assert next(
                r["decision"] for r in rows(case, "candidates", accepted, every=True) if r["locator"] == row["locator"]
                and (r["face"], r["subject_id"]) == (row["face"], row["subject_id"])
            ) == "match"  # fmt: skip


@pytest.mark.parametrize("accepted", [10.01, 1000.0])
def test_loosening_past_what_was_stored_is_refused(case, accepted):
    with pytest.raises(UsageError, match="up to 10"):
        rows(case, "candidates", accepted)


@pytest.mark.parametrize("accepted", [0.0, -1.0, float("nan"), float("inf")])
def test_an_x_that_is_no_positive_number_is_refused(case, accepted):
    with pytest.raises(UsageError, match="not a positive number"):
        rows(case, "candidates", accepted)


def test_weak_candidates_are_whole_up_to_the_x_of_the_case(case):
    assert Judge.of(case).weak_is_whole
    assert Judge.of(case, 0.1).weak_is_whole
    assert not Judge.of(case, 2.0).weak_is_whole


def test_a_raw_threshold_decides_faces_and_only_faces(tmp_path, kit):
    path = kit.write_sample(tmp_path / "t.case", threshold=0.5)
    with Case.open(path) as case:
        found = by_path(case, "candidates", every=True)
        assert [r["decision"] for r in found["photo.jpg"]] == ["match", "match", "weak", "weak"]
        (hostile,) = (row for name, group in found.items() if "script" in name for row in group)
        assert (hostile["score"], hostile["decision"]) == (0.5, "match")
        assert [r["subject_id"] for r in by_path(case, "candidates")["photo.jpg"]] == ["ada", "ada"]
        with pytest.raises(UsageError, match="raw score"):
            rows(case, "candidates", 0.5)


def test_without_a_calibration_no_face_is_decided_match(tmp_path, kit):
    w = kit.Writer(tmp_path / "n.case", ["x.zip"], [(0, "/x.zip")], pack={"name": "own", "calibration_sha256": None})
    told = {"chance": None, "score": 0.99}
    w.picture(0, w.roots[0], [told | {"subject_id": "a"}, told | {"subject_id": "b", "evidence": Evidence.SAME_PICTURE,
                                                                 "picture_chance": 1e-9}])  # fmt: skip
    w.close()
    with Case.open(tmp_path / "n.case") as case:
        found = {r["subject_id"]: (r["expected_false"], r["decision"]) for r in rows(case, "candidates")}
        assert found == {"a": (None, Decision.REVIEW), "b": (4e-09, Decision.MATCH)}


@pytest.mark.parametrize("what", ["items", "faces", "incidents", "run"])
def test_only_candidates_are_decided(case, what):
    with pytest.raises(UsageError, match="about candidates"):
        rows(case, what, every=True)
    with pytest.raises(UsageError, match="about candidates"):
        rows(case, what, accepted=1.0)


def test_an_unknown_table_is_refused_before_the_first_row(case):
    with pytest.raises(UsageError, match="candidates, subjects, items, faces, incidents, run"):
        rows(case, "people")


def test_the_run_row_says_what_was_run(case, kit):
    (run,) = rows(case, "run")
    assert run["finished"] == "2026-03-01T12:34:56Z"
    assert (run["searches"], run["face_comparisons"], run["picture_comparisons"]) == (5, 20, 16)
    assert run["outcomes"]["duplicate"] == 2
    assert run["files"][0]["path"] == "seized.zip"
    assert len(run["files"][2]["sha256"]) == 64
    assert run["summary"] == {"resumed": 1}
    assert run["content_digest"] == case.digest
    assert run["complete"] is False
    json.dumps(run, allow_nan=False)


def test_the_threshold_is_the_raw_one_or_the_one_that_the_scan_ended_with(tmp_path, kit):
    for name, changes, ended, expected in (
        ("raw", {"threshold": 0.5}, None, 0.5),
        ("found", {}, 0.4321, 0.4321),
        ("unknown", {}, None, None),
    ):
        w = kit.Writer(tmp_path / f"{name}.case", ["x"], [(0, "x")], calibration={"dataset": "d"}, **changes)
        w.case.finish({"finished": "2026-03-01T12:34:56Z", "threshold": ended})
        w.case.close()
        with Case.open(tmp_path / f"{name}.case") as case:
            (row,) = rows(case, "run")
            assert row["threshold"] == expected
            assert row["calibration"] == {"dataset": "d"}


def test_a_place_is_that_of_its_locator(tmp_path, kit):
    """What the inventory could not enter is recorded with the first file, whichever source it is in."""
    w = kit.Writer(tmp_path / "i.case", ["a", "b"], [(0, "x")])
    w.incident(0, Locator.root(FILE, "locked", b"locked", 1), "no-permission", "refused")
    w.close()
    with Case.open(tmp_path / "i.case") as case:
        (row,) = rows(case, "incidents")
        assert (row["source"], row["path"]) == ("b", "locked")


def test_missing_parts_of_the_run_are_null(tmp_path, kit):
    w = kit.Writer(tmp_path / "m.case", ["x"], [(0, "x")])
    w.plain(0, w.roots[0], Outcome.NO_FACE)
    run = {"gallery": {"enrolled": 1, "pictures": 1}, "sources": ["x"]}
    with w.case._database.transaction():
        w.case._database.put("run", run)
    w.close()
    with Case.open(tmp_path / "m.case") as case:
        (row,) = rows(case, "run")
        assert row["pack"] is None
        assert row["version"] is None
        assert row["complete"] is True
        assert is_complete(case) and not unread(case)


def test_a_figure_below_what_the_calibration_shows_makes_no_match_alone(tmp_path, kit):
    """1 face x 4 people. In place of 2e-10, one in the pairs gives 0.4 or 0.04."""
    for pairs, accepted, expected in ((10, 0.1, "review"), (100, 0.1, "match"), (100, 1e-9, "review")):
        w = kit.Writer(tmp_path / f"{pairs}{accepted}.case", ["x"], [(0, "x.jpg")], calibration={"pairs": pairs})
        w.picture(0, w.roots[0], [{"subject_id": "ada", "chance": 2e-10}])
        w.close()
        with Case.open(w.case.path) as case:
            (row,) = rows(case, "candidates", accepted)
            assert (row["expected_false"], row["extrapolated"], row["decision"]) == (8e-10, True, expected)
            assert (row["expected_false_low"], row["expected_false_high"]) == (4e-10, 2.4e-09)


def test_an_unfinished_case_is_not_complete(tmp_path, kit):
    w = kit.Writer(tmp_path / "m.case", ["x"], [(0, "x")])
    w.plain(0, w.roots[0], Outcome.NO_FACE)
    w.close(finished=False)
    with Case.open(tmp_path / "m.case") as case:
        assert not unread(case)
        assert not is_complete(case)
        (row,) = rows(case, "run")
        assert row["finished"] is None
        assert row["files"] == [{"source": "x", "path": "x", "bytes": 1000, "sha256": None}]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE faces SET box = x'00'",
        "UPDATE faces SET box = x'0000c07f0000c07f0000c07f0000c07f'",  # four NaN
        "UPDATE items SET locator = 'no locator'",
        "UPDATE candidates SET evidence = 'a hunch'",
        'UPDATE meta SET value = \'{"gallery": {"enrolled": 1, "pictures": 1}, "expected_false": "x"}\'',
    ],
)
def test_a_damaged_row_is_an_integrity_error(sample, statement):
    connection = sqlite3.connect(sample)
    with connection:
        connection.execute(statement)
    connection.close()
    with Case.open(sample) as case, pytest.raises(IntegrityError):
        list(rows(case, "candidates"))


class TestTable:
    """Columns as arrays."""

    def test_columns_are_arrays(self, case):
        found = table(case, "candidates")
        assert len(found) == 9
        assert found["score"].dtype == np.float64
        assert np.isnan(found["score"][0])
        assert found["face"].dtype == np.int64
        assert found["face"][:3].tolist() == [-1, 0, 0]
        assert found["box"].shape == (9, 4)
        assert np.isnan(found["box"][0]).all()
        assert found["subject_id"].tolist()[:3] == ["ada", "ada", "bob"]
        assert table(case, "faces")["landmarks"].shape == (9, 5, 2)
        assert table(case, "run")["complete"].tolist() == [False]
        assert table(case, "run")["outcomes"][0]["done"] == 3

    def test_no_rows_keep_their_shapes(self, tmp_path, kit):
        w = kit.Writer(tmp_path / "e.case", ["x"], [(0, "x")])
        w.close()
        with Case.open(tmp_path / "e.case") as case:
            found = table(case, "candidates")
            assert len(found) == 0
            assert [found[c].shape for c in ("score", "face", "box", "path")] == [(0,), (0,), (0, 4), (0,)]
            assert found.to_arrow().num_rows == 0
            assert found.to_polars().shape == found.to_pandas().shape == (0, len(COLUMNS["candidates"]))

    def test_rows_are_dicts_and_copies(self, case):
        found = table(case, "incidents")
        assert list(found) == found.to_dicts() == list(rows(case, "incidents"))
        found.to_dicts()[0]["code"] = "changed"
        assert found["code"].tolist() == ["corrupt"]
        assert repr(found) == "<Table of 1 rows: source, path, locator, stage, code, message>"

    def test_an_unknown_column_or_table_is_refused(self, case):
        with pytest.raises(KeyError):
            table(case, "items")["score"]
        with pytest.raises(UsageError, match="no table"):
            table(case, "people")

    @pytest.mark.parametrize("what", COLUMNS)
    def test_frames_hold_the_same(self, case, what):
        found = table(case, what)
        for frame in (found.to_pandas(), found.to_polars()):
            assert list(frame.columns) == list(COLUMNS[what])
            assert len(frame) == len(found)
        arrow = found.to_arrow().to_pylist()
        polars = found.to_polars().to_dicts()
        assert arrow == polars
        if what != "run":
            assert arrow == found.to_dicts()
            pandas, text = found.to_pandas(), next(iter(COLUMNS[what]))
            assert pandas[text].tolist() == found[text].tolist()

    def test_pandas_keeps_whole_numbers_whole(self, case):
        frame = table(case, "candidates").to_pandas()
        assert str(frame["face"].dtype) == "Int64"
        assert frame["face"].isna().sum() == 2
        assert str(frame["score"].dtype) == "Float64"

    @pytest.mark.parametrize(("package", "extra"), [("pandas", "pandas"), ("polars", "polars"), ("pyarrow", "parquet")])
    def test_a_missing_package_is_named_with_the_line_that_installs_it(self, case, monkeypatch, package, extra):
        import sys

        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UsageError, match=rf"pip install 'leakmatch\[{extra}\]'"):
            getattr(table(case, "items"), f"to_{package.removeprefix('py')}")()

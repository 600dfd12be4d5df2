"""All that speaks for one person, together: what counts as one picture, as one folder, and how people are decided."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leakmatch.case import people as module
from leakmatch.case.decisions import Judge
from leakmatch.case.joint import Resemblance, together
from leakmatch.case.people import people
from leakmatch.case.places import folder, places
from leakmatch.case.report import report
from leakmatch.case.store import Case
from leakmatch.case.summary import summarise
from leakmatch.case.tables import rows, table
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.locator import FILE, SOURCE, Locator
from leakmatch.records import Decision, Evidence, HashBatch, Outcome

REPEAT = {"chance": [0.01, 1e-4], "again": [0.2, 0.1], "high": [0.3, 0.2]}
CALIBRATION = {"dataset": "a test set", "people": 50, "pairs": 10**7, "repeat": REPEAT}


def hashed(kit, bits, **told):
    """An analysis whose picture hash begins with these bytes."""
    made = kit.analysis(**told)
    halves = np.frombuffer(bits.ljust(16, b"\0"), np.uint8).reshape(2, 1, 8)
    batches = [
        HashBatch(name, half.copy(), np.ones(1, np.float32), np.zeros(1, np.int32))
        for name, half in zip(("phash", "dhash"), halves, strict=True)
    ]
    return type(made)(**{field: getattr(made, field) for field in made.__slots__} | {"picture_hashes": tuple(batches)})


class Set:
    """A case of one archive, filled picture by picture."""

    def __init__(self, path, kit, **changes):
        self.kit = kit
        self.writer = kit.Writer(path / "p.case", ["x.zip"], [(0, "/x.zip")], **{"calibration": CALIBRATION} | changes)
        self.root = self.writer.roots[0]
        self.number = 0

    def picture(self, name, *candidates, bits=None, faces=1):
        """A picture with candidates as (subject, chance) or keywords."""
        self.number += 1
        told = [c if isinstance(c, dict) else {"subject_id": c[0], "chance": c[1]} for c in candidates]
        # 32 bits apart from every other
        bits = bits or np.random.default_rng(self.number).bytes(16)
        frame = hashed(self.kit, bits, faces=faces)
        return self.writer.picture(0, self.root.child("zip", name, name.encode()), told, frame)

    def done(self):
        self.writer.close()
        return Case.open(self.writer.case.path)


def subject(case, name="ada", **told):
    (found,) = (row for row in rows(case, "subjects", every=True, **told) if row["subject_id"] == name)
    return found


def test_pictures_of_one_folder_strengthen_each_other(tmp_path, kit):
    made = Set(tmp_path, kit)
    for i in range(5):
        made.picture(f"set/1/{i}.jpg", ("ada", 1e-3))
    made.picture("set/1/6.jpg")
    made.picture("set/2/1.jpg", ("bob", 1e-3))
    with made.done() as case:
        row, best = subject(case), subject(case, "bob")
        expected = together([1e-3] * 5, 6, 7 * 4, Resemblance.parse(REPEAT))
        assert row["expected_false"] == pytest.approx(expected.expected_false, rel=1e-5)
        assert expected.hits == row["rests_on"] == 5
        assert [row[k] for k in ("folder_pictures", "source", "folder", "files")] == [6, "x.zip", "set/1", 5]
        assert row["expected_false"] < best["expected_false"] == 0.028
        assert best["rests_on"] == best["folder_pictures"] == 1
        assert row["expected_false_low"] < row["expected_false"] < row["expected_false_high"]


def test_pictures_of_other_folders_do_not(tmp_path, kit):
    made = Set(tmp_path, kit)
    for i in range(5):
        made.picture(f"set/{i}/a.jpg", ("ada", 1e-3))
    with made.done() as case:
        row = subject(case)
        assert (row["expected_false"], row["rests_on"], row["pictures"]) == (0.02, 1, 5)


@pytest.mark.parametrize(("flipped", "different"), [(b"\xff", False), (b"\xff\x01", True)])
def test_like_hashes_count_as_one_picture(tmp_path, kit, flipped, different):
    """8 of 128 bits, or 9."""
    made = Set(tmp_path, kit)
    made.picture("a.jpg", ("ada", 1e-3), bits=b"\0")
    made.picture("b.jpg", ("ada", 1e-3), bits=flipped)
    with made.done() as case:
        row = subject(case)
        assert row["files"] == 2
        assert row["pictures"] == 1 + different
        assert row["rests_on"] == 1 + different
        assert row["folder_pictures"] == 2


def test_of_like_pictures_the_best_counts(tmp_path, kit):
    made = Set(tmp_path, kit)
    made.picture("a.jpg", ("ada", 1e-2), bits=b"\0")
    made.picture("b.jpg", ("ada", 1e-5), bits=b"\x01")
    with made.done() as case:
        assert subject(case)["expected_false"] == 8e-5


def test_a_picture_counts_once_however_many_faces_frames_and_copies_it_has(tmp_path, kit):
    made = Set(tmp_path, kit)
    first = made.picture(
        "a.jpg", {"subject_id": "ada", "chance": 1e-3}, {"subject_id": "ada", "chance": 2e-3, "face": 1}, faces=2
    )
    made.writer.duplicate(0, made.root.child("zip", "b.jpg", b"b"), first)
    frames = [hashed(kit, bytes([f] * 16), frame=f) for f in range(3)]
    told = [{"subject_id": "bob", "chance": 1e-3, "frame": f} for f in range(3)]
    made.writer.picture(0, made.root.child("zip", "c.gif", b"c"), told, *frames)
    with made.done() as case:
        ada, bob = subject(case), subject(case, "bob")
        assert [ada[k] for k in ("rests_on", "folder_pictures", "files", "pictures")] == [1, 2, 2, 1]
        assert [bob[k] for k in ("rests_on", "folder_pictures", "files", "pictures")] == [1, 2, 1, 1]
        assert ada["expected_false"] == bob["expected_false"] == 0.02


def test_weak_candidates_take_part_and_are_shown_where_a_person_rests_on_them(tmp_path, kit):
    """Each alone is expected 140 times, more than 100; together they are to review."""
    made = Set(tmp_path, kit, expected_false=1e-3)
    for i in range(7):
        made.picture(f"set/{i}.jpg", ("ada", 5e-3))
    with made.done() as case:
        assert list(rows(case, "candidates")) == []
        assert {row["decision"] for row in rows(case, "candidates", every=True)} == {"weak"}
        assert subject(case)["decision"] == "review"
        assert subject(case)["rests_on"] == subject(case)["files"] == 7
        found = summarise(case, Judge.of(case), 10)
        assert found.files == Counter({Decision.REVIEW: 7})
        assert len(found.strongest) == found.shown == 7
        page = report(case)
        assert "part of a joint review" in page
        assert "7 of 7 pictures in <code>set</code>" in page


def test_a_joint_figure_is_worked_through(tmp_path, kit):
    made = Set(tmp_path, kit)
    for i in range(4):
        made.picture(f"set/{i}.jpg", {"subject_id": "ada", "chance": 1e-3, "score": 0.4 + i / 100})
    with made.done() as case:
        page = report(case).replace("\xa0", " ")
        (person,) = people(case, Judge.of(case))
    assert "Worked through, with a person of this case." in page
    assert "the decision rests on 4 different pictures of the 4 pictures searched in <code>set</code>" in page
    assert "The lowest of their scores is 0.4000" in page
    assert "factor of 2 × 4 × 3 = 24" in page
    assert f"24 × 4 ÷ 4 × 4 × {person.joint.likely:.5g}"[:20] in page
    assert person.expected_false == pytest.approx(24 * 4 / 4 * 4 * person.joint.likely, rel=1e-5)


def test_an_extrapolated_figure_makes_a_match_only_where_the_data_shows_enough(tmp_path, kit):
    """One in 100 pairs: alone 4 people x 6 faces / 100 = 0.24."""
    made = Set(tmp_path, kit, calibration=CALIBRATION | {"pairs": 100}, expected_false=0.1)
    for i in range(6):
        made.picture(f"set/{i}.jpg", ("ada", 1e-8))
    with made.done() as case:
        row = subject(case)
        assert {candidate["decision"] for candidate in rows(case, "candidates")} == {"review"}
        assert row["extrapolated"] is True
        assert row["expected_false"] < 1e-6 < row["expected_false_shown"] < 0.1
        assert (row["decision"], row["rests_on"]) == ("match", 6)
        assert subject(case, accepted=row["expected_false_shown"] / 2)["decision"] == "review"
        page = report(case)
        assert "extrapolated; else" in page
        assert "alone it makes no match" in page


def test_the_same_file_or_picture_counts_where_it_is_stronger(tmp_path, kit):
    same = {"subject_id": "ada", "evidence": Evidence.SAME_PICTURE, "picture_chance": 1e-9, "hash_distance": 2}
    made = Set(tmp_path, kit)
    made.picture("set/1.jpg", ("ada", 1e-3))
    made.picture("set/2.jpg", same | {"face": None, "score": None, "chance": None})
    made.picture("set/3.jpg", {"subject_id": "bob", "evidence": Evidence.SAME_FILE, "picture_chance": 0.0})
    with made.done() as case:
        ada, bob = subject(case), subject(case, "bob")
        assert [ada[k] for k in ("evidence", "expected_false", "rests_on")] == ["same-picture", 1.2e-8, 1]
        assert ada["expected_false_low"] is ada["expected_false_high"] is None
        assert (ada["extrapolated"], ada["pictures"]) == (False, 2)
        assert [bob[k] for k in ("evidence", "expected_false", "decision")] == ["same-file", 0.0, "match"]
        assert "the same file in <code>set</code>" in report(case)


def test_without_what_it_takes_people_are_decided_by_the_best_candidate(tmp_path, kit):
    """A raw threshold; a calibration that does not say how alike photos of one person are; none at all."""
    for name, changes, chance, expected in (
        ("raw", {"threshold": 0.5}, 1e-3, (0.012, "match")),
        ("alike", {"calibration": {"pairs": 1000}}, 1e-3, (0.012, "match")),
        ("none", {"calibration": None}, None, (None, "review")),
    ):
        (tmp_path / name).mkdir()
        made = Set(tmp_path / name, kit, **changes)
        for i in range(3):
            made.picture(f"{i}.jpg", ("ada", chance))
        with made.done() as case:
            row = subject(case)
            assert (row["expected_false"], row["decision"]) == expected, name
            assert row["rests_on"] == 1
            report(case)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.floats(-7, -2)), min_size=1, max_size=14))
def test_no_person_is_weaker_than_a_candidate(tmp_path_factory, kit, drawn):
    made = Set(tmp_path_factory.mktemp("p"), kit)
    for i, (where, who, power) in enumerate(drawn):
        made.picture(f"{where}/{i}.jpg", (f"s{who}", 10**power))
    with made.done() as case:
        strength = [str(band) for band in Decision]
        found = {row["subject_id"]: row for row in rows(case, "subjects", every=True)}
        for row in rows(case, "candidates", every=True):
            person = found[row["subject_id"]]
            assert person["expected_false"] <= row["expected_false"]
            assert strength.index(person["decision"]) <= strength.index(row["decision"])
        shown = list(rows(case, "subjects"))
        assert shown == [row for row in found.values() if row["decision"] != "weak"]
        assert [strength.index(row["decision"]) for row in found.values()] == sorted(
            strength.index(row["decision"]) for row in found.values()
        )


def test_the_table_is_like_every_other(tmp_path, kit):
    made = Set(tmp_path, kit)
    made.picture("a.jpg", ("ada", 1e-3))
    with made.done() as case:
        found = table(case, "subjects")
        assert found["expected_false"].tolist() == [0.004]
        assert found.to_pandas()["rests_on"].tolist() == [1]
        with pytest.raises(UsageError, match="up to 10"):
            rows(case, "subjects", 11.0)


def test_no_table_is_sorted_as_a_whole(case):
    for query in (module._STORED, module._SEARCHED):
        plan = [row[3] for row in case.select("EXPLAIN QUERY PLAN " + query)]
        assert not [step for step in plan if "TEMP B-TREE" in step]


def test_a_damaged_record_of_likeness_is_an_integrity_error(tmp_path, kit):
    made = Set(tmp_path, kit, calibration={"pairs": 5, "repeat": {"chance": [2]}})
    made.picture("a.jpg", ("ada", 1e-3))
    with made.done() as case, pytest.raises(IntegrityError, match="damaged"):
        rows(case, "subjects")


class TestFolder:
    """Where items lie side by side."""

    @pytest.mark.parametrize(
        ("locator", "path"),
        [
            (Locator.root(FILE, "a/b/c.jpg", b"a/b/c.jpg", 0), "a/b"),
            (Locator.root(FILE, "c.jpg", b"c.jpg", 0), ""),
            (Locator.root(SOURCE, "c.jpg", b"c.jpg", 0), ""),
            (Locator.root(SOURCE, "x.zip", b"x.zip", 0).child("zip", "a/c.jpg", b"a/c.jpg", 3), "a"),
            (Locator.root(SOURCE, "x.zip", b"x.zip", 0).child("zip", "a\\c.jpg", b"a\\c.jpg", 3), "a"),
            (Locator.root(FILE, "x.zip", b"x.zip", 0).child("zip", "c.jpg", b"c.jpg", 3), "x.zip"),
            (Locator.root(FILE, "x.zip", b"x.zip", 0).child("zip", "a/\udcff.jpg", b"a/\xff.jpg", 3), "x.zip!/a"),
            (Locator.root(FILE, "x.zip", b"x.zip", 0).child("zip", "\udcff/c.jpg", b"\xff/c.jpg", 3), "x.zip!/\\udcff"),
        ],
    )
    def test_its_path(self, case, locator, path):
        key = folder(case, locator.to_json())
        assert places(case)(key)[1].removesuffix("!/") == path
        assert folder(case, locator.frame(2).to_json(), 2) == key

    def test_side_by_side_or_not(self, case):
        zip_ = Locator.root(SOURCE, "x.zip", b"x.zip", 0)

        def key(locator):
            return folder(case, locator.to_json())

        one = key(zip_.child("zip", "a/1.jpg", b"a/1.jpg", 1))
        assert key(zip_.child("zip", "a/2.jpg", b"a/2.jpg", 2)) == one
        assert key(zip_.child("zip", "a/\udcff", b"a/\xff", 2)) == one
        assert key(zip_.child("zip", "b/2.jpg", b"b/2.jpg", 2)) != one
        twin = [zip_.child("zip", "in.zip", b"in.zip", i).child("zip", "a/1.jpg", b"a/1.jpg") for i in range(2)]
        assert key(twin[0]) != key(twin[1])
        given_alone = [Locator.root(SOURCE, "a.jpg", b"a.jpg", i) for i in range(2)]
        assert key(given_alone[0]) != key(given_alone[1])

    @pytest.mark.parametrize("text", ["", "[]", "7", "[[1]]", '[["file",7,0]]', '[["file",{},0]]'])
    def test_damage_is_an_integrity_error(self, case, text):
        with pytest.raises(IntegrityError, match="damaged"):
            folder(case, text)


def test_an_item_that_was_never_searched_counts_in_no_folder(tmp_path, kit):
    made = Set(tmp_path, kit)
    made.picture("a.jpg", ("ada", 1e-3))
    made.writer.plain(0, made.root.child("zip", "b.jpg", b"b"), Outcome.NO_FACE)
    with made.done() as case:
        assert subject(case)["folder_pictures"] == 1

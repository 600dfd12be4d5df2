"""The store of a case: round trip, resuming, pruning, and a ledger that must add up."""

from __future__ import annotations

import sqlite3
from dataclasses import replace

import numpy as np
import pytest

from leakmatch.case.batch import Batch
from leakmatch.case.rows import Candidate, Key, SourceRow, Totals
from leakmatch.case.store import Case
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.locator import FILE, Locator
from leakmatch.records import Entry, Evidence, Incident, ItemKind, Outcome


def test_what_was_written_is_read_back(case, kit):
    assert case.run["pack"] == kit.RUN["pack"]
    assert case.run["sources"] == ["seized.zip", "photos"]
    assert case.finished == {"finished": "2026-03-01T12:34:56Z", "resumed": 1}
    assert [row.locator.path for row in case.files()] == ["seized.zip", "copy.jpg", "copy.gif"]
    assert case.outcomes() == {
        Outcome.DONE: 3,
        Outcome.DUPLICATE: 2,
        Outcome.UNREADABLE: 1,
        Outcome.NEEDS_PASSWORD: 1,
        Outcome.NOT_IMAGE: 1,
        Outcome.WALKED: 2,
    }
    assert case.totals() == Totals(searches=5, pictures=4, gallery_people=4, gallery_pictures=4)
    assert list(case.stored_positions(0)) == list(range(8))
    case.verify()


def test_candidates_come_in_source_order_those_without_a_score_first(case):
    found = [(c.key, c.subject_id, c.score) for c in case.candidates()]
    assert found[:4] == [
        (Key(0, 1), "ada", None),
        (Key(0, 1), "ada", 0.61234),
        (Key(0, 1), "bob", 0.3),
        (Key(0, 1), "cy", 0.2),
    ]
    assert found[-1] == (Key(0, 6, 1), "bob", 0.7)


def test_crop_is_kept_per_face(case):
    jpeg = case.crop(Key(0, 1), 0)
    assert jpeg is not None and jpeg.startswith(b"\xff\xd8\xff")
    assert case.crop(Key(0, 1), 5) is None


def test_resume_continues_what_was_committed(tmp_path, kit):
    path = kit.write_sample(tmp_path / "a.case", finished=False)
    with Case.resume(path) as case:
        assert case.finished is None
        assert case.finished_files() == {}
        digest = case.digest
        batch = Batch()
        batch.add_finished_file(0, b"s" * 32, 8)
        case.write(batch)
        assert case.digest != digest
    with Case.open(path) as case:
        assert case.finished_files() == {0: b"s" * 32}
        case.verify()


def test_primary_is_the_first_picture_with_these_bytes(case):
    sha256 = case._database.one("SELECT sha256 FROM items WHERE file = 0 AND position = 1")
    assert case.primary(sha256) == Key(0, 1)
    assert case.primary(b"x" * 32) is None


def test_an_item_cannot_be_written_twice(tmp_path, kit):
    path = kit.write_sample(tmp_path / "a.case")
    with Case.resume(path) as case:
        before = case.digest
        batch = Batch()
        root = case.files()[0].locator
        batch.add_entry(0, Entry(root, 0, ItemKind.CONTAINER, 1, None, None), Outcome.WALKED, "")
        with pytest.raises(IntegrityError):
            case.write(batch)
        assert case.digest == before
        case.verify()


def test_an_incident_met_again_after_an_interruption_is_kept_once(tmp_path, kit):
    path = kit.write_sample(tmp_path / "a.case", finished=False)
    with Case.resume(path) as case:
        locator = Locator.from_json(case._database.one("SELECT locator FROM incidents"))
        batch = Batch()
        batch.add_incident(0, Incident(locator, "sources", "corrupt", "no picture\nin it"))
        batch.add_incident(0, Incident(locator, "sources", "corrupt", "another thing"))
        case.write(batch)
        assert case.count("incidents") == 2


def test_hostile_details_and_sizes_can_be_stored(tmp_path, kit):
    locator = Locator.root(FILE, "\udcff\x1b[2J.jpg", b"\xff\x1b[2J.jpg", 0)
    with Case.create(tmp_path / "h.case", kit.RUN | {"sources": ["x"]}, [SourceRow(0, 0, locator, 1, 1)]) as case:
        batch = Batch()
        entry = Entry(locator, 0, ItemKind.IMAGE, 1 << 70, None, None)
        batch.add_entry(0, entry, Outcome.UNREADABLE, "bad \udcff\x1b[31m\u202e")
        batch.add_incident(0, Incident(locator, "sources", "corrupt", "\udcff"))
        batch.add_finished_file(0, None, 1)
        case.write(batch)
        case.verify()
        ((size, detail),) = case.select("SELECT bytes, detail FROM items")
        assert size == (1 << 63) - 1
        assert detail == "bad \\udcff\\x1b[31m\\u202e"


def test_numpy_scalars_are_stored_as_the_numbers_they_are(tmp_path, kit):
    w = kit.Writer(tmp_path / "n.case", ["x.zip"], [(0, "/x.zip")])
    told = {"subject_id": "ada", "score": np.float32(0.5), "chance": np.float64(0.0), "rank": np.int32(1)}
    told |= {"chance_low": np.float64(0.0), "chance_high": np.float32(0.5), "looks": np.int8(2)}
    w.picture(0, w.roots[0], [told | {"face": np.int64(0), "hash_distance": np.uint8(3)}])
    w.close()
    with Case.open(tmp_path / "n.case") as case:
        case.verify()
        (candidate,) = case.candidates()
        assert candidate == Candidate(Key(0, 0), 0, "ada", 1, 1, 0.5, 0.0, 0.0, 0.5, 2, Evidence.SAME_FACE, 3)


def test_prune_drops_what_chance_explains_and_its_crops_only(tmp_path, kit):
    path = kit.write_sample(tmp_path / "p.case")
    with Case.resume(path) as case:
        case.prune(100.0)  # cy is expected 400 times: 5 faces x 4 people x 20
        assert {c.subject_id for c in case.candidates()} == {"ada", "bob", "=cmd|'/c calc'!A1"}
        assert case.crop(Key(0, 1), 1) is None
        assert case.crop(Key(0, 1), 0) is not None
        case.verify()
        case.prune(0.0)  # every same-face candidate goes; the picture that matched stays
        assert {c.evidence for c in case.candidates()} == {Evidence.SAME_PICTURE}
        case.verify()


def test_expected_false_is_chance_times_comparisons_the_stronger_of_face_and_picture():
    totals = Totals(searches=10, pictures=5, gallery_people=100, gallery_pictures=50)
    face = Candidate(Key(0, 0), 0, "a", 1, 1, 0.5, 1e-3, 5e-4, 2e-3, 1, Evidence.SAME_FACE)
    both = replace(face, evidence=Evidence.SAME_PICTURE, hash_distance=2, picture_chance=1e-3)
    neither = replace(face, chance=None, chance_low=None, chance_high=None)
    assert totals.expected_false(face, face.chance) == pytest.approx(1.0)
    assert totals.expected_false(face, face.chance_high) == pytest.approx(2.0)
    assert totals.expected_false(both, 2e-3) == pytest.approx(0.5), "10 crops, which are more than 5 pictures, with 50"
    assert totals.expected_false(both, 1e-4) == pytest.approx(0.1)
    assert totals.expected_false(replace(both, picture_chance=1e-5), 1e-3) == pytest.approx(0.005)
    assert totals.expected_false(neither, None) is None


def test_half_a_case_is_not_left_behind(tmp_path, kit):
    def files():
        yield SourceRow(0, 0, Locator.root(FILE, "a", b"a", 0), 1, 1)
        raise UsageError("the folder went away")

    with pytest.raises(UsageError, match="went away"):
        Case.create(tmp_path / "half.case", kit.RUN, files())
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_not_taken_for_a_new_case(sample, kit):
    before = sample.read_bytes()
    with pytest.raises(UsageError, match="exists"):
        Case.create(sample, kit.RUN, [])
    assert sample.read_bytes() == before


@pytest.mark.parametrize(
    ("statement", "complaint"),
    [
        ("DELETE FROM items WHERE position = 4", "7 rows of 8"),
        ("UPDATE items SET position = 99 WHERE position = 7", "ledger does not add up"),
        ("UPDATE items SET outcome = 'lost' WHERE position = 4", "no known outcome"),
        ("UPDATE items SET faces = 7 WHERE position = 1 AND file = 0", "another number of faces"),
        ("DELETE FROM faces WHERE position = 3", "another number of faces"),
        ("UPDATE faces SET position = 2 WHERE position = 3", "another number of faces"),
        ("INSERT INTO faces SELECT file, 77, frame, face, box, landmarks, 1, 1, '' FROM faces LIMIT 1", "have no item"),
        ("UPDATE candidates SET frame = 9 WHERE subject_id = 'ada' AND face IS NULL", "candidates have no item"),
        ("UPDATE candidates SET face = 9 WHERE subject_id = 'cy'", "candidates have no face"),
        ("UPDATE candidates SET evidence = 'a hunch'", "no known evidence"),
        ("UPDATE items SET primary_position = 4 WHERE file = 1", "duplicates have no original"),
        ("UPDATE items SET primary_file = NULL, primary_position = NULL WHERE file = 1", "do not say of what"),
        (
            "INSERT INTO items SELECT 9, position, frame, locator, sha256, bytes, kind, outcome, detail,"
            " NULL, NULL, 0, 0, NULL, NULL, NULL, NULL FROM items WHERE position = 4",
            "belong to no source file",
        ),
        ("DELETE FROM finished_files WHERE file = 2", "1 source files were not read"),
    ],
)
def test_a_ledger_that_does_not_add_up_is_refused(sample, statement, complaint):
    """Also where whoever changed it computed the digest anew."""
    _tamper(sample, statement)
    with Case.open(sample) as case, pytest.raises(IntegrityError, match=complaint):
        case.verify()


@pytest.mark.parametrize("key", ["run", "finished"])
@pytest.mark.parametrize("value", ["[1]", "7", "not JSON"])
def test_a_damaged_description_is_an_integrity_error(sample, key, value):
    with sqlite3.connect(sample) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
    connection.close()
    with Case.open(sample) as case, pytest.raises(IntegrityError):
        _ = case.run, case.finished


def test_a_case_without_its_gallery_is_an_integrity_error(tmp_path, kit):
    path = kit.write_sample(tmp_path / "g.case", gallery={"id": "x"})
    with Case.open(path) as case, pytest.raises(IntegrityError, match="which gallery"):
        case.totals()


def _tamper(path, statement):
    """Change a case and make its digest fit again."""
    from leakmatch.row_digest import MODULUS, row_digest

    connection = sqlite3.connect(path)
    with connection:
        assert connection.execute(statement).rowcount > 0
        tables = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = ((t, row) for t in tables if t != "digest" for row in connection.execute(f"SELECT * FROM {t}"))
        total = sum(row_digest(table, row) for table, row in rows) % MODULUS
        connection.execute("UPDATE digest SET value = ?", (total.to_bytes(32, "big"),))
    connection.close()


def test_rows_are_hashed_as_the_readable_reference_does():
    """Type, length and value of each column; a number by its value."""
    import hashlib

    from leakmatch.row_digest import row_digest

    def reference(table, row):
        text = table.encode() + b"\0"
        for value in row:
            if isinstance(value, bytes):
                text += b"bytes:%d:%b" % (len(value), value)
                continue
            if isinstance(value, int | float):
                kind, value = "number", int(value) if value == int(value) else value
            else:
                kind = type(value).__name__
            data = repr(value).encode("utf-8", "surrogatepass")
            text += b"%b:%d:%b" % (kind.encode(), len(data), data)
        return int.from_bytes(hashlib.sha256(text).digest(), "big")

    rows = [(1, 1.0, "1", b"1", None, "None", ""), (-0.0, 0.5, "\udcff'\"\u202e", b"", 10**18, 1e300), (), ("x" * 999,)]
    for row in [*rows, *rows, *[(n, n / 7, f"name {n}") for n in range(9000)]]:
        assert row_digest("items", row) == reference("items", row)

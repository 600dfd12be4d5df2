"""Kept templates: what was sealed comes back, and nothing that was changed, moved, exchanged or left out gets by."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from analyses import analysis, equal

from leakmatch.case.batch import Batch
from leakmatch.case.rows import SourceRow
from leakmatch.case.store import KEPT_FORMAT, Case
from leakmatch.errors import IntegrityError, UsageError, WrongKey
from leakmatch.locator import FILE, Locator
from leakmatch.pipeline.channel import packed, unpacked
from leakmatch.pipeline.kept import KeptTemplates, forget
from leakmatch.pipeline.wire import analysis_message
from leakmatch.records import Entry, ItemKind, Outcome, QualityReason
from leakmatch.row_digest import MODULUS, row_digest
from leakmatch.sealed.keys import KEY_FILE, KeySlots, Secret

SECRET = Secret(KEY_FILE, b"k" * 32)
RUN = {"case_id": "c0ffee", "gallery": {"enrolled": 1, "pictures": 1}}
SEEN = (
    [analysis(2, plain=False)],
    [analysis(1, plain=False), analysis(3, frame=4, plain=False)],
    [analysis(0, plain=False)],
)


def write(path: Path, case_id: str = "c0ffee", master_of: Case | None = None) -> Path:
    """A finished case: a zip with three pictures, one of them in two frames, a text, and a copy of the first."""
    root = Locator.root(FILE, "a.zip", b"a.zip", 0)
    slots = KeySlots.new(SECRET)[0] if master_of is None else master_of.slots
    with Case.create(path, RUN | {"case_id": case_id}, [SourceRow(0, 0, root, 9, 9)], slots) as case:
        kept, batch = KeptTemplates.of(case, SECRET), Batch()
        batch.add_entry(0, Entry(root, 0, ItemKind.CONTAINER, 9, b"z" * 32, None, members=5), Outcome.WALKED, "")
        for position, analyses in enumerate(SEEN, start=1):
            member = root.child("zip", f"{position}.jpg", f"{position}.jpg".encode(), 0)
            entry = Entry(member, position, ItemKind.IMAGE, 7, bytes([position]) * 32, None)
            batch.add_kept(0, position, kept.seal(0, position, analyses))
            for one in analyses:
                key = batch.add_analysis(0, entry, one, [QualityReason.NONE] * len(one.faces))
        text = Entry(root.child("zip", "4.txt", b"4.txt", 0), 4, ItemKind.OTHER, 7, b"t" * 32, None)
        batch.add_entry(0, text, Outcome.NOT_IMAGE, "")
        copy = Entry(root.child("zip", "5.jpg", b"5.jpg", 0), 5, ItemKind.IMAGE, 7, b"\1" * 32, None)
        batch.add_entry(0, copy, Outcome.DUPLICATE, "", key._replace(position=1, frame=0))
        batch.add_finished_file(0, b"z" * 32, 6)
        case.write(batch)
        case.finish({"finished": "2026-03-01"}, kept.seal_end)
    return path


def read(path: Path, secret: Secret = SECRET) -> list[object]:
    """As a rescan reads: everything is checked."""
    with Case.open(path) as case:
        kept = KeptTemplates.of(case, secret)
        case.verify()
        kept.check_end(case)
        return [
            sealed and kept.open(key.file, key.position, sealed, locator.path)
            for key, locator, _, sealed in case.probes()
        ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "a.case")


def tamper(path: Path, *statements: str) -> None:
    """Change a case as somebody would who knows how its digest is made."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount > 0
        tables = [n for (n,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        rows = [(t, row) for t in tables if t != "digest" for row in connection.execute(f"SELECT * FROM {t}")]
        total = sum(row_digest(table, row) for table, row in rows) % MODULUS
        connection.execute("UPDATE digest SET value = ?", (total.to_bytes(32, "big"),))
    connection.close()


def test_what_was_seen_comes_back(path: Path) -> None:
    container, first, frames, none, text = read(path)
    assert (container, text) == (None, None)
    for there, sent in zip((first, frames, none), SEEN, strict=True):
        assert isinstance(there, list) and len(there) == len(sent)
        assert all(map(equal, there, sent))


def test_another_key_is_told_from_damage(path: Path) -> None:
    with pytest.raises(WrongKey):
        read(path, Secret(KEY_FILE, b"x" * 32))


def test_every_byte_of_a_piece_counts(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "c0ffee", b"m" * 32)
    sealed = kept.seal(0, 1, SEEN[0])
    for i in range(len(sealed)):
        changed = bytearray(sealed)
        changed[i] ^= 1
        with pytest.raises(IntegrityError):
            kept.open(0, 1, bytes(changed), "a.jpg")
    for cut in (0, 11, 12, 27, 28, len(sealed) - 1):
        with pytest.raises(IntegrityError):
            kept.open(0, 1, sealed[:cut], "a.jpg")


def test_a_piece_opens_at_its_place_in_its_case_only(tmp_path: Path) -> None:
    kept = KeptTemplates(tmp_path, "c0ffee", b"m" * 32)
    sealed = kept.seal(1, 12, SEEN[0])
    assert kept.open(1, 12, sealed, "a.jpg")
    for file, position in ((1, 1), (12, 1), (0, 12), (1, 13)):
        with pytest.raises(IntegrityError):
            kept.open(file, position, sealed, "a.jpg")
    for other in (KeptTemplates(tmp_path, "c0ffef", b"m" * 32), KeptTemplates(tmp_path, "c0ffee", b"n" * 32)):
        with pytest.raises(IntegrityError):
            other.open(1, 12, sealed, "a.jpg")


@pytest.mark.parametrize(
    ("statements", "complaint"),
    [
        (["DELETE FROM kept WHERE position = 2"], "'a.zip!/2.jpg' was looked at, and its kept templates are missing"),
        (["UPDATE kept SET position = 4 WHERE position = 2"], "2.jpg"),
        (["INSERT INTO kept SELECT 0, 4, sealed FROM kept LIMIT 1"], "'a.zip!/4.txt' was not looked at"),
        (["INSERT INTO kept SELECT 0, 99, sealed FROM kept LIMIT 1"], "of no item"),
        (
            [
                "UPDATE kept SET position = -1 WHERE position = 1",
                "UPDATE kept SET position = 1 WHERE position = 3",
                "UPDATE kept SET position = 3 WHERE position = -1",
            ],
            "not authentic",
        ),
        (["UPDATE kept SET sealed = (SELECT sealed FROM kept WHERE position = 1)"], "not authentic"),
        (["UPDATE kept SET sealed = zeroblob(64) WHERE position = 3"], "'a.zip!/3.jpg'"),
        # What was kept of an item is gone together with its row, or with what says that it was looked at.
        (
            [
                "DELETE FROM kept WHERE position = 3",
                "UPDATE items SET width = NULL, outcome = 'not-image' WHERE position = 3",
            ],
            "changed after the scan",
        ),
        (
            [
                "DELETE FROM kept",
                "DELETE FROM faces",
                "DELETE FROM items",
                "DELETE FROM finished_files",
                "DELETE FROM files",
            ],
            "changed after the scan",
        ),
        (["UPDATE items SET sha256 = zeroblob(32) WHERE position = 2"], "changed after the scan"),
        (["UPDATE faces SET quality = 0.9 WHERE position = 1 AND face = 0"], "changed after the scan"),
        (["INSERT INTO incidents VALUES (0, '[]', 'x', 'corrupt', 'y')"], "changed after the scan"),
        (["UPDATE meta SET value = replace(value, '\"enrolled\": 1', '\"enrolled\": 2')"], "changed after the scan"),
        (["DELETE FROM meta WHERE key = 'kept_end'"], "not authentic"),
        (["UPDATE meta SET value = '\"%%%\"' WHERE key = 'kept_end'"], "not authentic"),
        (["UPDATE meta SET value = '{\"format\": 9}' WHERE key = 'keys'"], "format 9"),
        (["UPDATE meta SET value = '{\"format\": 1, \"slots\": [1]}' WHERE key = 'keys'"], "key slots"),
        (["UPDATE meta SET value = replace(value, 'c0ffee', 'c0ffef')"], "not authentic"),
    ],
)
def test_a_case_that_was_changed_is_refused_also_with_a_new_digest(
    path: Path, statements: list[str], complaint: str
) -> None:
    tamper(path, *statements)
    with pytest.raises(IntegrityError, match=complaint):
        read(path)


def test_rows_of_another_case_with_the_same_key_are_refused(path: Path, tmp_path: Path) -> None:
    with Case.open(path) as case:
        other = write(tmp_path / "b.case", "another", master_of=case)
    assert read(other)
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("ATTACH ? AS other", (str(other),))
        connection.execute(
            "UPDATE kept SET sealed = (SELECT sealed FROM other.kept o WHERE o.position = kept.position)"
        )
    connection.close()
    tamper(path, "UPDATE kept SET file = file")
    with pytest.raises(IntegrityError, match="not authentic"):
        read(path)


def test_the_digest_shows_careless_changes_without_a_key(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE kept SET sealed = zeroblob(64) WHERE position = 3")
    connection.close()
    with Case.open(path) as case, pytest.raises(IntegrityError):
        case.verify()


def test_forgetting_leaves_no_byte_and_says_so(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Case.open(path) as case:
        before, run, totals = case.digest, case.run, case.totals()
        sealed = [row[0] for row in case.select("SELECT sealed FROM kept")]
        slots = case.slots
    held = path.open("rb")  # the file as it was, which has no name afterwards
    assert forget(path) == 3
    secret = [*sealed, *(slot.sealed for slot in slots), *(slot.salt for slot in slots)]
    there = [content.read_bytes() for content in path.parent.iterdir()]
    there.append(held.read())
    held.close()
    for piece in secret:
        windows = {piece[i : i + 16] for i in range(len(piece) - 15)}
        assert not [1 for content in there for window in windows if window in content]
    with Case.open(path) as case:
        case.verify()
        assert not case.keeps
        assert case.forgotten is not None
        assert (case.forgotten["items"], case.forgotten["digest_before"]) == (3, before)
        assert case.forgotten["who"]
        assert case.digest != before
        assert (case.run, case.totals()) == (run, totals)
    assert forget(path) is None, "again, in case it was interrupted"


@pytest.mark.parametrize("commits", [0, 1, 2])
def test_forgetting_that_is_interrupted_goes_on(path: Path, monkeypatch: pytest.MonkeyPatch, commits: int) -> None:
    from leakmatch.database import Database

    left = commits
    real_delete, real_compact = Database.delete, Database.compact

    def stopping(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(Database, "compact", stopping(real_compact))
        patched.setattr(Database, "delete", stopping(real_delete))
        with pytest.raises(KeyboardInterrupt):
            forget(path)
    with Case.open(path) as case:
        case.verify()
        assert case.keeps == (commits <= 1)
    forget(path)
    with Case.open(path) as case:
        case.verify()
        assert not case.keeps
        assert case.count("kept") == 0


def test_there_is_nothing_to_forget_in_a_case_that_keeps_nothing(tmp_path: Path) -> None:
    path = tmp_path / "none.case"
    Case.create(path, RUN, []).close()
    with pytest.raises(UsageError, match="keeps no templates"):
        forget(path)


def test_a_copy_is_as_good(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path / "copy.case")
    assert len(read(tmp_path / "copy.case")) == 5


def test_the_format_of_what_is_kept() -> None:
    """Cases are read for years: where this fails, ``KEPT_FORMAT`` has to be raised, or older ones be read as well."""
    assert KEPT_FORMAT == 1
    message = unpacked(packed("kept", *analysis_message([analysis(1, plain=False)])))
    (picture,) = message.fields["pictures"]
    assert sorted(picture) == [
        *("detail", "face_hashes", "frame", "height", "incidents", "jpeg_quality", "model_id", "outcome"),
        *("picture_hashes", "plain", "seconds", "width"),
    ]
    assert {name: (str(a.dtype), a.shape) for name, a in message.arrays.items()} == {
        "0.p.bits": ("uint8", (1, 40)),
        "0.p.quality": ("float32", (5, 1)),
        "0.f.bits": ("uint8", (1, 2320)),
        "0.f.quality": ("float32", (3, 1)),
        "0.boxes": ("float32", (1, 4)),
        "0.landmarks": ("float32", (1, 5, 2)),
        "0.scores": ("float32", (1,)),
        "0.vectors": ("float32", (1, 8)),
        "0.face_quality": ("float32", (1,)),
        "0.valid": ("bool", (1,)),
        "0.crops": ("uint8", (1,)),
        "0.crop_sizes": ("int32", (1,)),
    }
    assert np.array_equal(message.arrays["0.vectors"], analysis(1).templates.vectors)  # type: ignore[union-attr]

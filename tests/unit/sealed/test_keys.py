"""Keys: which of them open a file, and what is no key."""

from __future__ import annotations

import json
import os
import resource
import time
from pathlib import Path
from typing import Any

import pytest
from sealed_files import key_in

from leakmatch.errors import Damaged, UsageError, WrongKey
from leakmatch.sealed import keys as keys_module
from leakmatch.sealed.keys import (
    KEY_BYTES,
    MOST_SLOTS,
    Box,
    IntegrityError,
    Keys,
    KeySlots,
    Secret,
    Slot,
    generate,
    slots_of,
)


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real derivation, at a cost that tests can pay."""
    monkeypatch.setattr(keys_module, "ARGON2", (64, 1, 1))


def by_file(folder: Path, name: str = "key") -> Secret:
    return key_in(folder, name).secret("x")


def by_words(passphrase: str) -> Secret:
    return Keys(passphrase=passphrase).secret("x")


def test_each_slot_opens_and_nothing_else_does(tmp_path: Path) -> None:
    slots, master = KeySlots.new(by_file(tmp_path), "office")
    slots = slots.added(by_words("correct horse"), master, "Anna")
    assert len(master) == KEY_BYTES
    assert slots.unlock(by_file(tmp_path), "x") == master
    assert slots.unlock(by_words("correct horse"), "x") == master
    assert slots.find(by_words("correct horse")) == (1, master)
    assert slots.find(by_words("Correct horse")) is None
    with pytest.raises(WrongKey, match="this passphrase does not open it"):
        slots.unlock(by_words("correct horse "), "x")
    with pytest.raises(WrongKey, match="this key file does not open it"):
        slots.unlock(by_file(tmp_path, "other"), "x")
    assert [(slot.kind, slot.label) for slot in slots] == [("key-file", "office"), ("passphrase", "Anna")]


def test_a_changed_passphrase_leaves_the_master_key(tmp_path: Path) -> None:
    slots, master = KeySlots.new(by_words("old"))
    slots = slots.added(by_words("new"), master).without(0)
    assert slots.unlock(by_words("new"), "x") == master
    with pytest.raises(WrongKey):
        slots.unlock(by_words("old"), "x")


def test_there_is_always_one_key_and_never_more_than_fit(tmp_path: Path) -> None:
    slots, master = KeySlots.new(by_file(tmp_path))
    with pytest.raises(UsageError, match="only key"):
        slots.without(0)
    for number in (-1, 1, 99):
        with pytest.raises(UsageError, match="no key"):
            slots.without(number)
    for number in range(1, MOST_SLOTS):
        slots = slots.added(by_file(tmp_path, f"key {number}"), master)
    with pytest.raises(UsageError, match="16 keys already"):
        slots.added(by_file(tmp_path, "one more"), master)
    assert slots.unlock(by_file(tmp_path, "key 15"), "x") == master


@pytest.mark.parametrize("label", ["x" * 65, "two\nlines", "\x1b[31mred", "\u202eback to front"])
def test_a_label_is_short_and_can_be_printed(tmp_path: Path, label: str) -> None:
    with pytest.raises(UsageError, match="label"):
        KeySlots.new(by_file(tmp_path), label)


def test_slots_survive_as_json(tmp_path: Path) -> None:
    slots, master = KeySlots.new(by_words("päss"), "Ärztin")
    again = KeySlots.from_json(json.loads(json.dumps(slots.to_json())))
    assert again == slots
    assert again.unlock(by_words("päss"), "x") == master


@pytest.mark.parametrize(
    ("one", "other"),
    [("Ångström", "A\u030angstro\u0308m"), ("\u1e9b\u0323", "\u017f\u0323\u0307"), ("가", "\u1100\u1161")],
)
def test_a_passphrase_is_the_same_however_it_was_typed(one: str, other: str) -> None:
    slots, master = KeySlots.new(by_words(one))
    assert slots.unlock(by_words(other), "x") == master


def test_bytes_that_are_no_text_are_a_passphrase() -> None:
    broken = os.fsdecode(b"\xff\xfe pass")
    slots, master = KeySlots.new(by_words(broken))
    assert slots.unlock(by_words(broken), "x") == master


@pytest.mark.parametrize("size", [0, 1, 31])
def test_a_key_file_has_32_bytes_or_more(tmp_path: Path, size: int) -> None:
    path = tmp_path / "short"
    path.write_bytes(bytes(size))
    with pytest.raises(UsageError, match=f"needs 32 bytes or more, and has {size}"):
        Keys(key_file=path).secret("x")


def test_a_key_file_counts_to_its_last_byte(tmp_path: Path) -> None:
    long, longer = tmp_path / "long", tmp_path / "longer"
    long.write_bytes(bytes(3 << 20))
    longer.write_bytes(bytes(3 << 20) + b"\n")
    slots, master = KeySlots.new(Keys(key_file=long).secret("x"))
    assert slots.unlock(Keys(key_file=long).secret("y"), "x") == master
    with pytest.raises(WrongKey):
        slots.unlock(Keys(key_file=longer).secret("x"), "x")


def test_a_key_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match=str(path)):
            Keys(key_file=path).secret("x")


def test_a_key_file_goes_before_a_passphrase_and_nobody_is_asked_in_vain(tmp_path: Path) -> None:
    asked: list[tuple[str, bool]] = []

    def ask(question: str, repeat: bool) -> str:
        asked.append((question, repeat))
        return "words"

    file = key_in(tmp_path).key_file
    assert Keys(file, "other", ask).secret("x").kind == "key-file"
    assert Keys(None, "words", ask).secret("x") == by_words("words")
    assert not asked
    keys = Keys(ask=ask)
    assert keys.secret("school.gallery", new=True) == keys.secret("school.gallery") == by_words("words")
    assert keys.secret("other.gallery") == by_words("words")
    assert asked == [("New passphrase for school.gallery", True), ("Passphrase of other.gallery", False)]


def test_no_key_is_a_mistake_of_use(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is sealed, and no key was given"):
        Keys().secret("x")
    with pytest.raises(UsageError, match="will be sealed, and no key was given"):
        Keys().secret("x", new=True)
    with pytest.raises(UsageError, match="empty"):
        Keys(passphrase="").secret("x")


def test_a_key_file_is_made_once_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "new" / "my.key"
    generate(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert len(path.read_bytes()) == KEY_BYTES
    before = path.read_bytes()
    with pytest.raises(UsageError, match="not overwritten"):
        generate(path)
    assert path.read_bytes() == before


# Slots that somebody has changed


def changed(slots: KeySlots, **fields: Any) -> list[dict[str, Any]]:
    (slot,) = slots.to_json()
    return [{**slot, **fields}]


@pytest.mark.parametrize(
    "cost",
    [
        [1 << 40, 3, 4],
        [2 * 1024 * 1024, 3, 4],
        [256 * 1024, 1 << 40, 4],
        [256 * 1024, 3, 1 << 40],
        [256 * 1024, 3, 0],
        [256 * 1024, 0, 4],
        [8, 1, 4],
        [-1, -1, -1],
        [256 * 1024, 3],
        [256 * 1024, 3, 4, 4],
        [256 * 1024, True, 4],
        [256 * 1024, 3.0, 4],
        [],
        {},
        None,
        "262144",
    ],
)
def test_an_absurd_cost_is_refused_before_it_is_paid(cost: object) -> None:
    slots, _ = KeySlots.new(by_words("words"))
    memory, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ValueError, match="key slot"):
        KeySlots.from_json(changed(slots, argon2=cost))
    assert time.monotonic() - began < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 64 << 10


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "none"},
        {"kind": "key-file"},
        {"kind": 1},
        {"label": None},
        {"created": 5},
        {"salt": ""},
        {"salt": "!"},
        {"salt": "AAAA"},
        {"nonce": "AAAA"},
        {"sealed": "AAAA"},
        {"sealed": 7},
        {"extra": 1},
    ],
)
def test_a_slot_of_other_fields_is_refused(fields: dict[str, Any]) -> None:
    slots, _ = KeySlots.new(by_words("words"))
    with pytest.raises(ValueError):
        KeySlots.from_json(changed(slots, **fields))


@pytest.mark.parametrize("value", [None, {}, [], {"slots": []}, {"slots": [1]}, {"slots": [{}] * 17}, {"slots": "x"}])
def test_what_is_no_list_of_slots_is_damaged(value: Any) -> None:
    with pytest.raises(Damaged, match="key slots are damaged"):
        slots_of(value if value != [] else {"slots": value}, "x")


@pytest.mark.parametrize("field", ["label", "created", "salt", "nonce", "sealed", "argon2"])
def test_a_slot_that_was_changed_opens_no_more(field: str) -> None:
    slots, _ = KeySlots.new(by_words("words"), "Anna")
    (before,) = slots.to_json()
    after = {
        "label": "Eve",
        "created": "2020-01-01",
        "salt": "A" * 22 + "==",
        "nonce": "A" * 16,
        "sealed": "A" * 64,
        "argon2": [65, 1, 1],
    }[field]
    assert after != before[field]
    with pytest.raises(WrongKey):
        KeySlots.from_json(changed(slots, **{field: after})).unlock(by_words("words"), "x")


def test_the_slow_derivation_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[bytes] = []
    derive = Slot._derive

    def counted(slot: Slot, secret: Secret) -> bytes:
        done.append(slot.salt)
        return derive(slot, secret)

    monkeypatch.setattr(Slot, "_derive", counted)
    secret = by_words("words")
    slots, master = KeySlots.new(secret)
    slots = slots.added(by_words("others"), master)
    for _ in range(3):
        slots.unlock(secret, "x")
    assert done.count(slots.slots[0].salt) == 1


def test_nothing_secret_is_shown(tmp_path: Path) -> None:
    secret = by_words("correct horse")
    keys = Keys(passphrase="x", ask=lambda *_: "y")
    keys.secret("z")
    assert "correct" not in repr(secret)
    assert secret.content.hex() not in repr(secret)
    assert "Secret" not in repr(keys) or "content" not in repr(keys)


# Boxes


def test_a_box_opens_what_was_sealed_for_its_place_only() -> None:
    box = Box(os.urandom(KEY_BYTES))
    sealed = box.seal(b"content", b"here")
    assert box.open(sealed, b"here", "x") == b"content"
    assert len(sealed) == len(b"content") + 28
    assert box.seal(b"content", b"here") != sealed
    for wrong, place in (
        (sealed, b"there"),
        (sealed[:-1], b"here"),
        (sealed[:5], b"here"),
        (b"", b"here"),
        (bytes([sealed[0] ^ 1]) + sealed[1:], b"here"),
    ):
        with pytest.raises(IntegrityError, match="not authentic"):
            box.open(wrong, place, "x")
    with pytest.raises(IntegrityError):
        Box(os.urandom(KEY_BYTES)).open(sealed, b"here", "x")

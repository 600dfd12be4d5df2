"""``leakmatch gallery verify|log|seal|compact|keys`` as users call them, and how a passphrase is asked for."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Run
from templates import unit

from leakmatch.sealed.keys import generate


def logged(run: Run, gallery: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("gallery", "log", gallery, "--json").out.splitlines()]


@pytest.fixture
def own(demo: Path, tmp_path: Path) -> Path:
    """A copy of the demo's gallery."""
    path = tmp_path / "own.gallery"
    shutil.copy(demo / "demo.gallery", path)
    return path


def test_each_opening_is_in_the_log_with_its_case(run: Run, demo: Path, own: Path, tmp_path: Path) -> None:
    before = len(logged(run, own))
    case = tmp_path / "a.case"
    run("search", demo / "people" / "barack-obama" / "obama.jpg", "-g", own)
    run("scan", demo / "people", "-g", own, "-c", case)
    run("gallery", "list", own)
    entries = logged(run, own)
    new = entries[before:]
    assert [entry["action"] for entry in new] == ["search", "scan", "list", "log"]
    assert new[1]["case"] == str(case)
    assert all(entry["when"] and "@" in entry["who"] for entry in entries)
    assert entries[0]["action"] == "create"


def test_verify_tells_sound_from_wrong_key_from_damaged_from_tampered(
    run: Run, own: Path, tmp_path: Path, key: Path
) -> None:
    def state(path: Path, **environment: str) -> tuple[int, str]:
        done = run("gallery", "verify", path, "--json", **environment)
        return done.code, json.loads(done.out)["state"]

    assert state(own) == (0, "sound")
    generate(tmp_path / "other.key")
    assert state(own, LEAKMATCH_KEY_FILE=str(tmp_path / "other.key")) == (4, "wrong-key")
    content = bytearray(own.read_bytes())
    damaged, cut, tampered = (tmp_path / name for name in ("damaged", "cut", "tampered"))
    changed = content.copy()
    changed[len(content) // 2] ^= 1
    damaged.write_bytes(changed)
    assert state(damaged) == (4, "damaged")
    cut.write_bytes(content[:-1])
    assert state(cut) == (4, "damaged")
    block = 40 + 16384 + 20
    first, second = 20480, 20480 + block
    content[first:second], content[second : second + block] = content[second : second + block], content[first:second]
    tampered.write_bytes(content)
    assert state(tampered) == (4, "tampered")
    done = run("gallery", "verify", tampered)
    assert (done.code, "tampered with" in done.err) == (4, True)
    rescued = tmp_path / "rescued.gallery"
    done = run("gallery", "verify", damaged, "--salvage", rescued)
    assert done.code in (0, 3, 4)  # by what that byte was of
    assert rescued.exists() == (done.code != 4)
    assert damaged.read_bytes() == bytes(changed)


def test_without_a_key_nothing_opens(run: Run, own: Path, tmp_path: Path) -> None:
    for arguments in (("info", own), ("list", own), ("verify", own), ("log", own), ("keys", "list", own)):
        done = run("gallery", *arguments, LEAKMATCH_KEY_FILE="")
        assert (done.code, "no key was given" in done.err) == (2, True)
    new = tmp_path / "new.gallery"
    np.savez(tmp_path / "t.npz", vectors=unit(np.random.default_rng(0), 5, 128), subject_id=np.array(list("aabbc")))
    arguments = ("gallery", "import", new, tmp_path / "t.npz", "--trust-model")
    done = run(*arguments, LEAKMATCH_KEY_FILE="")
    assert (done.code, new.exists()) == (2, False)
    assert "--unsealed" in run("gallery", "import", "--help").out
    assert run(*arguments, "--unsealed", LEAKMATCH_KEY_FILE="").code == 0
    assert new.read_bytes().startswith(b"SQLite")
    done = run("gallery", "seal", new, LEAKMATCH_KEY_FILE="")
    assert (done.code, new.read_bytes()[:6]) == (2, b"SQLite")
    assert run("gallery", "seal", new).code == 0
    assert new.read_bytes().startswith(b"LeakMatch sealed")
    assert run("gallery", "seal", new).code == 2
    assert run("gallery", "info", new, LEAKMATCH_KEY_FILE="").code == 2


def test_keys_on_the_command_line(run: Run, own: Path, tmp_path: Path) -> None:
    anna = tmp_path / "anna.key"
    assert run("gallery", "keys", "generate", anna).code == 0
    assert (anna.stat().st_mode & 0o777, anna.stat().st_size) == (0o600, 32)
    assert run("gallery", "keys", "generate", anna).code == 2
    assert run("gallery", "keys", "add", own, "--new-key-file", anna, "--label", "Anna").code == 0
    rows = [json.loads(line) for line in run("gallery", "keys", "list", own, "--json").out.splitlines()]
    assert [(row["key"], row["label"], row["used"]) for row in rows] == [(1, "", True), (2, "Anna", False)]
    assert run("gallery", "info", own, "--key-file", anna).code == 0
    assert run("gallery", "keys", "remove", own, "--key", "2").code == 0
    assert run("gallery", "info", own, "--key-file", anna).code == 4
    assert run("gallery", "keys", "remove", own, "--key", "1").code == 2
    size = own.stat().st_size
    assert run("gallery", "keys", "rotate", own, "--new-key-file", anna).code == 0
    assert run("gallery", "info", own).code == 4
    assert run("gallery", "compact", own, "--key-file", anna).code == 0
    assert own.stat().st_size < size
    assert run("gallery", "verify", own, "--key-file", anna).code == 0


def test_a_passphrase_is_asked_for_on_a_terminal_and_not_shown(pack_home: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "t.npz", vectors=unit(np.random.default_rng(0), 5, 128), subject_id=np.array(list("aabbc")))
    gallery = str(tmp_path / "p.gallery")
    secret = "five words nobody would guess"
    new = [b"New passphrase for", b"Repeat for confirmation"]
    code, said = typed(pack_home, ["gallery", "import", gallery, str(tmp_path / "t.npz"), "--trust-model"], new, secret)
    assert (code, b"5 templates added" in said, secret.encode() in said) == (0, True, False)
    code, said = typed(pack_home, ["gallery", "info", gallery], [b"Passphrase of"], secret)
    assert (code, b"templates        5" in said, secret.encode() in said) == (0, True, False)
    code, said = typed(pack_home, ["gallery", "info", gallery], [b"Passphrase of"], "something else")
    assert (code, b"wrong key" in said) == (4, True)


def typed(pack_home: Path, arguments: list[str], questions: list[bytes], answer: str) -> tuple[int, bytes]:
    """``leakmatch`` on a terminal where each question is answered; its exit code and all that was on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ["LEAKMATCH_HOME"] = str(pack_home)
        for name in ("LEAKMATCH_KEY_FILE", "LEAKMATCH_PASSPHRASE"):
            os.environ.pop(name, None)
        os.execv(sys.executable, [sys.executable, "-m", "leakmatch", *arguments])
    said, waiting, until = b"", list(questions), time.monotonic() + 60
    while time.monotonic() < until:
        if waiting and waiting[0] in said:
            time.sleep(0.2)  # until the terminal shows no more what is typed
            os.write(terminal, answer.encode() + b"\n")
            said, waiting = b"", waiting[1:]
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other side is gone
                break
            said += part
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert not waiting, said
    return os.waitstatus_to_exitcode(status), said


def test_people_are_added_to_a_plain_gallery_only_where_that_is_said(
    run: Run, demo: Path, own: Path, tmp_path: Path
) -> None:
    """Somebody may have put it in the place of a sealed one, so that who is added next can be read."""
    plain, photos = tmp_path / "plain.gallery", demo / "people"
    assert run("enroll", plain, photos / "barack-obama" / "obama.jpg", "--unsealed").code in (0, 3)
    assert run("enroll", plain, photos, "--unsealed").code == 0
    before = plain.read_bytes()
    for arguments in (("enroll", plain, photos), ("gallery", "merge", plain, own)):
        done = run(*arguments)
        assert (done.code, "is not sealed. Give --unsealed" in done.err) == (2, True)
    assert plain.read_bytes() == before
    done = run("search", photos / "barack-obama" / "obama.jpg", "-g", plain)
    assert (done.code, "is NOT sealed" in done.err) == (0, True)


def test_a_salvage_is_in_the_log_and_says_what_is_wrong(run: Run, own: Path, tmp_path: Path) -> None:
    done = run("gallery", "verify", own, "--salvage", tmp_path / "a.gallery", "--json")
    assert (done.code, json.loads(done.out)["state"], json.loads(done.out)["subjects"]) == (0, "sound", 2)
    entry = next(entry for entry in logged(run, own) if entry["action"] == "salvage")
    assert entry["into"] == str(tmp_path / "a.gallery")
    content = own.read_bytes()
    own.write_bytes(content + content[-500:])
    done = run("gallery", "verify", own, "--salvage", tmp_path / "b.gallery")
    assert (done.code, "tampered with" in done.err, "2 templates of 2 subjects" in done.err) == (3, True, True)


def test_a_removed_key_opens_nothing_of_the_file_it_was_removed_from(run: Run, own: Path, tmp_path: Path) -> None:
    """With the key slots of an older copy in their place neither an opening nor a salvage takes it."""
    anna = tmp_path / "anna.key"
    run("gallery", "keys", "generate", anna)
    run("gallery", "keys", "add", own, "--new-key-file", anna)
    old = own.read_bytes()
    run("gallery", "keys", "remove", own, "--key", "2")
    content = own.read_bytes()
    for end in (8192, 16384):
        own.write_bytes(old[:end] + content[end:])
        for more in ((), ("--salvage", tmp_path / "x.gallery")):
            assert run("gallery", "verify", own, "--key-file", anna, *more).code == 4
            assert not (tmp_path / "x.gallery").exists()
        assert run("gallery", "verify", own).code == 4


def test_no_output_takes_the_place_of_the_key(run: Run, own: Path, key: Path) -> None:
    before = key.read_bytes()
    done = run("gallery", "export", own, key)
    assert (done.code, "is the key file" in done.err) == (2, True)
    assert key.read_bytes() == before

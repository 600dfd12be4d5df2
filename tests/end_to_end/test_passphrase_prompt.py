"""A sealed gallery without a key: a question on a terminal, else exit code 2."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from galleries import pack

from leakmatch.gallery.store import Gallery
from leakmatch.sealed.keys import Keys

PASSPHRASE = "correct horse battery"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompt") / "school.gallery"
    default = pack()
    Gallery.create(path, default.name, default.model_id, 128, keys=Keys(passphrase=PASSPHRASE)).close()
    return path


def command(gallery: Path) -> list[str]:
    return [sys.executable, "-m", "leakmatch", "gallery", "info", str(gallery)]


def without_key() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LEAKMATCH_")}


def on_a_terminal(gallery: Path, answer: str) -> tuple[int, str, str]:
    """The exit code, what the terminal showed, and standard output."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(gallery), stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, env=without_key()
    )
    os.close(theirs)
    shown = b""
    while not shown.endswith(b": "):
        shown += os.read(ours, 1)
    os.write(ours, f"{answer}\n".encode())
    out, _ = process.communicate(timeout=60)
    while True:
        try:
            shown += os.read(ours, 4096) or b""
        except OSError:  # the other side is closed
            break
    os.close(ours)
    return process.returncode, shown.decode(), out


def test_the_passphrase_is_asked_for_and_never_shown(gallery: Path) -> None:
    code, shown, out = on_a_terminal(gallery, PASSPHRASE)
    assert code == 0, shown
    assert shown.startswith(f"Passphrase of {gallery}: ")
    assert "sealed           True" in out
    assert PASSPHRASE not in shown + out


def test_a_wrong_passphrase_is_said_to_be_one(gallery: Path) -> None:
    code, shown, out = on_a_terminal(gallery, "wrong")
    assert (code, out) == (4, "")
    assert "wrong key: this passphrase does not open it" in shown


def test_without_a_terminal_a_key_is_asked_for_in_words(gallery: Path) -> None:
    done = subprocess.run(
        command(gallery),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        env=without_key(),
        check=False,
    )
    assert done.returncode == 2
    assert "Give --key-file FILE or set LEAKMATCH_PASSPHRASE" in done.stderr

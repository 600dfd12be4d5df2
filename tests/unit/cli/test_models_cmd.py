"""``leakmatch models``."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from leakmatch.cli.models_cmd import app
from leakmatch.errors import IntegrityError, UsageError

FILES = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty model store."""
    monkeypatch.setenv("LEAKMATCH_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def stick(pack_home: Path, tmp_path: Path) -> Path:
    """A folder with the model files alone, as on a stick for a machine without network."""
    folder = tmp_path / "stick"
    folder.mkdir()
    for name in FILES:
        shutil.copy(pack_home / "packs" / "opencv-zoo" / name, folder)
    return folder


def models(*arguments: str | Path) -> Result:
    """Run the command; errors of LeakMatch are raised, as the command line's own frame prints them."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_from_nothing_to_installed(store: Path, stick: Path) -> None:
    before = json.loads(models("list", "--json").stdout)
    assert [(row["name"], row["installed"]) for row in before] == [("opencv-zoo", False)]
    result = models("install", "--from", stick)
    assert result.stdout == ""
    assert str(store) in result.stderr
    (row,) = json.loads(models("list", "--json").stdout)
    assert row["installed"]
    assert {file["name"]: file["present"] for file in row["files"]} == dict.fromkeys(FILES, True)
    assert row["licence"]
    assert row["model_id"].startswith("sha256:")
    assert "2 files are what the pack declares" in models("verify").stderr


def test_the_list_as_text(store: Path, stick: Path) -> None:
    text = models("list").stdout
    assert "not installed" in text
    for name in FILES:
        assert f"missing  {name}" in text
    assert models("install", "--from", stick, "--quiet").stderr == ""
    assert "present" in models("list").stdout


def test_a_changed_file_is_found(store: Path, stick: Path) -> None:
    models("install", "--from", stick)
    (store / "packs" / "opencv-zoo" / FILES[0]).write_bytes(b"changed")
    with pytest.raises(IntegrityError, match=FILES[0]):
        models("verify")
    models("install", "--from", stick)
    models("verify")


@pytest.mark.parametrize("arguments", [("verify",), ("verify", "nobody"), ("install", "nobody")])
@pytest.mark.usefixtures("store")
def test_what_is_not_there(arguments: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        models(*arguments)


@pytest.mark.usefixtures("store")
def test_a_stick_without_the_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"holds no {FILES[0]}"):
        models("install", "--from", tmp_path)
    assert models("install", "--from", tmp_path / "none").exit_code == 2


def test_an_own_pack_is_verified_by_its_path(store: Path, stick: Path) -> None:
    models("install", "--from", stick)
    assert "opencv-zoo" in models("verify", store / "packs" / "opencv-zoo").stderr

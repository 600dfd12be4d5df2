"""Prepared models: what is kept, what is made anew, and what is never run."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from leakmatch.errors import IntegrityError, LeakMatchError
from leakmatch.faces import prepared
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.graph import RECIPE
from leakmatch.faces.packs import Pack, load_pack
from leakmatch.faces.prepared import FOLDER, agreement, check, open_prepared, prepare
from leakmatch.faces.runtime import embedding_seconds, make_ready


@pytest.fixture
def copied(pack: Pack, tmp_path: Path) -> Pack:
    """The pack as a folder of one's own, prepared."""
    shutil.copytree(pack.folder, tmp_path / "own")
    return load_pack(tmp_path / "own")


def model(pack: Pack) -> Path:
    return pack.folder / FOLDER / pack.detector.file


def record(pack: Pack) -> Path:
    return pack.folder / FOLDER / f"{pack.detector.file}.json"


def test_an_installed_pack_is_prepared_and_says_from_what(pack: Pack) -> None:
    for file, found in prepare(pack).items():
        assert found.source_sha256 == pack.asset(file).sha256 != found.sha256
        assert found.recipe == RECIPE
        assert found.cosine >= 0.99999


def test_what_is_prepared_is_not_made_again(copied: Pack) -> None:
    before = model(copied).stat().st_mtime_ns
    prepare(copied)
    open_prepared(copied, copied.detector.file)
    assert model(copied).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["gone", "no record", "cut", "other", "record"])
def test_what_is_not_right_is_made_anew(copied: Pack, damage: str) -> None:
    wanted = prepare(copied)
    content = model(copied).read_bytes()
    if damage == "gone":
        shutil.rmtree(copied.folder / FOLDER)
    elif damage == "no record":
        record(copied).unlink()
    elif damage == "cut":
        model(copied).write_bytes(content[:-9])
    elif damage == "other":
        model(copied).write_bytes((copied.folder / copied.detector.file).read_bytes())
    else:
        record(copied).write_text("{}")
    assert prepare(copied) == wanted
    assert model(copied).read_bytes() == content


def test_another_recipe_or_source_is_made_anew(copied: Pack) -> None:
    wanted = prepare(copied)
    for change in ({"recipe": RECIPE + 1}, {"source_sha256": "0" * 64}):
        record(copied).write_text(json.dumps(json.loads(record(copied).read_bytes()) | change))
        assert prepare(copied) == wanted


def test_nothing_is_prepared_from_a_file_that_is_not_the_declared_one(copied: Pack) -> None:
    shutil.rmtree(copied.folder / FOLDER)
    file = copied.folder / copied.detector.file
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match="SHA-256 differs"):
        FaceEngine(copied)


def test_a_rewriting_that_gives_other_results_is_refused(copied: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnx

    def spoilt(content: bytes, *, free_size: bool) -> bytes:
        proto = onnx.load_model_from_string(content)
        weights = next(t for t in proto.graph.initializer if len(t.dims) == 4)
        weights.raw_data = bytes(len(weights.raw_data))
        return bytes(proto.SerializeToString())

    shutil.rmtree(copied.folder / FOLDER)
    monkeypatch.setattr(prepared, "rewritten", spoilt)
    with pytest.raises(IntegrityError, match=r"gives other results \(cosine"):
        prepare(copied)
    assert not (copied.folder / FOLDER).exists()


def test_a_folder_that_cannot_be_written_to_is_named(copied: Pack) -> None:
    shutil.rmtree(copied.folder / FOLDER)
    (copied.folder / FOLDER).write_text("in the way")
    with pytest.raises(LeakMatchError, match=str(copied.folder / FOLDER)):
        prepare(copied)


def test_check_compares_again(copied: Pack) -> None:
    file = copied.detector.file
    lied = json.loads(record(copied).read_bytes()) | {"cosine": 0.5}
    record(copied).write_text(json.dumps(lied))
    assert check(copied)[file].cosine >= 0.99999
    other = (copied.folder / FOLDER / copied.embedder.file).read_bytes()
    with pytest.raises((IntegrityError, ValueError)):
        agreement(copied, file, other)


def test_the_runtime_is_described_for_the_record(pack: Pack) -> None:
    runtime = make_ready(pack, "onnxruntime")
    described = runtime.describe()
    assert described["engine"].startswith("onnxruntime 1.")
    assert described["prepared_sha256"] == {file: found.sha256 for file, found in prepare(pack).items()}
    assert described["model_id"] == pack.model_id


@pytest.mark.parametrize(("openvino", "wanted"), [(0.5, "openvino"), (0.95, "onnxruntime"), (2.0, "onnxruntime")])
def test_auto_takes_the_clearly_faster(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, openvino: float, wanted: str
) -> None:
    monkeypatch.setattr("leakmatch.faces.runtime.installed", lambda engine: "1.0")
    monkeypatch.setattr(
        "leakmatch.faces.runtime.embedding_seconds", lambda *_: {"onnxruntime": 1.0, "openvino": openvino}
    )
    assert make_ready(pack).engine == wanted


def test_auto_is_onnxruntime_where_nothing_else_is_installed(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leakmatch.faces.runtime.installed", lambda engine: None if engine == "openvino" else "1.0")
    assert make_ready(pack).engine == "onnxruntime"


def test_engines_are_timed_in_turns(pack: Pack) -> None:
    times = embedding_seconds(pack, ("onnxruntime",), runs=3)
    assert 0 < times["onnxruntime"] < 10


def test_the_model_id_does_not_depend_on_the_preparation(pack: Pack) -> None:
    assert pack.asset(pack.embedder.file).sha256 in pack.model_id
    assert replace(pack, folder=Path("/nowhere")).model_id == pack.model_id

"""Packs: what a declaration must say, where packs are looked for, and that files are what they claim to be."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from leakmatch.arrays import ByteArray
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.install import install
from leakmatch.faces.packs import Pack, load_pack, pack_folder, read_pack, shipped, shipped_names, verified

REPOSITORY = Path(__file__).resolve().parents[3]
DEFAULT = REPOSITORY / "models" / "opencv-zoo" / "pack.toml"


def test_the_default_pack_is_shipped() -> None:
    assert "opencv-zoo" in shipped_names()
    pack = read_pack(shipped("opencv-zoo"))
    assert pack.embedder.dimension == 128
    assert all(asset.licence and asset.source and asset.mirrors for asset in pack.assets)
    assert pack.model_id == (
        "sha256:0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79/fp32/arcface-112-rgb-0-1-r1"
    )


def test_the_identity_is_all_that_makes_a_template(pack: Pack) -> None:
    embedder = pack.embedder
    for other in (
        replace(embedder, colour="bgr"),
        replace(embedder, mean=127.5),
        replace(embedder, std=128.0),
        replace(embedder, precision="int8"),
        replace(embedder, file=pack.detector.file),
    ):
        assert replace(pack, embedder=other).model_id != pack.model_id
    assert replace(pack, detector=replace(pack.detector, rungs=(640,))).model_id == pack.model_id


@pytest.mark.parametrize(
    ("good", "bad", "message"),
    [
        ('name = "opencv-zoo"', "", "name is missing"),
        ('name = "opencv-zoo"', 'name = "../zoo"', "name = '../zoo' is not a plain file name"),
        ("[detector]", "[detektor]", "detector is missing"),
        ('kind = "yunet"', 'kind = "haar"', r'\[detector\]: kind = .* is not "yunet" or "scrfd"'),
        ("strides = [8, 16, 32]", "strides = 8", r"\[detector\]: strides = 8 is not a list of whole numbers"),
        ("strides = [8, 16, 32]", "strides = []", r"\[detector\]: strides = \[\] is not a list of whole numbers"),
        ("rungs = [2560, 864, 480, 160]", "rungs = [160, 480]", "rungs = .* is not a list of sizes, largest first"),
        ("score_threshold = 0.6", "score_threshold = 6", "score_threshold = 6 is not a number from"),
        ("std = 1.0", "std = 0", "std = 0 is not a number from"),
        ("mean = 0.0", "mean = true", "mean = True is not a number"),
        ("dimension = 128", 'dimension = "128"', r"\[embedder\]: dimension = '128' is not a whole number"),
        ("dimension = 128", "", r"\[embedder\]: dimension is missing"),
        ('precision = "fp32"', 'precision = "fp99"', r"\[embedder\]: precision = "),
        ('file = "face_recognition_sface_2021dec.onnx"', 'file = "other.onnx"', r"file = .* of an \[\[asset\]\]"),
        ("[detector]", "[detector", "not a TOML file"),
    ],
)
def test_a_wrong_declaration_names_the_key(tmp_path: Path, good: str, bad: str, message: str) -> None:
    text = DEFAULT.read_text(encoding="utf-8")
    assert good in text
    (tmp_path / "pack.toml").write_text(text.replace(good, bad, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=message) as caught:
        read_pack(tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nobody: not a model pack\. Give a name \(opencv-zoo\) or a folder"):
        load_pack("nobody", tmp_path)
    with pytest.raises(UsageError, match="no model pack 'nobody' to install"):
        install("nobody", tmp_path)


def test_a_pack_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"not installed.*leakmatch models install opencv-zoo"):
        load_pack("opencv-zoo", tmp_path)


@pytest.fixture
def copied(pack: Pack, tmp_path: Path) -> Path:
    """A model store of its own, with the default pack."""
    return install("opencv-zoo", tmp_path / "store", from_dir=pack.folder).folder


def test_install_from_a_folder_makes_a_complete_pack(copied: Path) -> None:
    names = {path.name for path in copied.iterdir()}
    assert names >= {"pack.toml", "card.md", "calibration.json", "face_detection_yunet_2023mar.onnx"}
    assert load_pack("opencv-zoo", copied.parents[1]).folder == copied
    assert load_pack(copied).model_id == load_pack(str(copied)).model_id


def test_a_folder_named_as_a_shipped_pack(copied: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``./opencv-zoo`` is the folder, and stays it where the pack's folder is handed on as text."""
    monkeypatch.chdir(copied.parent)
    monkeypatch.setenv("LEAKMATCH_HOME", str(tmp_path / "none"))
    pack = load_pack("./opencv-zoo")
    assert load_pack(str(pack.folder)).folder == copied


def test_installing_again_needs_no_files(copied: Path, tmp_path: Path) -> None:
    (copied / "pack.toml").write_text("old")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UsageError, match="not in this version"):
        load_pack("opencv-zoo", copied.parents[1])
    install("opencv-zoo", copied.parents[1], from_dir=empty)
    assert load_pack("opencv-zoo", copied.parents[1]).name == "opencv-zoo"


def test_a_model_file_that_is_missing(copied: Path) -> None:
    (copied / "face_recognition_sface_2021dec.onnx").unlink()
    with pytest.raises(UsageError, match=r"sface_2021dec\.onnx: this model file is missing\. Install it with"):
        load_pack("opencv-zoo", copied.parents[1])
    with pytest.raises(UsageError, match=r"is missing\. Put it beside pack\.toml"):
        load_pack(copied)


def test_a_model_file_that_was_changed(copied: Path) -> None:
    file = copied / "face_detection_yunet_2023mar.onnx"
    content = bytearray(file.read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    pack = load_pack(copied)
    with pytest.raises(IntegrityError, match="not the model that the pack opencv-zoo declares"):
        verified(pack, file.name)


def test_the_store_is_the_home_unless_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LEAKMATCH_HOME", str(tmp_path))
    assert pack_folder("opencv-zoo") == tmp_path / "packs" / "opencv-zoo"


# --- the example of docs/packs.md -------------------------------------------------------------------------------


def documented() -> str:
    """The pack.toml that docs/packs.md shows."""
    (block,) = re.findall(r"```toml\n(.*?)```", (REPOSITORY / "docs" / "packs.md").read_text(encoding="utf-8"), re.S)
    return str(block)


def test_the_documented_pack_is_well_declared(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(documented(), encoding="utf-8")
    pack = read_pack(tmp_path)
    assert (pack.detector.kind, pack.embedder.dimension) == ("scrfd", 512)
    with pytest.raises(UsageError, match=r"det_2\.5g\.onnx: this model file is missing"):
        load_pack(tmp_path)


@pytest.mark.parametrize("file", ["det_2.5g.onnx", "det_500m.onnx"])
def test_a_pack_of_ones_own_works_by_declaration_alone(
    tmp_path: Path, portrait: ByteArray, shared_models: Path, file: str
) -> None:
    text = documented()
    if file == "det_500m.onnx":
        sha256 = "5e4447f50245bbd7966bd6c0fa52938c61474a04ec7def48753668a9d8b4ea3a"
        text = re.sub("041f[0-9a-f]{60}", sha256, text).replace("det_2.5g.onnx", file).replace("3292009", "2524817")
    (tmp_path / "pack.toml").write_text(text, encoding="utf-8")
    for name in (file, "w600k_mbf_int8.onnx"):
        shutil.copy(shared_models / name, tmp_path)
    engine = FaceEngine(load_pack(tmp_path))
    half = np.asarray(cv2.resize(portrait, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA))
    vectors = []
    for picture in (portrait, half):
        faces, templates, crops = engine.analyse(picture)
        assert len(faces) == len(templates) == len(crops) == 1
        assert templates.vectors.shape == (1, 512)
        vectors.append(templates.vectors[0])
    assert vectors[0] @ vectors[1] > 0.8
    assert not engine.pack.calibration.exists()

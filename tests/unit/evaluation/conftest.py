"""A pack whose faces are colours."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from colours import Colours

from leakmatch.evaluation import identification, verification
from leakmatch.faces.packs import shipped
from leakmatch.faces.runtime import Runtime
from leakmatch.pipeline import inline


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack whose model files are never opened."""
    monkeypatch.setattr(inline, "FaceEngine", Colours)
    for module in (verification, identification):
        monkeypatch.setattr(module, "make_ready", lambda pack, engine: Runtime(pack, "colours", "1", {}))
    monkeypatch.setenv("LEAKMATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Colours, "looked_at", 0)
    folder = tmp_path / "pack"
    shutil.copytree(shipped("opencv-zoo"), folder)
    for name in ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx"):
        (folder / name).write_bytes(b"")
    return folder

"""A pack whose faces are colours."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from colours import Colours, calibration_of

from leakmatch.evaluation import identification, verification
from leakmatch.faces.packs import CALIBRATION, load_pack, shipped
from leakmatch.faces.runtime import Runtime
from leakmatch.matching.normalisation import Normalisation
from leakmatch.pipeline import inline


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack whose model files are never opened. Its normalisation changes no template."""
    monkeypatch.setattr(inline, "FaceEngine", Colours)
    for module in (verification, identification):
        monkeypatch.setattr(module, "make_ready", lambda pack, engine: Runtime(pack, "colours", "1", {}))
    monkeypatch.setenv("LEAKMATCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(Colours, "looked_at", 0)
    folder = tmp_path / "pack"
    shutil.copytree(shipped("opencv-zoo"), folder)
    for name in ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx"):
        (folder / name).write_bytes(b"")
    unchanged = Normalisation.of(np.zeros(3), np.eye(3))
    (folder / CALIBRATION).write_bytes(calibration_of(load_pack(str(folder)).model_id, 3, unchanged))
    return folder

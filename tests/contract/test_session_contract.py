"""What every engine does: one suite, inherited by each."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import leakmatch
from leakmatch.errors import IntegrityError, UsageError
from leakmatch.faces.embed import Embedder
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import Pack, load_pack, verified
from leakmatch.faces.prepared import open_prepared
from leakmatch.faces.session import installed, open_session

THREADS = """
import sys, threading
from pathlib import Path
import cv2, numpy as np
from leakmatch.faces.engine import FaceEngine
from leakmatch.faces.packs import load_pack
cv2.setNumThreads(1)
engine = FaceEngine(load_pack("opencv-zoo", Path(sys.argv[1])), sys.argv[2])
tasks = Path("/proc/self/task")
def others():
    fields = {t.name: (t / "stat").read_text().rsplit(")", 1)[1].split() for t in tasks.iterdir()}
    return sum(int(f[11]) + int(f[12]) for name, f in fields.items() if name != str(threading.main_thread().native_id))
before = others()
for _ in range(20):
    engine.analyse(cv2.imread(sys.argv[3]))
print(len(list(tasks.iterdir())), others() - before, Path.home().joinpath(".cache").exists())
"""


class SessionContract:
    """The suite. A subclass names its engine."""

    ENGINE: str

    @pytest.fixture(autouse=True)
    def engine(self) -> str:
        if installed(self.ENGINE) is None:
            pytest.skip(f"{self.ENGINE} is not installed")
        return self.ENGINE

    @pytest.fixture
    def pack(self, pack_home: Path) -> Pack:
        return load_pack("opencv-zoo", pack_home)

    def test_every_model_gives_what_the_shipped_file_gives(self, engine: str, pack: Pack) -> None:
        picture = np.random.default_rng(3).integers(0, 256, (1, 3, 640, 640)).astype(np.float32)
        for file in (pack.detector.file, pack.embedder.file):
            shipped, ours = open_session(verified(pack, file), file), open_prepared(pack, file, engine)
            assert ours.outputs == shipped.outputs
            blob = picture[:, :, : int(shipped.input_shape[2]), : int(shipped.input_shape[3])]  # type: ignore[arg-type]
            for found, wanted in zip(ours.run(blob), shipped.run(blob), strict=True):
                assert found.shape == wanted.shape
                assert found.dtype == np.float32
                a, b = found.ravel().astype(np.float64), wanted.ravel().astype(np.float64)
                assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) >= 0.99999

    def test_a_result_does_not_change_with_the_next_run(self, engine: str, pack: Pack) -> None:
        session = open_prepared(pack, pack.embedder.file, engine)
        first = session.run(np.full((1, 3, 112, 112), 100, np.float32))[0]
        kept = first.copy()
        session.run(np.full((1, 3, 112, 112), 200, np.float32))
        np.testing.assert_array_equal(first, kept)

    def test_the_detector_takes_pictures_of_any_size(self, engine: str, pack: Pack) -> None:
        session = open_prepared(pack, pack.detector.file, engine)
        for height, width in ((64, 96), (160, 32), (64, 96)):
            found = session.run(np.zeros((1, 3, height, width), np.float32))
            assert found[0].shape == (1, height * width // 64, 1)

    def test_another_shape_is_refused(self, engine: str, pack: Pack) -> None:
        session = open_prepared(pack, pack.embedder.file, engine)
        with pytest.raises(IntegrityError, match=r"sface.*cannot be run on an input of shape \(1, 3, 96, 96\)"):
            session.run(np.zeros((1, 3, 96, 96), np.float32))

    def test_what_is_no_model_is_refused(self, engine: str) -> None:
        with pytest.raises(IntegrityError, match=f"bad: {engine} does not accept this model"):
            open_session(b"\x08\x08nonsense", "bad", engine)

    def test_templates_of_all_engines_agree(self, engine: str, pack: Pack) -> None:
        crops = np.random.default_rng(4).integers(0, 256, (2, 112, 112, 3), np.uint8)
        reference = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file), "")
        ours = Embedder(pack.embedder, open_prepared(pack, pack.embedder.file, engine), "")
        cosines = (reference.embed(crops)[0] * ours.embed(crops)[0]).sum(axis=1)
        assert cosines == pytest.approx(1, abs=1e-5)

    def test_a_face_is_found_and_embedded(self, engine: str, pack: Pack, sample_photos: Path) -> None:
        import cv2

        portrait = np.asarray(cv2.imread(str(sample_photos / "astronaut.png")))
        faces, templates, _ = FaceEngine(pack, engine).analyse(portrait)
        wanted, reference, _ = FaceEngine(pack).analyse(portrait)
        assert len(faces) == 1
        np.testing.assert_allclose(faces.boxes, wanted.boxes, atol=0.01)
        assert templates.vectors[0] @ reference.vectors[0] >= 0.9999

    @pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
    def test_one_thread_works_and_nothing_is_left_at_home(
        self, engine: str, pack_home: Path, sample_photos: Path, tmp_path: Path
    ) -> None:
        from leakmatch.pipeline.process import scrubbed_environment

        found = subprocess.run(
            [sys.executable, "-c", THREADS, str(pack_home), engine, str(sample_photos / "astronaut.png")],
            env=scrubbed_environment() | {"HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        threads, ticks, left_at_home = found.stdout.split()
        assert int(ticks) <= 1  # hundredths of a second in which any other thread worked
        assert engine != "onnxruntime" or int(threads) == 1
        assert left_at_home == "False"


class TestOnnxRuntime(SessionContract):
    ENGINE = "onnxruntime"


class TestOpenVino(SessionContract):
    ENGINE = "openvino"


def test_an_engine_that_is_not_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r'pip install "leakmatch\[openvino\]"'):
        open_session(b"", "any", "openvino")


def test_there_is_one_door_to_onnxruntime() -> None:
    """Whoever imports it elsewhere lets its telemetry begin."""
    package = Path(leakmatch.__file__).parent
    importing = [
        p.name for p in package.rglob("*.py") if re.search(r"^\s*(import|from) onnxruntime", p.read_text(), re.M)
    ]
    assert importing == ["ort.py"]

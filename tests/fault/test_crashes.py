"""A few of the crashes that scripts/crash_loop.py and scripts/crash_disk.py go through in full."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.models

SCRIPTS = Path(__file__).parents[2] / "scripts"
NO_COMPILER = 77


def crash(script: str, home: Path, photos: Path, figures: Path, *options: str) -> dict[str, Any]:
    """The figures of a script that found nothing wrong."""
    done = subprocess.run(
        [sys.executable, SCRIPTS / script, "--photos", photos, "--json", figures, *options],
        capture_output=True,
        text=True,
        env={**os.environ, "LEAKMATCH_HOME": str(home), "TMPDIR": str(figures.parent)},
    )
    if done.returncode == NO_COMPILER:
        pytest.skip("no C compiler (cc) here, so no disk can be made to fail")
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(figures.read_text())
    assert told["failures"] == []
    return told


def test_killed_in_any_part_a_scan_ends_the_same(pack_home: Path, sample_photos: Path, tmp_path: Path) -> None:
    options = ("--kills", "3", "--pictures", "9", "--seed", "5")
    told = crash("crash_loop.py", pack_home, sample_photos, tmp_path / "figures.json", *options)
    assert sum(told["kills"].values()) >= 3


@pytest.mark.parametrize("what", ["scan", "enroll"])
def test_on_a_failing_disk_and_without_power_nothing_is_lost(
    pack_home: Path, sample_photos: Path, tmp_path: Path, what: str
) -> None:
    every = {"scan": "120", "enroll": "80"}[what]
    options = ("--only", what, "--every", every, "--pictures", "2")
    told = crash("crash_disk.py", pack_home, sample_photos, tmp_path / "figures.json", *options)
    assert set(told["faults"]) == {"killed", "full", "full-on", "failing", "failing-on", "power-all", "power-some"}
    for kind, endings in told["endings"].items():
        assert set(endings) <= ({"-9"} if kind.startswith(("killed", "power")) else {"5", "0", "3"}), kind


def test_a_resumed_scan_keeps_its_engine(
    pack_home: Path, sample_photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two engines differ in the last digits, so that which is faster today must not decide."""
    from leakmatch.case.store import Case
    from leakmatch.errors import IntegrityError
    from leakmatch.faces import runtime
    from leakmatch.faces.session import ONNXRUNTIME, OPENVINO, installed
    from leakmatch.pipeline.enrol import enroll
    from leakmatch.pipeline.scan import scan
    from leakmatch.settings import Settings

    if installed(OPENVINO) is None:
        pytest.skip("only one engine is installed")
    monkeypatch.setenv("LEAKMATCH_HOME", str(pack_home))
    settings = Settings(isolation=False, workers=1)
    (tmp_path / "people" / "collins").mkdir(parents=True)
    (tmp_path / "people" / "collins" / "1.png").write_bytes((sample_photos / "astronaut.png").read_bytes())
    enroll(tmp_path / "a.gallery", [tmp_path / "people"], settings)
    (tmp_path / "seized").mkdir()
    (tmp_path / "seized" / "1.png").write_bytes((sample_photos / "astronaut.png").read_bytes())
    arguments = ([tmp_path / "seized"], tmp_path / "a.gallery", tmp_path / "a.case")
    monkeypatch.setattr(runtime, "_faster", lambda pack: OPENVINO)

    def stop(run: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scan(*arguments, settings, announce=stop)
    monkeypatch.setattr(runtime, "_faster", lambda pack: ONNXRUNTIME)
    with pytest.raises(IntegrityError, match="another engine"):
        scan(*arguments, Settings(isolation=False, workers=1, engine=ONNXRUNTIME))
    scan(*arguments, settings)
    with Case.open(tmp_path / "a.case") as case:
        assert case.finished is not None
        assert case.run["pack"]["engine"].startswith(OPENVINO)

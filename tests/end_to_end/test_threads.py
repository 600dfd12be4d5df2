"""No library starts threads of its own: a scan has the processes and the threads that LeakMatch starts, and no more."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from leakmatch.bench import generated
from leakmatch.bench.processes import Watch
from leakmatch.faces.packs import load_pack
from leakmatch.offered import ONE_THREAD
from leakmatch.pipeline.matcher import THREADS_FROM
from leakmatch.settings import usable_cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")

PHOTOS = 12
_LARGE = """
import sys
from leakmatch.cli.app import run
from leakmatch.pipeline import matcher
matcher.THREADS_FROM = 1
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def photos(sample_photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip with a portrait many times, each with another byte behind its end."""
    path = tmp_path_factory.mktemp("threads") / "photos.zip"
    portrait = (sample_photos / "obama.jpg").read_bytes()
    with zipfile.ZipFile(path, "w") as target:
        for number in range(PHOTOS):
            target.writestr(f"{number}.jpg", portrait + bytes([number]))
    return path


def threads(command: list[str], pack_home: Path) -> dict[str, int]:
    """The most threads that one process of each role had."""
    environment = {name: value for name, value in os.environ.items() if name not in ONE_THREAD}
    environment |= {"LEAKMATCH_HOME": str(pack_home), "LEAKMATCH_WORKERS": "2"}
    with (
        subprocess.Popen([sys.executable, *command], env=environment) as process,
        Watch(process.pid, memory=False) as watch,
    ):
        assert process.wait(timeout=300) == 0
    return dict(watch.usage().threads)


def scan(photos: Path, pack_home: Path, tmp_path: Path, templates: int) -> list[str]:
    gallery, case = tmp_path / "a.gallery", tmp_path / "a.case"
    generated.gallery(gallery, load_pack("opencv-zoo", pack_home), templates)
    arguments = ["scan", str(photos), "--gallery", str(gallery), "--case", str(case), "--quiet"]
    return [*arguments, "--engine", "onnxruntime"]


def test_every_process_of_a_scan_has_one_thread(photos: Path, pack_home: Path, tmp_path: Path) -> None:
    # 60,000 templates are enough for the int8 screen, so that onnxruntime is in the parent, too
    arguments = scan(photos, pack_home, tmp_path, 60_000)
    assert threads(["-m", "leakmatch", *arguments], pack_home) == {"parent": 1, "reader": 1, "analyser": 1}


def test_the_join_with_a_large_gallery_has_one_thread_for_each_core(
    photos: Path, pack_home: Path, tmp_path: Path
) -> None:
    assert THREADS_FROM > 60_000
    arguments = scan(photos, pack_home, tmp_path, 60_000)
    found = threads(["-c", _LARGE, *arguments], pack_home)
    assert found["reader"] == found["analyser"] == 1
    assert 2 <= found["parent"] <= 1 + usable_cores()

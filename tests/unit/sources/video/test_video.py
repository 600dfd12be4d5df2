"""Frames of videos: which, when, upright, and what becomes of videos that are not whole."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

pytest.importorskip("av")

from PIL import Image
from videos import KINDS, scene, seen, video

from leakmatch.records import Budget, ItemKind, Outcome
from leakmatch.sources import registry
from leakmatch.sources.video.formats import PICTURE_BRANDS, detect_video

THREE_SCENES = [scene(number, shift) for number in range(3) for shift in range(20)]


def pictures(walk):
    return [np.asarray(Image.open(io.BytesIO(e.payload))) for e in walk.entries if e.kind is ItemKind.FRAME]


def alike(found, frame) -> bool:
    return found.shape == frame.shape and np.abs(found.astype(int) - frame).mean() < 12


def is_of(found) -> int:
    """The scene of a picture."""
    return min(range(3), key=lambda n: min(np.abs(found.astype(int) - scene(n, s)).mean() for s in range(20)))


@pytest.mark.parametrize("kind", KINDS)
def test_every_scene_of_every_format_is_found_at_its_time(kind, tmp_path):
    walk = seen(video(THREE_SCENES, kind), tmp_path)
    assert walk.root.outcome is Outcome.WALKED
    assert walk.root.kind is ItemKind.CONTAINER
    found = pictures(walk)
    assert {is_of(picture) for picture in found} == {0, 1, 2}
    for entry, picture in zip(walk.entries[1:], found, strict=True):
        assert entry.outcome is None
        _, number, _, seconds, _ = entry.locator.name.split()
        assert abs(float(seconds) - int(number) / 10) < 0.11
        assert int(number) // 20 == is_of(picture)
    assert walk.codes == {"frames-sampled"}


def test_a_second_walk_finds_the_same(tmp_path):
    data = video(THREE_SCENES)
    assert seen(data, tmp_path) == seen(data, tmp_path)


def test_a_still_picture_is_looked_at_once(tmp_path):
    walk = seen(video([scene(1)] * 50), tmp_path)
    assert [entry.locator.name for entry in walk.entries[1:]] == ["frame 0 at 0.000 s"]
    (incident,) = walk.incidents
    assert incident.message.startswith("1 of about 50 frames kept to be looked at: the others look much like them; ")


def test_the_budget_is_spread_over_the_whole_length(tmp_path):
    frames = [scene(number % 7, 40 * number) for number in range(120)]
    walk = seen(video(frames, group=5), tmp_path, Budget(video_frames=6))
    numbers = [int(entry.locator.name.split()[1]) for entry in walk.entries[1:]]
    assert len(numbers) == 6
    assert "frames kept to be looked at: more would pass the budget; " in walk.incidents[0].message
    assert all(abs(number - even) <= 5 for number, even in zip(numbers, range(0, 120, 20), strict=True))


@pytest.mark.parametrize(("turn", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_frames_are_turned_as_the_file_says(turn, turns, tmp_path):
    (found,) = pictures(seen(video([scene(1)] * 3, turn=turn), tmp_path))
    assert alike(found, np.rot90(scene(1), turns))


def test_a_video_in_an_archive(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/clip.bin", video(THREE_SCENES, "webm"))
    for buffer in (1 << 20, 100):  # in memory, and by the scratch space
        walk = seen(packed.getvalue(), tmp_path, Budget(buffer_bytes=buffer))
        assert {is_of(picture) for picture in pictures(walk)} == {0, 1, 2}
        assert [entry.locator.depth for entry in walk.entries[:3]] == [0, 1, 2]


@pytest.mark.parametrize("kind", ["mp4", "webm", "avi", "mov"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.95])
def test_a_cut_video_is_never_called_whole(kind, share, tmp_path):
    data = video(THREE_SCENES, kind)
    walk = seen(data[: int(len(data) * share)], tmp_path)
    assert walk.root.outcome in (Outcome.PARTIAL, Outcome.UNREADABLE)
    for picture in pictures(walk):
        assert min(np.abs(picture.astype(int) - frame).mean() for frame in THREE_SCENES) < 12


FRESH = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from videos import seen
data = sys.stdin.buffer.read()
for entry in seen(data, Path(sys.argv[2])).entries:
    print(entry.locator.name, entry.sha256.hex() if entry.sha256 else None)
"""


@pytest.mark.parametrize("kind", ["mp4", "webm", "mpg", "wmv"])
def test_no_pixels_of_another_video(kind, tmp_path):
    seen(video([scene(9, shift) for shift in range(40)], kind), tmp_path)
    data = bytearray(video(THREE_SCENES, kind))
    data[len(data) // 2 : len(data) // 2 + 600] = bytes(600)
    here = [f"{e.locator.name} {e.sha256.hex() if e.sha256 else None}" for e in seen(bytes(data), tmp_path).entries]
    tests = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))  # noqa: PTH120
    command = [sys.executable, "-c", FRESH, tests, str(tmp_path)]
    fresh = subprocess.run(command, input=bytes(data), capture_output=True, check=True)
    assert fresh.stdout.decode().splitlines() == here


def test_frames_larger_than_the_budget(tmp_path):
    walk = seen(video([scene(1)] * 3), tmp_path, Budget(pixels=1000))
    assert [entry.outcome for entry in walk.entries[1:]] == [Outcome.OVER_BUDGET]
    assert "160 x 120" in walk.entries[1].detail


def test_a_film_that_refers_to_another_file_opens_none(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(video(THREE_SCENES))
    name = os.fsencode(secret)
    data = video([scene(1)] * 3, "mov").replace(b"url \0\0\0\1", b"url \0\0\0\0")
    walk = seen(data + name, tmp_path)
    assert {is_of(picture) for picture in pictures(walk)} <= {1}


@pytest.mark.parametrize("text", [b"#EXTM3U\n/etc/passwd\n", b"ffconcat version 1.0\nfile /etc/passwd\n"])
def test_play_lists_are_no_videos(text, tmp_path):
    assert detect_video(text) is None
    assert seen(text, tmp_path).root.outcome is Outcome.NOT_IMAGE


def test_a_missing_package_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    root = seen(video_bytes(), tmp_path).root
    assert root.outcome is Outcome.NEEDS_EXTRA
    assert "pip install 'leakmatch[video]'" in root.detail


def video_bytes() -> bytes:
    return b"\0\0\0\x18ftypisom\0\0\2\0isommp41\0\0\0\x08free"


def test_pictures_are_no_videos(tmp_path):
    from leakmatch.imaging import sniff

    assert sniff._AVIF_BRANDS | sniff._HEIF_BRANDS | {b"crx "} == PICTURE_BRANDS
    for brand in PICTURE_BRANDS:
        assert registry.detect(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0" + brand + brand) is None
    text = b"A line of text with free and skip and moov in it, and mdat.\n"
    for start in range(len(text)):
        assert detect_video(text[start:] * 20) is None

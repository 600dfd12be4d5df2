"""Counting frames from a file's structure, in bounded time."""

from __future__ import annotations

import io
import struct
import time

import pytest

from leakmatch.imaging import frames
from leakmatch.imaging.frames import gif_frames, png_sound, spread, tiff_pages


def written(scene, name: str, count: int, **options: object) -> bytes:
    file = io.BytesIO()
    others = [scene(seed + 2) for seed in range(count - 1)]
    scene().save(file, name, save_all=True, append_images=others, **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("count", "wanted", "expected"),
    [
        (1, 8, (0,)),
        (3, 8, (0, 1, 2)),
        (8, 8, tuple(range(8))),
        (12, 4, (0, 4, 7, 11)),
        (100, 2, (0, 99)),
        (100, 1, (0,)),
        (10**9, 3, (0, 500000000, 999999999)),
    ],
)
def test_spread(count, wanted, expected):
    assert spread(count, wanted) == expected


@pytest.mark.parametrize("count", [1, 2, 7])
def test_gif(scene, count):
    payload = written(scene, "GIF", count, comment=b"hello" * 100)
    assert gif_frames(payload) == (count, True)
    assert gif_frames(payload[:-1]) == (count, False)
    assert gif_frames(payload[:20])[1] is False


def test_gif_with_stray_bytes_between_blocks(scene):
    payload = written(scene, "GIF", 1)
    assert gif_frames(payload[:-1] + b"\0\0\0;") == (1, True)


@pytest.mark.parametrize("options", [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}])
def test_tiff(scene, options):
    payload = written(scene, "TIFF", 5, **options)
    assert tiff_pages(payload) == (5, True)
    pages, sound = tiff_pages(payload[: len(payload) // 2])
    assert pages < 5
    assert not sound


@pytest.mark.parametrize("payload", [b"", b"II", b"II*\0", b"II*\0\xff\xff\xff\xff", b"II+\0\x08\0\0\0" + b"\xff" * 8])
def test_tiff_without_directories(payload):
    assert tiff_pages(payload) == (0, False)


def test_tiff_directory_that_points_at_itself():
    assert tiff_pages(b"II*\0\x08\0\0\0" + struct.pack("<HI", 0, 8)) == (1, True)


def test_png(scene, encode):
    payload = encode(scene(), "PNG")
    assert png_sound(payload)
    assert png_sound(payload + b"behind the end")
    assert not png_sound(payload[:-1])
    assert not png_sound(payload[:8])
    damaged = bytearray(payload)
    damaged[len(payload) // 2] ^= 1
    assert not png_sound(bytes(damaged))


def test_counting_is_bounded(monkeypatch):
    monkeypatch.setattr(frames, "_GIF_BLOCKS", 100_000)
    monkeypatch.setattr(frames, "_PNG_CHUNKS", 100_000)
    started = time.perf_counter()
    gif = b"GIF89a\1\0\1\0\0\0\0"
    assert gif_frames(gif + b"," + bytes(9) + b"\2" + b"\1\0" * 4_000_000)[1] is False
    assert gif_frames(gif + (b"," + bytes(9) + b"\2\0") * 400_000)[1] is False
    assert png_sound(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt\x7a\xb6\xd6\x6a" * 400_000) is False
    chain = b"".join(struct.pack("<HI", 0, 8 + 6 * (i + 1)) for i in range(100_000))
    assert tiff_pages(b"II*\0\x08\0\0\0" + chain) == (1024, False)
    assert time.perf_counter() - started < 5

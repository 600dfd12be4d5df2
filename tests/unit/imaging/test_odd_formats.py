"""Formats with weak signatures, pictures inside of others, and when an animation shows a frame."""

from __future__ import annotations

import base64
import io
import struct

import numpy as np
import pytest

from leakmatch.errors import ItemError
from leakmatch.imaging.decode import decode, decode_larger
from leakmatch.imaging.sniff import image_format
from leakmatch.records import Budget, Outcome


def gray(scene) -> np.ndarray:
    return np.asarray(scene().convert("L"))


def gd(scene) -> bytes:
    pixels = gray(scene)
    palette = b"".join(bytes((n, n, n, 0)) for n in range(256))
    return struct.pack(">HHHBHi", 0xFFFF, 96, 64, 0, 256, -1) + palette + pixels.tobytes()


def wal(scene) -> bytes:
    area = 96 * 64
    sizes = (96, 64, 100, 100 + area, 100 + area + area // 4, 100 + area + area // 4 + area // 16)
    return bytes(32) + struct.pack("<6I", *sizes) + bytes(44) + gray(scene).tobytes() + bytes(area // 2)


def spider(scene) -> bytes:
    file = io.BytesIO()
    scene().convert("F").save(file, "SPIDER")
    return file.getvalue()


@pytest.mark.parametrize(("make", "name"), [(gd, "GD"), (wal, "WAL"), (spider, "SPIDER")])
def test_formats_without_a_good_signature(make, name, scene):
    payload = make(scene)
    assert image_format(payload[:4096]) == name
    (picture,) = decode(payload, Budget())
    assert picture.source_size == (96, 64)
    if name == "GD":
        assert np.array_equal(picture.bgr[..., 0], gray(scene))
    for at in (2, 4, 7, 44, 48, 52, 88):  # one field that does not fit the others
        broken = bytearray(payload)
        broken[at] ^= 0x55
        assert image_format(bytes(broken[:4096])) in (name, None, "TGA")
    rng = np.random.default_rng(1)
    assert all(image_format(rng.bytes(4096)) not in ("GD", "WAL", "SPIDER") for _ in range(300))


def test_a_set_bit_of_an_xbm_is_black():
    text = b"#define a_width 8\n#define a_height 2\nstatic char a_bits[] = {\n0xff, 0x00 };\n"
    (picture,) = decode(text, Budget())
    assert picture.bgr[:, 0, 0].tolist() == [0, 255]


def test_the_brightness_of_a_photo_cd():
    rows = np.zeros((256, 768 * 3), np.uint8)
    rows[:, :768] = 200
    rows[:, 768:1536] = 50
    payload = bytes(2048) + b"PCD_IPI" + bytes(96 * 2048 - 2048 - 7) + rows.tobytes()
    (picture,) = decode(payload, Budget())
    assert picture.source_size == (768, 512)
    assert picture.bgr[:4, 0].tolist() == [[200] * 3, [50] * 3, [200] * 3, [50] * 3]
    sideways = bytearray(payload)
    sideways[2048 + 1538] = 1
    (picture,) = decode(bytes(sideways), Budget())
    assert picture.source_size == (512, 768)


def test_a_fax_is_known_for_two_colours(scene, encode):
    assert next(decode(encode(scene().convert("1"), "PNG"), Budget())).bilevel
    assert next(decode(encode(scene().convert("1").convert("RGB"), "PNG"), Budget())).bilevel
    assert not next(decode(encode(scene(), "PNG"), Budget())).bilevel


def test_the_preview_of_a_camera_is_looked_at(scene, encode):
    small, large = encode(scene(1), "JPEG"), encode(scene(1, 2000, 1500), "JPEG", quality=95)
    payload = b"FUJIFILMCCD-RAW 0201" + bytes(100) + small + bytes(50) + large + bytes(1000)
    (picture,) = decode(payload, Budget())
    assert picture.source_size == (2000, 1500)
    assert picture.complete
    assert "Fujifilm raw" in picture.detail
    assert picture.scale < 1
    pixels, scale = decode_larger(payload, Budget(), 1.0)
    assert (pixels.shape[:2], scale) == ((1500, 2000), 1.0)


def test_the_preview_of_a_dng_is_looked_at(scene, encode):
    large = encode(scene(1, 640, 480), "JPEG")
    file = io.BytesIO()
    scene(1).save(file, "TIFF", tiffinfo={50706: b"\1\4\0\0"})
    (picture,) = decode(file.getvalue() + large, Budget())
    assert (picture.source_size, picture.complete) == ((640, 480), True)
    (picture,) = decode(file.getvalue(), Budget())
    assert picture.source_size == (96, 64)


def test_pictures_in_a_drawing_are_not_all_of_it(scene, encode):
    data = base64.b64encode(encode(scene(), "PNG")).decode()
    payload = f"<svg xmlns='x'><image href='data:image/png;base64,{data}'/></svg>".encode()
    (picture,) = decode(payload, Budget())
    assert not picture.complete
    assert "SVG" in picture.detail
    with pytest.raises(ItemError) as caught:
        list(decode(b"<svg xmlns='x'><image href='data:image/png;base64,AAAA" + b"A" * 200 + b"'/></svg>", Budget()))
    assert caught.value.outcome == Outcome.UNREADABLE


@pytest.mark.parametrize(("name", "options"), [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("AVIF", {})])
def test_frames_that_differ_with_their_times(name, options, scene):
    frames = [scene(seed) for seed in (1, 1, 1, 1, 2, 2, 2, 3)]
    frames = [frame.copy() for frame in frames]
    for number, frame in enumerate(frames):  # encoders join frames that are equal
        frame.putpixel((0, 0), (number, 0, 0))
    file = io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:], duration=200, **options)
    pictures = list(decode(file.getvalue(), Budget()))
    assert [picture.seconds for picture in pictures] == [0.0, 0.8, 1.4]
    if name != "GIF":  # its encoder joins them all the same
        assert [picture.frame for picture in pictures] == [0, 4, 7]
        assert pictures[0].detail == "3 of 8 frames looked at: those that differ most; all were compared"

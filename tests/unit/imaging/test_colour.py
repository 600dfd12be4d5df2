"""Every mode to 8-bit BGR."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image

from leakmatch.imaging.colour import to_bgr
from leakmatch.imaging.decode import decode
from leakmatch.records import Budget


def only(payload: bytes) -> np.ndarray:
    (picture,) = decode(payload, Budget())
    assert picture.complete
    return picture.bgr


RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def gray(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def test_channels_are_blue_green_red():
    assert to_bgr(Image.new("RGB", (1, 1), (10, 20, 30))).tolist() == [[[30, 20, 10]]]


def test_result_is_writable_and_contiguous():
    pixels = to_bgr(Image.new("RGB", (3, 2)))
    assert (pixels.shape, pixels.dtype, pixels.flags.c_contiguous, pixels.flags.writeable) == (
        (2, 3, 3),
        np.uint8,
        True,
        True,
    )


def test_gray_and_bilevel():
    assert np.array_equal(to_bgr(Image.fromarray(RAMP)), gray(RAMP))
    assert np.array_equal(to_bgr(Image.fromarray(RAMP > 99)), gray(np.where(RAMP > 99, 255, 0)))


@pytest.mark.parametrize("name", ["PNG", "TIFF", "JPEG2000", "PPM"])
def test_16_bits_keep_their_high_byte(name):
    file = io.BytesIO()
    values = RAMP.astype(np.uint16) * 257
    values[0, 0] = 0x00FF  # a conversion that clips would give 255
    image = Image.fromarray(values)
    image.save(file, name, **({"irreversible": False} if name == "JPEG2000" else {}))
    assert np.array_equal(only(file.getvalue()), gray((values >> 8).astype(np.uint8)))


def test_12_bit_tiff_is_scaled_by_its_own_depth():
    values = np.array([[0, 0x123, 0xABC, 0xFFF]], np.uint16)
    packed = bytes.fromhex("000123ABCFFF")
    tags = [
        (256, 4, 4),
        (257, 4, 1),
        (258, 3, 12),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, 1),
        (279, 4, 6),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, kind, 1, v) for tag, kind, v in tags)
    payload = b"II*\0" + struct.pack("<I", 14) + packed + directory + bytes(4)
    assert only(payload)[..., 0].tolist() == (values >> 4).tolist()


def test_16_bit_colour_keeps_its_high_byte():
    import cv2

    values = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=2).astype(np.uint16) * 256 + 200
    payload = cv2.imencode(".png", values)[1].tobytes()
    assert np.array_equal(only(payload), (values >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([0.0, 25700.0, 65535.0], [0, 100, 255]),
        ([0.0, 1.5, 3.0], [0, 128, 255]),  # no nominal range: stretched
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
        ([5.0, 5.0, 5.0], [0, 0, 0]),
        ([np.nan, np.inf, 1.0], [0, 0, 255]),
    ],
)
def test_numbers_without_a_fixed_range(values, expected):
    image = Image.fromarray(np.array([values], np.float32))
    assert to_bgr(image)[0, :, 1].tolist() == expected


def test_integers_without_a_fixed_range():
    assert to_bgr(Image.fromarray(np.array([[0, 257, 65535]], np.int32)))[0, :, 0].tolist() == [0, 1, 255]
    assert to_bgr(Image.fromarray(np.array([[0, 7, 255]], np.int32)))[0, :, 0].tolist() == [0, 7, 255]


def test_transparency_is_laid_on_white():
    half = Image.new("RGBA", (1, 1), (0, 100, 200, 128))
    assert np.abs(to_bgr(half).astype(int) - [[[227, 177, 127]]]).max() <= 1
    assert to_bgr(Image.new("RGBA", (1, 1), (9, 9, 9, 0))).tolist() == [[[255, 255, 255]]]
    assert to_bgr(Image.new("LA", (1, 1), (9, 255))).tolist() == [[[9, 9, 9]]]
    assert to_bgr(Image.new("La", (1, 1), (0, 0))).tolist() == [[[255, 255, 255]]]


@pytest.mark.parametrize("name", ["PNG", "GIF"])
def test_transparent_palette_entry(name):
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 50, 60, 70])
    image.putpixel((1, 0), 1)
    file = io.BytesIO()
    image.save(file, name, transparency=0)
    assert only(file.getvalue()).tolist() == [[[255, 255, 255], [70, 60, 50]]]


def test_transparent_colour_of_a_png():
    file = io.BytesIO()
    image = Image.new("RGB", (2, 1), (1, 2, 3))
    image.putpixel((1, 0), (4, 5, 6))
    image.save(file, "PNG", transparency=(1, 2, 3))
    assert only(file.getvalue()).tolist() == [[[255, 255, 255], [6, 5, 4]]]


@pytest.mark.parametrize("name", ["JPEG", "TIFF"])
def test_cmyk(name):
    file = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(file, name)  # a JPEG of it is Adobe's, and inverted
    assert np.abs(only(file.getvalue()).astype(int) - (0, 0, 255)).max() <= 3


def test_ycck_jpeg(corpora):
    # Adobe's YCCK; by Pillow's own tests red in the first corner (no cyan, no black) and black in the last.
    folder = corpora / "pillow" / "Tests" / "images"
    pixels = only((folder / "pil_sample_cmyk.jpg").read_bytes())
    assert pixels[0, 0, 2] > 200
    assert pixels[0, 0, :2].max() < 60
    assert pixels[-1, -1].max() < 60


def test_lab():
    # L 53, a 80, b 67 (a strong red), as 8-bit Lab holds them: L * 2.55, a + 128, b + 128.
    red = to_bgr(Image.merge("LAB", [Image.new("L", (1, 1), value) for value in (136, 208, 195)]))
    assert red[0, 0, 2] > 230
    assert red[0, 0, :2].max() < 40


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX", "RGBa", "PA", "P"])
def test_other_modes_are_converted_by_pillow(mode):
    image = Image.new(mode, (3, 2))
    assert to_bgr(image).shape == (2, 3, 3)

"""Bytes to canonical pixels: formats, orientation, budget, frames, and what is refused how."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps

from leakmatch.errors import ItemError
from leakmatch.imaging.decode import CANONICAL, decode
from leakmatch.records import Budget, Outcome

LOSSLESS = [
    ("PNG", {}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"compression": "tiff_adobe_deflate", "big_tiff": True}),
    ("WEBP", {"lossless": True}),
    ("PPM", {}),
    ("TGA", {}),
    ("PCX", {}),
    ("SGI", {}),
    ("QOI", {}),
    ("DDS", {}),
    ("JPEG2000", {}),
    ("JPEG2000", {"no_jp2": True}),
]
LOSSY = [
    ("JPEG", {"quality": 95}),
    ("JPEG", {"quality": 95, "progressive": True}),
    ("WEBP", {"quality": 95}),
    ("AVIF", {"quality": 95}),
    ("HEIF", {"quality": 95}),
    ("GIF", {}),
]


def only(payload: bytes, budget: Budget | None = None):
    (picture,) = decode(payload, budget or Budget())
    return picture


def bgr(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"))[..., ::-1]


def refusal(payload: bytes, budget: Budget | None = None) -> tuple[str, str]:
    with pytest.raises(ItemError) as error:
        list(decode(payload, budget or Budget()))
    return str(error.value.outcome), error.value.code


@pytest.mark.parametrize(("name", "options"), LOSSLESS)
def test_lossless_formats_give_back_the_pixels(scene, encode, name, options):
    image = scene()
    picture = only(encode(image, name, **options))
    assert np.array_equal(picture.bgr, bgr(image))
    assert (picture.source_size, picture.scale, picture.frame) == ((96, 64), 1.0, 0)
    assert picture.complete
    assert picture.detail == ""


@pytest.mark.parametrize(("name", "options"), LOSSY)
def test_lossy_formats_come_near(scene, encode, name, options):
    image = scene().resize((192, 128), Image.Resampling.BICUBIC)
    picture = only(encode(image, name, **options))
    assert picture.complete
    assert np.abs(picture.bgr.astype(int) - bgr(image)).mean() < 8


def test_jpeg_is_what_opencv_decodes(scene, encode):
    payload = encode(scene(1, 203, 117), "JPEG", quality=80)
    assert np.array_equal(only(payload).bgr, cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR))


def test_large_pictures_are_converted_in_strips(scene, encode):
    image = scene().resize((1500, 700))  # more than one strip, and the last one is shorter
    assert np.array_equal(only(encode(image, "BMP")).bgr, bgr(image))


def test_icon_is_its_largest_picture(scene, encode):
    icon = encode(scene(1, 256, 256), "ICO", sizes=[(16, 16), (128, 128), (48, 48)])
    assert only(icon).source_size == (128, 128)


# Orientation


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(scene, encode, name, orientation):
    image, exif = scene(), Image.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 100}}.get(name, {})
    picture = only(encode(image, name, exif=exif, **options))
    image.getexif()[274] = orientation
    upright = ImageOps.exif_transpose(image)
    assert picture.source_size == upright.size
    assert np.abs(picture.bgr.astype(int) - bgr(upright)).mean() < 6


@pytest.mark.parametrize("name", ["AVIF", "HEIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_of_iso_media_is_applied_once(encode, name, orientation):
    corner = np.full((64, 96, 3), 40, np.uint8)
    corner[:20, :30] = 220
    image, exif = Image.fromarray(corner), Image.Exif()
    exif[274] = orientation
    picture = only(encode(image, name, exif=exif.tobytes(), quality=90))
    image.getexif()[274] = orientation
    upright = bgr(ImageOps.exif_transpose(image))
    assert picture.bgr.shape == upright.shape
    assert np.abs(picture.bgr.astype(int) - upright).mean() < 6


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_orientation_corpus(corpora, shape):
    folder = corpora / "exif_orientation"
    reference = cv2.resize(only((folder / f"{shape}_1.jpg").read_bytes()).bgr, (60, 60)).astype(int)
    for orientation in range(2, 9):
        picture = only((folder / f"{shape}_{orientation}.jpg").read_bytes()).bgr
        assert np.abs(cv2.resize(picture, (60, 60)) - reference).mean() < 12


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_orientation_of_hopper(corpora, suffix):
    folder = corpora / "pillow" / "Tests" / "images"
    upright = only((folder / "hopper.png").read_bytes()).bgr.astype(int)
    for orientation in range(2, 9):
        picture = only((folder / f"hopper_orientation_{orientation}.{suffix}").read_bytes()).bgr
        assert np.abs(picture - upright).mean() < 10


def test_hopper_looks_the_same_in_every_format(corpora):
    folder = corpora / "pillow" / "Tests" / "images"
    reference = only((folder / "hopper.png").read_bytes()).bgr.astype(int)
    seen = set()
    for file in folder.glob("hopper.*"):
        if file.suffix in {".bmp", ".dds", ".gif", ".jpg", ".ppm", ".psd", ".ras", ".sgi", ".tif", ".webp", ".qoi"}:
            picture = only(file.read_bytes()).bgr
            assert np.abs(picture - reference).mean() < 6, file.name
            seen.add(file.suffix)
    assert len(seen) == 11


@pytest.mark.parametrize(
    "exif",
    [
        b"Exif\0\0",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + bytes(40),
        b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\5\0\1\0\0\0\xff\xff\xff\xff",
        b"Exif\0\0garbage that is no TIFF header",
    ],
)
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_broken_exif_does_not_cost_the_picture(scene, encode, name, exif):
    picture = only(encode(scene(), name, exif=exif))
    assert (picture.source_size, picture.complete) == ((96, 64), True)


# Budget


def png_of_size(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("name", "options"), [*LOSSLESS, *LOSSY])
def test_pixels_over_budget(scene, encode, name, options):
    payload = encode(scene(), name, **options)
    assert refusal(payload, Budget(pixels=96 * 64 - 1)) == ("over-budget", "over-budget")
    assert only(payload, Budget(pixels=96 * 64)).source_size == (96, 64)


def test_size_is_read_before_memory_is_given():
    assert refusal(png_of_size(2_000_000_000, 2_000_000_000)) == ("over-budget", "over-budget")


def test_picture_inside_an_icon_is_held_to_the_budget(scene, encode):
    bomb = png_of_size(30_000, 30_000)
    icon = struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(bomb), 22) + bomb
    assert refusal(icon) == ("over-budget", "over-budget")


@pytest.mark.parametrize("size", [(0, 5), (5, 0)])
def test_no_size(size):
    assert refusal(png_of_size(*size))[0] == "unreadable"


def test_switches_are_put_back_and_warnings_stay_silent(scene, encode):
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS
    payload = encode(scene(), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(decode(payload, Budget(pixels=96 * 64)))  # Pillow would warn from half of that
        refusal(payload[:60])
        refusal(b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(20))
    after = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, Image.WARN_POSSIBLE_FORMATS
    assert after == before


# Frames


def animation(scene, count: int, name: str, **options: object) -> bytes:
    frames, file = [scene(seed + 1) for seed in range(count)], io.BytesIO()
    frames[0].save(file, name, save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize(
    ("name", "options"),
    [("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {}), ("AVIF", {"quality": 90, "speed": 10})],
)
def test_frames_are_sampled_with_first_and_last(scene, name, options):
    pictures = list(decode(animation(scene, 12, name, **options), Budget(frames=4)))
    numbers = [picture.frame for picture in pictures]
    assert len(set(numbers)) == 4
    assert (numbers[0], numbers[-1]) == (0, 11)
    assert numbers == sorted(numbers)
    assert pictures[0].detail.startswith("4 of 12 frames looked at")
    assert all(picture.complete and picture.detail == "" for picture in pictures[1:])
    for picture in pictures:
        assert np.abs(picture.bgr.astype(int) - bgr(scene(picture.frame + 1))).mean() < 12


def test_all_frames_of_a_short_animation(scene):
    pictures = list(decode(animation(scene, 3, "GIF"), Budget()))
    assert [(picture.frame, picture.detail) for picture in pictures] == [(0, ""), (1, ""), (2, "")]


def test_frames_together_stay_within_the_pixel_budget(scene):
    payload = animation(scene, 12, "GIF")
    pictures = list(decode(payload, Budget(pixels=5 * 96 * 64, frames=8)))
    assert [picture.frame for picture in pictures] == [0, 1, 2, 3, 4]
    assert pictures[0].detail == "5 of 12 frames looked at: those that differ most; the first 5 were compared"


def test_page_over_what_is_left_of_the_budget_ends_the_iteration(scene):
    file = io.BytesIO()
    scene().save(file, "TIFF", save_all=True, append_images=[scene(2, 50, 40), scene(3, 500, 400)])
    pictures = list(decode(file.getvalue(), Budget(pixels=100_000)))
    assert [picture.source_size for picture in pictures] == [(96, 64), (50, 40)]
    assert [picture.complete for picture in pictures] == [True, False]
    assert pictures[1].detail.startswith("frame 2: 500 x 400 pixels")


def test_later_frame_that_fails_is_told_by_the_last_good_one(scene):
    payload = animation(scene, 5, "GIF")
    pictures = list(decode(payload[: int(len(payload) * 0.7)], Budget()))
    assert 1 <= len(pictures) < 5
    assert [picture.complete for picture in pictures] == [True] * (len(pictures) - 1) + [False]
    assert f"frame {len(pictures)}: " in pictures[-1].detail


def test_only_the_first_picture_of_an_mpo_is_looked_at(scene):
    (picture,) = decode(animation(scene, 3, "MPO", quality=95), Budget())
    assert (picture.frame, picture.complete) == (0, True)


def test_only_the_primary_picture_of_a_heic_is_looked_at(scene, encode):
    (picture,) = decode(encode(scene(), "HEIF", save_all=True, append_images=[scene(2)]), Budget())
    assert picture.detail == "1 of 2 frames looked at"


# What is refused how


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", ("not-image", "unsupported")),
        (b"just text", ("not-image", "unsupported")),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", ("unreadable", "unsupported")),
        (b"<svg xmlns='x'></svg>", ("unreadable", "unsupported")),
        (b"\xff\xd8\xff", ("unreadable", "corrupt")),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", ("unreadable", "truncated")),
        (b"\x89PNG\r\n\x1a\n", ("unreadable", "truncated")),
        (b"GIF89a" + bytes(30), ("unreadable", "corrupt")),
        (b"RIFF\x10\0\0\0WEBPVP8 ", ("unreadable", "corrupt")),
        (b"\0\0\0\x18ftypheic\0\0\0\0heicmif1" + bytes(100), ("unreadable", "corrupt")),
    ],
)
def test_refusal(payload, expected):
    assert refusal(payload) == expected


def test_messages_are_short_and_printable():
    with pytest.raises(ItemError) as error:
        list(decode(b"\x89PNG\r\n\x1a\n" + b"\0\0\0\1\x1b[2J" * 90, Budget()))
    assert str(error.value).isprintable()
    assert len(str(error.value)) <= 250


def test_any_exception_becomes_an_item_error(scene, encode, monkeypatch):
    payload = encode(scene(), "BMP")
    raised: list[type[Exception]] = [ZeroDivisionError, KeyError, AssertionError, RecursionError, struct.error, OSError]
    for kind in raised:
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self, kind=kind: (_ for _ in ()).throw(kind("no")))
        assert refusal(payload)[0] == "unreadable"
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (_ for _ in ()).throw(MemoryError))
    assert refusal(payload) == ("over-budget", "over-budget")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        list(decode(payload, Budget()))


def test_canonical_decode_is_part_of_the_hash_ids():
    from leakmatch.hashing import algorithms

    assert CANONICAL == algorithms.DECODE
    assert Outcome.UNREADABLE == "unreadable"

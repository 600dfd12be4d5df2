"""Arrays of pictures: which are taken for such, and what becomes of them."""

from __future__ import annotations

import io
import struct
import zipfile

import datasets
import numpy as np
import pytest
from archives import picture, walked

from leakmatch.records import Budget, Outcome
from leakmatch.sources.datasets.arrays import layout, picture_file, to_bytes

RANDOM = np.random.default_rng(7)
BYTES = np.dtype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "dtype", "order", "count"),
    [
        ((5, 20, 30, 3), "u1", "HWC", 5),
        ((5, 20, 30, 1), "u1", "HWC", 5),
        ((5, 3, 20, 30), "u1", "CHW", 5),
        ((5, 1, 20, 30), "f4", "CHW", 5),
        ((5, 20, 30), "u1", "HW", 5),
        ((2200, 2, 62, 47), "f4", "HW", 4400),
        ((20, 30, 3), "u1", "HWC", 1),
        ((3, 20, 30), "f8", "CHW", 1),
        ((2, 4, 20, 30, 3), "u1", "HWC", 8),
        ((20, 30), "u1", "HW", 1),
    ],
)
def test_shapes_of_pictures(shape, dtype, order, count):
    found = layout(shape, np.dtype(dtype))
    assert (found.order, found.count) == (order, count)
    assert found.outer + found.shape == shape
    assert found.index(found.count - 1) == tuple(n - 1 for n in found.outer)


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((1000, 512), "f4"),
        ((1000, 3072), "u1"),
        ((100,), "u1"),
        ((), "u1"),
        ((5, 68, 2), "f4"),
        ((5, 5, 2), "f4"),
        ((0, 112, 112, 3), "u1"),
        ((5, 20, 30, 3), "c8"),
        ((5, 20, 30, 3), "S4"),
        ((20, 30), "f4"),
        ((1 << 40, 1 << 40, 3), "u1"),
    ],
)
def test_other_shapes(shape, dtype):
    assert layout(shape, np.dtype(dtype)) is None


def pixels(file: io.BytesIO) -> np.ndarray:
    magic, size, rest = file.read().split(b" ", 1)[0], None, None
    file.seek(0)
    head = file.readline().split()
    channels = {b"P6": 3, b"P5": 1}[magic]
    assert head[3] == b"255" and size is rest is None
    data = np.frombuffer(file.read(), np.uint8).reshape(int(head[2]), int(head[1]), channels)
    return data if channels == 3 else data[..., 0]


def test_the_picture_is_the_array():
    photo = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(pixels(picture_file(photo, "HWC")), photo)
    assert np.array_equal(pixels(picture_file(photo.transpose(2, 0, 1), "CHW")), photo)
    assert np.array_equal(pixels(picture_file(photo[..., 0], "HW")), photo[..., 0])
    assert np.array_equal(pixels(picture_file(photo[..., :1], "HWC")), photo[..., 0])
    with_alpha = np.concatenate([photo, photo[..., :1]], axis=2)
    assert np.array_equal(pixels(picture_file(with_alpha, "HWC")), photo)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_numbers_of_every_range(dtype):
    photo = np.arange(256, dtype=np.uint8).reshape(16, 16)
    exact = photo.astype(dtype)
    for values in (exact, exact / 255, exact / 127.5 - 1, exact * 3 - 100):
        assert np.abs(to_bytes(values.astype(dtype)).astype(int) - photo).max() <= 1


def test_whole_numbers_and_what_is_no_number():
    photo = np.arange(256).reshape(16, 16)
    assert np.array_equal(to_bytes(photo.astype(np.int64)), photo)
    assert np.array_equal(to_bytes((photo * 257).astype(np.uint16)), photo)
    assert to_bytes(np.array([[True, False]])).tolist() == [[255, 0]]
    odd = np.array([[np.nan, np.inf, -np.inf, 0.5]], np.float32)
    assert to_bytes(odd).tolist() == [[0, 0, 0, 128]]


# .npy


def pictures_in(data: bytes) -> list[bytes]:
    """The members of a container of arrays, which the walk of these tests does not take for pictures."""
    from leakmatch.sources.opening import Opening
    from leakmatch.sources.registry import detect, open_container

    opening = Opening(detect(data[:36864]), io.BytesIO(data), len(data), "faces.npy")
    return [member.open().read() for member in open_container(opening).members() if not member.aside]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "f4", ">u2", "?"])
def test_a_stack_in_either_order(order, dtype):
    stack = RANDOM.integers(0, 256, (4, 20, 30, 3)).astype(dtype)
    found = pictures_in(datasets.npy(np.asarray(stack, order=order)))
    assert found == [picture_file(photo, "HWC").read() for photo in stack]


def test_members_are_named_and_hashed_by_their_place():
    stack = RANDOM.integers(0, 256, (2, 3, 20, 30), dtype=np.uint8)
    walk = walked(datasets.npy(stack), name="faces.npy")
    assert [e.locator.name for e in walk.below(1)] == ["faces[0]", "faces[1]"]
    assert walk.root.outcome is Outcome.WALKED
    assert walk == walked(datasets.npy(stack), name="faces.npy")


def test_an_array_of_another_shape_is_no_picture():
    walk = walked(datasets.npy(np.zeros((100, 512), np.float32)))
    (entry,) = walk.below(1)
    assert (entry.outcome, entry.detail) == (Outcome.NOT_IMAGE, "float32[100,512], not of the shape of pictures")
    assert not walk.incidents


def test_a_row_of_bytes_is_read_as_a_file():
    walk = walked(datasets.npy(np.frombuffer(picture(1), np.uint8)))
    assert walk.pictures == [picture(1)]


def test_values_of_bytes_of_one_size():
    values = np.array([np.void(picture(n)) for n in range(3)])
    walk = walked(datasets.npy(values), name="a.npy")
    assert walk.pictures == [picture(n) for n in range(3)]
    assert [e.locator.name for e in walk.below(1)] == ["a[0]", "a[1]", "a[2]"]


def test_an_npz_is_a_zip_of_arrays():
    file = io.BytesIO()
    stack = RANDOM.integers(0, 256, (3, 20, 30, 3), dtype=np.uint8)
    np.savez_compressed(file, faces=stack, labels=np.arange(3))
    walk = walked(file.getvalue())
    names = [e.locator.path for e in walk.below(2)]
    assert names == [*(f"faces.npy!/faces[{n}]" for n in range(3)), "labels.npy!/labels"]
    assert zipfile.is_zipfile(io.BytesIO(file.getvalue()))


def test_an_array_of_objects_is_never_unpickled(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    walk = walked(datasets.npy(np.array([Evil(), 1], object)))
    assert walk.root.outcome is Outcome.UNREADABLE
    assert walk.codes == {"unsupported"}
    assert not list(tmp_path.iterdir())


def header(text: str, version: bytes = b"\1\0") -> bytes:
    width = "<H" if version == b"\1\0" else "<I"
    return b"\x93NUMPY" + version + struct.pack(width, len(text)) + text.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-5, 20, 30, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (5.0, 20, 30, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': 7}",
        "{'descr': '|u1', 'fortran_order': False}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (5, 20, 30, 3)}",
        "{'descr': [('a',)], 'fortran_order': False, 'shape': (5, 20, 30, 3)}",
        "__import__('os').system('true')",
        "(" * 5000,
        "[" * 60_000,
        "",
        "{'descr': '|O', 'fortran_order': False, 'shape': (5, 20, 30, 3)}",
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({'1,' * 100})}}",
    ],
)
def test_hostile_headers(text):
    walk = walked(header(text) + bytes(5000))
    assert walk.root.outcome is Outcome.UNREADABLE
    assert len(walk.entries) == 1


@pytest.mark.parametrize("order", ["False", "True"])
@pytest.mark.parametrize("count", [10**6, 10**12, 10**30])
def test_a_shape_that_claims_more_than_there_is(order, count):
    text = f"{{'descr': '|u1', 'fortran_order': {order}, 'shape': ({count}, 20, 30, 3)}}"
    walk = walked(header(text) + bytes(1800 * 3 + 10))
    assert walk.root.outcome in (Outcome.PARTIAL, Outcome.OVER_BUDGET)
    assert len(walk.entries) <= 5


def test_a_picture_of_too_many_pixels():
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (60000, 60000, 3)}"
    assert walked(header(text) + bytes(100)).root.outcome is Outcome.OVER_BUDGET
    assert walked(datasets.npy(np.zeros((2, 20, 20), np.uint8)), Budget(pixels=399)).root.outcome is Outcome.OVER_BUDGET


@pytest.mark.parametrize("version", [b"\2\0", b"\3\0"])
def test_later_versions(version):
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (2, 20, 30, 3), }\n"
    assert len(walked(header(text, version) + bytes(3600)).below(1)) == 2
    assert walked(header(text, b"\x09\0") + bytes(3600)).codes == {"unsupported"}


def test_truncation_is_told_at_every_place():
    data = datasets.npy(RANDOM.integers(0, 256, (4, 20, 30, 3), dtype=np.uint8))
    for cut in range(1, len(data), 97):
        walk = walked(data[:cut])
        assert walk.root.outcome is not Outcome.WALKED
        whole = [e for e in walk.below(1) if e.sha256]
        assert len(whole) == max(cut - 128, 0) // 1800

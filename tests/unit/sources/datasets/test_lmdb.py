"""LMDB files as the library writes them, read without it."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import datasets
import lmdb
import numpy as np
import pytest
from archives import picture, walked

from leakmatch.records import Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.opening import Opening
from leakmatch.sources.registry import detect, open_container


def content(data: bytes) -> list[tuple[str, bytes]]:
    opening = Opening(detect(data[:36864]), io.BytesIO(data), len(data), "data.mdb")
    return [(m.name, m.open().read()) for m in open_container(opening).members()]


def test_small_and_large_values_of_a_deep_tree():
    values = [(b"%08d" % n, picture(n, 10 if n % 3 else 9000)) for n in range(3000)]
    found = content(datasets.in_lmdb(values))
    assert found == [(key.decode(), value) for key, value in values]


def test_keys_that_are_no_text():
    found = content(datasets.in_lmdb([(b"\xff\x00\x01", b"1"), (b"a\0", b"2"), ("é".encode(), b"3")]))
    assert found == [("a", b"2"), ("é", b"3"), ("ff0001", b"1")]


def made(fill, **options) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.mdb"
        with lmdb.open(str(path), subdir=False, map_size=1 << 30, max_dbs=4, **options) as environment:
            fill(environment)
        return path.read_bytes()


def test_databases_inside_and_duplicates():
    many = sorted(picture(n, 100) for n in range(300))

    def fill(environment):
        inner = environment.open_db(b"inner")
        several = environment.open_db(b"several", dupsort=True)
        fixed = environment.open_db(b"fixed", dupsort=True, dupfixed=True)
        with environment.begin(write=True) as transaction:
            transaction.put(b"x", picture(1), db=inner)
            transaction.put(b"few", b"one", db=several)
            transaction.put(b"few", b"two", db=several)
            for value in many:
                transaction.put(b"many", value, db=several)
            for n in range(500):
                transaction.put(b"k", b"%04d" % n, db=fixed)

    found = content(made(fill))
    assert [v for k, v in found if k == "fixed/k"] == [b"%04d" % n for n in range(500)]
    assert ("inner/x", picture(1)) in found
    assert [v for k, v in found if k == "several/few"] == [b"one", b"two"]
    assert [v for k, v in found if k == "several/many"] == many


def test_an_empty_one_and_one_without_meta_sync():
    assert content(datasets.in_lmdb([])) == []


def test_the_picture_of_a_caffe_datum():
    photo = np.random.default_rng(3).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    bare = b"".join(
        datasets.field(n, value) for n, value in ((1, 3), (2, 20), (3, 30), (4, photo.tobytes()), (5, 7))
    )  # fmt: skip
    encoded = datasets.field(4, picture(1)) + datasets.field(5, 3) + datasets.field(7, 1)
    found = content(datasets.in_lmdb([(b"1", bare), (b"2", encoded)]))
    assert found == [("1", picture_file(photo[::-1], "CHW").read()), ("2", picture(1))]


def test_a_map_of_terabytes_does_not_matter():
    data = bytearray(datasets.in_lmdb([(b"a", picture(1))]))
    for page in (0, 4096):
        data[page + 32 : page + 40] = (1 << 46).to_bytes(8, "little")
    assert walked(bytes(data)).pictures == [picture(1)]


def test_damage_and_truncation_at_every_place():
    values = [(b"%04d" % n, picture(n, 50 + 40 * n)) for n in range(100)]
    data = datasets.in_lmdb(values)
    for at in range(0, len(data), 1003):
        cut = walked(data[:at])
        assert cut.root.outcome is not Outcome.WALKED or not any(data[at:])
        for damage in (0, 0xFF):
            walk = walked(data[:at] + bytes((damage,)) + data[at + 1 :])
            missing = {v for _, v in values} - set(walk.pictures)
            assert len(missing) <= 1 or walk.incidents or walk.root.outcome is Outcome.NOT_IMAGE


def test_behind_a_damaged_root_the_leaves_are_found():
    values = [(b"%04d" % n, picture(n, 500)) for n in range(100)]
    data = bytearray(datasets.in_lmdb(values))
    for page in range(2, len(data) // 4096):
        if data[page * 4096 + 10] == 1:  # a branch
            data[page * 4096 : page * 4096 + 100] = bytes(100)
    walk = walked(bytes(data))
    assert set(walk.pictures) >= {value for _, value in values}
    assert walk.root.outcome is Outcome.UNREADABLE


@pytest.mark.parametrize("target", [1, 3, 1 << 40])
def test_pages_that_lead_in_circles(target):
    data = bytearray(datasets.in_lmdb([(b"%04d" % n, picture(n, 500)) for n in range(100)]))
    for page in range(2, len(data) // 4096):
        if data[page * 4096 + 10] == 1:
            place = int.from_bytes(data[page * 4096 + 16 : page * 4096 + 18], "little")
            data[page * 4096 + place : page * 4096 + place + 6] = target.to_bytes(6, "little")
    assert walked(bytes(data)).root.outcome is not Outcome.WALKED

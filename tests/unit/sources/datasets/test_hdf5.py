"""HDF5: arrays and bytes, and what leads out of the file or round in circles."""

from __future__ import annotations

import io

import datasets
import h5py
import numpy as np
import pytest
from archives import picture, walked, zip_of

from leakmatch.records import Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.opening import Opening
from leakmatch.sources.registry import detect, open_container

RANDOM = np.random.default_rng(7)
STACK = RANDOM.integers(0, 256, (5, 20, 30, 3), dtype=np.uint8)


def content(data: bytes) -> dict[str, bytes]:
    opening = Opening(detect(data[:36864]), io.BytesIO(data), len(data), "a.h5")
    members = open_container(opening).members()
    return {m.name: m.open().read() for m in members if not (m.aside or m.special or m.problem)}


@pytest.mark.parametrize("options", [{}, {"chunks": (2, 20, 30, 3)}, {"compression": "gzip"}, {"compression": "lzf"},
                                     {"compression": "gzip", "shuffle": True, "fletcher32": True}])  # fmt: skip
def test_a_stack_of_pictures(options):
    data = datasets.in_hdf5(lambda file: file.create_dataset("train/x", data=STACK, **options))
    assert content(data) == {f"train/x[{n}]": picture_file(photo, "HWC").read() for n, photo in enumerate(STACK)}


def test_floats_channels_first_and_single_pictures():
    def fill(file):
        file["chw"] = (STACK / 255).astype(np.float32).transpose(0, 3, 1, 2)
        file["gray"] = STACK[..., 0]
        file["one"] = STACK[0]

    found = content(datasets.in_hdf5(fill))
    assert found["chw[4]"] == picture_file(STACK[4], "HWC").read()
    assert found["gray[1]"] == picture_file(STACK[1, ..., 0], "HW").read()
    assert found["one"] == picture_file(STACK[0], "HWC").read()


def test_encoded_pictures_of_every_kind():
    def fill(file):
        file["bytes"] = np.frombuffer(picture(1), np.uint8)
        file["opaque"] = np.void(picture(2))
        lengths = file.create_dataset("vlen", (2,), h5py.vlen_dtype(np.uint8))
        lengths[0] = np.frombuffer(picture(3), np.uint8)
        lengths[1] = np.frombuffer(picture(4), np.uint8)
        table = np.zeros(2, [("id", "<i4"), ("photo", "V303")])
        table["photo"] = [np.void(picture(5)), np.void(picture(6))]
        file["table"] = table

    walk = walked(datasets.in_hdf5(fill))
    assert walk.pictures == [picture(n) for n in (1, 2, 5, 6, 3, 4)]
    names = [e.locator.name for e in walk.below(1)]
    assert names == ["bytes", "opaque", "table.photo[0]", "table.photo[1]", "vlen[0]", "vlen[1]"]


def test_what_is_no_picture():
    def fill(file):
        file["labels"] = np.arange(5)
        file["nothing"] = h5py.Empty("f4")
        file["scalar"] = 7.5
        file["text"] = "some text"

    walk = walked(datasets.in_hdf5(fill))
    assert {e.outcome for e in walk.below(1)} == {Outcome.NOT_IMAGE}
    assert len(walk.below(1)) == 4
    assert walk.root.outcome is Outcome.WALKED


def test_nothing_outside_the_file_is_opened(tmp_path):
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["x"] = STACK
    raw = tmp_path / "raw.bin"
    raw.write_bytes(STACK.tobytes())

    def fill(file):
        file["external link"] = h5py.ExternalLink(str(secret), "/x")
        file.create_dataset("external storage", STACK.shape, "u1", external=[(str(raw), 0, STACK.nbytes)])
        layout = h5py.VirtualLayout(STACK.shape, "u1")
        layout[:] = h5py.VirtualSource(str(secret), "x", STACK.shape)
        file.create_virtual_dataset("virtual", layout)
        file["good"] = np.frombuffer(picture(1), np.uint8)

    walk = walked(datasets.in_hdf5(fill))
    outcomes = {e.locator.name: e.outcome for e in walk.below(1)}
    assert outcomes == {
        "external link": Outcome.NOT_IMAGE,
        "external storage": Outcome.UNREADABLE,
        "virtual": Outcome.UNREADABLE,
        "good": None,
    }
    assert walk.codes_of(walk.named(b"external link")) == {"link"}


def test_links_and_circles():
    def fill(file):
        file["a/photo"] = np.frombuffer(picture(1), np.uint8)
        file["a/b/up"] = file["a"]  # a hard link to what holds it
        file["again"] = file["a/photo"]
        file["soft"] = h5py.SoftLink("/a/photo")
        file["broken"] = h5py.SoftLink("/nowhere")

    walk = walked(datasets.in_hdf5(fill))
    assert walk.pictures == [picture(1)]
    assert walk.root.outcome is Outcome.WALKED


def test_deep_groups():
    def fill(file):
        group = file
        for _ in range(200):
            group = group.create_group("g")
        group["photo"] = np.frombuffer(picture(1), np.uint8)

    assert walked(datasets.in_hdf5(fill)).root.outcome is Outcome.OVER_BUDGET


def test_a_dataset_that_claims_terabytes():
    def fill(file):
        claim = file.create_dataset("claim", (1 << 40, 112, 112, 3), "u1", chunks=(1, 112, 112, 3))
        claim[5] = 7
        file.create_dataset("empty claim", (1 << 40, 112, 112, 3), "u1", chunks=(1, 112, 112, 3))
        file["good"] = np.frombuffer(picture(1), np.uint8)

    walk = walked(datasets.in_hdf5(fill))
    assert [e.locator.name for e in walk.below(1)] == ["claim[5]", "good"]
    assert walk.codes == {"corrupt"}


def test_chunks_that_expand_too_far():
    import zlib

    def fill(file):
        bomb = file.create_dataset("bomb", (64, 112, 112, 3), "u1", chunks=(64, 112, 112, 3), compression="gzip")
        bomb.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(600 << 20), 9))
        file.create_dataset("large", (2, 8000, 8000, 3), "u1", chunks=(1, 8000, 8000, 3), compression="gzip")
        file["good"] = np.frombuffer(picture(1), np.uint8)

    walk = walked(datasets.in_hdf5(fill))
    outcomes = {e.locator.name: e.outcome for e in walk.below(1)}
    assert outcomes == {"bomb": Outcome.OVER_BUDGET, "large": Outcome.OVER_BUDGET, "good": None}


def test_a_user_block_and_another_container():
    data = datasets.in_hdf5(
        lambda file: file.create_dataset("x", data=np.frombuffer(picture(1), np.uint8)), userblock_size=512
    )
    data = b"MATLAB 7.3 MAT-file".ljust(512, b"\0") + data[512:]
    assert walked(data).pictures == [picture(1)]
    assert walked(zip_of([(b"a.mat", data)])).pictures == [picture(1)]


def test_damage_is_told_or_harmless():
    data = datasets.in_hdf5(lambda file: file.create_dataset("x", data=STACK, compression="gzip", fletcher32=True))
    for at in range(8, len(data), 41):
        walk = walked(data[:at] + bytes((data[at] ^ 0xFF,)) + data[at + 1 :])
        assert walk.entries


@pytest.mark.parametrize("chunks", [None, (2,)])
def test_a_value_that_says_it_is_longer_than_the_file(chunks):
    def fill(file):
        values = file.create_dataset("x", (4,), h5py.vlen_dtype(np.uint8), chunks=chunks)
        for n in range(4):
            values[n] = np.frombuffer(picture(n), np.uint8)

    data = bytearray(datasets.in_hdf5(fill))
    heap = bytes(data).find(b"GCOL")
    place = bytes(data).find((303).to_bytes(4, "little") + heap.to_bytes(8, "little"))
    data[place : place + 4] = b"\xff\xff\xff\xff"
    walk = walked(bytes(data))
    assert [e.outcome for e in walk.below(1)] == [Outcome.UNREADABLE, None, None, None]

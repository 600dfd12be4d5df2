"""Pickles: what is in them is read, and nothing in them is ever carried out."""

from __future__ import annotations

import base64
import collections
import io
import os
import pickle
import random
import struct
import sys

import datasets
import numpy as np
import pytest
from archives import PICTURES, picture, walked

from leakmatch.records import Outcome
from leakmatch.sources.datasets.arrays import picture_file
from leakmatch.sources.opening import Opening
from leakmatch.sources.registry import detect, open_container

PHOTOS = [data for _, data in PICTURES]
PROTOCOLS = range(6)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_bin_of_lfw(protocol):
    walk = walked(pickle.dumps((PHOTOS, [True, False] * 3), protocol), name="lfw.bin")
    assert walk.pictures == PHOTOS
    assert [e.locator.name for e in walk.below(1)] == [str(n) for n in range(5)]
    assert walk.root.outcome is Outcome.WALKED
    assert not walk.incidents


def test_as_python_2_wrote_it():
    def string(data: bytes) -> bytes:
        return b"T" + struct.pack("<I", len(data)) + data

    two = b"\x80\x02]q\x00(" + b"".join(map(string, PHOTOS)) + b"e]q\x01(\x88\x89e\x86q\x02."
    assert walked(two).pictures == PHOTOS
    zero = (
        b"(lp0\n" + b"".join(b"S" + repr(data)[1:].encode() + b"\np%d\na" % n for n, data in enumerate(PHOTOS)) + b"."
    )
    assert walked(zero).pictures == PHOTOS


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_other_shapes_of_collections(protocol):
    made = {
        "people": {"a": [picture(1), picture(2)], "b": (picture(3), {"x": picture(4)})},
        "set": {picture(5)},
        "ordered": collections.OrderedDict(a=picture(6)),
        "array": bytearray(picture(7)),
        "numbers": [1, -1, 1 << 70, 2.5, None, True],
        "text": "é" * 300,
    }
    walk = walked(pickle.dumps(made, protocol))
    assert set(walk.pictures) == {picture(n) for n in range(1, 8)}
    assert walk.root.outcome is Outcome.WALKED


def content(data: bytes) -> list[bytes]:
    opening = Opening(detect(data[:36864]), io.BytesIO(data), len(data), "faces.pkl")
    return [member.open().read() for member in open_container(opening).members()]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("dtype", ["u1", "<f4", ">f8"])
def test_arrays_of_numpy(protocol, dtype):
    stack = np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3)).astype(dtype)
    found = content(pickle.dumps({"x": stack, "y": np.arange(3)}, protocol))
    assert found[:3] == [picture_file(photo, "HWC").read() for photo in stack]


def test_arrays_in_fortrans_order():
    stack = np.asfortranarray(np.random.default_rng(1).integers(0, 256, (3, 20, 30, 3), dtype=np.uint8))
    assert content(pickle.dumps([stack]))[:3] == [picture_file(photo, "HWC").read() for photo in stack]


def test_base64_in_a_pickle():
    walk = walked(pickle.dumps({"photo": base64.b64encode(picture(1)).decode()}))
    assert walk.pictures == [picture(1)]


class Evil:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_is_carried_out(protocol, tmp_path, monkeypatch):
    made = tmp_path / "made"
    data = pickle.dumps([picture(1), Evil(str(made)), picture(2)], protocol)
    calls = []
    monkeypatch.setattr(os, "system", calls.append)
    walk = walked(data)
    assert not made.exists() and not calls
    assert walk.pictures == [picture(1), picture(2)]
    assert walk.root.outcome is Outcome.UNREADABLE
    assert "system" in walk.root.detail
    monkeypatch.undo()
    pickle.loads(data)
    assert made.exists(), "the pickle is what it is said to be"


@pytest.mark.parametrize(
    "body",
    [
        b"cos\nsystem\n(S'touch /tmp/x'\ntR.",
        b"(S'touch /tmp/x'\nios\nsystem\n.",
        b"(cos\nsystem\nS'x'\no.",
        b"cbuiltins\neval\n(S'1/0'\ntR.",
        b"\x8c\x02os\x8c\x06system\x93\x8c\x01x\x85R.",
        b"cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\nK\x00tR.",
        b"\x82\x01.",
        b"Pid\n.",
        b"]K\x01Qa.",
    ],
)
def test_ways_to_call_something(body):
    walk = walked(b"\x80\x04]" + body)
    assert walk.root.outcome in (Outcome.UNREADABLE, Outcome.WALKED)
    assert "pickle" not in {name for name in sys.modules if name.startswith("leakmatch")}


@pytest.mark.parametrize(
    "body",
    [
        b"(" * 2_000_000,
        b"]" + b"(" * 100 + b"e" * 200,
        b"]B\xff\xff\xff\x7f" + picture(1),
        b"]\x8e" + b"\xff" * 8 + picture(1),
        b"]\x95" + b"\xff" * 8,
        b"]\x8b\xff\xff\xff\x7f",
        b"]S'" + b"a" * 1000,
        b"]\xfe\xfe",
        b"]RRRR",
        b"]bbbb",
        b"]\x85" * 100_000,
        b"]h\x07h\x08\x93R.",
    ],
)
def test_hostile_instructions(body):
    walk = walked(b"\x80\x04" + body)
    assert walk.root.outcome not in (None, Outcome.WALKED)
    assert len(walk.entries) <= 3


def test_truncation_and_damage_everywhere():
    data = datasets.pickled(PICTURES)
    generator = random.Random(5)
    for cut in range(2, len(data), 53):
        walk = walked(data[:cut])
        assert walk.root.outcome is not Outcome.WALKED
        broken = data[:cut] + generator.randbytes(2) + data[cut + 2 :]
        assert walked(broken).entries


def test_many_values_need_no_memory_for_each():
    import tracemalloc

    data = pickle.dumps(([b"\0" + n.to_bytes(4, "big") for n in range(20_000)], [True] * 20_000))
    opening = Opening("pickle", io.BytesIO(data), len(data), "x")
    tracemalloc.start()
    assert sum(1 for _ in open_container(opening).members()) == 20_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 << 20

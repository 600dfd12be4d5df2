"""Preparing ONNX files: what is edited, what is not, and what is not an ONNX file."""

from __future__ import annotations

import numpy as np
import pytest

from leakmatch.errors import IntegrityError
from leakmatch.faces.graph import _encoded, _fields, _message, _varint, prepared
from leakmatch.faces.packs import Pack, verified
from leakmatch.faces.session import Session


def test_weights_are_no_longer_inputs(pack: Pack) -> None:
    model = verified(pack, pack.embedder.file)
    assert model.count(b"conv_1_conv2d_weight") == 3  # used, listed as an input, and stored
    edited = prepared(model)
    assert edited.count(b"conv_1_conv2d_weight") == 2
    assert Session(edited, "sface").input_shape == (1, 3, 112, 112)


def test_the_size_is_freed_and_results_stay(pack: Pack) -> None:
    model = verified(pack, pack.detector.file)
    shipped, edited = Session(model, "shipped"), Session(prepared(model, free_size=True), "edited")
    assert shipped.input_shape == (1, 3, 640, 640)
    assert edited.input_shape[:2] == (1, 3)
    assert not any(isinstance(side, int) for side in edited.input_shape[2:])
    blob = np.random.default_rng(0).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    for ours, reference in zip(edited.run(blob), shipped.run(blob), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)
    assert edited.run(blob[:, :, :64, :96])[0].shape == (1, 8 * 12, 1)


def test_preparing_twice_changes_nothing_more(pack: Pack) -> None:
    once = prepared(verified(pack, pack.detector.file), free_size=True)
    assert prepared(once, free_size=True) == once


@pytest.mark.parametrize("cut", [0, 1, 2, 100, 100_000, -1])
def test_a_truncated_model_is_refused(pack: Pack, cut: int) -> None:
    model = verified(pack, pack.detector.file)[:cut]
    with pytest.raises(IntegrityError):
        Session(prepared(model), "cut")


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**31, 2**63 - 1])
def test_numbers_are_read_as_they_are_written(value: int) -> None:
    assert _varint(memoryview(_encoded(value)), 0) == (value, len(_encoded(value)))


def test_fields_are_read_as_they_are_written() -> None:
    message = b"\x08\x96\x01" + b"\x11" + bytes(8) + _message(7, b"inside") + b"\x1d" + bytes(4)
    fields = list(_fields(memoryview(message)))
    assert [(number, bytes(content)) for number, content, _ in fields] == [(1, b""), (2, b""), (7, b"inside"), (3, b"")]
    assert b"".join(whole for _, _, whole in fields) == message


@pytest.mark.parametrize("message", [b"\x0b", b"\x0a\x05abc", b"\x08", b"\x08" + b"\xff" * 11, b"\x11\x00"])
def test_what_is_not_protobuf_is_an_error(message: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(_fields(memoryview(message)))

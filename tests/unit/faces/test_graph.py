"""Rewriting ONNX files: what is edited, what is not, and what is not an ONNX file."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from nets import net

from leakmatch.arrays import FloatArray
from leakmatch.errors import IntegrityError
from leakmatch.faces.graph import rewritten
from leakmatch.faces.packs import Pack, verified
from leakmatch.faces.session import open_session


def operators(model: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_model_from_string(model).graph.node]


SLOPES = {
    "between 0 and 1": [0.1, 0.25, 0.5, 0.9],
    "none": [0, 0, 0, 0],
    "one": [1, 1, 1, 1],
    "negative": [-0.8, -2, 0.3, -0.001],
    "above 1": [1.12, 0.2, 3, -0.5],
}


@pytest.mark.parametrize("slopes", SLOPES.values(), ids=SLOPES)
@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1)])
def test_prelu_without_prelu(slopes: list[float], shape: tuple[int, ...]) -> None:
    model = net(np.array(slopes, np.float32).reshape(shape))
    edited = rewritten(model)
    assert "PRelu" not in operators(edited)
    onnx.checker.check_model(onnx.load_model_from_string(edited), full_check=True)
    x = np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32)
    for ours, reference in zip(open_session(edited, "e").run(x), open_session(model, "m").run(x), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("slope", [np.full((1,), 0.2), np.full((4, 8, 8), 0.2), np.full((1, 1, 1), 0.2)])
def test_a_slope_that_is_not_one_per_channel_stays(slope: FloatArray) -> None:
    edited = rewritten(net(slope.astype(np.float32)))
    assert operators(edited) == ["Conv", "PRelu", "Conv"]


def test_a_slope_that_is_computed_stays() -> None:
    assert "PRelu" in operators(rewritten(net(np.zeros((4, 1, 1), np.float32), slope_is_input=True)))


def test_weights_are_no_longer_inputs(pack: Pack) -> None:
    model = verified(pack, pack.embedder.file)
    assert len(onnx.load_model_from_string(model).graph.input) > 1
    edited = onnx.load_model_from_string(rewritten(model))
    assert [value.name for value in edited.graph.input] == ["data"]
    used = {name for node in edited.graph.node for name in node.input}
    assert {tensor.name for tensor in edited.graph.initializer} <= used


def test_the_batch_is_free_and_a_session_fixes_it(pack: Pack) -> None:
    edited = rewritten(verified(pack, pack.embedder.file))
    dims = onnx.load_model_from_string(edited).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in dims] == ["batch", 3, 112, 112]
    assert open_session(edited, "sface").input_shape == (1, 3, 112, 112)


def test_the_size_is_freed_and_results_stay(pack: Pack) -> None:
    model = verified(pack, pack.detector.file)
    shipped, edited = open_session(model, "shipped"), open_session(rewritten(model, free_size=True), "edited")
    assert shipped.input_shape == (1, 3, 640, 640)
    assert edited.input_shape[:2] == (1, 3)
    assert not any(isinstance(side, int) for side in edited.input_shape[2:])
    blob = np.random.default_rng(0).uniform(0, 255, (1, 3, 640, 640)).astype(np.float32)
    for ours, reference in zip(edited.run(blob), shipped.run(blob), strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-4, atol=1e-4)
    assert edited.run(blob[:, :, :64, :96])[0].shape == (1, 8 * 12, 1)


def test_equal_input_gives_equal_bytes_and_twice_is_once(pack: Pack) -> None:
    model = verified(pack, pack.embedder.file)
    once = rewritten(model)
    assert rewritten(model) == once
    assert rewritten(once) == once


@pytest.mark.parametrize("cut", [0, 1, 2, 100, 100_000, -1])
def test_a_truncated_model_is_refused(pack: Pack, cut: int) -> None:
    with pytest.raises(IntegrityError, match="not an ONNX file"):
        rewritten(verified(pack, pack.detector.file)[:cut])


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(IntegrityError, match="not an ONNX file"):
        rewritten(b"\x89PNG\r\n\x1a\n" * 9)

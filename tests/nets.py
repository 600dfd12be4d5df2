"""Small ONNX files for tests."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from leakmatch.arrays import FloatArray


def net(slope: FloatArray, *, slope_is_input: bool = False) -> bytes:
    """An ONNX file: a convolution of 3 to 4 channels, PRelu, another convolution; two outputs."""
    random = np.random.default_rng(5)
    weights = {
        "w1": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "w2": random.normal(size=(2, 4, 1, 1)).astype(np.float32),
    }
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])]
    if slope_is_input:
        inputs.append(helper.make_tensor_value_info("slope", TensorProto.FLOAT, slope.shape))
    else:
        weights["slope"] = slope
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["a"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("PRelu", ["a", "slope"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], kernel_shape=[1, 1]),
    ]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, 8, 8])
        for name, channels in (("b", 4), ("c", 2))
    ]
    graph = helper.make_graph(
        nodes, "net", inputs, outputs, [numpy_helper.from_array(value, name) for name, value in weights.items()]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    return bytes(model.SerializeToString())

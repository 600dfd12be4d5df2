"""Writes leakmatch/matching/int8_product.onnx: one MatMulInteger of uint8 templates and int8 probes.

    python scripts/make_int8_product.py [FILE]

A graph of one operator and no weights, so that onnxruntime's int8 product can be called on any block. Needs the
package onnx, which LeakMatch itself does not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

FILE = Path(__file__).resolve().parents[1] / "leakmatch" / "matching" / "int8_product.onnx"


def graph() -> bytes:
    """The file's content. MatMulInteger came with operator set 10; any newer runtime reads this."""
    inputs = [
        helper.make_tensor_value_info("templates", TensorProto.UINT8, ["n", "d"]),
        helper.make_tensor_value_info("probes", TensorProto.INT8, ["d", "p"]),
    ]
    outputs = [helper.make_tensor_value_info("products", TensorProto.INT32, ["n", "p"])]
    node = helper.make_node("MatMulInteger", ["templates", "probes"], ["products"])
    model = helper.make_model(
        helper.make_graph([node], "int8_product", inputs, outputs),
        opset_imports=[helper.make_opsetid("", 10)],
        ir_version=5,
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


if __name__ == "__main__":
    (Path(sys.argv[1]) if sys.argv[1:] else FILE).write_bytes(graph())

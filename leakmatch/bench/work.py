"""How much arithmetic a model asks for: what its time is held against."""

from __future__ import annotations

import math

from leakmatch.errors import IntegrityError


def multiply_adds(model: bytes, height: int, width: int) -> int:
    """Multiply-adds of the ONNX file ``model`` for one picture float32[1,3,height,width].

    Counts convolutions and matrix products with constant weights, as papers do; the rest is less than a hundredth of
    it in the models used here. Raises :class:`IntegrityError` where a layer's output has no fixed size.
    """
    import onnx  # some 0.2 s, and only needed here

    proto = onnx.load_from_string(model)
    weights = {tensor.name: list(tensor.dims) for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    for value in inputs:
        for dim, size in zip(value.type.tensor_type.shape.dim, (1, 3, height, width), strict=True):
            dim.dim_value = size
    for value in proto.graph.output:  # the sizes written there are those of the size it was exported for
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    del proto.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    total = 0
    for node in inferred.node:
        if node.op_type in {"Conv", "Gemm", "MatMul"} and (weight := weights.get(node.input[1])) is not None:
            output = math.prod(sizes.get(node.output[0], [0]))
            if not output:
                raise IntegrityError(f"The size of the layer {node.name or node.output[0]} cannot be told.")
            total += output * _per_output(node, weight)
    return total


def _per_output(node: object, weight: list[int]) -> int:
    """Multiply-adds for one number of the layer's output."""
    if node.op_type == "Conv":  # type: ignore[attr-defined]
        return math.prod(weight[1:])
    transposed = any(a.name == "transB" and a.i for a in node.attribute)  # type: ignore[attr-defined]
    return weight[-1] if transposed else weight[-2]

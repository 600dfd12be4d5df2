"""Rewrites an ONNX graph so that onnxruntime runs it fast: other operators, the same function, the same weights.

Four habits of exporters cost much or stand in the way:

- older files list their weights among the inputs of the graph, so onnxruntime must expect them to be replaced at
  run time and folds nothing (SFace: up to 2.2 times slower);
- the size of the input is written as fixed numbers, although the operators take any, and so are the sizes of all
  tensors in between;
- onnxruntime has no fast ``PRelu``: it leaves the blocked layout of the convolutions around it (NCHWc), reorders,
  and works element by element (SFace: more than half of the time; docs/models.md);
- dead outputs and descriptions make the file larger.

This module is the only one to import ``onnx``, and runs when a pack is installed, never in a worker. The model as it
was shipped is the readable reference: :mod:`leakmatch.faces.prepared` holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from leakmatch.arrays import FloatArray
from leakmatch.errors import IntegrityError

if TYPE_CHECKING:
    import onnx

#: Counts changes of what :func:`rewritten` makes of a file: prepared files of another recipe are made anew.
RECIPE: Final = 1
#: The names of the free dimensions.
BATCH, HEIGHT, WIDTH = "batch", "height", "width"
_IR_VERSION: Final = 4  # of the file format: from here on a weight need not be an input


def rewritten(model: bytes, *, free_size: bool = False) -> bytes:
    """The ONNX file ``model`` with constants as constants, a free batch, and ``PRelu`` in operators that are fast.

    With ``free_size`` the last two dimensions of four-dimensional inputs are free as well. Equal input gives equal
    bytes. Raises :class:`IntegrityError` if ``model`` is not an ONNX file.
    """
    import onnx
    from google.protobuf.message import DecodeError

    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(model)
    except DecodeError as error:
        raise IntegrityError("The model file is not an ONNX file (it cannot be parsed).") from error
    graph = proto.graph
    if not graph.node or not graph.output:
        raise IntegrityError("The model file is not an ONNX file (it has no graph).")
    proto.ir_version = max(proto.ir_version, _IR_VERSION)
    _replace(graph.node, _without_prelu(graph))
    weights = {tensor.name for tensor in graph.initializer}
    used = {name for node in graph.node for name in node.input}
    _replace(graph.input, [value for value in graph.input if value.name not in weights])
    _replace(graph.initializer, [tensor for tensor in graph.initializer if tensor.name in used])
    del graph.value_info[:]
    for value in graph.input:
        _free(value, free_size)
    for value in graph.output:  # sizes follow from the inputs
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _free(value: onnx.ValueInfoProto, free_size: bool) -> None:
    dims = value.type.tensor_type.shape.dim
    if len(dims) == 4:
        dims[0].dim_param = BATCH
        if free_size:
            dims[2].dim_param, dims[3].dim_param = HEIGHT, WIDTH


def _without_prelu(graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """The nodes of ``graph``, each ``PRelu`` with one constant slope a channel replaced; adds weights to ``graph``.

    A quantised graph stays as it is.
    """
    from onnx import numpy_helper

    if any("QuantizeLinear" in node.op_type for node in graph.node):
        return list(graph.node)  # a change in the last digit would move roundings
    weights = {tensor.name: tensor for tensor in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        tensor = weights.get(node.input[1]) if node.op_type == "PRelu" else None
        slope = None if tensor is None else numpy_helper.to_array(tensor)
        if slope is None or slope.dtype != np.float32 or slope.shape[-3:] != (slope.size, 1, 1) or slope.size == 1:
            nodes.append(node)
        else:
            nodes.extend(_bend(graph, node.input[0], node.output[0], slope.reshape(-1)))
    return nodes


def _bend(graph: onnx.GraphProto, x: str, y: str, slope: FloatArray) -> Iterable[onnx.NodeProto]:
    """Nodes that compute ``y = PRelu(x)``, that is ``x`` where it is positive and ``slope * x`` elsewhere.

    ``PRelu(x) = slope * x + (1 - slope) * max(x, 0)``. A factor per channel is a depthwise convolution of one
    pixel, which onnxruntime keeps in the blocked layout; there it fuses the sum into the last one. Where no slope is
    above 1, ``(1 - slope) * max(x, 0) = max((1 - slope) * x, 0)``, and the maximum is fused as well.
    """
    from onnx import helper

    def scaled(source: str, factors: FloatArray, name: str) -> onnx.NodeProto:
        weight = helper.make_tensor(f"{name}/factors", 1, (len(factors), 1, 1, 1), factors.tobytes(), raw=True)
        graph.initializer.append(weight)
        sizes: dict[str, Any] = {"kernel_shape": (1, 1), "group": len(factors)}
        return helper.make_node("Conv", [source, weight.name], [name], name=name, **sizes)

    rest = (1 - slope.astype(np.float64)).astype(np.float32)
    line, bent, inner = f"{y}/line", f"{y}/bent", f"{y}/inner"
    if (slope <= 1).all():
        yield scaled(x, rest, inner)
        yield helper.make_node("Relu", [inner], [bent], name=bent)
    else:
        yield helper.make_node("Relu", [x], [inner], name=inner)
        yield scaled(inner, rest, bent)
    yield scaled(x, slope, line)
    yield helper.make_node("Add", [line, bent], [y], name=y)


def _replace(field: Any, content: Sequence[Any]) -> None:
    """``content`` as the content of a repeated field, which may be where it came from."""
    kept = [type(item).FromString(item.SerializeToString()) for item in content]
    del field[:]
    field.extend(kept)

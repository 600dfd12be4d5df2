"""Prepares an ONNX file for onnxruntime, in memory: weights and operators stay exactly as shipped.

Two habits of exporters cost much or stand in the way:

- older files list their weights among the inputs of the graph, so onnxruntime must expect them to be replaced at
  run time and folds nothing (SFace: up to 2.2 times slower);
- the picture's size is written as fixed numbers, although the operators take any size (YuNet), and the sizes of
  the tensors in between are written down for that one size.

Only these declarations are edited, on the level of protobuf's wire format: that takes a few lines and milliseconds,
while the ``onnx`` package is a large dependency with which each worker would parse and rewrite the whole file.

Field numbers are those of ``onnx.proto`` in the ONNX project. The wire format is described in protobuf's guide,
"Encoding": a message is a row of fields, each a varint ``number << 3 | wire type`` followed by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from leakmatch.errors import IntegrityError

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED64: 8, _FIXED32: 4}

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER, _GRAPH_INPUT, _GRAPH_OUTPUT, _GRAPH_VALUE_INFO = 5, 11, 12, 13
_TENSOR_NAME = 8
_VALUE_NAME = 1
_TO_SHAPE = (2, 1, 2)  # ValueInfoProto.type, TypeProto.tensor_type, Tensor.shape
_SHAPE_DIM = 1
_DIM_PARAM = 2

Buffer = bytes | memoryview
#: A field: its number, its content (empty for plain numbers), and all its bytes, key included.
Field = tuple[int, memoryview, memoryview]


def prepared(model: bytes, free_size: bool = False) -> bytes:
    """The ONNX file ``model`` with weights as constants and, if ``free_size``, pictures of any height and width.

    ``free_size`` frees the last two dimensions of the four-dimensional inputs. Declared sizes of outputs and of
    tensors in between are left out; onnxruntime infers them. Raises :class:`IntegrityError` if ``model`` is not
    an ONNX file.
    """
    try:
        rows = list(_fields(memoryview(model)))
        if not any(number == _MODEL_GRAPH for number, _, _ in rows):
            raise ValueError("no graph")
        return b"".join(
            _message(number, _graph(content, free_size)) if number == _MODEL_GRAPH else whole
            for number, content, whole in rows
        )
    except (IndexError, ValueError) as error:
        raise IntegrityError(f"The model file is not an ONNX file ({error}).") from error


def _graph(graph: memoryview, free_size: bool) -> bytes:
    rows = list(_fields(graph))
    weights = {_name(content, _TENSOR_NAME) for number, content, _ in rows if number == _GRAPH_INITIALIZER}
    kept: list[Buffer] = []
    for number, content, whole in rows:
        if number == _GRAPH_VALUE_INFO or (number == _GRAPH_INPUT and _name(content, _VALUE_NAME) in weights):
            continue
        if number == _GRAPH_OUTPUT:
            kept.append(_message(number, _with_shape(content, _no_shape)))
        elif number == _GRAPH_INPUT and free_size:
            kept.append(_message(number, _with_shape(content, _free_shape)))
        else:
            kept.append(whole)
    return b"".join(kept)


def _with_shape(message: memoryview, rewrite: Callable[[Field], Buffer], path: tuple[int, ...] = _TO_SHAPE) -> bytes:
    """``message`` with the field that ``path`` leads to replaced by what ``rewrite`` makes of it."""
    head, *rest = path
    return b"".join(
        whole
        if number != head
        else _message(number, _with_shape(content, rewrite, tuple(rest)))
        if rest
        else rewrite((number, content, whole))
        for number, content, whole in _fields(message)
    )


def _no_shape(shape: Field) -> Buffer:
    return b""


def _free_shape(shape: Field) -> Buffer:
    """``shape`` with names in place of the numbers for height and width; anything not four-dimensional stays."""
    number, content, whole = shape
    dims = [dim for field, _, dim in _fields(content) if field == _SHAPE_DIM]  # each with its key
    if len(dims) != 4:
        return whole
    free = [_message(_SHAPE_DIM, _message(_DIM_PARAM, name)) for name in (b"height", b"width")]
    return _message(number, b"".join([*dims[:2], *free]))


def _name(message: memoryview, number: int) -> bytes:
    return next((bytes(content) for field, content, _ in _fields(message) if field == number), b"")


def _fields(message: memoryview) -> Iterator[Field]:
    """The fields of ``message`` in order. Raises ``ValueError`` or ``IndexError`` where it is not protobuf."""
    start = 0
    while start < len(message):
        key, at = _varint(message, start)
        wire, content = key & 7, at
        if wire == _VARINT:
            _, end = _varint(message, at)
            content = end
        elif wire == _LENGTH:
            length, content = _varint(message, at)
            end = content + length
        elif wire in _FIXED_BYTES:
            end = content = at + _FIXED_BYTES[wire]
        else:
            raise ValueError(f"wire type {wire}")
        if end > len(message):
            raise ValueError("truncated")
        yield key >> 3, message[content:end], message[start:end]
        start = end


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at ``at``, and where it ends."""
    value = 0
    for shift in range(0, 64, 7):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number of more than 64 bits")


def _message(number: int, content: bytes) -> bytes:
    return _encoded(number << 3 | _LENGTH) + _encoded(len(content)) + content


def _encoded(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

"""Does an ONNX file refer to other files? A stored graph is untrusted, and a runtime that loads it would open them.

What may live here: a walk through the messages of the protobuf wire format that can hold a tensor. Nothing is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from intcodec.base.errors import ModelError

#: Per message, the fields that hold another message in which a tensor may stand.
_INSIDE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
#: TensorProto.external_data and .data_location.
_EXTERNAL: Final = (13, 14)
_MAX_DEPTH: Final = 32
_FIXED: Final = {1: 8, 5: 4}


def check_closed(data: bytes, name: str) -> None:
    """Refuse a serialised ONNX model with a tensor whose values are in another file.

    Args:
        data: the model.
        name: of the graph, for the message.

    Raises:
        ModelError: it has such a tensor, or is no ONNX file.
    """
    todo = [("model", memoryview(data), 0)]
    while todo:
        message, view, depth = todo.pop()
        if depth > _MAX_DEPTH:
            raise ModelError(f"model: onnx/{name}.onnx is nested too deeply")
        for field, content in _fields(view, name):
            if message == "tensor" and field in _EXTERNAL:
                raise ModelError(f"model: onnx/{name}.onnx refers to another file")
            if field in _INSIDE[message]:
                todo.append((_INSIDE[message][field], content, depth + 1))


def _fields(view: memoryview, name: str) -> Iterator[tuple[int, memoryview]]:
    """Yield the number and the content of each field; that of a number is empty."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at, name)
        kind, length = tag & 7, 0
        if kind == 0:
            _, at = _varint(view, at, name)
        elif kind == 2:
            length, at = _varint(view, at, name)
        elif kind in _FIXED:
            at += _FIXED[kind]
        else:
            raise ModelError(f"model: onnx/{name}.onnx is no ONNX file")
        if at + length > len(view):
            raise ModelError(f"model: onnx/{name}.onnx is no ONNX file")
        yield tag >> 3, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            break
        value |= (view[at] & 0x7F) << shift
        at += 1
        if view[at - 1] < 0x80:
            return value, at
    raise ModelError(f"model: onnx/{name}.onnx is no ONNX file")

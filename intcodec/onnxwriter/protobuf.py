"""The part of the protobuf wire format and of ONNX's messages that a graph file needs, so that no package is needed.

What may live here: bytes. A message is its fields in the order of their numbers, which is what deterministic
serialisation by the `onnx` package gives; tests compare the two byte for byte.

    field = varint(number << 3 | wire type), then a varint (type 0), or a length and that many bytes (type 2)

Source: protobuf's encoding guide; onnx.proto of ONNX 1.16 for the field numbers, which ONNX never changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: TensorProto.DataType.
FLOAT, UINT8, INT8, INT32, INT64, UINT32 = 1, 2, 3, 6, 7, 12
#: AttributeProto.AttributeType.
_INT, _STRING, _INTS = 2, 3, 7


def varint(value: int) -> bytes:
    """Return an integer in groups of seven bits, low ones first; a negative one as its 64-bit two's complement."""
    value &= (1 << 64) - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """Return an integer field."""
    return varint(field << 3) + varint(value)


def data(field: int, value: bytes | str) -> bytes:
    """Return a field of bytes, text or a message."""
    content = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | 2) + varint(len(content)) + content


def attribute(name: str, value: int | str | Sequence[int]) -> bytes:
    """Return an AttributeProto: an integer, a text or a list of integers."""
    if isinstance(value, int):
        return data(1, name) + number(3, value) + number(20, _INT)
    if isinstance(value, str):
        return data(1, name) + data(4, value) + number(20, _STRING)
    return data(1, name) + b"".join(number(8, int(v)) for v in value) + number(20, _INTS)


def node(kind: str, inputs: Iterable[str], outputs: Iterable[str], attributes: dict[str, Any]) -> bytes:
    """Return a NodeProto; attributes are sorted by name."""
    names = b"".join(data(1, name) for name in inputs) + b"".join(data(2, name) for name in outputs)
    return names + data(4, kind) + b"".join(data(5, attribute(k, v)) for k, v in sorted(attributes.items()))


def tensor(name: str, array: NDArray[Any], element: int) -> bytes:
    """Return a TensorProto of an array, little-endian."""
    dims = b"".join(number(1, size) for size in array.shape)
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()
    return dims + number(2, element) + data(8, name) + data(9, raw)


def value_info(name: str, element: int, shape: Sequence[int | str]) -> bytes:
    """Return a ValueInfoProto of a tensor; a size that is text is free."""
    dims = b"".join(data(1, number(1, size) if isinstance(size, int) else data(2, size)) for size in shape)
    return data(1, name) + data(2, data(1, number(1, element) + data(2, dims)))


def graph(
    name: str, nodes: Iterable[bytes], tensors: Iterable[bytes], inputs: Iterable[bytes], outputs: Iterable[bytes]
) -> bytes:
    """Return a GraphProto."""
    parts = [data(1, part) for part in nodes] + [data(2, name)] + [data(5, part) for part in tensors]
    return b"".join([*parts, *(data(11, part) for part in inputs), *(data(12, part) for part in outputs)])


def model(content: bytes, opset: int, ir_version: int, producer: str) -> bytes:
    """Return a ModelProto of a GraphProto for one version of the standard operators."""
    return number(1, ir_version) + data(2, producer) + data(7, content) + data(8, data(1, "") + number(2, opset))

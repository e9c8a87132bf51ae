"""A writer of ONNX graphs: nodes, constants, nothing about codecs.

What may live here: the order of things in a graph. Equal nodes and equal constants are written once, and names count up
in order of writing, so equal descriptions give equal bytes; they begin with a dot, which no tensor of a network does.
`protobuf` knows the format; no package is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intcodec.onnxwriter import protobuf

OPSET = 13
#: The oldest file version that may hold opset 13; onnxruntime 1.17 reads up to 9.
IR_VERSION = 7

ELEMENT = {
    "uint8": protobuf.UINT8,
    "int8": protobuf.INT8,
    "int32": protobuf.INT32,
    "int64": protobuf.INT64,
    "uint32": protobuf.UINT32,
    "float32": protobuf.FLOAT,
}


class Emitter:
    """Collect nodes and constants of one graph.

    Invariant: `_nodes` is in execution order; every name in `_seen` is an output of a node in it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[bytes] = []
        self._seen: dict[tuple[Any, ...], str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], tuple[str, NDArray[Any]]] = {}
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare a graph input; return its name."""
        self._inputs.append(protobuf.value_info(name, ELEMENT[dtype], shape))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[int | str], source: str) -> None:
        """Declare the graph output `name`, a copy of the tensor `source`."""
        self._nodes.append(protobuf.node("Identity", [source], [name], {}))
        self._outputs.append(protobuf.value_info(name, ELEMENT[dtype], shape))

    def const(self, array: Any, dtype: str) -> str:
        """Return the name of a constant."""
        a = np.ascontiguousarray(np.asarray(array).astype(dtype))
        a = a.reshape(np.shape(array))
        key = (dtype, a.shape, a.tobytes())
        if key not in self._constants:
            self._constants[key] = (f".c{len(self._constants)}", a)
        return self._constants[key][0]

    def split(self, source: str, count: int, axis: int) -> tuple[str, ...]:
        """Split a tensor into `count` equal parts along an axis."""
        names = tuple(f".t{len(self._nodes)}_{i}" for i in range(count))
        self._nodes.append(protobuf.node("Split", [source], names, {"axis": axis}))
        return names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, or reuse an equal one; return the output's name."""
        key = (kind, inputs, tuple(sorted((k, str(v)) for k, v in attributes.items())))
        if key not in self._seen:
            self._seen[key] = f".t{len(self._nodes)}"
            self._nodes.append(protobuf.node(kind, inputs, [self._seen[key]], attributes))
        return self._seen[key]

    def cast(self, source: str, dtype: str) -> str:
        """Convert; integers that do not fit keep their low bits (ONNX: two's complement)."""
        return self.op("Cast", source, to=ELEMENT[dtype])

    def channelwise(self, values: NDArray[Any], dtype: str) -> str:
        """Return a constant for the last axis: one scalar where all channels agree, else a vector."""
        return self.const(values[0] if np.all(values == values[0]) else values, dtype)

    def model(self) -> bytes:
        """Return the serialised model."""
        constants = [protobuf.tensor(n, a, ELEMENT[a.dtype.name]) for n, a in self._constants.values()]
        graph = protobuf.graph(self._name, self._nodes, constants, self._inputs, self._outputs)
        return protobuf.model(graph, OPSET, IR_VERSION, "intcodec")

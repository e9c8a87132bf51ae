"""A writer of ONNX graphs: nodes, constants, nothing about codecs.

What may live here: the only use of the `onnx` package. Equal nodes and equal constants are written once, names count up
in order of writing, and the protobuf is serialised deterministically, so equal descriptions give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
#: The oldest file version that may hold opset 13; onnxruntime 1.17 reads up to 9.
IR_VERSION = 7

ELEMENT = {
    "uint8": TensorProto.UINT8,
    "int32": TensorProto.INT32,
    "uint32": TensorProto.UINT32,
    "float32": TensorProto.FLOAT,
}


class Emitter:
    """Collect nodes and constants of one graph.

    Invariant: `_nodes` is in execution order; every name in `_seen` is an output of a node in it.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[Any] = []
        self._seen: dict[tuple[Any, ...], str] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], tuple[str, NDArray[Any]]] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []

    def input(self, name: str, dtype: str, shape: Sequence[int | str]) -> str:
        """Declare a graph input; return its name."""
        self._inputs.append(helper.make_tensor_value_info(name, ELEMENT[dtype], list(shape)))
        return name

    def output(self, name: str, dtype: str, shape: Sequence[int | str], source: str) -> None:
        """Declare the graph output `name`, a copy of the tensor `source`."""
        self._nodes.append(helper.make_node("Identity", [source], [name]))
        self._outputs.append(helper.make_tensor_value_info(name, ELEMENT[dtype], list(shape)))

    def const(self, array: Any, dtype: str) -> str:
        """Return the name of a constant."""
        a = np.ascontiguousarray(np.asarray(array).astype(dtype))
        a = a.reshape(np.shape(array))
        key = (dtype, a.shape, a.tobytes())
        if key not in self._constants:
            self._constants[key] = (f"c{len(self._constants)}", a)
        return self._constants[key][0]

    def split(self, source: str, count: int, axis: int) -> tuple[str, ...]:
        """Split a tensor into `count` equal parts along an axis."""
        names = tuple(f"t{len(self._nodes)}_{i}" for i in range(count))
        self._nodes.append(helper.make_node("Split", [source], list(names), axis=axis))
        return names

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output, or reuse an equal one; return the output's name."""
        key = (kind, inputs, tuple(sorted((k, str(v)) for k, v in attributes.items())))
        if key not in self._seen:
            self._seen[key] = f"t{len(self._nodes)}"
            self._nodes.append(helper.make_node(kind, list(inputs), [self._seen[key]], **attributes))
        return self._seen[key]

    def cast(self, source: str, dtype: str) -> str:
        """Convert; integers that do not fit keep their low bits (ONNX: two's complement)."""
        return self.op("Cast", source, to=ELEMENT[dtype])

    def channelwise(self, values: NDArray[Any], dtype: str) -> str:
        """Return a constant for the last axis: one scalar where all channels agree, else a vector."""
        return self.const(values[0] if np.all(values == values[0]) else values, dtype)

    def model(self) -> bytes:
        """Return the serialised model."""
        constants = [numpy_helper.from_array(a, n) for n, a in self._constants.values()]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, self._outputs, constants)
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="intcodec"
        )
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

"""The executable form of docs/arithmetic.md: slow, exact, and strict.

Every row computes its tensor in int64 (`intcodec.rows`), which is checked against the range that the contract states;
anything outside raises `RangeError`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intcodec.base.errors import InputError, RangeError
from intcodec.base.integers import IntArray
from intcodec.network.graph import Graph, Network
from intcodec.rows.row import Int64, TensorSpec


class ReferenceEngine:
    """Run a network's graphs exactly as docs/arithmetic.md states them, in numpy int64."""

    name = "reference"

    def __init__(self, network: Network, threads: int | None = None) -> None:
        self.network = network
        self.threads = 1 if threads is None else threads  # numpy's BLAS decides; the result cannot depend on it
        self._specs = {name: graph.specs() for name, graph in network.graphs.items()}

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph.

        Args:
            graph: name of the graph, such as "g_s".
            inputs: arrays [H, W, C] by tensor name, in the dtype of their spec.

        Returns:
            The graph's outputs by name, arrays [H', W', C'] in the dtype of their spec.

        Raises:
            InputError: an input is missing or has the wrong dtype or shape.
            RangeError: a value left the range that the contract states.
        """
        tensors = self.trace(graph, inputs)
        return {name: tensors[name] for name in self.network.graphs[graph].outputs}

    def trace(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph and return every tensor by name, inputs included."""
        description, specs = self.network.graphs[graph], self._specs[graph]
        tensors = {s.name: check_input(description, s, inputs) for s in description.inputs}
        for row in description.rows:
            sources = [tensors[name] for name in row.inputs]
            if any(s.shape[:2] != sources[0].shape[:2] for s in sources):
                raise InputError(f"graph {graph}: the inputs of row {row.name!r} differ in height or width")
            read = tuple(specs[name] for name in row.inputs)
            out = row.compute(read, *(s.astype(np.int64) for s in sources))
            tensors[row.name] = _in_range(out, specs[row.name], f"{graph}/{row.name}").astype(specs[row.name].dtype)
        return tensors


def check_input(graph: Graph, spec: TensorSpec, inputs: Mapping[str, IntArray]) -> IntArray:
    """Return the graph's input `spec.name` after checking its dtype, shape and range.

    Raises:
        InputError: it is missing, has another dtype or shape, or a value outside the spec's range.
    """
    x = inputs.get(spec.name)
    if x is None:
        raise InputError(f"graph {graph.name}: input {spec.name!r} is missing")
    if x.dtype != spec.dtype or x.ndim != 3 or x.shape[2] != spec.channels or x.size == 0:
        want = f"{spec.dtype}[H, W, {spec.channels}]"
        raise InputError(f"graph {graph.name}: input {spec.name!r} must be {want}, got {x.dtype}{list(x.shape)}")
    if int(x.min()) < spec.lo or int(x.max()) > spec.hi:
        raise InputError(f"graph {graph.name}: input {spec.name!r} has values outside [{spec.lo}, {spec.hi}]")
    return x


def _in_range(x: Int64, spec: TensorSpec, where: str) -> Int64:
    if int(x.min()) < spec.lo or int(x.max()) > spec.hi:
        raise RangeError(f"{where}: value outside [{spec.lo}, {spec.hi}]")
    return x

"""The native engine: the compiled core of _ext behind the same interface as the reference engine.

What may live here: choosing the instruction set, handing a `Network` to C once, checking what a caller passes in. No
arithmetic: it is all in C, and equal to docs/arithmetic.md to the bit for every instruction set, thread count, picture
size and workspace size.

The environment variable INTCODEC_ISA names the instruction set to use, where the fastest is not wanted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from fractions import Fraction
from threading import Lock
from typing import Any

import numpy as np

import intcodec._native as _native
from intcodec.base.errors import InputError
from intcodec.base.integers import IntArray
from intcodec.engines.columns import Columns, Stretch
from intcodec.engines.reference import check_input
from intcodec.network.graph import Graph, Network
from intcodec.rows.row import TensorSpec

MAX_THREADS = 256
#: Wished bytes of row windows: what the second-level cache and a slice of the third hold, per thread.
WORKSPACE_PER_THREAD = 8 << 20
#: Every step over the windows reads all weights once, so the windows are wished to be this many times as large.
WINDOWS_PER_WEIGHT = 6
MAX_WORKSPACE = 64 << 20


class NativeEngine:
    """Run a network's graphs with compiled int16 kernels, bit-identical to the reference engine."""

    name = "native"

    def __init__(
        self,
        network: Network,
        threads: int | None = None,
        *,
        isa: str | None = None,
        workspace: int | None = None,
        core: int | None = None,
    ) -> None:
        """Prepare to run a network; the weights of a graph are packed when it is first run.

        Args:
            network: the network; it is not kept alive by C and may be shared.
            threads: threads per call, 1..256; by default one per core that this process may use.
            isa: instruction set, one of `isa_levels()`; by default INTCODEC_ISA, or the fastest.
            workspace: wished size of a call's row windows in bytes, at least a few rows whatever it is; by default what
                suits the threads and the graph's weights.
            core: columns of a graph's input to compute at a time, rounded up to what the graph's strides allow; by
                default as many as suit the workspace.

        Raises:
            InputError: `isa` or INTCODEC_ISA is unknown or not available here, or `threads` is out of range.
        """
        self.network = network
        self.threads = _default_threads() if threads is None else threads
        if not 1 <= self.threads <= MAX_THREADS:
            raise InputError(f"threads must be in [1, {MAX_THREADS}], got {threads}")
        self.isa = choose_isa(isa)
        self._workspace = {
            name: _wished(graph, self.threads) if workspace is None else workspace
            for name, graph in network.graphs.items()
        }
        self._tensors = {  # of each graph: name, channels and dtype, which a spec would look up again in every run
            name: [(s.name, s.channels, s.dtype) for s in graph.specs().values()]
            for name, graph in network.graphs.items()
        }
        self._packed: dict[str, Any] = {}
        self._packing = Lock()
        self._columns = {name: Columns(graph) for name, graph in network.graphs.items()}
        self._core = {
            name: c.core(self._workspace[name]) if core is None else -(-core // c.unit) * c.unit
            for name, c in self._columns.items()
        }

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph.

        Args:
            graph: name of the graph, such as "g_s".
            inputs: arrays [H, W, C] by tensor name, in the dtype of their spec.

        Returns:
            The graph's outputs by name, arrays [H', W', C'] in the dtype of their spec.

        Raises:
            InputError: an input is missing or has the wrong dtype, shape or range.
        """
        return self._run(graph, inputs, self._description(graph).outputs)

    def trace(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph and return every tensor by name, inputs included."""
        return self._run(graph, inputs, tuple(self._description(graph).specs()))

    def _native(self, graph: str) -> Any:
        """Return a graph as C holds it."""
        if graph not in self._packed:
            with self._packing:
                if graph not in self._packed:
                    self._packed[graph] = _pack(self.network.graphs[graph], self.isa)
        return self._packed[graph]

    def _description(self, graph: str) -> Graph:
        if graph not in self.network.graphs:
            raise InputError(f"the network has no graph {graph!r}; it has {', '.join(self.network.graphs)}")
        return self.network.graphs[graph]

    def _run(self, graph: str, inputs: Mapping[str, IntArray], wanted: tuple[str, ...]) -> dict[str, IntArray]:
        description, tensors = self._description(graph), self._tensors[graph]
        given = [_checked(description, s, inputs) for s in description.inputs]
        height, width = given[0].shape[:2]
        if any(x.shape[:2] != (height, width) for x in given):
            shapes = {s.name: x.shape[:2] for s, x in zip(description.inputs, given, strict=True)}
            raise InputError(f"graph {graph}: inputs differ in size: {shapes}")
        native = self._native(graph)
        try:
            sizes = native.out_sizes(height, width)
        except ValueError as error:
            raise InputError(f"graph {graph}: a {height}x{width} input does not fit a row: {error}") from None
        made = {s.name: x for s, x in zip(description.inputs, given, strict=True)}
        shapes = {name: (*size, channels) for (name, channels, _), size in zip(tensors, sizes, strict=True)}
        dtypes = {name: dtype for name, _, dtype in tensors}
        new = [name for name in wanted if name not in made]
        made.update({name: np.empty(shapes[name], dtypes[name]) for name in new})
        core = width if description.whole else self._core[graph]
        stretches = list(self._columns[graph].stretches(width, core))
        if len(stretches) == 1:
            native.run([made.get(name) for name, _, _ in tensors], self._workspace[graph], self.threads)
            return {name: made[name] for name in wanted}
        for stretch in stretches:
            part = {
                s.name: np.ascontiguousarray(made[s.name][:, stretch.first : stretch.last]) for s in description.inputs
            }
            local = native.out_sizes(height, stretch.last - stretch.first)
            for (name, channels, dtype), size in zip(tensors, local, strict=True):
                if name in new:
                    part[name] = np.empty((*size, channels), dtype)
            native.run([part.get(name) for name, _, _ in tensors], self._workspace[graph], self.threads)
            for name in new:
                _keep(made[name], part[name], stretch, self._columns[graph].scale[name], stretch.end == width)
        return {name: made[name] for name in wanted}


def _wished(graph: Graph, threads: int) -> int:
    """Return the bytes of row windows that suit a graph."""
    weights: int = sum(getattr(row, array).nbytes for row in graph.rows for array in row.arrays)
    return min(max(WORKSPACE_PER_THREAD * threads, WINDOWS_PER_WEIGHT * weights), MAX_WORKSPACE)


def _keep(whole: IntArray, part: IntArray, stretch: Stretch, scale: Fraction, is_last: bool) -> None:
    """Copy the core of a stretch's tensor to its place in the whole tensor."""
    begin, first = int(stretch.begin * scale), int(stretch.first * scale)
    end = whole.shape[1] if is_last else int(stretch.end * scale)
    whole[:, begin:end] = part[:, begin - first : end - first]


def isa_levels() -> list[tuple[str, bool]]:
    """Return (name, available on this machine) of every compiled instruction set, fastest first."""
    return list(_native.isa_levels())


def choose_isa(isa: str | None = None) -> str:
    """Return the instruction set to use: `isa`, else INTCODEC_ISA, else the fastest available.

    Raises:
        InputError: the name is unknown, or this machine lacks the set.
    """
    levels = isa_levels()
    wanted = isa or os.environ.get("INTCODEC_ISA") or next(name for name, here in levels if here)
    if not dict(levels).get(wanted, False):
        have = ", ".join(name for name, here in levels if here)
        raise InputError(f"instruction set {wanted!r} is unknown or not available on this machine; use one of: {have}")
    return wanted


def _default_threads() -> int:
    try:
        count = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        count = os.cpu_count() or 1
    return min(count, MAX_THREADS)


def _checked(graph: Graph, spec: TensorSpec, inputs: Mapping[str, IntArray]) -> IntArray:
    """Return an input, C-contiguous, after the checks of `check_input`, which is slow but has the words."""
    x = inputs.get(spec.name)
    if x is None or x.dtype != spec.dtype or x.ndim != 3 or x.shape[2] != spec.channels or x.size == 0:
        return check_input(graph, spec, inputs)
    x = np.ascontiguousarray(x)
    return x if _native.in_range(x, spec.lo, spec.hi) else check_input(graph, spec, inputs)


def _pack(graph: Graph, isa: str) -> Any:
    """Hand a graph's rows to C."""
    specs = graph.specs()
    number = {name: i for i, name in enumerate(specs)}
    native = _native.NativeGraph(isa, [(s.channels, s.lo, s.hi) for s in graph.inputs], len(graph.rows))
    for row in graph.rows:
        sources, scalars = [number[name] for name in row.inputs], {name: getattr(row, name) for name in row.scalars}
        arrays = {a: np.require(getattr(row, a), requirements=("C", "ALIGNED")) for a in row.arrays}
        try:
            native.add(row.kind, sources, scalars, arrays)
        except ValueError as error:
            raise InputError(f"graph {graph.name}: row {row.name}: {error}") from None
    return native

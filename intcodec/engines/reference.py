"""The executable form of docs/arithmetic.md: slow, exact, and strict.

Every tensor is computed in int64 and checked against the range that the contract states; anything outside raises
`RangeError`. Products of integer matrices go through float64 BLAS, which is exact here in any order: every partial sum
is an integer below 2**31, far under 2**53 (and that is checked from the operands' magnitudes before each product).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import InputError, RangeError
from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.engines import flow
from intcodec.network.graph import (
    NORM_LIMIT,
    SLOPE_BITS,
    Add,
    Concat,
    Conv,
    Gate,
    Gdn,
    Graph,
    Network,
    Rescale,
    Row,
    ScaleIndex,
    ScaleSpace,
    TensorSpec,
    Warp,
)

Int64 = NDArray[np.int64]
Specs = Mapping[str, TensorSpec]


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
            out = _RUN[type(row)](row, specs, *(s.astype(np.int64) for s in sources))
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


def _below(x: Int64, limit: int, where: str) -> Int64:
    if int(np.abs(x).max()) >= limit:
        raise RangeError(f"{where}: magnitude {int(np.abs(x).max())} reaches the limit {limit}")
    return x


def matmul(a: Int64, b: Int64) -> Int64:
    """Return the exact integer product of int64 matrices [P, K] and [K, O] whose sums stay below 2**53."""
    if int(np.abs(a).max()) * int(np.abs(b).max()) * a.shape[1] >= 2**53:
        raise RangeError("a matrix product could exceed 2**53")
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def requantize(acc: Int64, shift: Int64, lo: int, hi: int) -> Int64:
    """Return clamp(acc >> shift, lo, hi); the rounding constant is already in acc."""
    return np.asarray(np.clip(acc >> shift, lo, hi))


def rescale(v: Int64, shift: Int64, lo: int, hi: int) -> Int64:
    """Return clamp((v + half) >> shift, lo, hi) with half = 2**(shift - 1), 0 where shift is 0."""
    return np.asarray(np.clip((v + ((np.int64(1) << shift) >> 1)) >> shift, lo, hi))


def isqrt(n: Int64) -> Int64:
    """Return floor(sqrt(n)) for 0 <= n < 2**52, exactly."""
    r = np.sqrt(n.astype(np.float64)).astype(np.int64)
    r -= r * r > n
    r += (r + 1) * (r + 1) <= n
    return r


def convolve(row: Conv, x: Int64) -> Int64:
    """Return the accumulators int64[H', W', out] of a convolution row, before requantisation and pixel shuffle."""
    top, left, bottom, right = row.pad
    out, kh, kw, cin = row.weight.shape
    padded = np.pad(x, ((top, bottom), (left, right), (0, 0)))
    oh = (padded.shape[0] - kh) // row.stride + 1
    ow = (padded.shape[1] - kw) // row.stride + 1
    if oh < 1 or ow < 1:
        raise InputError(f"row {row.name}: a {x.shape[0]}x{x.shape[1]} input is smaller than its kernel")
    weight = row.weight.astype(np.int64)
    acc = np.broadcast_to(row.bias.astype(np.int64), (oh * ow, out)).copy()
    for ky in range(kh):
        for kx in range(kw):
            tap = padded[
                ky : ky + row.stride * (oh - 1) + 1 : row.stride, kx : kx + row.stride * (ow - 1) + 1 : row.stride
            ]
            acc += matmul(tap.reshape(oh * ow, cin), weight[:, ky, kx].T)
            _below(acc, ACC_LIMIT, row.name)
    return acc.reshape(oh, ow, out)


def pixel_shuffle(v: Int64) -> Int64:
    """Return [2H, 2W, C] with out[2y + py, 2x + px, c] = v[y, x, 4c + 2py + px]."""
    h, w, c = v.shape
    return v.reshape(h, w, c // 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(2 * h, 2 * w, c // 4)


def _conv(row: Conv, _: Specs, x: Int64) -> Int64:
    v = requantize(convolve(row, x), row.shift.astype(np.int64), row.lo, row.hi)
    if row.slope:
        v = np.where(v < 0, (v * row.slope + 2 ** (SLOPE_BITS - 1)) >> SLOPE_BITS, v)
    return pixel_shuffle(v) if row.upsample == 2 else v


def _gdn(row: Gdn, _: Specs, x: Int64) -> Int64:
    h, w, c = x.shape
    q = (x * x + ((1 << row.square_shift) >> 1)) >> row.square_shift
    _below(q, 32768, row.name)
    n = matmul(q.reshape(-1, c), row.gamma.T.astype(np.int64)).reshape(h, w, c) + row.beta
    r = isqrt(_below(n, NORM_LIMIT, row.name))
    m = r if row.inverse else row.numerator.astype(np.int64) // r
    shift = row.shift.astype(np.int64)
    _below(x * m + (np.int64(1) << (shift - 1)), ACC_LIMIT, row.name)
    return rescale(x * m, shift, row.lo, row.hi)


def _rescale(row: Rescale, _: Specs, x: Int64) -> Int64:
    v = np.abs(x) if row.magnitude else x
    _below(v + ((np.int64(1) << row.shift.astype(np.int64)) >> 1), ACC_LIMIT, row.name)
    return rescale(v, row.shift.astype(np.int64), row.lo, row.hi)


def _scale_index(row: ScaleIndex, _: Specs, x: Int64) -> Int64:
    return np.searchsorted(row.thresholds.astype(np.int64), x, side="left").astype(np.int64)


def _concat(row: Concat, _: Specs, a: Int64, b: Int64) -> Int64:
    return np.concatenate([a, b], axis=2)


def _add(row: Add, _: Specs, a: Int64, b: Int64) -> Int64:
    total = (a << row.input_shift.astype(np.int64)) + (b << row.other_shift.astype(np.int64))
    shift = row.shift.astype(np.int64)
    _below(total + ((np.int64(1) << shift) >> 1), ACC_LIMIT, row.name)
    return rescale(total, shift, row.lo, row.hi)


def _gate(row: Gate, specs: Specs, a: Int64, b: Int64) -> Int64:
    product = a * row.table.astype(np.int64)[b - specs[row.other].lo]
    shift = row.shift.astype(np.int64)
    _below(product + ((np.int64(1) << shift) >> 1), ACC_LIMIT, row.name)
    return rescale(product, shift, row.lo, row.hi)


_RUN: dict[type[Row], Callable[..., Int64]] = {
    Conv: _conv,
    Gdn: _gdn,
    Rescale: _rescale,
    ScaleIndex: _scale_index,
    Concat: _concat,
    Add: _add,
    Gate: _gate,
    ScaleSpace: lambda row, specs, x: flow.scale_space(x),
    Warp: lambda row, specs, volume, motion: flow.warp(volume, motion),
}

"""Rows of two tensors as ONNX nodes: Concat, Add and Gate."""

from __future__ import annotations

import numpy as np

from intcodec.base.integers import IntArray
from intcodec.network.graph import Add, Concat, Gate, TensorSpec
from intcodec.onnxwriter.emitter import Emitter
from intcodec.onnxwriter.values import Value, assemble, requantize, signed


def lower(e: Emitter, row: Concat | Add | Gate, a: Value, b: Value, a_spec: TensorSpec, b_spec: TensorSpec) -> Value:
    """Write the nodes of a row; return its tensor. Parts stay apart where both tensors are cut alike."""
    left, right, bands = signed(e, a), signed(e, b), a.bands
    if (len(left), bands) != (len(right), b.bands):
        left = (assemble(e, left, a.bands, a_spec.channels),)
        right = (assemble(e, right, b.bands, b_spec.channels),)
        bands = 1
    both = list(zip(left, right, strict=True))
    if isinstance(row, Concat):
        parts = tuple(e.op("Concat", p, q, axis=2) for p, q in both)
        return Value(parts, "int32", min(a.lo, b.lo), max(a.hi, b.hi), bands)
    shift = row.shift.astype(np.int64)
    a_top, b_top = (max(abs(s.lo), abs(s.hi)) for s in (a_spec, b_spec))
    if isinstance(row, Add):
        powers = [np.int64(1) << s.astype(np.int64) for s in (row.input_shift, row.other_shift)]
        raw = [e.op("Add", _scale(e, p, powers[0]), _scale(e, q, powers[1])) for p, q in both]
        reach = a_top * powers[0] + b_top * powers[1]
    else:
        table, first = e.const(row.table, "int32"), e.const(b_spec.lo, "int32")
        raw = [e.op("Mul", p, e.op("Gather", table, e.op("Sub", q, first))) for p, q in both]
        reach = np.full(shift.shape, a_top * int(row.table.max()), np.int64)
    return requantize(e, tuple(raw), reach, (np.int64(1) << shift) >> 1, shift, row.lo, row.hi, bands)


def _scale(e: Emitter, part: str, power: IntArray) -> str:
    return e.op("Mul", part, e.channelwise(power, "int32")) if np.any(power != 1) else part

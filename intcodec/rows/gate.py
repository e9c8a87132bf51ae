"""Gate: a tensor weighted by a tabulated function of another (docs/arithmetic.md, Rows)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.rows import arithmetic
from intcodec.rows.row import Int64, Row, TensorSpec, below, check_int16, check_range, check_vector, require

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value


@dataclass(frozen=True, eq=False)
class Gate(Row):
    """A tensor weighted by a tabulated function (a sigmoid) of another.

    y = clamp((a * table[b - b_lo] + half) >> shift, lo, hi), half = 2**(shift - 1), 0 for shift 0
    """

    other: str
    table: IntArray  # int16 [b_hi - b_lo + 1], >= 0
    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int

    kind: ClassVar = "gate"
    reads: ClassVar = ("input", "other")
    arrays: ClassVar = ("table", "shift")
    scalars: ClassVar = {"other": str, "lo": int, "hi": int}

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        a, b = sources
        check_range(self.lo, self.hi, where)
        require(a.channels == b.channels, where, f"{a.channels} and {b.channels} channels do not go together")
        check_int16(where, a, b)
        check_vector(self.shift, np.uint8, a.channels, 0, 30, where + " shift")
        check_vector(self.table, np.int16, b.hi - b.lo + 1, 0, 32767, where + " table")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest product before the shift."""
        product = sources[0].magnitude * int(self.table.max())
        return below(product + ((1 << int(self.shift.max())) >> 1), ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        product = x[0] * self.table.astype(np.int64)[x[1] - sources[1].lo]
        arithmetic.held(product + arithmetic.half(self.shift), ACC_LIMIT, self.name)
        return arithmetic.rescale(product, self.shift, self.lo, self.hi)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write Gather, a product, and the requantisation."""
        both, bands = e.together(x, tuple(s.channels for s in sources))
        shift = self.shift.astype(np.int64)
        table, first = e.const(self.table, "int32"), e.const(sources[1].lo, "int32")
        raw = tuple(e.op("Mul", p, e.op("Gather", table, e.op("Sub", q, first))) for p, q in both)
        reach = np.full(shift.shape, sources[0].magnitude * int(self.table.max()), np.int64)
        return e.requantize(raw, reach, arithmetic.half(shift), shift, self.lo, self.hi, bands)

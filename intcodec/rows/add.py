"""Add: the sum of two tensors (docs/arithmetic.md, Rows)."""

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
class Add(Row):
    """Sum of two tensors whose scales differ by powers of two, such as a residual and its shortcut.

    y = clamp(((a << input_shift) + (b << other_shift) + half) >> shift, lo, hi), half = 2**(shift - 1), 0 for shift 0
    """

    other: str
    input_shift: IntArray  # uint8 [C], 0..15
    other_shift: IntArray  # uint8 [C], 0..15
    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int

    kind: ClassVar = "add"
    reads: ClassVar = ("input", "other")
    arrays: ClassVar = ("input_shift", "other_shift", "shift")
    scalars: ClassVar = {"other": str, "lo": int, "hi": int}

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        a, b = sources
        check_range(self.lo, self.hi, where)
        require(a.channels == b.channels, where, f"{a.channels} and {b.channels} channels do not go together")
        check_int16(where, a, b)
        check_vector(self.shift, np.uint8, a.channels, 0, 30, where + " shift")
        check_vector(self.input_shift, np.uint8, a.channels, 0, 15, where + " input_shift")
        check_vector(self.other_shift, np.uint8, a.channels, 0, 15, where + " other_shift")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest sum before the shift."""
        a, b = (s.magnitude << int(u.max()) for s, u in zip(sources, (self.input_shift, self.other_shift), strict=True))
        return below(a + b + ((1 << int(self.shift.max())) >> 1), ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        total = (x[0] << self.input_shift.astype(np.int64)) + (x[1] << self.other_shift.astype(np.int64))
        arithmetic.held(total + arithmetic.half(self.shift), ACC_LIMIT, self.name)
        return arithmetic.rescale(total, self.shift, self.lo, self.hi)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write products with powers of two, their sum, and the requantisation."""
        both, bands = e.together(x, tuple(s.channels for s in sources))
        a, b = (np.int64(1) << u.astype(np.int64) for u in (self.input_shift, self.other_shift))
        raw = tuple(e.op("Add", _times(e, p, a), _times(e, q, b)) for p, q in both)
        reach = sources[0].magnitude * a + sources[1].magnitude * b
        shift = self.shift.astype(np.int64)
        return e.requantize(raw, reach, arithmetic.half(shift), shift, self.lo, self.hi, bands)


def _times(e: Builder, part: str, power: IntArray) -> str:
    return e.op("Mul", part, e.channelwise(power, "int32")) if np.any(power != 1) else part

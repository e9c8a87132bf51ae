"""Rescale: a change of scale, or a magnitude (docs/arithmetic.md, Primitives)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.rows import arithmetic
from intcodec.rows.row import Int64, Row, TensorSpec, below, check_range, check_vector

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value


@dataclass(frozen=True, eq=False)
class Rescale(Row):
    """Change of scale by a per-channel shift: y = clamp((v + half) >> shift, lo, hi), v = |x| or x.

    half = 2**(shift - 1), or 0 where shift is 0.
    """

    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int
    magnitude: bool = False

    kind: ClassVar = "rescale"
    arrays: ClassVar = ("shift",)
    scalars: ClassVar = {"lo": int, "hi": int, "magnitude": bool}

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        check_range(self.lo, self.hi, where)
        check_vector(self.shift, np.uint8, sources[0].channels, 0, 30, where + " shift")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest magnitude with its rounding constant."""
        return below(sources[0].magnitude + ((1 << int(self.shift.max())) >> 1), ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        v = np.abs(x[0]) if self.magnitude else x[0]
        arithmetic.held(v + arithmetic.half(self.shift), ACC_LIMIT, self.name)
        return arithmetic.rescale(v, self.shift, self.lo, self.hi)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write Abs where wanted, and the requantisation."""
        parts = e.signed(x[0])
        if self.magnitude:
            parts = tuple(e.op("Abs", p) for p in parts)
        shift = self.shift.astype(np.int64)
        reach = np.full(shift.shape, sources[0].magnitude, np.int64)
        return e.requantize(parts, reach, arithmetic.half(shift), shift, self.lo, self.hi, x[0].bands)

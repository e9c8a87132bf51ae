"""Negate: the opposite of every value (docs/arithmetic.md, negate)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from intcodec.rows.row import Int64, Row, TensorSpec, check_int16

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value


@dataclass(frozen=True)
class Negate(Row):
    """y = -x, of a tensor that fits int16 either way."""

    kind: ClassVar = "negate"

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check the input."""
        check_int16(where, *sources)

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        (source,) = sources
        return TensorSpec(self.name, source.channels, -source.hi, -source.lo)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest value."""
        return sources[0].magnitude

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        return np.negative(x[0])

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write a difference from zero."""
        parts = tuple(e.op("Sub", e.const(0, "int32"), p) for p in e.signed(x[0]))
        return e.value(parts, "int32", -sources[0].hi, -sources[0].lo, x[0].bands)

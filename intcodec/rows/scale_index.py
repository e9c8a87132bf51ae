"""ScaleIndex: the CDF row of a scale (docs/arithmetic.md, scale_index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from intcodec.base.integers import IntArray
from intcodec.rows.row import Int64, Row, TensorSpec, check_vector, require

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value

#: Longest table of the ONNX form; above it the thresholds are compared one by one.
MAX_TABLE: Final = 1 << 20


@dataclass(frozen=True, eq=False)
class ScaleIndex(Row):
    """CDF row index of a scale: the number of thresholds strictly below the value, uint8."""

    thresholds: IntArray  # int32 [K - 1], ascending, K <= 256, within the input's range

    kind: ClassVar = "scale_index"
    arrays: ClassVar = ("thresholds",)

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        k, (source,) = self.thresholds.shape[0], sources
        require(k <= 255, where, "at most 255 thresholds")
        check_vector(self.thresholds, np.int32, k, source.lo, source.hi, where + " thresholds")
        require(bool(np.all(np.diff(self.thresholds.astype(np.int64)) >= 0)), where, "thresholds must ascend")
        require(source.lo >= 0, where, "a scale must not be negative")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, sources[0].channels, 0, self.thresholds.shape[0])

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest value compared."""
        return sources[0].magnitude

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        return np.searchsorted(self.thresholds.astype(np.int64), x[0], side="left").astype(np.int64)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write a table over the values up to the last threshold, or one comparison per threshold."""
        thresholds = self.thresholds.astype(np.int64)
        last = int(thresholds[-1]) + 1 if thresholds.size else 0
        parts = []
        for p in e.signed(x[0]):
            if last < MAX_TABLE:
                near = e.op("Min", p, e.const(last, "int32")) if sources[0].hi > last else p
                table = np.searchsorted(thresholds, np.arange(max(last, 0) + 1), side="left")
                parts.append(e.op("Gather", e.const(table, "uint8"), near))
            else:
                over = [e.cast(e.op("Greater", p, e.const(k, "int32")), "int32") for k in thresholds]
                total = over[0]
                for one in over[1:]:
                    total = e.op("Add", total, one)
                parts.append(e.cast(total, "uint8"))
        return e.value(tuple(parts), "uint8", 0, thresholds.size, x[0].bands)

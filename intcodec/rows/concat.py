"""Concat: the channels of two tensors (docs/arithmetic.md, Rows)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from intcodec.rows.row import Int64, Row, TensorSpec, require

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value


@dataclass(frozen=True)
class Concat(Row):
    """The channels of one tensor, then those of another of the same height and width."""

    other: str

    kind: ClassVar = "concat"
    reads: ClassVar = ("input", "other")
    scalars: ClassVar = {"other": str}

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        require(all(s.dtype == np.int16 for s in sources), where, "both tensors must be int16")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        a, b = sources
        return TensorSpec(self.name, a.channels + b.channels, min(a.lo, b.lo), max(a.hi, b.hi))

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest value copied."""
        return self.out(*sources).magnitude

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        return np.concatenate(x, axis=2)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write one Concat for each part."""
        both, bands = e.together(x, tuple(s.channels for s in sources))
        parts = tuple(e.op("Concat", p, q, axis=2) for p, q in both)
        return e.value(parts, "int32", min(v.lo for v in x), max(v.hi for v in x), bands)

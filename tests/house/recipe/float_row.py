"""FloatNegate: the opposite of every value, and its folding into `intcodec.rows.negate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from intcodec.rows.negate import Negate
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source


@dataclass(frozen=True, eq=False)
class FloatNegate(FloatRow):
    """-x."""

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C, H, W]."""
        return -x[0]

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Negate, Float]:
        """Return the integer row; scales do not change."""
        return Negate(self.name, self.input), sources[0].scale

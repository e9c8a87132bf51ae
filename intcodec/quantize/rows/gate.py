"""FloatGate: a tensor weighted by the sigmoid of another, and its folding into `intcodec.rows.gate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source, not_too_fine
from intcodec.rows.gate import Gate


@dataclass(frozen=True, eq=False)
class FloatGate(FloatRow):
    """input * sigmoid(other)."""

    other: str

    reads: ClassVar = ("input", "other")

    @property
    def takes_wide(self) -> bool:
        """Always: a product of two."""
        return True

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C, H, W]."""
        return x[0] * torch.sigmoid(x[1])

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Gate, Float]:
        """Return the integer row and its scales; the second input has one scale for all channels."""
        (a, b), top = sources, precision.activation_max
        steps = np.arange(b.spec.lo, b.spec.hi + 1) * float(b.scale[0])
        table = np.rint(32767 / (1 + np.exp(-steps))).astype(np.int16)
        wanted = np.log2(not_too_fine(measured[self.name] * precision.margin / top) / a.scale)
        shift = 15 + np.ceil(wanted - 1e-9).clip(-14, 14)
        row = Gate(self.name, self.input, self.other, table, shift.astype(np.uint8), -top, top)
        return row, a.scale * 2.0 ** (shift - 15)

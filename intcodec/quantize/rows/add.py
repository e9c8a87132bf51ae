"""FloatAdd: the sum of two tensors, and its folding into `intcodec.rows.add`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from intcodec.base.errors import InputError
from intcodec.quantize.precision import Fixed, Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source, not_too_fine
from intcodec.rows.add import Add


@dataclass(frozen=True, eq=False)
class FloatAdd(FloatRow):
    """Sum of two tensors, optionally followed by ReLU."""

    other: str
    relu: bool = False
    fixed: Fixed | None = None

    reads: ClassVar = ("input", "other")

    @property
    def takes_wide(self) -> bool:
        """Always: a sum of two."""
        return True

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C, H, W]."""
        return F.relu(x[0] + x[1]) if self.relu else x[0] + x[1]

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Add, Float]:
        """Return the integer row and its scales; those of its inputs are equal up to powers of two."""
        scales = tuple(source.scale for source in sources)
        finer = np.minimum(*scales)
        ups = [np.rint(np.log2(scale / finer)) for scale in scales]
        if any((np.abs(finer * 2.0**up / scale - 1) > 1e-6).any() for up, scale in zip(ups, scales, strict=True)):
            raise InputError(f"row {self.name}: its inputs' scales are not aligned")
        if max(float(up.max()) for up in ups) > 14:
            raise InputError(f"row {self.name}: its inputs' scales are too far apart; calibrate on more pictures")
        if self.fixed is not None:
            step = np.rint(np.log2(self.fixed.scale / finer))
            ups = [up - step.clip(None, 0) for up in ups]
            row = self._row(ups, step.clip(0, None), self.fixed.lo, self.fixed.hi)
            return row, np.full(len(finer), self.fixed.scale)
        top = precision.activation_max
        hi, lo = (precision.unsigned_max, 0) if self.relu else (top, -top)
        wanted = not_too_fine(measured[self.name] * precision.margin / hi)
        shift = np.ceil(np.log2(wanted / finer) - 1e-9).clip(0, 29)
        return self._row(ups, shift, lo, hi), finer * 2.0**shift

    def _row(self, ups: list[Float], shift: Float, lo: int, hi: int) -> Add:
        first, second, down = (v.astype(np.uint8) for v in (*ups, shift))
        return Add(self.name, self.input, self.other, first, second, down, lo, hi)

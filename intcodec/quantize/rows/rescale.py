"""FloatRescale: a latent that becomes an activation, and its folding into `intcodec.rows.rescale`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source, not_too_fine
from intcodec.rows.rescale import Rescale


@dataclass(frozen=True, eq=False)
class FloatRescale(FloatRow):
    """Identity or magnitude of a latent, about to become an activation."""

    magnitude: bool

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C, H, W]."""
        return x[0].abs() if self.magnitude else x[0]

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Rescale, Float]:
        """Return the integer row and its scales."""
        (source,), top = sources, precision.activation_max
        wanted = not_too_fine(measured[self.name] * precision.margin / top)
        shift = np.ceil(np.log2(wanted / source.scale)).clip(0, 30)
        lo = 0 if self.magnitude else -top
        row = Rescale(self.name, self.input, shift.astype(np.uint8), lo, top, self.magnitude)
        return row, source.scale * 2.0**shift

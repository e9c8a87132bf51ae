"""FloatScaleIndex: the CDF row of a scale, and its folding into `intcodec.rows.scale_index`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source
from intcodec.quantize.scales import row_borders
from intcodec.rows.scale_index import ScaleIndex


@dataclass(frozen=True, eq=False)
class FloatScaleIndex(FloatRow):
    """Row index of a scale in the scale table (float64[K], ascending)."""

    scale_table: Float

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return CompressAI's index: the first row that is wide enough."""
        return torch.bucketize(x[0], torch.from_numpy(self.scale_table[:-1]).float())

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[ScaleIndex, Float]:
        """Return the integer row; the scale of an index is 1."""
        assert precision.hedge is not None, "to be chosen before"
        (source,) = sources
        thresholds = np.floor(row_borders(self.scale_table, precision.hedge) / source.scale[0]).clip(0, source.spec.hi)
        return ScaleIndex(self.name, self.input, thresholds.astype(np.int32)), np.ones(1)

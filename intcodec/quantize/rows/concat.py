"""FloatConcat: the channels of two tensors, and its folding into `intcodec.rows.concat`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source
from intcodec.rows.concat import Concat


@dataclass(frozen=True, eq=False)
class FloatConcat(FloatRow):
    """The channels of one tensor, then those of another."""

    other: str

    reads: ClassVar = ("input", "other")

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C + C', H, W]."""
        return torch.cat(x, dim=1)

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Concat, Float]:
        """Return the integer row and its scales, those of its inputs."""
        return Concat(self.name, self.input, self.other), np.concatenate([source.scale for source in sources])

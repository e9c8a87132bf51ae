"""What every kind of float row says about itself, and what its folding is told."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from intcodec.quantize.precision import Precision
from intcodec.rows.row import Row, TensorSpec

Float: TypeAlias = NDArray[np.float64]
#: What calibration measured: the largest magnitude of each channel, float64[C], by tensor; see `FloatRow.measure`.
Magnitudes: TypeAlias = dict[str, Float]


@dataclass(frozen=True)
class Source:
    """An input of an integer row: its spec and the real scale of each channel."""

    spec: TensorSpec
    scale: Float


@dataclass(frozen=True, eq=False)
class FloatRow(ABC):
    """A row of a lowered model: it reads one or two tensors and writes one, named like the row.

    `align` names a tensor whose scales this row's must match up to powers of two, because the two are added later.

    Class attributes:
        reads: the fields that name the tensors read.
    """

    name: str
    input: str
    align: str = field(default="", kw_only=True)

    reads: ClassVar[tuple[str, ...]] = ("input",)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return tuple(getattr(self, name) for name in self.reads)

    @property
    def takes_wide(self) -> bool:
        """Whether inputs of more bits cost it nothing."""
        return False

    @abstractmethod
    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C', H', W'] for inputs float32[1, C, H, W]."""

    def measure(self, y: Tensor) -> dict[str, Tensor]:
        """Return what calibration records the maxima of, each channel's apart, by name, given the output."""
        return {self.name: y.abs()}

    @abstractmethod
    def fold(
        self,
        sources: tuple[Source, ...],
        measured: Mapping[str, Float],
        precision: Precision,
        unit: Float | None,
    ) -> tuple[Row, Float]:
        """Return the integer row and the real scale of each of its outputs.

        Args:
            sources: the inputs.
            measured: from calibration.
            precision: bit widths and head room.
            unit: what the scales must be up to powers of two, float64[C']; None leaves them free.

        Raises:
            InputError: there is no such row.
        """


def rounded_up(scale: Float, unit: Float | None) -> Float:
    """Round scales up to a unit times a power of two."""
    return scale if unit is None else unit * 2.0 ** np.ceil(np.log2(scale / unit) - 1e-9).clip(-14, 14)


def not_too_fine(scale: Float) -> Float:
    """Keep dead channels from getting absurdly fine scales: none below 1/256 of the median."""
    return np.maximum(scale, max(float(np.median(scale)) / 256, 1e-12))

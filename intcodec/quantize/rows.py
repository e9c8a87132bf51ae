"""The rows of a lowered model: the integer network's shape, with real numbers in it. No torch here.

Each Float* row becomes the row of `intcodec.network.graph` with the same name, one to one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float: TypeAlias = NDArray[np.float64]

#: Fractional bits of latents, means and scales.
FRACTION = 10
#: Largest magnitude of a latent or mean, in units of 2**-FRACTION.
LATENT_MAX = 2**21 - 1
#: Largest scale, in units of 2**-FRACTION: the scale table ends at 256.
SCALE_MAX = 2**18 - 1


@dataclass(frozen=True)
class Fixed:
    """An output whose scale and range are given, not calibrated: value = integer * scale, integer in [lo, hi]."""

    scale: float
    lo: int
    hi: int


#: Stands for a tensor of scale 1 where a row's scales must be powers of two.
UNIT = "unit"
#: What a sigmoid reads: beyond 16 it is 0 or 1 to 16 bits.
GATE = Fixed(2.0**-7, -2047, 2047)
PIXELS = Fixed(1 / 255, 0, 255)
LATENT = Fixed(2.0**-FRACTION, -LATENT_MAX, LATENT_MAX)
SCALE = Fixed(2.0**-FRACTION, 0, SCALE_MAX)
#: Upper end of the activation "clamp", whose lower end is 0.
CEILING = 255.0


@dataclass(frozen=True)
class FloatConv:
    """Convolution, optional activation ("relu", "leaky", "clamp"), optional pixel shuffle.

    weight: float64[out, in, kh, kw].
    """

    name: str
    input: str
    weight: Float
    bias: Float
    stride: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    upsample: int = 1
    activation: str = ""
    fixed: Fixed | None = None
    align: str = (
        ""  # a tensor (or UNIT) whose scales this row's must match up to powers of two, because they are added later
    )


@dataclass(frozen=True)
class FloatGdn:
    """GDN or its inverse with effective (reparametrised) beta float64[C] and gamma float64[C, C]."""

    name: str
    input: str
    beta: Float
    gamma: Float
    inverse: bool
    align: str = ""


@dataclass(frozen=True)
class FloatRescale:
    """Identity or magnitude of a latent, about to become an activation."""

    name: str
    input: str
    magnitude: bool


@dataclass(frozen=True)
class FloatScaleIndex:
    """Row index of a scale in the scale table (float64[K], ascending)."""

    name: str
    input: str
    scale_table: Float


@dataclass(frozen=True)
class FloatConcat:
    """The channels of one tensor, then those of another."""

    name: str
    input: str
    other: str


@dataclass(frozen=True)
class FloatAdd:
    """Sum of two tensors, optionally followed by ReLU."""

    name: str
    input: str
    other: str
    relu: bool = False
    fixed: Fixed | None = None


@dataclass(frozen=True)
class FloatGate:
    """input * sigmoid(other)."""

    name: str
    input: str
    other: str


FloatRow: TypeAlias = FloatConv | FloatGdn | FloatRescale | FloatScaleIndex | FloatConcat | FloatAdd | FloatGate


@dataclass(frozen=True)
class FloatGraph:
    """One transform in float: input names, rows in execution order, output names."""

    name: str
    inputs: tuple[str, ...]
    rows: tuple[FloatRow, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class FloatCodec:
    """A lowered model: its graphs, its entropy model's parameters, and the medians of the factorized latent."""

    arch: str
    graphs: dict[str, FloatGraph]
    factorized: str  # the latent under the factorized prior: "y" or "z"
    medians: Float
    density: dict[str, Any]  # matrices, biases, factors, quantiles: see intcodec.entropy.cdf.factorized_tables
    scale_table: Float | None

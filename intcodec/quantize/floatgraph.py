"""A lowered model: graphs of float rows, and what its entropy model needs. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from intcodec.quantize.rows.row import Float, FloatRow


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

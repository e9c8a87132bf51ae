"""Which CDF row codes a scale: the borders between rows, and the choice of borders that codes latents shortest.

A network that predicts scales is often wrong in one direction: after short training by several per cent of the scale.
Whatever the float codec does about it, the integer one is free to move all borders between its rows together, at no
cost to anybody, so it takes the place where calibration pictures become smallest. numpy only, no torch.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intcodec.entropy import cdf

Float: TypeAlias = NDArray[np.float64]

#: Places of the borders to choose from, in rows; see `row_borders`. 0 is CompressAI's.
HEDGES: Final = tuple(float(h) for h in np.arange(-1.0, 2.01, 0.125))


def row_borders(scale_table: Float, hedge: float) -> Float:
    """Return, for each two neighbouring rows a < b, the scale up to which row a is used: a * (b / a)**hedge.

    At 0, where CompressAI has them, a scale takes the first row that is wide enough; near 1/2 it takes the nearer one,
    which is right for an exact Gaussian; elsewhere a row is used as if every scale were smaller or larger than it is.
    """
    return np.asarray(scale_table[:-1] * (scale_table[1:] / scale_table[:-1]) ** hedge)


class RowCosts:
    """The code length of latents under every choice of borders."""

    def __init__(self, scale_table: Float, tables: cdf.CdfTables) -> None:
        """Begin with no latents; `tables` has a row for each scale of the table."""
        self._table = scale_table
        self._bits, self._first = _bits_of_rows(tables)
        self.total = np.zeros(len(HEDGES))  # bits, for each of HEDGES

    def add(self, y: NDArray[Any], mean: NDArray[Any] | float, scale: NDArray[Any]) -> None:
        """Add the latents of a picture: y and its predicted mean and scale, floating-point arrays of one shape."""
        slots = (np.rint(y - mean).astype(np.int64) - self._first).clip(0, self._bits.shape[1] - 1)
        for k, hedge in enumerate(HEDGES):
            self.total[k] += self._bits[np.searchsorted(row_borders(self._table, hedge), scale), slots].sum()

    def best(self) -> float:
        """Return the hedge of the shortest code; the one nearest to 0 of several."""
        return HEDGES[min(range(len(HEDGES)), key=lambda k: (self.total[k], abs(HEDGES[k])))]


def _bits_of_rows(tables: cdf.CdfTables) -> tuple[Float, int]:
    """Return what every symbol costs in every row, float64[rows, symbols] in bits, and the first symbol.

    What a row has no slot for costs its escape and the bypass bits after it (docs/rangecoder.md).
    """
    ends = [(int(first), int(first) + len(tables.row(k)) - 3) for k, first in enumerate(tables.offsets)]
    first, last = min(a for a, _ in ends), max(b for _, b in ends)
    bits = np.empty((tables.rows, last - first + 1))
    symbols = np.arange(first, last + 1)
    for k, (low, high) in enumerate(ends):
        lengths = cdf.PRECISION - np.log2(np.diff(tables.row(k).astype(np.int64)))
        order = max(0, len(lengths).bit_length() - 5)
        excess = np.maximum(low - symbols, symbols - high).clip(1) - 1
        digits = 1 + np.floor(np.log2(excess + 2**order))
        bits[k] = lengths[-1] + 2 * digits - order
        bits[k, low - first : high - first + 1] = lengths[:-1]
    return bits, first

"""The latent y of an autoregressive model: positions that do not depend on each other, step by step.

A position sees 12 neighbours, the part of its 5x5 window before it in raster order. All positions with equal x + 3y see
only positions of earlier steps (the nearest later one on the row above, dy = -1, dx = 2, lies at x + 3y - 1), so they
form one step: one run of the graph `context` on all of them and one call of the range coder. For a 48x32 latent these
are 141 steps in place of 1536 positions.

    step t:  positions (y, t - 3y), y ascending -> neighbours, params -> context -> index, mean -> symbols -> y_hat

What may live here: the order of positions and the one walk that encoder and decoder share; they differ only in where a
step's symbols come from, so they cannot drift apart. The order is normative (docs/bitstream.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from intcodec.base.integers import IntArray
from intcodec.coding.latents import Symbols, from_symbols
from intcodec.network.graph import Latent

if TYPE_CHECKING:
    from intcodec.engines import Engine

#: Neighbours (dy, dx) in the order of their channels in the tensor `neighbours`.
NEIGHBOURS: Final = tuple((k // 5 - 2, k % 5 - 2) for k in range(12))
#: Positions whose x + slope * y are equal are independent of each other.
SLOPE: Final = 3

#: Given a step's latent values' rows and columns, CDF rows and means, returns its symbols, int16[n, 1, M].
StepSymbols = Callable[[NDArray[np.intp], NDArray[np.intp], IntArray, IntArray], Symbols]


def steps(height: int, width: int) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the rows and columns of each step's positions, rows ascending; steps without a position are left out.

    Args:
        height: of y, at least 1.
        width: of y, at least 1.
    """
    for t in range(width + SLOPE * (height - 1)):
        first = max(0, -(-(t - width + 1) // SLOPE))
        rows = np.arange(first, min(height - 1, t // SLOPE) + 1)
        if rows.size:  # a narrow picture has gaps
            yield rows, t - SLOPE * rows


def walk(engine: Engine, latent: Latent, params: IntArray, symbols_of: StepSymbols) -> tuple[Symbols, IntArray]:
    """Go through y step by step.

    Args:
        engine: runs the graph `context`.
        latent: the description of y.
        params: int16[h, w, 2M], what h_s derived from z_hat, cropped to y's size.
        symbols_of: quantises the step's latents (encoder) or decodes its symbols (decoder).

    Returns:
        The symbols and y_hat, both int16[h, w, M].
    """
    height, width, _ = params.shape
    symbols = np.empty((height, width, latent.channels), np.int16)
    # y_hat with a border of zeros: two rows above, two columns on either side
    padded = np.zeros((height + 2, width + 4, latent.channels), np.int16)
    flat = padded.reshape(-1, latent.channels)
    reach = np.array([(dy + 2) * (width + 4) + dx + 2 for dy, dx in NEIGHBOURS])
    for rows, columns in steps(height, width):
        seen = flat[(rows * (width + 4) + columns)[:, None] + reach]
        inputs = {"neighbours": seen.reshape(len(rows), 1, -1), "params": params[rows, columns][:, None]}
        out = engine.run("context", inputs)
        step = symbols_of(rows, columns, out["index"], out["mean"])
        symbols[rows, columns] = step[:, 0]
        padded[rows + 2, columns + 2] = from_symbols(step, latent, out["mean"])[:, 0]
    return symbols, np.ascontiguousarray(padded[2:, 2:-2])

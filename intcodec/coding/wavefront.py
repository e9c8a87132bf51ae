"""The latent y of an autoregressive model: positions that do not depend on each other, step by step.

A position sees 12 neighbours, the part of its 5x5 window before it in raster order. All positions with equal x + 3y see
only positions of earlier steps (the nearest later one on the row above, dy = -1, dx = 2, lies at x + 3y - 1), so they
form one step: one run of the pass's graph on all of them and one call of the range coder. For a 48x32 latent these
are 141 steps in place of 1536 positions.

    step t:  positions (y, t - 3y), y ascending -> neighbours, params -> context -> index, mean -> symbols -> y_hat

What may live here: the order of positions and the loop over them, which encoder and decoder share. The order is
normative (docs/bitstream.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from intcodec.base.integers import IntArray
from intcodec.coding.latents import Symbols, from_symbols
from intcodec.network.graph import Latent
from intcodec.network.schedule import NEIGHBOURS, SLOPE

if TYPE_CHECKING:
    from intcodec.engines import Engine

#: Given a step's latent values' rows and columns, CDF rows and means, returns its symbols, int16[n, 1, M].
StepSymbols = Callable[[NDArray[np.intp], NDArray[np.intp], IntArray, "IntArray | None"], Symbols]


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


def code_steps(
    engine: Engine,
    graph: str,
    latent: Latent,
    given: Mapping[str, IntArray],
    symbols_of: StepSymbols,
    symbols: Symbols,
    y_hat: IntArray,
) -> None:
    """Go through a slice of y step by step.

    Args:
        engine: runs the graph.
        graph: name of the graph that gives index and mean.
        latent: the description of the slice.
        given: what the graph reads beside `neighbours`, each [h, w, C], such as `params`.
        symbols_of: quantises the step's latents (encoder) or decodes its symbols (decoder).
        symbols: int16[h, w, C], is filled.
        y_hat: [h, w, C], is filled.
    """
    height, width, _ = symbols.shape
    # y_hat with a border of zeros: two rows above, two columns on either side
    padded = np.zeros((height + 2, width + 4, latent.channels), np.int16)
    flat = padded.reshape(-1, latent.channels)
    reach = np.array([(dy + 2) * (width + 4) + dx + 2 for dy, dx in NEIGHBOURS])
    for rows, columns in steps(height, width):
        seen = flat[(rows * (width + 4) + columns)[:, None] + reach]
        inputs = {name: tensor[rows, columns][:, None] for name, tensor in given.items()}
        out = engine.run(graph, {"neighbours": seen.reshape(len(rows), 1, -1), **inputs})
        mean = out.get("mean")
        step = symbols_of(rows, columns, out["index"], mean)
        symbols[rows, columns] = step[:, 0]
        padded[rows + 2, columns + 2] = from_symbols(step, latent, mean)[:, 0]
    y_hat[...] = padded[2:, 2:-2]

"""Wide pictures in columns: which input columns a stretch of a graph's output columns depends on.

The native engine keeps a few rows of every tensor at a time. Rows of a wide picture do not fit a cache, so it computes
stretches of columns one after the other, each with a halo that is computed twice and thrown away. The results are equal
because every output of a stretch's core depends only on columns that the stretch has.

What may live here: that geometry, exact, in fractions of input columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, lcm
from typing import Final

from intcodec.network.graph import Graph

#: Rows of every tensor, counted at the graph's coarsest resolution, that a stretch should fit its workspace with.
ROWS: Final = 3
#: A stretch is at least this many halos wide: on either side one halo is computed twice.
LEAST_HALOS: Final = 16


@dataclass(frozen=True)
class Stretch:
    """Input columns [first, last), of which [begin, end) are the core that is kept."""

    first: int
    begin: int
    end: int
    last: int


class Columns:
    """The columns of one graph.

    Attributes:
        unit: stretches begin at multiples of this many input columns, so that every tensor's begin is whole.
        halo: input columns on either side that the outputs of a stretch may depend on, a multiple of `unit`.
        scale: columns of each tensor per input column.
        column_bytes: what all tensors together hold for one row and one column of the input.
    """

    def __init__(self, graph: Graph) -> None:
        zero = Fraction(0)
        scale = graph.scales()
        left, right = ({s.name: zero for s in graph.inputs} for _ in range(2))
        for row in graph.rows:
            left[row.name] = max(left[name] for name in row.inputs)
            right[row.name] = max(right[name] for name in row.inputs)
            # x reads x * stride - left and up; the second of two upsampled columns stands half a column further
            look, source = row.reach, scale[row.inputs[0]]
            left[row.name] += look.left / source + (look.upsample - 1) / scale[row.name]
            right[row.name] += look.right / source
        self.scale = scale
        before = [scale[r.name] / r.reach.upsample for r in graph.rows]  # the pixel shuffle
        self.unit = lcm(*(s.denominator for s in [*scale.values(), *before]))
        reach = max(*left.values(), *right.values()) + 1
        self.halo = ceil(reach / self.unit) * self.unit
        specs = graph.specs()
        self.column_bytes = sum((2 * s.channels * scale[s.name] ** 2 for s in specs.values()), zero)

    def core(self, workspace: int) -> int:
        """Return how wide a stretch's core should be for a workspace of that many bytes."""
        fit = int(workspace / (self.column_bytes * ROWS * self.unit))
        return max(fit // self.unit * self.unit, LEAST_HALOS * self.halo)

    def stretches(self, width: int, core: int) -> Iterator[Stretch]:
        """Yield stretches whose cores cover [0, width) in order; `core` is a multiple of `unit`."""
        begin = 0
        while begin < width:
            end = width if begin + core + self.halo >= width else begin + core
            yield Stretch(max(0, begin - self.halo), begin, end, min(width, end + self.halo))
            begin = end

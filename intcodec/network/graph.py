"""The integer network: a plain description that every engine runs and `intcodec.network.proof` proves.

What may live here: frozen dataclasses, and what holds for graphs of any rows; nothing that computes a network. What a
row is and computes is in `intcodec.rows` and docs/arithmetic.md.

A `Graph` is a list of rows in execution order. Every row reads named tensors and writes one tensor, named like the
row. Tensors are [H, W, C] with C innermost; a tensor's dtype follows from its range (`dtype_of`).

    g_a : x uint8 [H, W, 3] -> y int32 [h, w, M]            h_a : y -> z int32 [h', w', N]
    h_s : z_hat int16 [h', w', N] -> index uint8 (, mean int32) [4h', 4w', M]; or params int16 [4h', 4w', 2M]
    context : neighbours int16 [n, 1, 12 M], params [n, 1, 2M] -> index, mean [n, 1, M]   (n positions of a wavefront)
    g_s : y_hat int16 [h, w, M] -> x_hat uint8 [16h, 16w, 3]

A video network has three such codecs, `part` takes them apart, and the graph `predict` between them (see framecodec).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, Final

from intcodec.base.errors import ModelError
from intcodec.base.integers import IntArray
from intcodec.entropy.cdf import CdfTables
from intcodec.network.schedule import Pass, usual_schedule
from intcodec.rows.row import Row, TensorSpec

#: Channels of a tensor.
MAX_CHANNELS: Final = 1 << 14


@dataclass(frozen=True, eq=False)
class Graph:
    """One transform of a codec (g_a, h_a, h_s or g_s): inputs, rows in execution order, names of the outputs."""

    name: str
    inputs: tuple[TensorSpec, ...]
    rows: tuple[Row, ...]
    outputs: tuple[str, ...]

    def __post_init__(self) -> None:
        specs = self.specs()
        for out in self.outputs:
            if out not in specs:
                raise ModelError(f"graph {self.name}: output {out!r} is written by no row")
        if len({row.whole for row in self.rows}) > 1:
            raise ModelError(f"graph {self.name}: rows that need their whole input have to be in a graph of their own")

    @property
    def whole(self) -> bool:
        """Whether its rows need their whole inputs at once, so that no part of a picture can be computed by itself."""
        return any(row.whole for row in self.rows)

    def specs(self) -> dict[str, TensorSpec]:
        """Return the spec of every tensor of the graph, inputs first, in execution order.

        Raises:
            ModelError: a row reads a tensor that does not exist yet, or its arrays do not fit together.
        """
        specs = {s.name: s for s in self.inputs}
        for row in self.rows:
            for name in row.inputs:
                if name not in specs:
                    raise ModelError(f"graph {self.name}: row {row.name!r} reads {name!r}, which is not written before")
            if row.name in specs:
                raise ModelError(f"graph {self.name}: tensor {row.name!r} is written twice")
            sources = [specs[name] for name in row.inputs]
            row.check(f"graph {self.name}: row {row.name}", *sources)
            specs[row.name] = row.out(*sources)
            if specs[row.name].channels > MAX_CHANNELS:
                raise ModelError(f"graph {self.name}: row {row.name} has more than {MAX_CHANNELS} channels")
        return specs

    def scales(self) -> dict[str, Fraction]:
        """Return how many rows and columns every tensor has per row and column of the inputs, borders aside."""
        scales = {s.name: Fraction(1) for s in self.inputs}
        for row in self.rows:
            scales[row.name] = scales[row.inputs[0]] * Fraction(row.reach.upsample, row.reach.stride)
        return scales

    def out_sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Return the (height, width) of every tensor for inputs of (height, width)."""
        sizes = {s.name: (height, width) for s in self.inputs}
        for row in self.rows:
            sizes[row.name] = row.size(*sizes[row.inputs[0]])
        return sizes


@dataclass(frozen=True, eq=False)
class Latent:
    """How a latent (y or z) becomes symbols and back. All arithmetic in int32, at `fraction` fractional bits.

    mean    = offset[c] (+ the mean tensor where the graph h_s has one)
    symbol  = clamp((v - mean + 2**(fraction - 1)) >> fraction, -32768, 32767)
    v_hat   = clamp(((symbol << fraction) + mean + half) >> shift[c], lo, hi), half = 2**(shift - 1) or 0
    """

    name: str
    fraction: int
    offset: IntArray  # int32 [C], a median in units of 2**-fraction
    shift: IntArray  # uint8 [C]
    lo: int
    hi: int

    @property
    def channels(self) -> int:
        """Channel count."""
        return int(self.offset.shape[0])


@dataclass(frozen=True, eq=False)
class Network:
    """A whole integer codec: its graphs, its latents and their CDF tables.

    `tables["z"]` (and `tables["y"]` of a factorized model) have one row per channel; `tables["y"]` of a hyperprior
    model has one row per scale index. `schedule` is how latents are coded; an empty one becomes the usual one.
    """

    arch: str
    graphs: Mapping[str, Graph]
    latents: Mapping[str, Latent]
    tables: Mapping[str, CdfTables]
    extra: Mapping[str, Any] = field(default_factory=dict)
    schedule: tuple[Pass, ...] = ()

    def __post_init__(self) -> None:
        if not self.schedule:
            channels = {name: latent.channels for name, latent in self.latents.items()}
            object.__setattr__(self, "schedule", usual_schedule(self.graphs, channels))

    def rows(self) -> Iterator[tuple[Graph, Row]]:
        """Iterate over (graph, row) in execution order."""
        for graph in self.graphs.values():
            for row in graph.rows:
                yield graph, row

    def part(self, name: str) -> Network:
        """Return the codec that the graphs, latents and tables called `name` + "_" form, without that prefix."""
        start = f"{name}_"
        graphs = {k.removeprefix(start): g for k, g in self.graphs.items() if k.startswith(start)}
        latents = {k.removeprefix(start): v for k, v in self.latents.items() if k.startswith(start)}
        tables = {k.removeprefix(start): v for k, v in self.tables.items() if k.startswith(start)}
        return Network(
            f"{self.arch} {name}",
            {k: replace(g, name=k) for k, g in graphs.items()},
            {k: replace(v, name=k) for k, v in latents.items()},
            tables,
        )

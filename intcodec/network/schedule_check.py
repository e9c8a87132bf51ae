"""The check of a schedule against its network: every symbol is coded exactly once, and nothing is read too early.

What may live here: that check, from names, channels and ranges alone.
"""

from __future__ import annotations

from intcodec.base.errors import ModelError
from intcodec.network.graph import Graph, Network
from intcodec.network.schedule import MAX_PASSES, NEIGHBOURS, POSITIONS, Pass
from intcodec.rows.row import TensorSpec


def check_schedule(network: Network) -> None:
    """Check that a network's schedule codes every symbol exactly once and reads nothing that is not decoded.

    Raises:
        ModelError: it does not, or a graph does not make what the pass needs.
    """
    if not 1 <= len(network.schedule) <= MAX_PASSES:
        raise ModelError(f"schedule: 1 to {MAX_PASSES} passes are allowed, not {len(network.schedule)}")
    check = _Check(network)
    for number, step in enumerate(network.schedule):
        check.step(step, f"schedule: pass {number}")
    for name, coded in check.coded.items():
        if any(parity != {0, 1} for parity in coded):
            raise ModelError(f"schedule: not all symbols of latent {name} are coded")
    if missing := set(network.latents) - {step.latent for step in network.schedule}:
        raise ModelError(f"schedule: latent {min(missing)} is not coded")


class _Check:
    """What is known so far: which symbols are coded, and which tensors are there."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._tensors: dict[str, TensorSpec] = {}
        self._ran: set[str] = set()
        #: Of each channel of each latent, the parities of row + column that are coded.
        self.coded: dict[str, list[set[int]]] = {}
        self._last = ""

    def step(self, step: Pass, where: str) -> None:
        latent = self._network.latents.get(step.latent)
        if latent is None or step.positions not in POSITIONS:
            raise ModelError(f"{where}: there is no latent {step.latent!r}, or its positions are unknown")
        if step.latent != self._last and step.latent in self.coded:
            raise ModelError(f"{where}: the passes of latent {step.latent} do not follow each other")
        if step.first < 0 or step.count < 1 or step.first + step.count > latent.channels:
            raise ModelError(f"{where}: latent {step.latent} has no such channels")
        self._last = step.latent
        coded = self.coded.setdefault(step.latent, [set() for _ in range(latent.channels)])
        for graph in step.graphs:
            last = graph == step.graphs[-1]
            self._run(graph, where, step, last)
            if last:
                self._parameters(self._network.graphs[graph], step, where)
        new = {"even": {0}, "odd": {1}}.get(step.positions, {0, 1})
        for channel in range(step.first, step.first + step.count):
            if coded[channel] & new:
                raise ModelError(f"{where}: channel {channel} of latent {step.latent} is coded twice")
            coded[channel] |= new
        if not step.graphs and (step.positions != "all" or step.count != latent.channels or step.refine):
            raise ModelError(f"{where}: a pass without a graph codes a whole latent")
        if step.refine:
            self._refine(step, where)

    def _run(self, name: str, where: str, step: Pass, last: bool) -> None:
        graph = self._network.graphs.get(name)
        if graph is None or name in self._ran:
            raise ModelError(f"{where}: graph {name!r} is missing, or runs twice")
        self._ran.add(name)
        for spec in graph.inputs:
            self._readable(spec, f"{where}: graph {name}", step if last else None)
        made = graph.specs()
        for output in graph.outputs:
            if output in self._tensors or output.endswith("_hat") or output == "neighbours":
                raise ModelError(f"{where}: graph {name} makes {output!r}, which is there already")
            if not last or output not in ("index", "mean"):
                self._tensors[output] = made[output]

    def _readable(self, spec: TensorSpec, where: str, step: Pass | None) -> None:
        """Check an input against what is there."""
        latent = self._network.latents.get(spec.name.removesuffix("_hat"))
        if spec.name == "neighbours" and step is not None and step.positions == "wavefront":
            latent, count = self._network.latents[step.latent], len(NEIGHBOURS) * step.count
            fits = spec.channels == count and spec.lo <= latent.lo <= latent.hi <= spec.hi
        elif spec.name.endswith("_hat") and latent is not None:
            coded = self.coded.get(latent.name, [])
            fits = spec.channels <= len(coded) and all(coded[: spec.channels])
            fits = fits and spec.lo <= latent.lo <= latent.hi <= spec.hi
        else:
            made = self._tensors.get(spec.name)
            fits = made is not None and made.channels == spec.channels and made.dtype == spec.dtype
            fits = fits and made is not None and spec.lo <= made.lo <= made.hi <= spec.hi
        if not fits:
            raise ModelError(f"{where} reads {spec.name!r}, which is not decoded, not there or does not fit")

    def _parameters(self, graph: Graph, step: Pass, where: str) -> None:
        """Check the graph that gives a pass its CDF rows and means."""
        specs = graph.specs()
        if "index" not in graph.outputs or any(
            specs[name].channels != step.count for name in ("index", "mean") if name in graph.outputs
        ):
            raise ModelError(f"{where}: graph {graph.name} does not give {step.count} channels of index (and mean)")
        table = self._network.tables.get(step.latent)
        if table is not None and table.rows <= specs["index"].hi:
            raise ModelError(f"tables {step.latent} have {table.rows} rows, {specs['index'].hi + 1} are needed")
        if step.positions == "wavefront" and not all(row.pointwise for row in graph.rows):
            raise ModelError(f"{where}: graph {graph.name} looks at more than one position at a time")

    def _refine(self, step: Pass, where: str) -> None:
        if step.positions == "even":
            raise ModelError(f"{where}: a slice is refined when all of it is decoded")
        self._run(step.refine, where, step, False)
        made, latent = self._tensors.pop("refined", None), self._network.latents[step.latent]
        if made is None or made.channels != step.count or not latent.lo <= made.lo <= made.hi <= latent.hi:
            raise ModelError(f"{where}: graph {step.refine} does not make {step.count} channels of 'refined' in range")

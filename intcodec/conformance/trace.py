"""An engine that notes what it computes, and the comparison of such notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from intcodec.base.integers import IntArray
from intcodec.coding.bitstream import Buffer
from intcodec.engines import Engine
from intcodec.entropy import rangecoder
from intcodec.modelfile.selftest import digest
from intcodec.network.graph import Network

Json = dict[str, Any]
#: A graph's name and the tensors of one run of it.
Run = tuple[str, dict[str, IntArray]]


@dataclass(frozen=True)
class Call:
    """One run of a graph: the size of its inputs, and the digest of every tensor known, inputs first."""

    graph: str
    height: int
    width: int
    tensors: Mapping[str, str]

    def as_json(self) -> Json:
        """Return JSON values."""
        return {"graph": self.graph, "height": self.height, "width": self.width, "tensors": dict(self.tensors)}


class Recorder:
    """Wrap an engine and keep a `Call` for each run, of all tensors where the engine has `trace`, else of its outputs.

    Args:
        engine: the engine.
        keep: also keep the tensors themselves, in `kept`.
    """

    def __init__(self, engine: Engine, keep: bool = False) -> None:
        self.name, self.threads = engine.name, engine.threads
        self.calls: list[Call] = []
        self.kept: list[Run] = []
        self._engine = engine
        self._keep = keep

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph; arguments, result and errors are the engine's."""
        outputs = self._engine.run(graph, inputs)
        trace = getattr(self._engine, "trace", None)
        tensors = {**inputs, **(trace(graph, inputs) if trace else outputs)}
        digests = {name: digest(tensor) for name, tensor in tensors.items()}
        digests.update({name: digest(tensor) for name, tensor in outputs.items()})  # what the codec goes on with
        height, width = next(iter(inputs.values())).shape[:2]
        self.calls.append(Call(graph, height, width, digests))
        if self._keep:
            self.kept.append((graph, {name: tensor.copy() for name, tensor in tensors.items()}))
        return outputs


def first_difference(calls: list[Call], expected: list[Json], side: str) -> str | None:
    """Return the first tensor that differs from a case's notes, as "g_s/igdn2", or None.

    Args:
        calls: what an engine did.
        expected: the case's `calls`.
        side: "encoder" or "decoder".
    """
    wanted = [call for call in expected if call["by"] in (side, "both")]
    counts: dict[str, int] = {}
    for call, want in zip(calls, wanted, strict=False):
        counts[call.graph] = counts.get(call.graph, 0) + 1
        step = f", call {counts[call.graph]}" if call.graph == "context" else ""
        if (call.graph, call.height, call.width) != (want["graph"], want["height"], want["width"]):
            return f"{want['graph']}: a call of {call.graph} at {call.height}x{call.width} in its place"
        for name, value in want["tensors"].items():
            if name in call.tensors and call.tensors[name] != value:
                return f"{call.graph}/{name}{step}"
    return None if len(calls) == len(wanted) else f"{len(calls)} graph calls, {len(wanted)} expected"


def coded_sections(network: Network, sections: Sequence[Buffer], kept: list[Run], size: tuple[int, int]) -> list[Json]:
    """Decode a stream's sections once more, from the notes of a decode, and digest what the range coder saw.

    Independent of the codec's own order of steps: rows come from the tensors that the graphs produced.

    Args:
        network: the model's network.
        sections: the sections of the stream.
        kept: what a `Recorder` kept while the stream was decoded.
        size: height and width of y.

    Returns:
        For each section its latent, number of symbols, digests of the CDF rows (uint16) and of the symbols (int16),
        both in coding order.
    """
    latents = ("y",) if len(sections) == 1 else ("z", "y")
    out = []
    for latent, section in zip(latents, sections, strict=True):
        if latent == "y" and "context" in network.graphs:
            rows = np.concatenate([t["index"].reshape(-1) for graph, t in kept if graph == "context"])
        elif latent == "y" and "h_s" in network.graphs:
            rows = next(t["index"] for graph, t in kept if graph == "h_s")[: size[0], : size[1]]
        else:
            place = size if latent == "y" else next(t["z_hat"].shape[:2] for graph, t in kept if graph == "h_s")
            channels = network.latents[latent].channels
            rows = np.broadcast_to(np.arange(channels), (*place, channels))
        rows = np.ascontiguousarray(rows.reshape(-1), np.uint16)
        symbols = rangecoder.decode(section, rows, network.tables[latent])
        out.append({"latent": latent, "count": rows.size, "rows": digest(rows), "symbols": digest(symbols)})
    return out

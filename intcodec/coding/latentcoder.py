"""Latents to sections of a bitstream and back, as the network's schedule says.

    encode   y -> h_a -> z;   for each pass: graphs -> index (, mean) -> symbols -> section
    decode   for each pass: graphs -> index (, mean) -> section -> symbols -> the latent as far as it is decoded

What may live here: the order in which graphs, latents and the range coder are used. Encoder and decoder go through the
same passes (`_run`) and differ only in where a pass's symbols come from, so they cannot drift apart. Each latent is one
section; a context model is in `wavefront`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import BitstreamError, ModelError
from intcodec.base.integers import IntArray
from intcodec.coding.bitstream import Buffer
from intcodec.coding.latents import Symbols, checksum, from_symbols, tiles, to_symbols
from intcodec.coding.wavefront import code_steps
from intcodec.entropy import rangecoder
from intcodec.entropy.cdf import CdfTables
from intcodec.network.graph import Latent, Network
from intcodec.network.schedule import Pass
from intcodec.network.schedule_check import check_schedule
from intcodec.rows.row import TensorSpec

if TYPE_CHECKING:
    from intcodec.engines import Engine

#: What a flush may save against the ideal code length, all lanes together.
_FLUSH_BITS: Final = 1024
#: Rows and columns of the symbols wanted, both int[n], or None for all; their CDF rows and means [.., count].
Positions: TypeAlias = "tuple[NDArray[np.intp], NDArray[np.intp]] | None"
SymbolsOf: TypeAlias = Callable[[Pass, Positions, NDArray[Any], "IntArray | None"], Symbols]


@dataclass(frozen=True)
class Coded:
    """Result of encoding latents: their sections, the y_hat that the decoder will see, the CRC-32 of all symbols."""

    sections: tuple[bytes, ...]
    y_hat: IntArray
    crc: int


class LatentCoder:
    """Codes y, and z where there is one, by the schedule of a network."""

    def __init__(self, network: Network, engine: Engine) -> None:
        """Check that the network's latents, tables, graphs and schedule go together.

        Raises:
            ModelError: they do not.
        """
        if not {"g_a", "g_s"} <= set(network.graphs) or "y" not in network.latents:
            raise ModelError(f"this intcodec cannot run a {network.arch} model with graphs {_names(network.graphs)}")
        check_schedule(network)
        used = {"g_a", "g_s", "h_a"}.union(*((*step.graphs, step.refine) for step in network.schedule))
        if unused := set(network.graphs) - used:
            raise ModelError(f"this intcodec cannot run a {network.arch} model with graphs {_names(unused)}")
        self._network, self._engine = network, engine
        self._latents: dict[str, _LatentTables] = {}
        for step in network.schedule:
            writer, reader = _ENDS.get(step.latent, ("", ""))
            if step.latent not in self._latents:
                self._latents[step.latent] = _LatentTables(network, step.latent, writer, reader, not step.graphs)

    @property
    def sections(self) -> int:
        """Number of sections in the bitstream."""
        return len(self._latents)

    def encode(self, y: IntArray, crc: int = 0) -> Coded:
        """Code y int32[h, w, M]; the checksum continues from `crc`."""
        size: tuple[int, int] = (y.shape[0], y.shape[1])
        values = {"y": y}
        if "z" in self._latents:
            values["z"] = self._engine.run("h_a", {"y": y})["z"]
        del y
        writers: dict[str, rangecoder.Encoder] = {}
        sizes = {name: value.shape[:2] for name, value in values.items()}
        for name, latent in self._latents.items():
            count = values[name].size
            writers[name] = rangecoder.Encoder(latent.tables, rangecoder.lanes_for(count))

        def quantise(step: Pass, at: Positions, rows: NDArray[Any], mean: IntArray | None) -> Symbols:
            value = values.pop(step.latent) if at is None else _at(values[step.latent], step, at)
            symbols = to_symbols(value, self._latents[step.latent].slice(step), mean)
            for tile in tiles(symbols.shape):
                writers[step.latent].encode(symbols[tile], rows[tile])
            return symbols

        y_hat, crc = self._run(size, sizes, quantise, crc)
        return Coded(tuple(w.finish() for w in writers.values()), y_hat, crc)

    def decode(self, sections: Sequence[Buffer], height: int, width: int, crc: int = 0) -> tuple[IntArray, int]:
        """Return y_hat [height, width, M] and the CRC-32 of all symbols, continued from `crc`.

        Raises:
            BitstreamError: a section is damaged, or too short for that many symbols.
        """
        sizes = {"y": (height, width)}
        if "z" in self._latents:
            sizes["z"] = self._network.graphs["h_a"].out_sizes(height, width)["z"]
        readers: dict[str, rangecoder.Decoder] = {}
        for section, (name, latent) in zip(sections, self._latents.items(), strict=True):
            latent.check_room(section, *sizes[name])
        for section, (name, latent) in zip(sections, self._latents.items(), strict=True):
            lanes = rangecoder.lanes_for(sizes[name][0] * sizes[name][1] * latent.latent.channels)
            readers[name] = rangecoder.Decoder(section, latent.tables, lanes)

        def decode(step: Pass, at: Positions, rows: NDArray[Any], mean: IntArray | None) -> Symbols:
            if at is not None:
                return readers[step.latent].decode(rows)
            out = np.empty(rows.shape, np.int16)
            for tile in tiles(rows.shape):
                out[tile] = readers[step.latent].decode(rows[tile])
            return out

        y_hat, crc = self._run((height, width), sizes, decode, crc, readers)
        return y_hat, crc

    def _run(
        self,
        size: tuple[int, int],
        sizes: Mapping[str, tuple[int, ...]],
        symbols_of: SymbolsOf,
        crc: int,
        readers: Mapping[str, rangecoder.Decoder] | None = None,
    ) -> tuple[IntArray, int]:
        """Go through all passes; return y_hat and the checksum of the symbols of all latents, in order.

        With `readers` each latent's section must end where its symbols do.
        """
        tensors: dict[str, IntArray] = {}
        for name, latent in self._latents.items():
            passes = [step for step in self._network.schedule if step.latent == name]
            if [(s.positions, s.refine) for s in passes] == [("all", "")]:
                rows, mean = self._parameters(passes[0], tensors, size, sizes[name])
                symbols = symbols_of(passes[0], None, rows, mean)
                del rows
                crc = checksum(symbols, crc)
                tensors[f"{name}_hat"] = latent.reconstruct(symbols, mean, symbols)
            else:
                symbols = np.empty((*sizes[name], latent.latent.channels), np.int16)
                tensors[f"{name}_hat"] = np.zeros(symbols.shape, latent.spec.dtype)
                for step in passes:
                    self._pass(step, tensors, size, symbols, symbols_of)
                crc = checksum(symbols, crc)
            if readers:
                readers[name].finish()
        return tensors["y_hat"], crc

    def _pass(
        self,
        step: Pass,
        tensors: dict[str, IntArray],
        size: tuple[int, int],
        symbols: Symbols,
        symbols_of: SymbolsOf,
    ) -> None:
        """Code a slice of channels at some positions, and write it into `symbols` and the decoded latent."""
        hat = tensors[f"{step.latent}_hat"]
        channels = slice(step.first, step.first + step.count)
        latent = self._latents[step.latent].slice(step)
        if step.positions == "wavefront":
            for name in step.graphs[:-1]:
                self._graph(name, tensors, size)
            graph = self._network.graphs[step.graphs[-1]]
            given = {s.name: tensors[s.name][..., : s.channels] for s in graph.inputs if s.name != "neighbours"}

            def of_step(rows: IntArray, columns: IntArray, index: IntArray, mean: IntArray | None) -> Symbols:
                return symbols_of(step, (rows, columns), index, mean)

            code_steps(self._engine, graph.name, latent, given, of_step, symbols[..., channels], hat[..., channels])
        else:
            rows, mean = self._parameters(step, tensors, size, size)
            keep = {"even": 0, "odd": 1}.get(step.positions)
            y, x = np.indices(size)
            at = np.nonzero((y + x) % 2 == keep) if keep is not None else (y.ravel(), x.ravel())
            where_mean = None if mean is None else mean[at][:, None]
            part = symbols_of(step, (at[0], at[1]), rows[at][:, None], where_mean)
            symbols[at[0], at[1], channels] = part[:, 0]
            hat[at[0], at[1], channels] = from_symbols(part, latent, where_mean)[:, 0]
        if step.refine:
            self._graph(step.refine, tensors, size)
            hat[..., channels] = tensors.pop("refined")

    def _parameters(
        self, step: Pass, tensors: dict[str, IntArray], size: tuple[int, int], shape: tuple[int, ...]
    ) -> tuple[NDArray[Any], IntArray | None]:
        """Return the CDF rows [.., count] of a pass at every position, and the means or None."""
        if not step.graphs:
            channels = np.arange(step.first, step.first + step.count, dtype=np.uint16)
            return np.broadcast_to(channels, (*shape, step.count)), None
        for name in step.graphs:
            self._graph(name, tensors, size)
        return tensors.pop("index"), tensors.pop("mean", None)

    def _graph(self, name: str, tensors: dict[str, IntArray], size: tuple[int, int]) -> None:
        """Run a graph and add its outputs, cropped to y's size, to the tensors."""
        inputs = {spec.name: self._input(spec, tensors) for spec in self._network.graphs[name].inputs}
        for output, tensor in self._engine.run(name, inputs).items():
            tensors[output] = tensor[: size[0], : size[1]]
            if tensors[output].shape[:2] != size:
                raise ModelError(f"{name} does not cover y")

    def _input(self, spec: TensorSpec, tensors: Mapping[str, IntArray]) -> IntArray:
        """Return what a graph reads: of a decoded latent its first channels."""
        return np.ascontiguousarray(tensors[spec.name][..., : spec.channels]).astype(spec.dtype, copy=False)


#: Which graphs make and read a latent.
_ENDS: Final[Mapping[str, tuple[str, str]]] = {"y": ("g_a", "g_s"), "z": ("h_a", "h_s")}


class _LatentTables:
    """A latent with its tables, and the form in which it is read."""

    def __init__(self, network: Network, name: str, writer: str, reader: str, by_channel: bool) -> None:
        """Check that graph `writer` makes the latent, `reader` takes it, and its tables suffice."""
        self.latent: Latent = _require(network.latents, name, "latent")
        self.tables: CdfTables = _require(network.tables, name, "tables")
        self.spec = _tensor(network, reader, f"{name}_hat")
        made, latent = _tensor(network, writer, name), self.latent
        if made.channels != latent.channels or name not in network.graphs[writer].outputs:
            raise ModelError(f"latent {name} does not fit the output of {writer}")
        if self.spec.channels != latent.channels or not self.spec.lo <= latent.lo <= latent.hi <= self.spec.hi:
            raise ModelError(f"latent {name} does not fit the input of {reader}")
        if by_channel and self.tables.rows < latent.channels:
            raise ModelError(f"tables {name} have {self.tables.rows} rows, {latent.channels} are needed")
        self._min_bits = _cheapest_symbol(self.tables)

    def slice(self, step: Pass) -> Latent:
        """Return the latent's description for the channels of a pass."""
        if step.count == self.latent.channels:
            return self.latent
        channels = slice(step.first, step.first + step.count)
        offset, shift = self.latent.offset[channels], self.latent.shift[channels]
        return Latent(self.latent.name, self.latent.fraction, offset, shift, self.latent.lo, self.latent.hi)

    def reconstruct(self, symbols: Symbols, mean: IntArray | None, out: IntArray) -> IntArray:
        """Return the latent [H, W, C] in the dtype that its reader takes; `out` is reused if it has that dtype."""
        if out.dtype != self.spec.dtype:
            out = np.empty(symbols.shape, self.spec.dtype)
        return from_symbols(symbols, self.latent, mean, out)

    def check_room(self, section: Buffer, height: int, width: int) -> None:
        """Refuse a section that is too short for the symbols that the header promises, before they cost anything.

        Raises:
            BitstreamError: it is.
        """
        count = height * width * self.latent.channels
        if len(section) * 8 + _FLUSH_BITS < count * self._min_bits:
            what = f"{count} symbols of {self.latent.name}"
            raise BitstreamError(f"damaged file: {len(section)} bytes cannot hold {what}")


def _at(value: IntArray, step: Pass, at: tuple[NDArray[np.intp], NDArray[np.intp]]) -> IntArray:
    """Return a latent's values [n, 1, count] of a pass's channels at some positions."""
    return np.asarray(value[at][:, None, step.first : step.first + step.count])


def _names(graphs: Iterable[str]) -> str:
    return ", ".join(sorted(graphs))


def _require(mapping: Any, name: str, what: str) -> Any:
    if name not in mapping:
        raise ModelError(f"the model has no {what} {name!r}")
    return mapping[name]


def _tensor(network: Network, graph: str, name: str) -> TensorSpec:
    spec: TensorSpec = _require(_require(network.graphs, graph, "graph").specs(), name, f"graph {graph}: tensor")
    return spec


def _cheapest_symbol(tables: CdfTables) -> float:
    """Return a lower bound, in bits, of what any symbol costs in any of the tables' rows."""
    width = np.diff(np.asarray(tables.cdf, np.int64))
    p = int(width.max(initial=1)) / 65536  # from one row's 65536 to the next row's 0 is negative
    return 0.999 * float(-np.log2(p)) if p < 1 else 0.0

"""How the latent y becomes sections of a bitstream and back, one strategy per kind of network.

What may live here: the order in which graphs, latents and the range coder are used. A strategy is a class with `fits`
(which networks it is for), `encode` and `decode`; the last two mirror each other line by line. A new kind of network,
such as one with a context model, is a new class in CODERS and touches nothing else.

    factorized    y -> symbols -> section 0
    hyperprior    y -> h_a -> z -> symbols -> section 0 -> z_hat -> h_s -> index (, mean);  y -> symbols -> section 1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import BitstreamError, ModelError
from intcodec.base.integers import IntArray
from intcodec.coding.bitstream import Buffer
from intcodec.coding.latents import Symbols, checksum, from_symbols, tiles, to_symbols
from intcodec.coding.wavefront import NEIGHBOURS, walk
from intcodec.entropy import rangecoder
from intcodec.entropy.cdf import CdfTables
from intcodec.network.graph import Latent, Network
from intcodec.rows.row import TensorSpec

if TYPE_CHECKING:
    from intcodec.engines import Engine

#: What a flush may save against the ideal code length, all lanes together.
_FLUSH_BITS: Final = 1024


@dataclass(frozen=True)
class Coded:
    """Result of encoding a latent: its sections, the y_hat that the decoder will see, the CRC-32 of all symbols."""

    sections: tuple[bytes, ...]
    y_hat: IntArray
    crc: int


class LatentCoder(Protocol):
    """One way to code y."""

    #: Number of sections in the bitstream.
    sections: int

    @staticmethod
    def fits(network: Network) -> bool:
        """Return whether this strategy is the one for the network."""

    def __init__(self, network: Network, engine: Engine) -> None: ...

    def encode(self, y: IntArray) -> Coded:
        """Code y int32[h, w, M]."""

    def decode(self, sections: Sequence[Buffer], height: int, width: int) -> tuple[IntArray, int]:
        """Return y_hat [height, width, M] and the CRC-32 of all symbols.

        Raises:
            BitstreamError: a section is damaged, or too short for that many symbols.
        """


class _LatentIO:
    """A latent with its tables: symbols to bytes and back, whatever chose the CDF rows."""

    def __init__(self, network: Network, name: str, writer: str, reader: str, rows: int | None = None) -> None:
        """Check that graph `writer` makes the latent, `reader` takes it, and its tables have `rows` rows."""
        self.latent: Latent = _require(network.latents, name, "latent")
        self.tables: CdfTables = _require(network.tables, name, "tables")
        self.spec = _tensor(network, reader, f"{name}_hat")
        if (
            _tensor(network, writer, name).channels != self.latent.channels
            or name not in network.graphs[writer].outputs
        ):
            raise ModelError(f"latent {name} does not fit the output of {writer}")
        self._min_bits = _cheapest_symbol(self.tables)
        lo, hi = self.latent.lo, self.latent.hi
        if self.spec.channels != self.latent.channels or not self.spec.lo <= lo <= hi <= self.spec.hi:
            raise ModelError(f"latent {name} does not fit the input of {reader}")
        need = self.latent.channels if rows is None else rows
        if self.tables.rows < need:
            raise ModelError(f"tables {name} have {self.tables.rows} rows, {need} are needed")

    def reconstruct(self, symbols: Symbols, mean: IntArray | None, out: IntArray | None = None) -> IntArray:
        """Return the latent [H, W, C] in the dtype that its reader takes; `out` is reused if it has that dtype."""
        if out is None or out.dtype != self.spec.dtype:
            out = np.empty(symbols.shape, self.spec.dtype)
        return from_symbols(symbols, self.latent, mean, out)

    def channel_rows(self, height: int, width: int) -> NDArray[np.uint16]:
        """Return a view uint16[height, width, C] of CDF rows where row = channel."""
        channels = self.latent.channels
        return np.broadcast_to(np.arange(channels, dtype=np.uint16), (height, width, channels))

    def write(self, symbols: Symbols, rows: NDArray[Any]) -> bytes:
        """Return the section of symbols int16[H, W, C] with CDF rows [H, W, C]."""
        encoder = rangecoder.Encoder(self.tables, rangecoder.lanes_for(symbols.size))
        for tile in tiles(symbols.shape):
            encoder.encode(symbols[tile], rows[tile])
        return encoder.finish()

    def check_room(self, section: Buffer, height: int, width: int) -> None:
        """Refuse a section that is too short for the symbols that the header promises, before they cost anything.

        Raises:
            BitstreamError: it is.
        """
        count = height * width * self.latent.channels
        if len(section) * 8 + _FLUSH_BITS < count * self._min_bits:
            what = f"{count} symbols of {self.latent.name}"
            raise BitstreamError(f"damaged file: {len(section)} bytes cannot hold {what}")

    def read(self, section: Buffer, rows: NDArray[Any]) -> Symbols:
        """Return the symbols int16[H, W, C] of a section with CDF rows [H, W, C]."""
        out = np.empty(rows.shape, np.int16)
        decoder = rangecoder.Decoder(section, self.tables, rangecoder.lanes_for(out.size))
        for tile in tiles(rows.shape):
            out[tile] = decoder.decode(rows[tile])
        decoder.finish()
        return out


class FactorizedCoder:
    """y alone; the CDF row is the channel."""

    sections = 1

    def __init__(self, network: Network, engine: Engine) -> None:
        self._y = _LatentIO(network, "y", "g_a", "g_s")

    @staticmethod
    def fits(network: Network) -> bool:
        """Return whether the network has no hyperprior."""
        return set(network.graphs) == {"g_a", "g_s"} and set(network.latents) == {"y"}

    def encode(self, y: IntArray) -> Coded:
        """Code y int32[h, w, M]."""
        symbols = to_symbols(y, self._y.latent)
        del y
        section = self._y.write(symbols, self._y.channel_rows(*symbols.shape[:2]))
        crc = checksum(symbols)
        return Coded((section,), self._y.reconstruct(symbols, None, symbols), crc)

    def decode(self, sections: Sequence[Buffer], height: int, width: int) -> tuple[IntArray, int]:
        """Return y_hat [height, width, M] and the CRC-32 of the symbols."""
        self._y.check_room(sections[0], height, width)
        symbols = self._y.read(sections[0], self._y.channel_rows(height, width))
        crc = checksum(symbols)
        return self._y.reconstruct(symbols, None, symbols), crc


class HyperpriorCoder:
    """z with the channel as CDF row; then y with the row, and maybe the mean, that h_s derives from z_hat."""

    sections = 2

    def __init__(self, network: Network, engine: Engine) -> None:
        self._engine = engine
        self._h_a = network.graphs["h_a"]
        self._z = _LatentIO(network, "z", "h_a", "h_s")
        self._y = _LatentIO(network, "y", "g_a", "g_s", _tensor(network, "h_s", "index").hi + 1)
        if any(_tensor(network, "h_s", n).channels != self._y.latent.channels for n in network.graphs["h_s"].outputs):
            raise ModelError("the outputs of h_s do not fit latent y")

    @staticmethod
    def fits(network: Network) -> bool:
        """Return whether the network has a hyperprior and no context model."""
        if set(network.graphs) != {"g_a", "h_a", "h_s", "g_s"} or set(network.latents) != {"y", "z"}:
            return False
        return set(network.graphs["h_s"].outputs) in ({"index"}, {"index", "mean"})

    def encode(self, y: IntArray, crc: int = 0) -> Coded:
        """Code y int32[h, w, M]; the checksum continues from `crc`."""
        height, width, _ = y.shape
        z = to_symbols(self._engine.run("h_a", {"y": y})["z"], self._z.latent)
        z_section = self._z.write(z, self._z.channel_rows(*z.shape[:2]))
        index, mean = self._parameters(z, height, width)
        symbols = to_symbols(y, self._y.latent, mean)
        del y
        y_hat = self._y.reconstruct(symbols, mean)
        del mean
        return Coded((z_section, self._y.write(symbols, index)), y_hat, checksum(symbols, checksum(z, crc)))

    def decode(self, sections: Sequence[Buffer], height: int, width: int, crc: int = 0) -> tuple[IntArray, int]:
        """Return y_hat [height, width, M] and the CRC-32 of the symbols, z then y, continued from `crc`."""
        z_size = self._h_a.out_sizes(height, width)["z"]
        self._z.check_room(sections[0], *z_size)
        self._y.check_room(sections[1], height, width)
        z = self._z.read(sections[0], self._z.channel_rows(*z_size))
        index, mean = self._parameters(z, height, width)
        symbols = self._y.read(sections[1], index)
        del index
        crc = checksum(symbols, checksum(z, crc))
        return self._y.reconstruct(symbols, mean, symbols), crc

    def _parameters(self, z: Symbols, height: int, width: int) -> tuple[IntArray, IntArray | None]:
        """Return the CDF rows of y and its means or None, both [height, width, M]: h_s's outputs, cropped."""
        out = self._engine.run("h_s", {"z_hat": self._z.reconstruct(z, None)})
        cropped = {name: t[:height, :width] for name, t in out.items()}
        if any(t.shape[:2] != (height, width) for t in cropped.values()):
            raise ModelError("h_s does not cover y")
        return cropped["index"], cropped.get("mean")


class ContextCoder:
    """z as in a hyperprior; then y in wavefront order, each step's row and mean from its neighbours and h_s."""

    sections = 2

    def __init__(self, network: Network, engine: Engine) -> None:
        self._engine = engine
        self._h_a = network.graphs["h_a"]
        self._z = _LatentIO(network, "z", "h_a", "h_s")
        self._y = _LatentIO(network, "y", "g_a", "g_s", _tensor(network, "context", "index").hi + 1)
        seen, params = (_tensor(network, "context", n) for n in ("neighbours", "params"))
        made = _tensor(network, "h_s", "params")
        latent = self._y.latent
        if seen.channels != len(NEIGHBOURS) * latent.channels or not seen.lo <= latent.lo <= latent.hi <= seen.hi:
            raise ModelError("latent y does not fit the neighbours of the context model")
        if made.channels != params.channels or not params.lo <= made.lo <= made.hi <= params.hi:
            raise ModelError("the output of h_s does not fit the context model")
        if any(_tensor(network, "context", n).channels != latent.channels for n in ("index", "mean")):
            raise ModelError("the outputs of the context model do not fit latent y")
        if not all(row.pointwise for row in network.graphs["context"].rows):
            raise ModelError("the context model looks at more than one position at a time")

    @staticmethod
    def fits(network: Network) -> bool:
        """Return whether the network has a context model."""
        if set(network.graphs) != {"g_a", "h_a", "h_s", "context", "g_s"} or set(network.latents) != {"y", "z"}:
            return False
        heads = network.graphs["h_s"].outputs, set(network.graphs["context"].outputs)
        return heads == (("params",), {"index", "mean"})

    def encode(self, y: IntArray) -> Coded:
        """Code y int32[h, w, M]."""
        z = to_symbols(self._engine.run("h_a", {"y": y})["z"], self._z.latent)
        z_section = self._z.write(z, self._z.channel_rows(*z.shape[:2]))
        encoder = rangecoder.Encoder(self._y.tables, rangecoder.lanes_for(y.size))

        def quantise(rows: IntArray, columns: IntArray, index: IntArray, mean: IntArray) -> Symbols:
            step = to_symbols(y[rows, columns][:, None], self._y.latent, mean)
            encoder.encode(step, index)
            return step

        symbols, y_hat = walk(self._engine, self._y.latent, self._params(z, *y.shape[:2]), quantise)
        return Coded((z_section, encoder.finish()), y_hat, checksum(symbols, checksum(z)))

    def decode(self, sections: Sequence[Buffer], height: int, width: int) -> tuple[IntArray, int]:
        """Return y_hat [height, width, M] and the CRC-32 of the symbols, z then y."""
        z_size = self._h_a.out_sizes(height, width)["z"]
        self._z.check_room(sections[0], *z_size)
        self._y.check_room(sections[1], height, width)
        z = self._z.read(sections[0], self._z.channel_rows(*z_size))
        count = height * width * self._y.latent.channels
        decoder = rangecoder.Decoder(sections[1], self._y.tables, rangecoder.lanes_for(count))

        def decode(rows: IntArray, columns: IntArray, index: IntArray, mean: IntArray) -> Symbols:
            return decoder.decode(index)

        symbols, y_hat = walk(self._engine, self._y.latent, self._params(z, height, width), decode)
        decoder.finish()
        return y_hat, checksum(symbols, checksum(z))

    def _params(self, z: Symbols, height: int, width: int) -> IntArray:
        """Return what h_s derives from z, cropped to [height, width, 2M]."""
        params = self._engine.run("h_s", {"z_hat": self._z.reconstruct(z, None)})["params"][:height, :width]
        if params.shape[:2] != (height, width):
            raise ModelError("h_s does not cover y")
        return params


#: Every strategy; exactly one fits a network.
CODERS: Final[tuple[type[LatentCoder], ...]] = (FactorizedCoder, HyperpriorCoder, ContextCoder)


def coder_for(network: Network, engine: Engine) -> LatentCoder:
    """Return the strategy for a network.

    Raises:
        ModelError: none fits, or its tables do not fit its latents.
    """
    for coder in CODERS:
        if coder.fits(network):
            return coder(network, engine)
    raise ModelError(f"this intcodec cannot run a {network.arch} model with graphs {', '.join(sorted(network.graphs))}")


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

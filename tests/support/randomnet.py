"""Random integer networks with values at the ends of their ranges, for tests of engines against the reference.

What may live here: rows and graphs from a random generator, proved to stay in range where the contract asks for it.
"""

from __future__ import annotations

import numpy as np

from intcodec.network.graph import Graph, Network
from intcodec.rows.add import Add
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gate import Gate
from intcodec.rows.gdn import Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.scale_index import ScaleIndex

LIMIT = 2**31 - 1
RANGES = {"conv": [(-2047, 2047), (0, 2047), (0, 255), (-32767, 32767), (-(2**30), 2**30)]}


def network(*graphs: Graph) -> Network:
    return Network("test", {g.name: g for g in graphs}, {}, {})


def magnitude(spec: TensorSpec) -> int:
    return max(abs(spec.lo), abs(spec.hi))


def random_conv(rng: np.random.Generator, name: str, src: TensorSpec, extreme: bool) -> Conv:
    """Return a convolution whose worst-case sum stays below 2**31, or reaches it within 0.1 % if `extreme`."""
    upsample = int(rng.integers(1, 3))
    transposed = upsample == 2 and rng.random() < 0.5
    out = int(rng.choice([1, 3, 5, 16, 48, 64, 65, 80, src.channels, src.channels])) * upsample**2
    kh, kw = (3, 3) if transposed else (int(v) for v in rng.integers(1, 6, 2))
    pad = (1, 1, 1, 1) if transposed else tuple(int(v) for v in rng.integers(0, 4, 4))
    shape = (out, kh, kw, src.channels)
    w = rng.choice([-32767, 32767, 1], shape) if extreme else rng.integers(-2047, 2048, shape)
    if transposed:
        w[2::4, 0] = w[3::4, 0] = 0
        w[1::4, :, 0] = w[3::4, :, 0] = 0
    x = magnitude(src)
    total = np.abs(w).sum(axis=(1, 2, 3)) * x
    w = np.trunc(w * np.minimum(1.0, 0.999 * LIMIT / np.maximum(total, 1))[:, None, None, None]).astype(np.int64)
    room = LIMIT - np.abs(w).sum(axis=(1, 2, 3)) * x
    bias = rng.choice([-1, 0, 1], out) * room if extreme else rng.integers(-1000, 1000, out).clip(-room, room)
    shift = rng.integers(0, 31, out) if extreme else rng.integers(8, 18, out)
    slope = int(rng.choice([0, 655, 65535]))
    lo, hi = RANGES["conv"][rng.integers(4 if slope else 5)]
    arrays = w.astype(np.int16), bias.astype(np.int32), shift.astype(np.uint8)
    stride = 1 if transposed else int(rng.integers(1, 3))
    if rng.random() < 0.4:  # keeps its input's size, so that rows of two tensors find partners
        pad, stride = ((kh - 1) // 2, (kw - 1) // 2, kh // 2, kw // 2), 1
    return Conv(name, src.name, *arrays, lo, hi, stride, pad, upsample, slope)


def random_gdn(rng: np.random.Generator, name: str, src: TensorSpec) -> Gdn:
    """Return a GDN row whose norms reach the ends of their range: 1 and just below 2**30."""
    c, x = src.channels, magnitude(src)
    t = next(t for t in range(16) if (x * x + ((1 << t) >> 1)) >> t <= 32767)
    q = max(1, (x * x + ((1 << t) >> 1)) >> t)
    beta = rng.choice([1, 2, 2**20, 2**29], c)
    gamma = rng.integers(0, 32768, (c, c)) * (rng.random((c, 1)) < 0.8)
    scale = (2**30 - 1 - beta) / np.maximum(1, q * gamma.sum(axis=1))
    gamma = np.trunc(gamma * np.minimum(1, scale)[:, None]).astype(np.int64)
    shift = rng.integers(1, 20, c)
    most = np.minimum((2**31 - 1 - 2**19) // max(1, x) * np.floor(np.sqrt(beta)), 2**30)
    numerator = np.trunc(most * rng.choice([0, 0.001, 0.5, 1], c))
    lo, hi = [(-2047, 2047), (0, 255), (-32767, 32767), (-(2**30), 2**30)][rng.integers(4)]
    arrays = gamma.astype(np.int16), beta.astype(np.int32), numerator.astype(np.int32), shift.astype(np.uint8)
    return Gdn(name, src.name, *arrays, t, lo, hi, inverse=bool(rng.integers(2)))


def random_row(rng: np.random.Generator, name: str, src: TensorSpec) -> Row:
    kinds = ["rescale"]
    if magnitude(src) <= 32767:
        kinds += ["conv"] * 5 + ["gdn"] * 3
    if src.lo >= 0:
        kinds += ["index"]
    kind = rng.choice(kinds)
    if kind == "conv":
        return random_conv(rng, name, src, extreme=rng.random() < 0.4)
    if kind == "gdn":
        return random_gdn(rng, name, src)
    if kind == "rescale":
        lo, hi = [(-2047, 2047), (0, 255), (-(2**30), 2**30)][rng.integers(3)]
        shift = rng.integers(0, 29, src.channels).astype(np.uint8)
        return Rescale(name, src.name, shift, lo, hi, magnitude=bool(rng.integers(2)))
    thresholds = np.sort(rng.integers(src.lo, src.hi + 1, int(rng.integers(0, 70))))
    return ScaleIndex(name, src.name, thresholds.astype(np.int32))


def random_add(rng: np.random.Generator, name: str, a: TensorSpec, b: TensorSpec) -> Add:
    """Return a sum whose terms reach 2**30 each."""
    lo, hi = RANGES["conv"][rng.integers(5)]
    shifts = (rng.integers(0, most, a.channels).astype(np.uint8) for most in (16, 16, 17))
    return Add(name, a.name, b.name, *shifts, lo, hi)


def random_gate(rng: np.random.Generator, name: str, a: TensorSpec, b: TensorSpec) -> Gate:
    lo, hi = RANGES["conv"][rng.integers(5)]
    table = rng.integers(0, 32768, b.hi - b.lo + 1).astype(np.int16)
    return Gate(name, a.name, b.name, table, rng.integers(0, 31, a.channels).astype(np.uint8), lo, hi)


def random_pair(
    rng: np.random.Generator, name: str, specs: dict[str, TensorSpec], sizes: dict[str, tuple[int, int]]
) -> Row | None:
    """Return a row of two tensors that go together, or None where there is no such pair."""
    kind = [Concat, random_add, random_gate][rng.integers(3)]
    pairs = [
        (a, b)
        for a in specs.values()
        for b in specs.values()
        if sizes[a.name] == sizes[b.name]
        and (a.dtype == b.dtype == np.int16 and a.channels + b.channels < 200 if kind is Concat
             else a.channels == b.channels and max(magnitude(a), magnitude(b)) < 2**15)
    ]  # fmt: skip
    if not pairs:
        return None
    a, b = pairs[rng.integers(len(pairs))]
    return Concat(name, a.name, b.name) if kind is Concat else kind(rng, name, a, b)


def random_graph(rng: np.random.Generator, height: int, width: int) -> Graph:
    specs: dict[str, TensorSpec] = {}
    for name in ("x", "c")[: int(rng.integers(1, 3))]:
        lo, hi = [(0, 255), (-2047, 2047), (-32767, 32767)][rng.integers(3)]
        specs[name] = TensorSpec(name, int(rng.integers(1, 70)), lo, hi)
    inputs, sizes = tuple(specs.values()), dict.fromkeys(specs, (height, width))
    rows: list[Row] = []
    for i in range(int(rng.integers(1, 9))):
        names = list(specs)
        src = names[-1] if rng.random() < 0.8 else names[rng.integers(len(names))]
        row = random_pair(rng, f"t{i}", specs, sizes) if rng.random() < 0.4 else None
        rows.append(row or random_row(rng, f"t{i}", specs[src]))
        specs[rows[-1].name] = rows[-1].out(*(specs[n] for n in rows[-1].inputs))
        sizes[rows[-1].name] = rows[-1].size(*sizes[rows[-1].inputs[0]])
    extra = [row.name for row in rows[:-1] if rng.random() < 0.2]
    return Graph("g", inputs, tuple(rows), (rows[-1].name, *extra))


class Builder:
    """Rows of a graph one after the other, in the shapes that real models have."""

    def __init__(self, rng: np.random.Generator, *inputs: TensorSpec) -> None:
        self.rng, self.inputs, self.rows = rng, inputs, list[Row]()
        self.specs = {s.name: s for s in inputs}

    def add(self, row: Row) -> str:
        self.rows.append(row)
        self.specs[row.name] = row.out(*(self.specs[n] for n in row.inputs))
        return row.name

    def conv(self, src: str, out: int, side: int = 3, stride: int = 1, upsample: int = 1, wide: bool = False) -> str:
        spec, count = self.specs[src], out * upsample**2
        w = self.rng.integers(-600, 601, (count, side, side, spec.channels)).astype(np.int16)
        bias = self.rng.integers(-(2**20), 2**20, count).astype(np.int32)
        shift = np.full(count, 4 if wide else 13, np.uint8)
        lo, hi = (-(2**28), 2**28) if wide else (-2047, 2047)
        p, slope = side // 2, 0 if wide else 655
        name = f"t{len(self.rows)}"
        return self.add(Conv(name, src, w, bias, shift, lo, hi, stride, (p, p, p, p), upsample, slope))

    def gdn(self, src: str, inverse: bool = False) -> str:
        n = self.specs[src].channels
        gamma = self.rng.integers(0, 16000 // n, (n, n)).astype(np.int16)
        arrays = gamma, np.full(n, 2**20, np.int32), np.full(n, 2**27, np.int32), np.full(n, 14, np.uint8)
        return self.add(Gdn(f"t{len(self.rows)}", src, *arrays, 8, -2047, 2047, inverse))

    def sum(self, a: str, b: str, top: int = 2047) -> str:
        n = self.specs[a].channels
        shifts = (self.rng.integers(0, 4, n).astype(np.uint8) for _ in range(3))
        return self.add(Add(f"t{len(self.rows)}", a, b, *shifts, -top, top))

    def attention(self, src: str) -> str:
        n = self.specs[src].channels
        trunk = self.sum(self.conv(self.conv(src, n, 1), n), src)
        mask = self.conv(self.sum(self.conv(self.conv(src, n, 1), n), src), n, 1)
        gate = self.add(random_gate(self.rng, f"t{len(self.rows)}", self.specs[trunk], self.specs[mask]))
        return self.sum(src, gate) if magnitude(self.specs[gate]) < 2**15 else src

    def graph(self, name: str, *outputs: str) -> Graph:
        return Graph(name, self.inputs, tuple(self.rows), outputs)


def residual_graph(rng: np.random.Generator, n: int = 20) -> Graph:
    """Return blocks like cheng2020's: a shortcut of stride 2, attention, an upsampling shortcut, a sum beyond int16."""
    b = Builder(rng, TensorSpec("x", 3, 0, 255))
    down = b.sum(b.gdn(b.conv(b.conv("x", n, stride=2), n)), b.conv("x", n, 1, stride=2))
    first = b.attention(down)
    up = b.sum(b.gdn(b.conv(b.conv(first, n, upsample=2), n), inverse=True), b.conv(first, n, upsample=2))
    shared = b.conv(up, n)  # read by a GDN and by a sum: the GDN must not work in place
    last = b.sum(b.gdn(shared), shared, 2**20)
    return b.graph("g", last, b.conv(down, 70, 5, stride=2, wide=True))


def context_graph(rng: np.random.Generator, m: int = 24) -> Graph:
    """Return a context model: two inputs, convolutions of side 1 only."""
    b = Builder(rng, TensorSpec("neighbours", 12 * m, -4095, 4095), TensorSpec("params", 2 * m, -2047, 2047))
    seen = b.conv("neighbours", 2 * m, 1)
    joined = b.add(Concat("joined", "params", seen))
    hidden = b.conv(b.conv(joined, 70, 1), 64, 1)
    scale = b.add(Rescale("scale", hidden, np.zeros(64, np.uint8), 0, 2047, magnitude=True))
    index = b.add(ScaleIndex("index", scale, np.arange(0, 2000, 40, dtype=np.int32)))
    return b.graph("g", index, b.conv(hidden, m, 1, wide=True))


def random_input(rng: np.random.Generator, spec: TensorSpec, height: int, width: int) -> np.ndarray:
    shape = (height, width, spec.channels)
    ends = rng.choice([spec.lo, spec.hi], shape)
    return np.where(rng.random(shape) < 0.5, ends, rng.integers(spec.lo, spec.hi + 1, shape)).astype(spec.dtype)


def small_codec_graph(rng: np.random.Generator, n: int = 32, m: int = 48) -> Graph:
    """Return a g_s-like graph: two transposed convolutions with IGDN, and a last one to 3 channels of pixels."""
    specs = {"y_hat": TensorSpec("y_hat", m, -2047, 2047)}
    rows: list[Row] = []
    src = "y_hat"
    for i, channels in enumerate((n, n, 3)):
        w = rng.integers(-500, 501, (4 * channels, 3, 3, specs[src].channels)).astype(np.int16)
        w[2::4, 0] = w[3::4, 0] = 0
        w[1::4, :, 0] = w[3::4, :, 0] = 0
        bias = rng.integers(-(2**20), 2**20, 4 * channels).astype(np.int32)
        lo, hi = (0, 255) if channels == 3 else (-2047, 2047)
        shift = np.full(4 * channels, 13, np.uint8)
        rows.append(Conv(f"conv{i}", src, w, bias, shift, lo, hi, pad=(1, 1, 1, 1), upsample=2))
        src = rows[-1].name
        specs[src] = rows[-1].out(*(specs[n] for n in rows[-1].inputs))
        if channels != 3:
            gamma = rng.integers(0, 700, (n, n)).astype(np.int16)
            beta = rng.integers(1, 2**20, n).astype(np.int32)
            rows.append(Gdn(f"igdn{i}", src, gamma, beta, beta, np.full(n, 12, np.uint8), 8, -2047, 2047, inverse=True))
            src = rows[-1].name
            specs[src] = rows[-1].out(*(specs[n] for n in rows[-1].inputs))
    return Graph("g_s", (specs["y_hat"],), tuple(rows), (src,))

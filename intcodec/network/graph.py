"""The integer network: a plain description that every engine runs and `intcodec.network.proof` proves.

What may live here: frozen dataclasses over numpy integer arrays, their shape and range checks, nothing that computes
a network. The meaning of each row is defined in docs/arithmetic.md; `intcodec.engines.reference` is its executable
form.

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
from typing import Any, TypeAlias

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT, IntArray, dtype_of
from intcodec.entropy.cdf import CdfTables

#: The norm of a GDN row stays strictly below this, so that (isqrt(n) + 1)**2 fits an int32.
NORM_LIMIT = 2**30
#: Channels of a tensor.
MAX_CHANNELS = 1 << 14
#: Fraction bits of a LeakyReLU slope.
SLOPE_BITS = 16
#: Levels of a scale space: the picture, and five times blurred.
LEVELS = 6
#: Fraction bits that a scale space has more than its input.
VOLUME_BITS = 2
#: A Gaussian of 1.5 pixels; the taps add up to 2**BLUR_BITS.
BLUR_TAPS = (17, 124, 590, 1792, 3490, 4358, 3490, 1792, 590, 124, 17)
BLUR_BITS = 14
#: Fraction bits of a motion, and of the point in a scale space that it leads to.
MOTION_BITS, POINT_BITS = 16, 8
#: A motion of 1 is half the picture's side, rounded up to a multiple of this.
MOTION_GRID = 128
#: Largest side of a picture that is warped.
MAX_WARP_SIDE = 1 << 16
#: Its sides are multiples of this.
WARP_SIDE_STEP = 1 << (LEVELS - 2)


def can_warp(height: int, width: int) -> bool:
    """Return whether a picture of these sides has a scale space."""
    steps = not (height % WARP_SIDE_STEP or width % WARP_SIDE_STEP)
    return steps and 0 < min(height, width) <= max(height, width) <= MAX_WARP_SIDE


@dataclass(frozen=True)
class TensorSpec:
    """Name, channel count and inclusive value range of a tensor."""

    name: str
    channels: int
    lo: int
    hi: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Storage dtype, from the range."""
        return dtype_of(self.lo, self.hi)


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution, requantisation by a per-channel shift, clamp, optional LeakyReLU, optional pixel shuffle.

    acc[o] = bias[o] + sum w[o, ky, kx, i] * x[y * stride + ky - top, x * stride + kx - left, i]  (x = 0 outside)
    v[o]   = clamp(acc[o] >> shift[o], lo, hi);  if slope and v < 0: v = (v * slope + 2**15) >> 16
    With `upsample` = 2, out[2y + py, 2x + px, c] = v[y, x, 4c + 2py + px].
    """

    name: str
    input: str
    weight: IntArray  # int16 [out, kh, kw, in]
    bias: IntArray  # int32 [out], the rounding constant 2**(shift - 1) included
    shift: IntArray  # uint8 [out], 0..30
    lo: int
    hi: int
    stride: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    upsample: int = 1
    slope: int = 0  # 0: none; else LeakyReLU slope in units of 2**-16

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input,)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        lo = min((self.lo * self.slope + 2 ** (SLOPE_BITS - 1)) >> SLOPE_BITS, 0) if self.slope else self.lo
        return TensorSpec(self.name, self.weight.shape[0] // self.upsample**2, lo, self.hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return the output's (height, width) for an input of (height, width)."""
        top, left, bottom, right = self.pad
        _, kh, kw, _ = self.weight.shape
        oh = (height + top + bottom - kh) // self.stride + 1
        ow = (width + left + right - kw) // self.stride + 1
        return oh * self.upsample, ow * self.upsample


@dataclass(frozen=True, eq=False)
class Gdn:
    """Generalised divisive normalisation, or its inverse form, in integers.

    q = (x * x + 2**(t - 1)) >> t           t = square_shift (t = 0: q = x * x)
    n[j] = beta[j] + sum_i gamma[j, i] * q[i]
    r = isqrt(n);  m = r if inverse else numerator[j] // r
    y = clamp((x * m + 2**(shift - 1)) >> shift, lo, hi)
    """

    name: str
    input: str
    gamma: IntArray  # int16 [C, C], >= 0, row j mixes inputs i into norm j
    beta: IntArray  # int32 [C], >= 1
    numerator: IntArray  # int32 [C], used where not inverse
    shift: IntArray  # uint8 [C], 1..30
    square_shift: int
    lo: int
    hi: int
    inverse: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input,)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.beta.shape[0], self.lo, self.hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True, eq=False)
class Rescale:
    """Change of scale by a per-channel shift: y = clamp((v + half) >> shift, lo, hi), v = |x| or x.

    half = 2**(shift - 1), or 0 where shift is 0.
    """

    name: str
    input: str
    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int
    magnitude: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input,)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True, eq=False)
class ScaleIndex:
    """CDF row index of a scale: the number of thresholds strictly below the value, uint8."""

    name: str
    input: str
    thresholds: IntArray  # int32 [K - 1], ascending, K <= 256, within the input's range

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input,)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, specs[self.input].channels, 0, self.thresholds.shape[0])

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True)
class Concat:
    """The channels of one tensor, then those of another of the same height and width."""

    name: str
    input: str
    other: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input, self.other)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        a, b = specs[self.input], specs[self.other]
        return TensorSpec(self.name, a.channels + b.channels, min(a.lo, b.lo), max(a.hi, b.hi))

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True, eq=False)
class Add:
    """Sum of two tensors whose scales differ by powers of two, such as a residual and its shortcut.

    y = clamp(((a << input_shift) + (b << other_shift) + half) >> shift, lo, hi), half = 2**(shift - 1), 0 for shift 0
    """

    name: str
    input: str
    other: str
    input_shift: IntArray  # uint8 [C], 0..15
    other_shift: IntArray  # uint8 [C], 0..15
    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input, self.other)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True, eq=False)
class Gate:
    """A tensor weighted by a tabulated function (a sigmoid) of another.

    y = clamp((a * table[b - b_lo] + half) >> shift, lo, hi), half = 2**(shift - 1), 0 for shift 0
    """

    name: str
    input: str
    other: str
    table: IntArray  # int16 [b_hi - b_lo + 1], >= 0
    shift: IntArray  # uint8 [C], 0..30
    lo: int
    hi: int

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input, self.other)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.shift.shape[0], self.lo, self.hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True)
class ScaleSpace:
    """Ever blurrier versions of a picture side by side: channels 3l, 3l + 1, 3l + 2 are level l, of three channels.

    level[0] = x << VOLUME_BITS;  small[1] = level[1] = blur(level[0])
    small[l] = blur(means of 2x2 blocks of small[l - 1]);  level[l] = small[l] doubled l - 1 times
    Sides must be multiples of WARP_SIDE_STEP. docs/arithmetic.md has the formulas.
    """

    name: str
    input: str

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input,)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        src = specs[self.input]
        return TensorSpec(self.name, src.channels * LEVELS, src.lo << VOLUME_BITS, src.hi << VOLUME_BITS)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


@dataclass(frozen=True)
class Warp:
    """Samples of a scale space where a motion points to: right, down and along the levels, all linear in between.

    docs/arithmetic.md has the formulas. Channels of `other`: motion right, down (in units of half the side) and level.
    """

    name: str
    input: str  # a ScaleSpace
    other: str  # the motion, [H, W, 3]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.input, self.other)

    def out_spec(self, specs: Mapping[str, TensorSpec]) -> TensorSpec:
        """Return the output's spec."""
        src, half = specs[self.input], (1 << VOLUME_BITS) >> 1
        lo, hi = ((end + half) >> VOLUME_BITS for end in (src.lo, src.hi))
        return TensorSpec(self.name, src.channels // LEVELS, lo, hi)

    def out_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) unchanged."""
        return height, width


Row: TypeAlias = Conv | Gdn | Rescale | ScaleIndex | Concat | Add | Gate | ScaleSpace | Warp
#: Rows that need their whole input at once; a graph has only such rows, or none.
WHOLE = (ScaleSpace, Warp)


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
        if len({isinstance(row, WHOLE) for row in self.rows}) > 1:
            raise ModelError(f"graph {self.name}: rows that need their whole input have to be in a graph of their own")

    @property
    def whole(self) -> bool:
        """Whether its rows need their whole inputs at once, so that no part of a picture can be computed by itself."""
        return any(isinstance(row, WHOLE) for row in self.rows)

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
            check_row(row, specs, self.name)
            specs[row.name] = row.out_spec(specs)
            if specs[row.name].channels > MAX_CHANNELS:
                raise ModelError(f"graph {self.name}: row {row.name} has more than {MAX_CHANNELS} channels")
        return specs

    def scales(self) -> dict[str, Fraction]:
        """Return how many rows and columns every tensor has per row and column of the inputs, borders aside."""
        scales = {s.name: Fraction(1) for s in self.inputs}
        for row in self.rows:
            factor = Fraction(row.upsample, row.stride) if isinstance(row, Conv) else 1
            scales[row.name] = scales[row.inputs[0]] * factor
        return scales

    def out_sizes(self, height: int, width: int) -> dict[str, tuple[int, int]]:
        """Return the (height, width) of every tensor for inputs of (height, width)."""
        sizes = {s.name: (height, width) for s in self.inputs}
        for row in self.rows:
            sizes[row.name] = row.out_size(*sizes[row.inputs[0]])
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
    model has one row per scale index.
    """

    arch: str
    graphs: Mapping[str, Graph]
    latents: Mapping[str, Latent]
    tables: Mapping[str, CdfTables]
    extra: Mapping[str, Any] = field(default_factory=dict)

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


def _require(ok: bool, where: str, what: str) -> None:
    if not ok:
        raise ModelError(f"{where}: {what}")


def _check_vector(a: IntArray, dtype: type, size: int, lo: int, hi: int, where: str) -> None:
    if a.dtype != dtype or a.shape != (size,):
        raise ModelError(f"{where}: expected {np.dtype(dtype).name}[{size}], got {a.dtype}{list(a.shape)}")
    _require(size == 0 or (int(a.min()) >= lo and int(a.max()) <= hi), where, f"values outside [{lo}, {hi}]")


def check_row(row: Row, specs: Mapping[str, TensorSpec], graph: str = "") -> None:
    """Check dtypes, shapes and ranges of one row's arrays against its input.

    Raises:
        ModelError: naming the graph, the row and what is wrong.
    """
    where = f"graph {graph}: row {row.name}"
    src = specs[row.input]
    if not isinstance(row, (ScaleIndex, Concat, *WHOLE)):
        _require(-ACC_LIMIT < row.lo <= row.hi < ACC_LIMIT, where, f"bad range [{row.lo}, {row.hi}]")
    if isinstance(row, Conv):
        w = row.weight
        _require(w.dtype == np.int16 and w.ndim == 4 and w.size > 0, where, "weight must be int16[out, kh, kw, in]")
        out = w.shape[0]
        _require(w.shape[3] == src.channels, where, f"{w.shape[3]} input channels, {src.channels} given")
        _require(int(w.min()) > -32768, where, "weight -32768 is not allowed")
        _require(src.lo > -32768 and src.hi <= 32767, where, "input does not fit int16")
        _require(1 <= w.shape[1] <= 15 and 1 <= w.shape[2] <= 15, where, "kernel side must be 1..15")
        _check_vector(row.bias, np.int32, out, 1 - ACC_LIMIT, ACC_LIMIT - 1, where + " bias")
        _check_vector(row.shift, np.uint8, out, 0, 30, where + " shift")
        _require(row.stride in (1, 2), where, "stride must be 1 or 2")
        _require(row.upsample in (1, 2) and out % row.upsample**2 == 0, where, "bad upsample")
        _require(len(row.pad) == 4 and all(0 <= p <= 14 for p in row.pad), where, "bad pad")
        _require(0 <= row.slope < 2**SLOPE_BITS, where, "slope must be in [0, 65535]")
        _require(not row.slope or (row.lo >= -32768 and row.hi <= 32767), where, "LeakyReLU needs an int16 range")
    elif isinstance(row, Gdn):
        c = src.channels
        _require(row.gamma.dtype == np.int16 and row.gamma.shape == (c, c), where, f"gamma must be int16[{c}, {c}]")
        _require(int(row.gamma.min()) >= 0, where, "gamma must not be negative")
        _check_vector(row.beta, np.int32, c, 1, NORM_LIMIT - 1, where + " beta")
        _check_vector(row.numerator, np.int32, c, 0, NORM_LIMIT, where + " numerator")
        _check_vector(row.shift, np.uint8, c, 1, 30, where + " shift")
        _require(0 <= row.square_shift <= 15, where, "square_shift must be in [0, 15]")
        _require(src.lo > -32768 and src.hi <= 32767, where, "input does not fit int16")
    elif isinstance(row, Rescale):
        _check_vector(row.shift, np.uint8, src.channels, 0, 30, where + " shift")
    elif isinstance(row, ScaleIndex):
        k = row.thresholds.shape[0]
        _require(k <= 255, where, "at most 255 thresholds")
        _check_vector(row.thresholds, np.int32, k, src.lo, src.hi, where + " thresholds")
        _require(bool(np.all(np.diff(row.thresholds.astype(np.int64)) >= 0)), where, "thresholds must ascend")
        _require(src.lo >= 0, where, "a scale must not be negative")
    elif isinstance(row, Concat):
        _require(src.dtype == specs[row.other].dtype == np.int16, where, "both tensors must be int16")
    elif isinstance(row, ScaleSpace):
        fits = max(abs(src.lo), abs(src.hi)) << VOLUME_BITS < 2**15
        _require(src.dtype == np.int16 and src.channels == 3 and fits, where, "the input must be int16[H, W, 3]")
    elif isinstance(row, Warp):
        motion = specs[row.other]
        _require(src.dtype == np.int16 and src.channels == 3 * LEVELS, where, "the input must be a scale space")
        _require(max(abs(src.lo), abs(src.hi)) <= 32764, where, "the scale space has too large values")
        _require(motion.channels == 3 and motion.dtype == np.int32, where, "the motion must be int32[H, W, 3]")
        _require(max(abs(motion.lo), abs(motion.hi)) < 2**18, where, "the motion reaches too far")
    else:
        _check_pair(row, src, specs[row.other], where)


def _check_pair(row: Add | Gate, a: TensorSpec, b: TensorSpec, where: str) -> None:
    _require(a.channels == b.channels, where, f"{a.channels} and {b.channels} channels do not go together")
    _require(max(abs(a.lo), abs(a.hi), abs(b.lo), abs(b.hi)) < 2**15, where, "inputs do not fit int16")
    _check_vector(row.shift, np.uint8, a.channels, 0, 30, where + " shift")
    if isinstance(row, Add):
        _check_vector(row.input_shift, np.uint8, a.channels, 0, 15, where + " input_shift")
        _check_vector(row.other_shift, np.uint8, a.channels, 0, 15, where + " other_shift")
    else:
        _check_vector(row.table, np.int16, b.hi - b.lo + 1, 0, 32767, where + " table")

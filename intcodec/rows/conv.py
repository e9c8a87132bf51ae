"""Conv: convolution with requantisation, activation and pixel shuffle (docs/arithmetic.md, conv).

In ONNX:

    planes -> Pad -> Slice per tap -> Concat -> MatMulInteger per digit pair -> Horner -> requantise
    to few channels (g_s's last): planes -> Pad -> MatMulInteger for all taps at once -> Horner -> Slice and Add per tap
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.rows import arithmetic
from intcodec.rows.row import Int64, Reach, Row, TensorSpec, below, check_int16, check_range, check_vector, require

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Layout, Value

#: Fraction bits of a LeakyReLU slope.
SLOPE_BITS: Final = 16
MAX_KERNEL: Final = 15
#: Wished bytes of an int32 part of a tensor in ONNX: some of them fit a second-level cache.
BAND_BYTES: Final = 3 << 19
MAX_BANDS: Final = 32
_TO_END: Final = np.iinfo(np.int64).max


@dataclass(frozen=True, eq=False)
class Conv(Row):
    """Convolution, requantisation by a per-channel shift, clamp, optional LeakyReLU, optional pixel shuffle.

    acc[o] = bias[o] + sum w[o, ky, kx, i] * x[y * stride + ky - top, x * stride + kx - left, i]  (x = 0 outside)
    v[o]   = clamp(acc[o] >> shift[o], lo, hi);  if slope and v < 0: v = (v * slope + 2**15) >> 16
    With `upsample` = 2, out[2y + py, 2x + px, c] = v[y, x, 4c + 2py + px].
    """

    weight: IntArray  # int16 [out, kh, kw, in]
    bias: IntArray  # int32 [out], the rounding constant 2**(shift - 1) included
    shift: IntArray  # uint8 [out], 0..30
    lo: int
    hi: int
    stride: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)  # top, left, bottom, right
    upsample: int = 1
    slope: int = 0  # 0: none; else LeakyReLU slope in units of 2**-16

    kind: ClassVar = "conv"
    arrays: ClassVar = ("weight", "bias", "shift")
    scalars: ClassVar = {"lo": int, "hi": int, "stride": int, "pad": tuple, "upsample": int, "slope": int}

    @property
    def reach(self) -> Reach:
        """Which columns the kernel looks at."""
        left = self.pad[1]
        return Reach(left, max(self.weight.shape[2] - 1 - left, 0), self.stride, self.upsample)

    @property
    def pointwise(self) -> bool:
        """Whether it is a 1x1 convolution without stride, padding or pixel shuffle."""
        return self.weight.shape[1:3] == (1, 1) and (self.stride, self.upsample, *self.pad) == (1, 1, 0, 0, 0, 0)

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the output's (height, width) for an input of (height, width)."""
        top, left, bottom, right = self.pad
        _, kh, kw, _ = self.weight.shape
        oh = (height + top + bottom - kh) // self.stride + 1
        ow = (width + left + right - kw) // self.stride + 1
        return oh * self.upsample, ow * self.upsample

    def packed_weights(self, lanes: int) -> int:
        """Return the weights, outputs rounded up to groups of `lanes`."""
        out = int(self.weight.shape[0])
        return int(self.weight.size) // out * (-(-out // lanes) * lanes)

    def products(self, height: int, width: int) -> int:
        """Return the products of an output of (height, width)."""
        return height * width * int(self.weight.size) // self.upsample**2

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        w, (source,) = self.weight, sources
        check_range(self.lo, self.hi, where)
        require(w.dtype == np.int16 and w.ndim == 4 and w.size > 0, where, "weight must be int16[out, kh, kw, in]")
        out = w.shape[0]
        require(w.shape[3] == source.channels, where, f"{w.shape[3]} input channels, {source.channels} given")
        require(int(w.min()) > -32768, where, "weight -32768 is not allowed")
        check_int16(where, source)
        require(max(w.shape[1:3]) <= MAX_KERNEL, where, "kernel side must be 1..15")
        check_vector(self.bias, np.int32, out, 1 - ACC_LIMIT, ACC_LIMIT - 1, where + " bias")
        check_vector(self.shift, np.uint8, out, 0, 30, where + " shift")
        require(self.stride in (1, 2), where, "stride must be 1 or 2")
        require(self.upsample in (1, 2) and out % self.upsample**2 == 0, where, "bad upsample")
        require(len(self.pad) == 4 and all(0 <= p <= 14 for p in self.pad), where, "bad pad")
        require(0 <= self.slope < 2**SLOPE_BITS, where, "slope must be in [0, 65535]")
        require(not self.slope or (self.lo >= -32768 and self.hi <= 32767), where, "LeakyReLU needs an int16 range")

    @property
    def low(self) -> int:
        """The least output: `lo` after the LeakyReLU, where there is one."""
        return min((self.lo * self.slope + 2 ** (SLOPE_BITS - 1)) >> SLOPE_BITS, 0) if self.slope else self.lo

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.weight.shape[0] // self.upsample**2, self.low, self.hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest partial sum, plain or in digits."""
        (source,) = sources
        x_hi = max(abs((source.lo + 128) >> 8), abs((source.hi + 128) >> 8))
        worst = 0
        for weight, bias in zip(self.weight, np.abs(self.bias.astype(np.int64)), strict=True):  # one at a time: memory
            w = weight.astype(np.int64)
            w_hi = (w + 128) >> 8
            w_lo = w - 256 * w_hi
            plain = int(bias) + source.magnitude * int(np.abs(w).sum())
            digits = int(bias) + (256 * x_hi + 128) * int((256 * np.abs(w_hi) + np.abs(w_lo)).sum())
            worst = max(worst, plain, digits)
        return below(worst, ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H', W', C']."""
        v = arithmetic.requantize(self.sums(x[0]), self.shift, self.lo, self.hi)
        if self.slope:
            v = np.where(v < 0, (v * self.slope + 2 ** (SLOPE_BITS - 1)) >> SLOPE_BITS, v)
        return pixel_shuffle(v) if self.upsample == 2 else v

    def sums(self, x: Int64) -> Int64:
        """Return the accumulators int64[H', W', out], before requantisation and pixel shuffle."""
        top, left, bottom, right = self.pad
        out, kh, kw, cin = self.weight.shape
        padded = np.pad(x, ((top, bottom), (left, right), (0, 0)))
        oh, ow = (side // self.upsample for side in self.size(*x.shape[:2]))
        if oh < 1 or ow < 1:
            raise InputError(f"row {self.name}: a {x.shape[0]}x{x.shape[1]} input is smaller than its kernel")
        weight, step = self.weight.astype(np.int64), self.stride
        acc = np.broadcast_to(self.bias.astype(np.int64), (oh * ow, out)).copy()
        for ky in range(kh):
            for kx in range(kw):
                tap = padded[ky : ky + step * (oh - 1) + 1 : step, kx : kx + step * (ow - 1) + 1 : step]
                acc += arithmetic.matmul(tap.reshape(oh * ow, cin), weight[:, ky, kx].T)
                arithmetic.held(acc, ACC_LIMIT, self.name)
        return acc.reshape(oh, ow, out)

    def onnx_bands(self, height: int, width: int) -> int:
        """Return in how many bands of rows the ONNX form computes an output of (height, width)."""
        phase: int = 4 * height * width * self.weight.shape[0] // self.upsample**4
        return max(1, min(MAX_BANDS, phase // BAND_BYTES))

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write the products of taps in digits, Horner's rule, requantisation."""
        (source,) = sources
        form = e.layout(source.lo, source.hi)
        planes = e.planes_of(x[0], source.channels)
        if any(self.pad):
            top, left, bottom, right = self.pad
            pads = e.const([top, left, 0, bottom, right, 0], "int64")
            planes = [e.op("Pad", p, pads, e.const(form.zero, "uint8"), mode="constant") for p in planes]
        order = np.arange(self.weight.shape[0]).reshape(-1, self.upsample**2).T  # [phase, channel]
        w, bias, shift = (a.astype(np.int64)[order] for a in (self.weight, self.bias, self.shift))
        reach = source.magnitude * np.abs(w).sum(axis=(2, 3, 4))
        few = self.stride == 1 and w[..., 0].size > w[:, :, 0, 0, 0].size and 4 * order.size <= source.channels
        if few:
            w, bias, shift, reach = (a.reshape(1, -1, *a.shape[2:]) for a in (w, bias, shift, reach))
        sums = _scatter if few else _gather
        values = []
        for band in _bands(e, self, planes, bands):
            for p in range(len(w)):
                raw = sums(e, self, band, form, w[p], reach[p])
                v = e.requantize((raw,), reach[p], bias[p], shift[p], self.lo, self.hi)
                values.append(_leaky(e, self, v) if self.slope else v)
        if len({v.form for v in values}) > 1:
            values = [e.value(e.signed(v), "int32", v.lo, v.hi) for v in values]
        parts = tuple(p for v in values for p in v.parts)
        if few and self.upsample == 2:
            parts = tuple(phase for p in parts for phase in e.split(p, 4, axis=2))
        return e.value(parts, values[0].form, values[0].lo, values[0].hi, bands)


def pixel_shuffle(v: Int64) -> Int64:
    """Return [2H, 2W, C] with out[2y + py, 2x + px, c] = v[y, x, 4c + 2py + px]."""
    h, w, c = v.shape
    return v.reshape(h, w, c // 4, 2, 2).transpose(0, 3, 1, 4, 2).reshape(2 * h, 2 * w, c // 4)


def _bands(e: Builder, row: Conv, planes: list[str], bands: int) -> list[list[str]]:
    """Return the rows of the padded planes that each band of the output needs.

    Band b of n has the output rows from H' * b // n up to H' * (b + 1) // n; H' is known only when the graph runs. The
    rows of a band that has none are fewer than the kernel, so that every tap sees none.
    """
    if bands == 1:
        return [planes]

    def number(value: int) -> str:
        return e.const([value], "int64")

    kernel, axis = row.weight.shape[1], number(0)
    room = e.op("Sub", e.op("Slice", e.op("Shape", planes[0]), number(0), number(1)), number(kernel))
    height = e.op("Add", e.op("Div", room, number(row.stride)), number(1))
    edges = [e.op("Div", e.op("Mul", height, number(b)), number(bands)) for b in range(bands + 1)]
    edges = [e.op("Mul", edge, number(row.stride)) for edge in edges]
    beyond = max(kernel - row.stride, 0)  # never a negative end: Slice would count it from the back
    ends = [e.op("Add", edge, number(beyond)) for edge in edges[1:]]
    return [[e.op("Slice", p, a, b, axis) for p in planes] for a, b in zip(edges, ends, strict=False)]


def _tap(e: Builder, row: Conv, source: str, ky: int, kx: int, channels: tuple[int, int] | None = None) -> str:
    """Return what the tap (ky, kx) of the kernel sees: [H', W', C] of the padded tensor, channels from .. to."""
    _, kh, kw, _ = row.weight.shape
    if kh == kw == 1 and row.stride == 1:
        return source
    first, last = channels or (0, _TO_END)
    starts = e.const([ky, kx, first], "int64")
    ends = e.const([ky + 1 - kh or _TO_END, kx + 1 - kw or _TO_END, last], "int64")
    steps = e.const([row.stride, row.stride, 1], "int64")
    return e.op("Slice", source, starts, ends, e.const([0, 1, 2], "int64"), steps)


def _taps(w: IntArray) -> list[tuple[int, int]]:
    """Return the (ky, kx) of [O, kh, kw, C] that are not zero throughout, at least one."""
    used = np.argwhere(np.any(w != 0, axis=(0, 3)))
    return [(int(ky), int(kx)) for ky, kx in used] or [(0, 0)]


def _gather(e: Builder, row: Conv, planes: list[str], form: Layout, w: IntArray, reach: IntArray) -> str:
    """Return raw sums int32 [H', W', O] by gathering the taps as columns, for w int64 [O, kh, kw, C]."""
    taps = _taps(w)
    columns = []
    for plane in planes:
        slices = [_tap(e, row, plane, ky, kx) for ky, kx in taps]
        columns.append(e.op("Concat", *slices, axis=2) if len(slices) > 1 else slices[0])
    matrix = np.concatenate([w[:, ky, kx].T for ky, kx in taps])
    return e.product(columns, form, matrix, reach, len(taps) == 1, row.name)


def _scatter(e: Builder, row: Conv, planes: list[str], form: Layout, w: IntArray, reach: IntArray) -> str:
    """Return raw sums int32 [H', W', O] by multiplying all taps first and adding shifted products, stride 1."""
    taps = _taps(w)
    out = w.shape[0]
    matrix = np.concatenate([w[:, ky, kx].T for ky, kx in taps], axis=1)
    each = max(abs(form.lo), abs(form.hi)) * np.abs(matrix).sum(axis=0)
    every = e.product(planes, form, matrix, each, True, row.name)
    terms = [_tap(e, row, every, ky, kx, (i * out, (i + 1) * out)) for i, (ky, kx) in enumerate(taps)]
    acc = terms[0]
    for term in terms[1:]:
        acc = e.op("Add", acc, term)
    return acc


def _leaky(e: Builder, row: Conv, v: Value) -> Value:
    """LeakyReLU: negative values become (v * slope + 2**15) >> 16, computed with the result's least value added."""
    lo = row.low
    zero, slope = e.const(0, "int32"), e.const(row.slope, "int32")
    half = e.const(2 ** (SLOPE_BITS - 1) - (lo << SLOPE_BITS), "int32")
    parts = []
    for p in e.signed(v):
        t = e.op("Add", e.op("Mul", e.op("Min", p, zero), slope), half)
        u = e.op("BitShift", e.cast(t, "uint32"), e.const(SLOPE_BITS, "uint32"), direction="RIGHT")
        negative = e.op("Add", e.cast(u, "int32"), e.const(lo, "int32"))
        parts.append(e.op("Add", e.op("Max", p, zero), negative))
    return e.value(tuple(parts), "int32", lo, row.hi)  # bands are counted by the caller

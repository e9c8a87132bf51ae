"""Every row of a network as ONNX nodes. docs/arithmetic.md says what each computes; this file how it is said in ONNX.

    convolution  planes -> Pad -> Slice per tap -> Concat -> MatMulInteger per digit pair -> Horner -> requantise
    to few channels (g_s's last): planes -> Pad -> MatMulInteger for all taps at once -> Horner -> Slice and Add per tap
    GDN          q = x * x -> digit planes, stacked -> MatMulInteger -> Horner -> root -> product -> requantise

Products are uint8 x int8 with weight digits in [-64, 64]: int16 pair sums (AVX2's vpmaddubsw) cannot saturate, because
2 * 255 * 64 < 2**15. Measured on onnxruntime 1.32, 128 -> 4 x 128 channels, 3x3, 128 x 192 pixels, 4 digit products,
one thread: 306 ms, against 818 ms for uint8 x uint8 and 937 ms for ConvInteger.

Horner's rule: acc = (..(P[k] * 128 + P[k-1]) * 128 ..) + P[0], P[k] = sum of the digit products i + j = k. Before the
last addition it holds acc - P[0], and so on up; `_check_horner` proves that all of it stays in int32.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.network import onnxpairs as pairs
from intcodec.network.graph import SLOPE_BITS, Add, Concat, Conv, Gate, Gdn, Rescale, Row, ScaleIndex, TensorSpec
from intcodec.onnxwriter.emitter import Emitter
from intcodec.onnxwriter.values import (
    BASE,
    DIGIT_BITS,
    Layout,
    Value,
    assemble,
    layout,
    planes_of,
    requantize,
    signed,
    split_digits,
)

#: Longest table of a scale index; above it the thresholds are compared one by one.
MAX_TABLE = 1 << 20
_TO_END = np.iinfo(np.int64).max


def weight_digits(w: IntArray) -> list[IntArray]:
    """Return the base 128 digits of an int64 array, lowest first: [-64, 63] each, the highest [-64, 64]."""
    digits = []
    rest = w
    while int(rest.min()) < -64 or int(rest.max()) > 64:
        low = ((rest + 64) & (BASE - 1)) - 64
        digits.append(low)
        rest = (rest - low) >> DIGIT_BITS
    return [*digits, rest]


def _check_horner(digits: list[IntArray], form: Layout, reach: IntArray, where: str) -> None:
    """Prove that Horner's rule over the digit products [K, O] stays below 2**31, given |result| <= reach [O]."""
    sizes = form.magnitudes()
    count = len(sizes) + len(digits) - 1
    part = [np.zeros_like(reach) for _ in range(count)]
    for i, size in enumerate(sizes):
        for j, digit in enumerate(digits):
            part[i + j] += size * np.abs(digit).sum(axis=0)
    below = np.zeros_like(reach)
    for k in range(1, count):
        below += part[k - 1] << (DIGIT_BITS * (k - 1))
        held = ((reach + below) >> (DIGIT_BITS * (k - 1))) + part[k - 1]
        if int(held.max()) >= ACC_LIMIT:
            raise ModelError(f"{where}: digit sums could reach {int(held.max())}, int32 cannot hold that in ONNX")
    if digits[0].shape[0] * 255 * 64 >= ACC_LIMIT:
        raise ModelError(f"{where}: {digits[0].shape[0]} products per output are too many for ONNX")


def product(e: Emitter, planes: list[str], form: Layout, w: IntArray, reach: IntArray, stack: bool, where: str) -> str:
    """Return int32 [.., O], the product of digit planes [.., K] (lowest first) and an int64 matrix [K, O].

    With `stack` the planes of equal weight are concatenated into one product: cheap where K is small.
    """
    digits = weight_digits(w)
    _check_horner(digits, form, reach, where)
    zeros = (e.const(form.zero, "uint8"), e.const(0, "int8"))
    acc = ""
    for k in reversed(range(len(planes) + len(digits) - 1)):
        pairs = [(i, k - i) for i in reversed(range(len(planes))) if 0 <= k - i < len(digits)]
        if stack and len(pairs) > 1:
            columns = e.op("Concat", *(planes[i] for i, _ in pairs), axis=-1)
            matrix = np.concatenate([digits[j] for _, j in pairs])
            sums = [e.op("MatMulInteger", columns, e.const(matrix, "int8"), *zeros)]
        else:
            sums = [e.op("MatMulInteger", planes[i], e.const(digits[j], "int8"), *zeros) for i, j in pairs]
        acc = e.op("Mul", acc, e.const(BASE, "int32")) if acc else ""
        for s in sums:
            acc = e.op("Add", acc, s) if acc else s
    return acc


def conv(e: Emitter, row: Conv, x: Value, src: TensorSpec, bands: int) -> Value:
    """Convolution row, its output in bands of rows."""
    form = layout(src.lo, src.hi)
    planes = planes_of(e, x, src.channels)
    if any(row.pad):
        top, left, bottom, right = row.pad
        pads = e.const([top, left, 0, bottom, right, 0], "int64")
        planes = [e.op("Pad", p, pads, e.const(form.zero, "uint8"), mode="constant") for p in planes]
    order = np.arange(row.weight.shape[0]).reshape(-1, row.upsample**2).T  # [phase, channel] -> output of the weight
    w, bias, shift = (a.astype(np.int64)[order] for a in (row.weight, row.bias, row.shift))
    reach = max(abs(src.lo), abs(src.hi)) * np.abs(w).sum(axis=(2, 3, 4))
    few = row.stride == 1 and w[..., 0].size > w[:, :, 0, 0, 0].size and 4 * order.size <= src.channels
    if few:
        w, bias, shift, reach = (a.reshape(1, -1, *a.shape[2:]) for a in (w, bias, shift, reach))
    sums = _scatter if few else _gather
    values = []
    for band in _bands(e, row, planes, bands):
        for p in range(len(w)):
            raw = sums(e, row, band, form, w[p], reach[p])
            v = requantize(e, (raw,), reach[p], bias[p], shift[p], row.lo, row.hi)
            values.append(_leaky(e, row, v) if row.slope else v)
    if len({v.form for v in values}) > 1:
        values = [Value(signed(e, v), "int32", v.lo, v.hi) for v in values]
    parts = tuple(p for v in values for p in v.parts)
    if few and row.upsample == 2:
        parts = tuple(phase for p in parts for phase in e.split(p, 4, axis=2))
    return Value(parts, values[0].form, values[0].lo, values[0].hi, bands)


def _bands(e: Emitter, row: Conv, planes: list[str], bands: int) -> list[list[str]]:
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


def _tap(e: Emitter, row: Conv, source: str, ky: int, kx: int, channels: tuple[int, int] | None = None) -> str:
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


def _gather(e: Emitter, row: Conv, planes: list[str], form: Layout, w: IntArray, reach: IntArray) -> str:
    """Return raw sums int32 [H', W', O] by gathering the taps as columns, for w int64 [O, kh, kw, C]."""
    taps = _taps(w)
    columns = []
    for plane in planes:
        slices = [_tap(e, row, plane, ky, kx) for ky, kx in taps]
        columns.append(e.op("Concat", *slices, axis=2) if len(slices) > 1 else slices[0])
    matrix = np.concatenate([w[:, ky, kx].T for ky, kx in taps])
    return product(e, columns, form, matrix, reach, len(taps) == 1, row.name)


def _scatter(e: Emitter, row: Conv, planes: list[str], form: Layout, w: IntArray, reach: IntArray) -> str:
    """Return raw sums int32 [H', W', O] by multiplying all taps first and adding shifted products, stride 1."""
    taps = _taps(w)
    out = w.shape[0]
    matrix = np.concatenate([w[:, ky, kx].T for ky, kx in taps], axis=1)
    each = max(abs(form.lo), abs(form.hi)) * np.abs(matrix).sum(axis=0)
    every = product(e, planes, form, matrix, each, True, row.name)
    terms = [_tap(e, row, every, ky, kx, (i * out, (i + 1) * out)) for i, (ky, kx) in enumerate(taps)]
    acc = terms[0]
    for term in terms[1:]:
        acc = e.op("Add", acc, term)
    return acc


def _leaky(e: Emitter, row: Conv, v: Value) -> Value:
    """LeakyReLU: negative values become (v * slope + 2**15) >> 16, computed with the result's least value added."""
    lo = min((row.lo * row.slope + 2 ** (SLOPE_BITS - 1)) >> SLOPE_BITS, 0)
    zero, slope = e.const(0, "int32"), e.const(row.slope, "int32")
    half = e.const(2 ** (SLOPE_BITS - 1) - (lo << SLOPE_BITS), "int32")
    parts = []
    for p in signed(e, v):
        t = e.op("Add", e.op("Mul", e.op("Min", p, zero), slope), half)
        u = e.op("BitShift", e.cast(t, "uint32"), e.const(SLOPE_BITS, "uint32"), direction="RIGHT")
        negative = e.op("Add", e.cast(u, "int32"), e.const(lo, "int32"))
        parts.append(e.op("Add", e.op("Max", p, zero), negative))
    return Value(tuple(parts), "int32", lo, row.hi)  # bands are counted by the caller


def _root(e: Emitter, n: str) -> str:
    """Return floor(sqrt(n)), 1 <= n < 2**30, int32.

    r1 = trunc(Sqrt(float(n)) + 15/16) is r or r + 1 as long as Sqrt's error is below 1/16 - 2**-8, which is 2**-20 of
    the largest root, 16 times a float32 rounding; then r = r1 - (r1 * r1 > n), exact. An integer form (a table, then
    Newton with Div) would need a Gather, measured at the time of 15 additions, before its first Div.
    """
    estimate = e.op("Add", e.op("Sqrt", e.cast(n, "float32")), e.const(15 / 16, "float32"))
    r1 = e.cast(estimate, "int32")
    above = e.cast(e.op("Greater", e.op("Mul", r1, r1), n), "int32")
    return e.op("Sub", r1, above)


def gdn(e: Emitter, row: Gdn, x: Value, src: TensorSpec) -> Value:
    """GDN or inverse GDN row."""
    top = max(abs(src.lo), abs(src.hi))
    t = row.square_shift
    largest = (top * top + ((1 << t) >> 1)) >> t
    form = layout(0, largest)
    gamma, beta, shift = row.gamma.astype(np.int64).T, row.beta.astype(np.int64), row.shift.astype(np.int64)
    norm = largest * gamma.sum(axis=0)
    roots = np.array([isqrt(int(v)) for v in (beta if not row.inverse else norm + beta)], np.int64)
    factor = roots if row.inverse else row.numerator.astype(np.int64) // roots
    out = []
    for value in signed(e, x):
        q = e.op("Mul", value, value)
        if t:
            q = e.op("Add", q, e.const((1 << t) >> 1, "int32"))
        u = e.cast(q, "uint32")
        if t:
            u = e.op("BitShift", u, e.const(t, "uint32"), direction="RIGHT")
        raw = product(e, split_digits(e, u, form.digits), form, gamma, norm, True, row.name)
        m = _root(e, e.op("Add", raw, e.channelwise(beta, "int32")))
        if not row.inverse:
            m = e.op("Div", e.const(row.numerator, "int32"), m)
        out.append(e.op("Mul", value, m))
    half = np.int64(1) << (shift - 1)
    return requantize(e, tuple(out), top * factor, half, shift, row.lo, row.hi, x.bands)


def rescale(e: Emitter, row: Rescale, x: Value, src: TensorSpec) -> Value:
    """Rescale row."""
    parts = signed(e, x)
    if row.magnitude:
        parts = tuple(e.op("Abs", p) for p in parts)
    shift = row.shift.astype(np.int64)
    reach = np.full(shift.shape, max(abs(src.lo), abs(src.hi)), np.int64)
    return requantize(e, parts, reach, (np.int64(1) << shift) >> 1, shift, row.lo, row.hi, x.bands)


def scale_index(e: Emitter, row: ScaleIndex, x: Value, src: TensorSpec) -> Value:
    """Scale index row: a table over the values up to the last threshold, or one comparison per threshold."""
    thresholds = row.thresholds.astype(np.int64)
    last = int(thresholds[-1]) + 1 if thresholds.size else 0
    parts = []
    for p in signed(e, x):
        if last < MAX_TABLE:
            near = e.op("Min", p, e.const(last, "int32")) if src.hi > last else p
            table = np.searchsorted(thresholds, np.arange(max(last, 0) + 1), side="left")
            parts.append(e.op("Gather", e.const(table, "uint8"), near))
        else:
            over = [e.cast(e.op("Greater", p, e.const(k, "int32")), "int32") for k in thresholds]
            total = over[0]
            for one in over[1:]:
                total = e.op("Add", total, one)
            parts.append(e.cast(total, "uint8"))
    return Value(tuple(parts), "uint8", 0, thresholds.size, x.bands)


def lower(e: Emitter, row: Row, values: Mapping[str, Value], specs: Mapping[str, TensorSpec], bands: int) -> Value:
    """Write the nodes of one row; return its tensor.

    Raises:
        ModelError: the row's sums cannot be held in int32, or its type is unknown.
    """
    x, src = values[row.input], specs[row.input]
    if isinstance(row, Conv):
        return conv(e, row, x, src, bands)
    if isinstance(row, (Concat, Add, Gate)):
        return pairs.lower(e, row, x, values[row.other], src, specs[row.other])
    if isinstance(row, Gdn):
        return gdn(e, row, x, src)
    if isinstance(row, Rescale):
        return rescale(e, row, x, src)
    if isinstance(row, ScaleIndex):
        return scale_index(e, row, x, src)
    raise ModelError(f"row {row.name}: {type(row).__name__} has no ONNX form")


def finish(e: Emitter, v: Value, channels: int) -> str:
    """Return a tensor as it leaves a graph: uint8 where its range fits, else int32."""
    if v.lo >= 0 and v.hi <= 255:
        parts = v.parts if v.form == "uint8" else tuple(e.cast(p, "uint8") for p in v.parts)
    else:
        parts = signed(e, v)
    return assemble(e, parts, v.bands, channels)

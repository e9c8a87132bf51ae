"""How a tensor of the network is held inside an ONNX graph, and the steps between those forms.

What may live here: number forms, products in digits and data movement; what a row computes is in `intcodec.rows`.

    value -> unsigned form  u = value + offset (uint32)  -> digit planes (uint8, base 128)  -> MatMulInteger

A tensor is one array [H, W, C], or bands of rows of it, and each of those may be the four phases of a pixel shuffle
(order 2py + px). Whatever works pixel by pixel works on these parts, which stay in cache: element-wise operators take
less than half the time there. They are put together only as digit planes, one byte each. A band may have no rows.

Products are uint8 x int8 with weight digits in [-64, 64]: int16 pair sums (AVX2's vpmaddubsw) cannot saturate, because
2 * 255 * 64 < 2**15. Measured on onnxruntime 1.32, 128 -> 4 x 128 channels, 3x3, 128 x 192 pixels, 4 digit products,
one thread: 306 ms, against 818 ms for uint8 x uint8 and 937 ms for ConvInteger.

Horner's rule: acc = (..(P[k] * 128 + P[k-1]) * 128 ..) + P[0], P[k] = sum of the digit products i + j = k. Before the
last addition it holds acc - P[0], and so on up; `_check_horner` proves that all of it stays in int32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.onnxwriter.emitter import Emitter

#: Digits have 7 bits: u8 x s8 products of weights in [-64, 64] are exact even where pairs are summed in int16.
DIGIT_BITS = 7
BASE = 1 << DIGIT_BITS


@dataclass(frozen=True)
class Layout:
    """The unsigned form of a range: u = value + offset, and its digits; 0 digits: too wide for a product.

    Invariant: every digit of `offset` is `zero`, so that the digit planes of the value 0 are all `zero`.
    """

    digits: int
    zero: int
    offset: int
    lo: int
    hi: int

    def magnitudes(self) -> list[int]:
        """Return the largest |digit - zero| of each plane, lowest first."""
        top = (self.hi + self.offset) >> (DIGIT_BITS * (self.digits - 1))
        low = (self.lo + self.offset) >> (DIGIT_BITS * (self.digits - 1))
        inner = max(BASE - 1 - self.zero, self.zero)
        return [inner] * (self.digits - 1) + [max(top - self.zero, self.zero - low)]


def layout(lo: int, hi: int) -> Layout:
    """Return the unsigned form for values in [lo, hi]."""
    for digits in (1, 2, 3):
        ones = sum(BASE**i for i in range(digits))
        zero = -(min(lo, 0) // ones)
        if zero < (256 if digits == 1 else BASE) and (hi + zero * ones) >> (DIGIT_BITS * (digits - 1)) <= 255:
            return Layout(digits, zero, zero * ones, lo, hi)
    return Layout(0, 0, -min(lo, 0), lo, hi)


@dataclass(frozen=True)
class Value:
    """A tensor: its parts (per band 1, or 4 phases), what they hold, its range and its number of bands.

    form: "int32" or "uint8" hold the value itself, "uint32" holds value + layout(lo, hi).offset.
    """

    parts: tuple[str, ...]
    form: str
    lo: int
    hi: int
    bands: int = 1


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


class Builder(Emitter):
    """An emitter that knows the forms of a tensor and the steps between them."""

    layout = staticmethod(layout)
    value = Value

    def together(self, x: tuple[Value, ...], channels: tuple[int, ...]) -> tuple[list[tuple[str, ...]], int]:
        """Return the int32 parts of tensors side by side, and their bands; whole tensors unless all are cut alike."""
        parts, bands = [self.signed(v) for v in x], x[0].bands
        if len({(len(p), v.bands) for p, v in zip(parts, x, strict=True)}) > 1:
            parts = [(self.assemble(p, v.bands, c),) for p, v, c in zip(parts, x, channels, strict=True)]
            bands = 1
        return list(zip(*parts, strict=True)), bands

    def signed(self, v: Value) -> tuple[str, ...]:
        """Return the parts as int32 values."""
        if v.form == "int32":
            return v.parts
        out = tuple(self.cast(p, "int32") for p in v.parts)
        offset = layout(v.lo, v.hi).offset if v.form == "uint32" else 0
        return tuple(self.op("Sub", p, self.const(offset, "int32")) for p in out) if offset else out

    def unsigned(self, v: Value) -> tuple[str, ...]:
        """Return the parts as uint32, value + offset."""
        if v.form == "uint32":
            return v.parts
        offset = layout(v.lo, v.hi).offset
        parts = v.parts
        if offset:
            parts = tuple(self.op("Add", p, self.const(offset, "int32")) for p in self.signed(v))
        return tuple(self.cast(p, "uint32") for p in parts)

    def split_digits(self, u: str, digits: int) -> list[str]:
        """Return the uint8 digit planes of a uint32 tensor, lowest first."""
        if digits == 1:
            return [self.cast(u, "uint8")]
        planes = []
        for i in range(digits):
            shifted = self.op("BitShift", u, self.const(DIGIT_BITS * i, "uint32"), direction="RIGHT") if i else u
            plane = self.cast(shifted, "uint8")
            if i < digits - 1:  # keep the low 7 of the low 8 bits
                one = self.const(8 - DIGIT_BITS, "uint8")
                plane = self.op("BitShift", self.op("BitShift", plane, one, direction="LEFT"), one, direction="RIGHT")
            planes.append(plane)
        return planes

    def planes_of(self, v: Value, channels: int) -> list[str]:
        """Return the interleaved uint8 digit planes [H, W, C] of a tensor, lowest first."""
        digits = layout(v.lo, v.hi).digits
        if v.form == "uint8" and digits == 1 and v.lo >= 0:
            return [self.assemble(v.parts, v.bands, channels)]
        parts = [self.split_digits(u, digits) for u in self.unsigned(v)]
        return [self.assemble(tuple(p[i] for p in parts), v.bands, channels) for i in range(digits)]

    def assemble(self, parts: tuple[str, ...], bands: int, channels: int) -> str:
        """Return the tensor that parts are of: bands joined, then four phases [H, W, C] interleaved to [2H, 2W, C]."""
        phases = len(parts) // bands
        if bands > 1:
            parts = tuple(self.op("Concat", *parts[i::phases], axis=0) for i in range(phases))
        if phases == 1:
            return parts[0]
        apart = self.const([0, 1, -1, channels], "int64")
        rows = [self.op("Reshape", self.op("Concat", *parts[i : i + 2], axis=2), apart) for i in (0, 2)]
        merged = self.op("Flatten", self.op("Concat", *rows, axis=1), axis=2)
        return self.op("Reshape", merged, self.const([0, -1, channels], "int64"))

    def requantize(
        self, raw: tuple[str, ...], reach: IntArray, bias: IntArray, shift: IntArray, lo: int, hi: int, bands: int = 1
    ) -> Value:
        """Return clamp((raw + bias) >> shift, lo, hi) for int32 tensors with |raw| <= reach; all arrays int64 [C].

        The clamp comes first, then a subtraction that makes the number non-negative and leaves its offset in place:

            t = clamp(raw, (lo << s) - bias, ((hi + 1) << s) - 1 - bias) - ((-offset << s) - bias),   u = t >> s

        Where t could reach 2**31 the sign is put back after an unsigned shift instead:
            acc >> s = (uint32(acc) >> s) - 2**(32 - s) * (uint32(acc) >> 31).
        """
        form = layout(lo, hi)
        low = np.maximum((lo << shift) - bias, -reach)
        high = np.minimum(((hi + 1) << shift) - 1 - bias, reach)
        base = (-form.offset << shift) - bias
        ends = np.concatenate([low, high, base])
        narrow = (hi + form.offset + 1) << int(shift.max()) <= ACC_LIMIT
        if narrow and np.all(low <= high) and np.abs(ends).max() < ACC_LIMIT:
            if np.any(low > -reach):
                raw = tuple(self.op("Max", r, self.channelwise(low, "int32")) for r in raw)
            if np.any(high < reach):
                raw = tuple(self.op("Min", r, self.channelwise(high, "int32")) for r in raw)
            if np.any(base):
                raw = tuple(self.op("Sub", r, self.channelwise(base, "int32")) for r in raw)
            out = tuple(self.cast(r, "uint32") for r in raw)
            if np.any(shift):
                out = tuple(self.op("BitShift", u, self.channelwise(shift, "uint32"), direction="RIGHT") for u in out)
            return self.value(out, "uint32", lo, hi, bands)
        fix = np.where(shift > 0, -(1 << (32 - shift)), 0)
        parts = []
        for r in raw:
            acc = self.op("Add", r, self.channelwise(bias, "int32")) if np.any(bias) else r
            u = self.cast(acc, "uint32")
            v = self.cast(self.op("BitShift", u, self.channelwise(shift, "uint32"), direction="RIGHT"), "int32")
            negative = self.cast(self.op("BitShift", u, self.const(31, "uint32"), direction="RIGHT"), "int32")
            v = self.op("Add", v, self.op("Mul", negative, self.channelwise(fix, "int32")))
            parts.append(self.op("Min", self.op("Max", v, self.const(lo, "int32")), self.const(hi, "int32")))
        return self.value(tuple(parts), "int32", lo, hi, bands)

    def product(self, planes: list[str], form: Layout, w: IntArray, reach: IntArray, stack: bool, where: str) -> str:
        """Return int32 [.., O], the product of digit planes [.., K] (lowest first) and an int64 matrix [K, O].

        With `stack` the planes of equal weight are concatenated into one product: cheap where K is small.
        """
        digits = weight_digits(w)
        _check_horner(digits, form, reach, where)
        zeros = (self.const(form.zero, "uint8"), self.const(0, "int8"))
        acc = ""
        for k in reversed(range(len(planes) + len(digits) - 1)):
            pairs = [(i, k - i) for i in reversed(range(len(planes))) if 0 <= k - i < len(digits)]
            if stack and len(pairs) > 1:
                columns = self.op("Concat", *(planes[i] for i, _ in pairs), axis=-1)
                matrix = np.concatenate([digits[j] for _, j in pairs])
                sums = [self.op("MatMulInteger", columns, self.const(matrix, "int8"), *zeros)]
            else:
                sums = [self.op("MatMulInteger", planes[i], self.const(digits[j], "int8"), *zeros) for i, j in pairs]
            acc = self.op("Mul", acc, self.const(BASE, "int32")) if acc else ""
            for s in sums:
                acc = self.op("Add", acc, s) if acc else s
        return acc

    def finish(self, v: Value, channels: int) -> str:
        """Return a tensor as it leaves a graph: uint8 where its range fits, else int32."""
        if v.lo >= 0 and v.hi <= 255:
            parts = v.parts if v.form == "uint8" else tuple(self.cast(p, "uint8") for p in v.parts)
        else:
            parts = self.signed(v)
        return self.assemble(parts, v.bands, channels)

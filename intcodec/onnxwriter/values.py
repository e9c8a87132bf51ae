"""How a tensor of the network is held inside an ONNX graph, and the steps between those forms.

What may live here: number forms and data movement; the rows are in `rows`.

    value -> unsigned form  u = value + offset (uint32)  -> digit planes (uint8, base 128)  -> MatMulInteger

A tensor is one array [H, W, C], or bands of rows of it, and each of those may be the four phases of a pixel shuffle
(order 2py + px). Whatever works pixel by pixel works on these parts, which stay in cache: element-wise operators take
less than half the time there. They are put together only as digit planes, one byte each. A band may have no rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

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


def signed(e: Emitter, v: Value) -> tuple[str, ...]:
    """Return the parts as int32 values."""
    if v.form == "int32":
        return v.parts
    out = tuple(e.cast(p, "int32") for p in v.parts)
    offset = layout(v.lo, v.hi).offset if v.form == "uint32" else 0
    return tuple(e.op("Sub", p, e.const(offset, "int32")) for p in out) if offset else out


def unsigned(e: Emitter, v: Value) -> tuple[str, ...]:
    """Return the parts as uint32, value + offset."""
    if v.form == "uint32":
        return v.parts
    offset = layout(v.lo, v.hi).offset
    parts = v.parts
    if offset:
        parts = tuple(e.op("Add", p, e.const(offset, "int32")) for p in signed(e, v))
    return tuple(e.cast(p, "uint32") for p in parts)


def split_digits(e: Emitter, u: str, digits: int) -> list[str]:
    """Return the uint8 digit planes of a uint32 tensor, lowest first."""
    if digits == 1:
        return [e.cast(u, "uint8")]
    planes = []
    for i in range(digits):
        shifted = e.op("BitShift", u, e.const(DIGIT_BITS * i, "uint32"), direction="RIGHT") if i else u
        plane = e.cast(shifted, "uint8")
        if i < digits - 1:  # keep the low 7 of the low 8 bits
            one = e.const(8 - DIGIT_BITS, "uint8")
            plane = e.op("BitShift", e.op("BitShift", plane, one, direction="LEFT"), one, direction="RIGHT")
        planes.append(plane)
    return planes


def planes_of(e: Emitter, v: Value, channels: int) -> list[str]:
    """Return the interleaved uint8 digit planes [H, W, C] of a tensor, lowest first."""
    digits = layout(v.lo, v.hi).digits
    if v.form == "uint8" and digits == 1 and v.lo >= 0:
        return [assemble(e, v.parts, v.bands, channels)]
    parts = [split_digits(e, u, digits) for u in unsigned(e, v)]
    return [assemble(e, tuple(p[i] for p in parts), v.bands, channels) for i in range(digits)]


def assemble(e: Emitter, parts: tuple[str, ...], bands: int, channels: int) -> str:
    """Return the tensor that parts are of: bands joined, then four phases [H, W, C] interleaved to [2H, 2W, C]."""
    phases = len(parts) // bands
    if bands > 1:
        parts = tuple(e.op("Concat", *parts[i::phases], axis=0) for i in range(phases))
    if phases == 1:
        return parts[0]
    apart = e.const([0, 1, -1, channels], "int64")
    rows = [e.op("Reshape", e.op("Concat", *parts[i : i + 2], axis=2), apart) for i in (0, 2)]
    merged = e.op("Flatten", e.op("Concat", *rows, axis=1), axis=2)
    return e.op("Reshape", merged, e.const([0, -1, channels], "int64"))


def requantize(
    e: Emitter, raw: tuple[str, ...], reach: IntArray, bias: IntArray, shift: IntArray, lo: int, hi: int, bands: int = 1
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
            raw = tuple(e.op("Max", r, e.channelwise(low, "int32")) for r in raw)
        if np.any(high < reach):
            raw = tuple(e.op("Min", r, e.channelwise(high, "int32")) for r in raw)
        if np.any(base):
            raw = tuple(e.op("Sub", r, e.channelwise(base, "int32")) for r in raw)
        out = tuple(e.cast(r, "uint32") for r in raw)
        if np.any(shift):
            out = tuple(e.op("BitShift", u, e.channelwise(shift, "uint32"), direction="RIGHT") for u in out)
        return Value(out, "uint32", lo, hi, bands)
    fix = np.where(shift > 0, -(1 << (32 - shift)), 0)
    parts = []
    for r in raw:
        acc = e.op("Add", r, e.channelwise(bias, "int32")) if np.any(bias) else r
        u = e.cast(acc, "uint32")
        v = e.cast(e.op("BitShift", u, e.channelwise(shift, "uint32"), direction="RIGHT"), "int32")
        negative = e.cast(e.op("BitShift", u, e.const(31, "uint32"), direction="RIGHT"), "int32")
        v = e.op("Add", v, e.op("Mul", negative, e.channelwise(fix, "int32")))
        parts.append(e.op("Min", e.op("Max", v, e.const(lo, "int32")), e.const(hi, "int32")))
    return Value(tuple(parts), "int32", lo, hi, bands)

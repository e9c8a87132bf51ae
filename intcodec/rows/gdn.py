"""GDN: generalised divisive normalisation and its inverse, in integers (docs/arithmetic.md, gdn)."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.rows import arithmetic
from intcodec.rows.row import Int64, Row, TensorSpec, below, check_int16, check_range, check_vector, require

if TYPE_CHECKING:
    from intcodec.onnxwriter.values import Builder, Value

#: The norm stays strictly below this, so that (isqrt(n) + 1)**2 fits an int32.
NORM_LIMIT: Final = 2**30


@dataclass(frozen=True, eq=False)
class Gdn(Row):
    """Generalised divisive normalisation, or its inverse form, in integers.

    q = (x * x + 2**(t - 1)) >> t           t = square_shift (t = 0: q = x * x)
    n[j] = beta[j] + sum_i gamma[j, i] * q[i]
    r = isqrt(n);  m = r if inverse else numerator[j] // r
    y = clamp((x * m + 2**(shift - 1)) >> shift, lo, hi)
    """

    gamma: IntArray  # int16 [C, C], >= 0, row j mixes inputs i into norm j
    beta: IntArray  # int32 [C], >= 1
    numerator: IntArray  # int32 [C], used where not inverse
    shift: IntArray  # uint8 [C], 1..30
    square_shift: int
    lo: int
    hi: int
    inverse: bool = False

    kind: ClassVar = "gdn"
    arrays: ClassVar = ("gamma", "beta", "numerator", "shift")
    scalars: ClassVar = {"square_shift": int, "lo": int, "hi": int, "inverse": bool}

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check all fields."""
        c = sources[0].channels
        check_range(self.lo, self.hi, where)
        require(self.gamma.dtype == np.int16 and self.gamma.shape == (c, c), where, f"gamma must be int16[{c}, {c}]")
        require(int(self.gamma.min()) >= 0, where, "gamma must not be negative")
        check_vector(self.beta, np.int32, c, 1, NORM_LIMIT - 1, where + " beta")
        check_vector(self.numerator, np.int32, c, 0, NORM_LIMIT, where + " numerator")
        check_vector(self.shift, np.uint8, c, 1, 30, where + " shift")
        require(0 <= self.square_shift <= 15, where, "square_shift must be in [0, 15]")
        check_int16(where, *sources)

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        return TensorSpec(self.name, self.beta.shape[0], self.lo, self.hi)

    def packed_weights(self, lanes: int) -> int:
        """Return the entries of gamma, outputs rounded up to groups of `lanes`."""
        count = int(self.gamma.shape[0])
        return count * (-(-count // lanes) * lanes)

    def products(self, height: int, width: int) -> int:
        """Return the products of the norms."""
        return height * width * int(self.gamma.size)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest of the norm, plain and in digits, and the product with x."""
        x, q = sources[0].magnitude, self._largest_square(sources[0])
        below(q, 2**15, f"{where} squares")
        beta = self.beta.astype(np.int64)
        sums, digit_sums = np.zeros_like(beta), np.zeros_like(beta)
        for j, gamma in enumerate(self.gamma):  # one output at a time: memory
            g = gamma.astype(np.int64)
            g_hi = (g + 128) >> 8
            sums[j], digit_sums[j] = g.sum(), (256 * np.abs(g_hi) + np.abs(g - 256 * g_hi)).sum()
        norm = below(int((beta + q * sums).max()), NORM_LIMIT, f"{where} norm")
        q_hi = (q + 128) >> 8
        digits = below(int((beta + (256 * q_hi + 128) * digit_sums).max()), ACC_LIMIT, f"{where} norm in digits")
        quotients = (int(k) // isqrt(int(b)) for k, b in zip(self.numerator, self.beta, strict=True))
        factor = isqrt(norm) if self.inverse else max(quotients)
        product = x * factor + (1 << (int(self.shift.max()) - 1))
        return max(norm, digits, below(product, ACC_LIMIT, f"{where} product"))

    def _largest_square(self, source: TensorSpec) -> int:
        return (source.magnitude**2 + ((1 << self.square_shift) >> 1)) >> self.square_shift

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the output int64[H, W, C]."""
        (v,) = x
        h, w, c = v.shape
        q = arithmetic.held((v * v + ((1 << self.square_shift) >> 1)) >> self.square_shift, 2**15, self.name)
        n = arithmetic.matmul(q.reshape(-1, c), self.gamma.T.astype(np.int64)).reshape(h, w, c) + self.beta
        r = arithmetic.isqrt(arithmetic.held(n, NORM_LIMIT, self.name))
        m = r if self.inverse else self.numerator.astype(np.int64) // r
        arithmetic.held(v * m + arithmetic.half(self.shift), ACC_LIMIT, self.name)
        return arithmetic.rescale(v * m, self.shift, self.lo, self.hi)

    def onnx(self, e: Builder, bands: int, sources: tuple[TensorSpec, ...], *x: Value) -> Value:
        """Write q = x * x, digit planes, MatMulInteger, Horner's rule, root, product, requantisation."""
        top, t, largest = sources[0].magnitude, self.square_shift, self._largest_square(sources[0])
        gamma, beta, shift = self.gamma.astype(np.int64).T, self.beta.astype(np.int64), self.shift.astype(np.int64)
        norm, form = largest * gamma.sum(axis=0), e.layout(0, largest)
        roots = np.array([isqrt(int(v)) for v in (beta if not self.inverse else norm + beta)], np.int64)
        factor = roots if self.inverse else self.numerator.astype(np.int64) // roots
        out = []
        for value in e.signed(x[0]):
            q = e.op("Mul", value, value)
            if t:
                q = e.op("Add", q, e.const((1 << t) >> 1, "int32"))
            u = e.cast(q, "uint32")
            if t:
                u = e.op("BitShift", u, e.const(t, "uint32"), direction="RIGHT")
            raw = e.product(e.split_digits(u, form.digits), form, gamma, norm, True, self.name)
            m = _root(e, e.op("Add", raw, e.channelwise(beta, "int32")))
            if not self.inverse:
                m = e.op("Div", e.const(self.numerator, "int32"), m)
            out.append(e.op("Mul", value, m))
        return e.requantize(tuple(out), top * factor, arithmetic.half(shift), shift, self.lo, self.hi, x[0].bands)


def _root(e: Builder, n: str) -> str:
    """Return floor(sqrt(n)), 1 <= n < 2**30, int32.

    r1 = trunc(Sqrt(float(n)) + 15/16) is r or r + 1 as long as Sqrt's error is below 1/16 - 2**-8, which is 2**-20 of
    the largest root, 16 times a float32 rounding; then r = r1 - (r1 * r1 > n), exact. An integer form (a table, then
    Newton with Div) would need a Gather, measured at the time of 15 additions, before its first Div.
    """
    estimate = e.op("Add", e.op("Sqrt", e.cast(n, "float32")), e.const(15 / 16, "float32"))
    r1 = e.cast(estimate, "int32")
    above = e.cast(e.op("Greater", e.op("Mul", r1, r1), n), "int32")
    return e.op("Sub", r1, above)

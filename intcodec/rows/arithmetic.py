"""The primitives of docs/arithmetic.md in numpy int64: slow, exact and strict.

Products of integer matrices go through float64 BLAS, which is exact here in any order: every partial sum is an integer
below 2**53, which is checked from the operands' magnitudes before each product.
"""

from __future__ import annotations

import numpy as np

from intcodec.base.errors import RangeError
from intcodec.base.integers import IntArray
from intcodec.rows.row import Int64


def held(x: Int64, limit: int, where: str) -> Int64:
    """Return x, whose magnitude stays below a limit.

    Raises:
        RangeError: it does not.
    """
    if int(np.abs(x).max()) >= limit:
        raise RangeError(f"{where}: magnitude {int(np.abs(x).max())} reaches the limit {limit}")
    return x


def matmul(a: Int64, b: Int64) -> Int64:
    """Return the exact integer product of int64 matrices [P, K] and [K, O] whose sums stay below 2**53."""
    if int(np.abs(a).max()) * int(np.abs(b).max()) * a.shape[1] >= 2**53:
        raise RangeError("a matrix product could exceed 2**53")
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(np.int64)


def half(shift: IntArray) -> Int64:
    """Return the rounding constant of a shift: 2**(shift - 1), 0 where shift is 0."""
    return np.asarray((np.int64(1) << shift.astype(np.int64)) >> 1)


def requantize(acc: Int64, shift: IntArray, lo: int, hi: int) -> Int64:
    """Return clamp(acc >> shift, lo, hi); the rounding constant is already in acc."""
    return np.asarray(np.clip(acc >> shift.astype(np.int64), lo, hi))


def rescale(v: Int64, shift: IntArray, lo: int, hi: int) -> Int64:
    """Return clamp((v + half) >> shift, lo, hi) with half = 2**(shift - 1), 0 where shift is 0."""
    return requantize(v + half(shift), shift, lo, hi)


def isqrt(n: Int64) -> Int64:
    """Return floor(sqrt(n)) for 0 <= n < 2**52, exactly."""
    r = np.sqrt(n.astype(np.float64)).astype(np.int64)
    r -= r * r > n
    r += (r + 1) * (r + 1) <= n
    return r

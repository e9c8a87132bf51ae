"""The proof that no accumulator of a network can overflow, from its integers alone.

Uses nothing of the code that chose the shifts: only the description and docs/arithmetic.md section 8. Sums are Python
or int64 integers over int16 magnitudes; the largest possible is 15 * 15 * 2**15 * 2**15 * channels < 2**63 for any
channel count below 2**25.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT
from intcodec.network.graph import (
    BLUR_BITS,
    MAX_WARP_SIDE,
    MOTION_GRID,
    NORM_LIMIT,
    POINT_BITS,
    VOLUME_BITS,
    Add,
    Concat,
    Conv,
    Gate,
    Gdn,
    Graph,
    Latent,
    Network,
    Rescale,
    ScaleIndex,
    ScaleSpace,
    TensorSpec,
    Warp,
)


def prove(network: Network) -> dict[str, int]:
    """Return the worst-case magnitude of every row's largest intermediate, as {"graph/row": bound}.

    The bound of a row holds for every input in its source tensor's range, for every partial sum in any order, and for
    the partial sums of the digit form (docs/arithmetic.md section 8).

    Raises:
        ModelError: a bound reaches its limit, or two graphs disagree about a tensor that passes between them.
    """
    bounds: dict[str, int] = {}
    for graph in network.graphs.values():
        specs = graph.specs()
        for row in graph.rows:
            where = f"{graph.name}/{row.name}"
            if isinstance(row, Conv):
                bounds[where] = conv_bound(row, specs[row.input], where)
            elif isinstance(row, Gdn):
                bounds[where] = gdn_bound(row, specs[row.input], where)
            elif isinstance(row, Rescale):
                half = (1 << int(row.shift.max())) >> 1
                bounds[where] = _check(magnitude(specs[row.input]) + half, ACC_LIMIT, where)
            elif isinstance(row, (ScaleIndex, Concat)):
                bounds[where] = magnitude(row.out_spec(specs) if isinstance(row, Concat) else specs[row.input])
            elif isinstance(row, (Add, Gate)):
                bounds[where] = pair_bound(row, specs[row.input], specs[row.other], where)
            elif isinstance(row, ScaleSpace):
                largest = magnitude(row.out_spec(specs))
                bits = BLUR_BITS + 2  # the first pass over sums of four
                bounds[where] = _check((largest << bits) + (1 << (bits - 1)), ACC_LIMIT, where)
            elif isinstance(row, Warp):
                bounds[where] = warp_bound(specs[row.input], specs[row.other], where)
            else:
                raise ModelError(f"{where}: no proof is known for {type(row).__name__}")
    for name, latent in network.latents.items():
        bounds[f"latent/{name}"] = latent_bound(latent, network.graphs)
    return bounds


def magnitude(spec: TensorSpec) -> int:
    """Return the largest magnitude that a tensor can hold."""
    return max(abs(spec.lo), abs(spec.hi))


def conv_bound(row: Conv, src: TensorSpec, where: str = "conv") -> int:
    """Return the largest magnitude of a convolution's partial sums, plain or in digits."""
    x = magnitude(src)
    x_hi = max(abs((src.lo + 128) >> 8), abs((src.hi + 128) >> 8))
    worst = 0
    for weight, bias in zip(row.weight, np.abs(row.bias.astype(np.int64)), strict=True):  # one output at a time: memory
        w = weight.astype(np.int64)
        w_hi = (w + 128) >> 8
        w_lo = w - 256 * w_hi
        plain = int(bias) + x * int(np.abs(w).sum())
        digits = int(bias) + (256 * x_hi + 128) * int((256 * np.abs(w_hi) + np.abs(w_lo)).sum())
        worst = max(worst, plain, digits)
    return _check(worst, ACC_LIMIT, where)


def gdn_bound(row: Gdn, src: TensorSpec, where: str = "gdn") -> int:
    """Return the largest magnitude of a GDN row's intermediates: the norm (digits included) or the scaled product."""
    x = magnitude(src)
    q = (x * x + ((1 << row.square_shift) >> 1)) >> row.square_shift
    _check(q, 2**15, f"{where} squares")
    beta = row.beta.astype(np.int64)
    sums, digit_sums = np.zeros_like(beta), np.zeros_like(beta)
    for j, gamma in enumerate(row.gamma):  # one output at a time: memory
        g = gamma.astype(np.int64)
        g_hi = (g + 128) >> 8
        sums[j], digit_sums[j] = g.sum(), (256 * np.abs(g_hi) + np.abs(g - 256 * g_hi)).sum()
    norm = beta + q * sums
    _check(int(norm.max()), NORM_LIMIT, f"{where} norm")
    q_hi = (q + 128) >> 8
    digits = int((beta + (256 * q_hi + 128) * digit_sums).max())
    _check(digits, ACC_LIMIT, f"{where} norm in digits")
    factor = (
        isqrt(int(norm.max()))
        if row.inverse
        else max(int(k) // isqrt(int(b)) for k, b in zip(row.numerator, row.beta, strict=True))
    )
    product = x * factor + (1 << (int(row.shift.max()) - 1))
    return max(int(norm.max()), digits, _check(product, ACC_LIMIT, f"{where} product"))


def pair_bound(row: Add | Gate, a: TensorSpec, b: TensorSpec, where: str = "pair") -> int:
    """Return the largest magnitude of a sum of two tensors, or of a gated tensor, before its shift."""
    half = (1 << int(row.shift.max())) >> 1
    if isinstance(row, Gate):
        return _check(magnitude(a) * int(row.table.max()) + half, ACC_LIMIT, where)
    worst = (magnitude(a) << int(row.input_shift.max())) + (magnitude(b) << int(row.other_shift.max()))
    return _check(worst + half, ACC_LIMIT, where)


def warp_bound(volume: TensorSpec, motion: TensorSpec, where: str = "warp") -> int:
    """Return the largest magnitude in a warp: of a point's coordinates, or of the weighted sums."""
    reach = magnitude(motion) * max(MAX_WARP_SIDE // MOTION_GRID, 3) + (1 << (POINT_BITS - 1))
    point = reach + (MAX_WARP_SIDE << POINT_BITS)
    sums = (magnitude(volume) << (2 * POINT_BITS)) + (1 << (POINT_BITS + VOLUME_BITS + 7))
    return _check(max(point, sums), ACC_LIMIT, where)


def latent_bound(latent: Latent, graphs: Mapping[str, Graph]) -> int:
    """Return the largest magnitude in the arithmetic of a latent (docs/arithmetic.md section 7)."""
    local = latent.name.rpartition("_")[2]  # "motion_y" is y of the graphs motion_*
    part = [g for name, g in graphs.items() if name.startswith(latent.name.removesuffix(local))]
    sources = [g.specs()[local] for g in part if local in g.outputs]
    means = [g.specs()["mean"] for g in part if local == "y" and "mean" in g.outputs]
    mean = int(np.abs(latent.offset.astype(np.int64)).max()) + sum(magnitude(m) for m in means)
    if not 0 <= latent.fraction <= 10 or latent.shift.dtype != np.uint8 or int(latent.shift.max()) > 25:
        raise ModelError(f"latent {latent.name}: fraction must be in [0, 10] and shift uint8 in [0, 25]")
    encode = max((magnitude(s) for s in sources), default=0) + mean + (1 << latent.fraction)
    decode = (32768 << latent.fraction) + mean + (1 << int(latent.shift.max()))
    return _check(max(encode, decode), ACC_LIMIT, f"latent {latent.name}")


def _check(value: int, limit: int, where: str) -> int:
    if value >= limit:
        raise ModelError(f"{where}: worst-case magnitude {value} reaches {limit}; the model is not proved safe")
    return value

"""The proof that no accumulator of a network can overflow, from its integers alone.

Uses nothing of the code that chose the shifts: only the description and docs/arithmetic.md section 8. Sums are Python
or int64 integers over int16 magnitudes; the largest possible is 15 * 15 * 2**15 * 2**15 * channels < 2**63 for any
channel count below 2**25.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt

import numpy as np

from intcodec.errors import ModelError
from intcodec.network import (
    ACC_LIMIT,
    NORM_LIMIT,
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
    TensorSpec,
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
    w = row.weight.astype(np.int64)
    bias = np.abs(row.bias.astype(np.int64))
    x = magnitude(src)
    plain = bias + x * np.abs(w).sum(axis=(1, 2, 3))
    w_hi = (w + 128) >> 8
    w_lo = w - 256 * w_hi
    x_hi = max(abs((src.lo + 128) >> 8), abs((src.hi + 128) >> 8))
    digits = bias + (256 * x_hi + 128) * (256 * np.abs(w_hi) + np.abs(w_lo)).sum(axis=(1, 2, 3))
    return _check(int(max(plain.max(), digits.max())), ACC_LIMIT, where)


def gdn_bound(row: Gdn, src: TensorSpec, where: str = "gdn") -> int:
    """Return the largest magnitude of a GDN row's intermediates: the norm (digits included) or the scaled product."""
    x = magnitude(src)
    q = (x * x + ((1 << row.square_shift) >> 1)) >> row.square_shift
    _check(q, 2**15, f"{where} squares")
    beta = row.beta.astype(np.int64)
    g = row.gamma.astype(np.int64)
    norm = beta + q * g.sum(axis=1)
    _check(int(norm.max()), NORM_LIMIT, f"{where} norm")
    g_hi = (g + 128) >> 8
    g_lo = g - 256 * g_hi
    q_hi = (q + 128) >> 8
    digits = int((beta + (256 * q_hi + 128) * (256 * np.abs(g_hi) + np.abs(g_lo)).sum(axis=1)).max())
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


def latent_bound(latent: Latent, graphs: Mapping[str, Graph]) -> int:
    """Return the largest magnitude in the arithmetic of a latent (docs/arithmetic.md section 7)."""
    sources = [g.specs()[latent.name] for g in graphs.values() if latent.name in g.outputs]
    means = [g.specs()["mean"] for g in graphs.values() if latent.name == "y" and "mean" in g.outputs]
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

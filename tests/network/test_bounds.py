"""The proof: never below what a worst-case input really reaches, and refused where it must be."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from intcodec.base.errors import ModelError
from intcodec.network import proof as bounds
from intcodec.network.graph import Graph, Latent, Network
from intcodec.rows.conv import Conv
from intcodec.rows.gdn import Gdn
from intcodec.rows.row import TensorSpec

SPEC = TensorSpec("x", 6, -2047, 2047)


def random_conv(seed=0, scale=2047):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-scale, scale + 1, (4, 3, 3, 6)).astype(np.int16)
    return Conv("c", "x", weight, rng.integers(-9999, 9999, 4).astype(np.int32), np.full(4, 12, np.uint8), -2047, 2047)


@pytest.mark.parametrize("seed", range(5))
def test_the_bound_is_reached_by_the_worst_input_and_by_nothing_beyond(seed):
    row = random_conv(seed)
    reached = 0
    for o in range(4):  # the input that aligns with one output channel's signs
        x = (np.sign(row.weight[o]) * 2047).astype(np.int64) * (1 if row.bias[o] >= 0 else -1)
        acc = int(row.sums(x)[0, 0, o])
        assert abs(acc) == abs(int(row.bias[o])) + 2047 * int(np.abs(row.weight[o].astype(int)).sum())
        reached = max(reached, abs(acc))
    bound = row.bound("conv", SPEC)
    assert reached <= bound <= reached * 1.2  # the digit form costs a little more than the plain sum


def test_the_digit_form_is_bounded_by_its_own_partial_sums():
    row = random_conv(3)
    x = np.where(np.random.default_rng(4).random((3, 3, 6)) < 0.5, -2047, 2047).astype(np.int64)
    w = row.weight.astype(np.int64)
    x_hi, w_hi = (x + 128) >> 8, (w + 128) >> 8
    parts = [
        65536 * w_hi * x_hi,
        256 * (w_hi * (x - 256 * x_hi)),
        256 * ((w - 256 * w_hi) * x_hi),
        (w - 256 * w_hi) * (x - 256 * x_hi),
    ]
    assert np.array_equal(sum(parts), w * x)
    worst = max(int(sum(np.abs(p).sum(axis=(1, 2, 3)) for p in parts).max()), 0) + int(np.abs(row.bias).max())
    assert worst <= row.bound("conv", SPEC) + int(np.abs(row.bias).max())


def test_a_convolution_that_could_overflow_is_refused():
    wide = Conv(
        "c", "x", np.full((1, 15, 15, 6), 2047, np.int16), np.zeros(1, np.int32), np.full(1, 12, np.uint8), -1, 1
    )
    with pytest.raises(ModelError, match="worst-case"):
        wide.bound("conv", SPEC)
    edge = replace(wide, weight=np.ones((1, 1, 1, 6), np.int16), bias=np.full(1, 2**31 - 1, np.int32))
    with pytest.raises(ModelError, match="worst-case"):
        edge.bound("conv", SPEC)


def gdn(gamma, beta=2**20, inverse=True, numerator=2**20, shift=12, square_shift=7):
    c = SPEC.channels
    full = lambda v, t: np.full(c, v, t)  # noqa: E731
    return Gdn("n", "x", np.full((c, c), gamma, np.int16), full(beta, np.int32), full(numerator, np.int32),
               full(shift, np.uint8), square_shift, -2047, 2047, inverse)  # fmt: skip


def test_gdn_norm_and_product_are_proved_and_refused():
    assert gdn(5000).bound("gdn", SPEC) >= 2**20 + 6 * 5000 * 32736
    with pytest.raises(ModelError, match="norm"):
        gdn(6000).bound("gdn", SPEC)  # 6 * 6000 * 32736 > 2**30
    with pytest.raises(ModelError, match="squares"):
        gdn(1, square_shift=6).bound("gdn", SPEC)  # 2047**2 >> 6 does not fit int16
    with pytest.raises(ModelError, match="product"):
        gdn(1, beta=100, inverse=False, numerator=2**30).bound("gdn", SPEC)  # 2**30 // 10 * 2047


def test_latents_are_proved():
    graph = Graph("g_a", (SPEC,), (replace(random_conv(), name="y", lo=-(2**21), hi=2**21),), ("y",))
    latent = Latent("y", 10, np.zeros(4, np.int32), np.full(4, 10, np.uint8), -2047, 2047)
    proved = bounds.prove(Network("t", {"g_a": graph}, {"y": latent}, {}))
    assert proved["latent/y"] >= 32768 << 10
    with pytest.raises(ModelError):
        bounds.prove(Network("t", {"g_a": graph}, {"y": replace(latent, fraction=17)}, {}))
    with pytest.raises(ModelError):
        bounds.prove(Network("t", {"g_a": graph}, {"y": replace(latent, offset=np.full(4, 2**31 - 1, np.int32))}, {}))

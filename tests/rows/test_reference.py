"""The reference engine against values worked out by hand and against plain Python integers."""

from __future__ import annotations

from math import isqrt

import numpy as np
import pytest

from intcodec.base.errors import InputError, RangeError
from intcodec.engines.reference import ReferenceEngine
from intcodec.network.graph import Graph, Network
from intcodec.rows import arithmetic
from intcodec.rows.conv import Conv
from intcodec.rows.gdn import Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import TensorSpec
from intcodec.rows.scale_index import ScaleIndex


def engine(rows, spec, outputs=None):
    graph = Graph("g", (spec,), tuple(rows), tuple(outputs or [rows[-1].name]))
    return ReferenceEngine(Network("test", {"g": graph}, {}, {}))


def conv(weight, bias, shift, lo=-2047, hi=2047, **kwargs):
    weight = np.asarray(weight, np.int16)
    out = weight.shape[0]
    return Conv("c", "x", weight, np.full(out, bias, np.int32), np.full(out, shift, np.uint8), lo, hi, **kwargs)


@pytest.mark.parametrize(
    ("acc", "shift", "expected"),
    [(5, 1, 3), (-5, 1, -2), (3, 1, 2), (-3, 1, -1), (4, 1, 2), (7, 0, 7), (10**6, 4, 2047), (-(10**6), 4, -2047)],
)
def test_requantisation_rounds_to_nearest_with_ties_up_and_saturates(acc, shift, expected):
    # the sum is one product acc * 1; the bias holds the rounding constant, as the contract says
    half = (1 << shift) >> 1
    row = conv([[[[1]]]], acc + half - 1, shift)
    run = engine([row], TensorSpec("x", 1, 0, 255)).run("g", {"x": np.ones((1, 1, 1), np.uint8)})
    assert run["c"].tolist() == [[[expected]]]


def test_convolution_equals_plain_loops_at_every_position_stride_and_pad():
    rng = np.random.default_rng(1)
    for stride, pad, kh, kw in [
        (1, (1, 1, 1, 1), 3, 3),
        (2, (2, 2, 2, 2), 5, 5),
        (1, (0, 2, 1, 0), 2, 3),
        (2, (0, 0, 0, 0), 1, 1),
    ]:
        x = rng.integers(-2047, 2048, (5, 6, 3)).astype(np.int16)
        row = conv(rng.integers(-2047, 2048, (4, kh, kw, 3)), 77, 9, stride=stride, pad=pad)
        got = engine([row], TensorSpec("x", 3, -2047, 2047)).run("g", {"x": x})["c"]
        for (i, j, o), value in np.ndenumerate(got):
            acc = 77
            for ky in range(kh):
                for kx in range(kw):
                    sy, sx = stride * i + ky - pad[0], stride * j + kx - pad[1]
                    if 0 <= sy < 5 and 0 <= sx < 6:
                        acc += sum(int(row.weight[o, ky, kx, c]) * int(x[sy, sx, c]) for c in range(3))
            assert value == max(-2047, min(2047, acc >> 9))


def test_leaky_relu_and_pixel_shuffle_by_hand():
    # four outputs of one pixel become a 2x2 block; the two negative ones are scaled by 0.01 = 655 / 65536
    row = conv([[[[1]]], [[[-1]]], [[[2]]], [[[-100]]]], 0, 0, lo=-32768, upsample=2, slope=655)
    out = engine([row], TensorSpec("x", 1, 0, 255)).run("g", {"x": np.full((1, 1, 1), 200, np.uint8)})["c"]
    leaky = [(-200 * 655 + 32768) // 65536, (-20000 * 655 + 32768) // 65536]
    assert out[..., 0].tolist() == [[200, leaky[0]], [400, leaky[1]]]
    assert leaky == [-2, -200]


@pytest.mark.parametrize("inverse", [False, True])
def test_gdn_equals_the_contract_in_python_integers(inverse):
    rng = np.random.default_rng(2)
    x = rng.integers(-2047, 2048, (3, 4, 5)).astype(np.int16)
    x[0, 0] = [-2047, 2047, 0, 1, -1]
    gamma, beta = rng.integers(0, 6000, (5, 5)).astype(np.int16), rng.integers(2**18, 2**20, 5).astype(np.int32)
    numerator, shift = np.full(5, 2**28, np.int32), np.full(5, 12 if inverse else 14, np.uint8)
    row = Gdn("n", "x", gamma, beta, numerator, shift, 7, -2047, 2047, inverse)
    got = engine([row], TensorSpec("x", 5, -2047, 2047)).run("g", {"x": x})["n"]
    for (i, j, c), value in np.ndenumerate(got):
        q = [(int(v) ** 2 + 64) >> 7 for v in x[i, j]]
        n = int(beta[c]) + sum(int(g) * v for g, v in zip(gamma[c], q, strict=True))
        m = isqrt(n) if inverse else 2**28 // isqrt(n)
        y = (int(x[i, j, c]) * m + (1 << (int(shift[c]) - 1))) >> int(shift[c])
        assert value == max(-2047, min(2047, y))


def test_isqrt_at_squares_and_their_neighbours():
    roots = np.concatenate([np.arange(1, 2000), 2**15 - np.arange(1, 2000)]).astype(np.int64)
    for delta in (-1, 0, 1):
        n = roots * roots + delta
        assert arithmetic.isqrt(n).tolist() == [isqrt(int(v)) for v in n]


def test_rescale_and_scale_index_by_hand():
    rescale = Rescale("a", "x", np.array([2, 0], np.uint8), 0, 100, magnitude=True)
    index = ScaleIndex("i", "a", np.array([1, 5, 5, 9], np.int32))
    x = np.array([[[-6, 5], [6, -300], [0, 9], [-39, 10]]], np.int16)
    tensors = engine([rescale, index], TensorSpec("x", 2, -400, 400)).trace("g", {"x": x})
    assert tensors["a"].tolist() == [[[2, 5], [2, 100], [0, 9], [10, 10]]]
    assert tensors["i"].tolist() == [[[1, 1], [1, 4], [0, 3], [4, 4]]]


def test_an_accumulator_beyond_int32_is_refused_not_wrapped():
    row = conv(np.full((1, 3, 3, 64), 32767), 0, 16)
    with pytest.raises(RangeError):
        engine([row], TensorSpec("x", 64, -2047, 2047)).run("g", {"x": np.full((3, 3, 64), 2047, np.int16)})


@pytest.mark.parametrize(
    "x",
    [
        np.zeros((2, 2, 2), np.int16),
        np.zeros((2, 2, 1), np.int32),
        np.full((2, 2, 1), 2048, np.int16),
        np.zeros((0, 2, 1), np.int16),
    ],
)
def test_inputs_of_the_wrong_shape_dtype_or_range_are_refused(x):
    with pytest.raises(InputError):
        engine([conv([[[[1]]]], 0, 0)], TensorSpec("x", 1, -2047, 2047)).run("g", {"x": x})

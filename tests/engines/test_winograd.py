"""Convolutions with fewer products than taps: equal to the reference at the ends of every range, and beyond their use.

The shapes are those that _ext/rows/winograd.c takes: wide inputs; 3x3 at stride 1, 3 to 6 taps at stride 2. Tiles
are three outputs across, or two where ranges are larger. Sums go
up to near the proved bound, so that the channels are summed in several parts.
"""

from __future__ import annotations

import numpy as np
import pytest

from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.engines.reference import ReferenceEngine
from intcodec.network.graph import Graph, Network
from intcodec.network.proof import prove
from intcodec.rows.conv import Conv
from intcodec.rows.row import TensorSpec

AVAILABLE = [name for name, here in isa_levels() if here]
#: Ranges of inputs and weights at the last value and past it: of tiles of three outputs across, and of two.
EDGES = ((2730, 1560), (2731, 1560), (2730, 1561), (8191, 3640), (8192, 3640), (8191, 3641))
SIZES = ((1, 1), (1, 2), (2, 1), (3, 3), (5, 14), (13, 6), (16, 33))
#: kernel side, stride, padding, upsample, channels in, channels out
SHAPES = {
    "3x3": (3, 1, 1, 1, 32, 20),
    "3x3 without padding": (3, 1, 0, 1, 34, 65),
    "deconvolution": (3, 1, 1, 2, 48, 4 * 17),
    "deconvolution to pixels": (3, 1, 1, 2, 64, 4 * 3),
    "3x3 stride 2": (3, 2, 1, 1, 32, 16),
    "4x4 stride 2": (4, 2, 1, 1, 32, 33),
    "5x5 stride 2": (5, 2, 2, 1, 40, 70),
    "6x6 stride 2": (6, 2, 3, 1, 32, 5),
}


def build(shape: str, kind: str, rng: np.random.Generator, x_hi: int = 2047, w_hi: int = 2047) -> Network:
    """Return a network of one convolution with sums of up to 0.7 * 2**31."""
    side, stride, pad, upsample, cin, cout = SHAPES[shape]
    size = (cout, side, side, cin)
    w = {
        "all": np.full(size, w_hi),
        "signs": rng.choice([-w_hi, w_hi], size),
        "uniform": rng.integers(-w_hi, w_hi + 1, size),
        "sparse": rng.integers(-w_hi, w_hi + 1, size) * (rng.random(size) < 0.05),
        "one input": np.where(np.arange(cin) == 3, w_hi, 0) * np.ones(size, np.int64),
    }[kind]
    if upsample == 2:  # the taps that a transposed convolution does not have
        w[2::4, 0] = w[3::4, 0] = 0
        w[1::4, :, 0] = w[3::4, :, 0] = 0
    room = 0.7 * 2**31 / np.maximum(np.abs(w).sum(axis=(1, 2, 3)) * x_hi, 1)
    w = (w * np.minimum(room, 1)[:, None, None, None]).astype(np.int16)
    lo, hi, shift = (0, 255, 22) if shape == "deconvolution to pixels" else (-2047, 2047, 19)
    bias = rng.integers(-(2**20), 2**20, cout).astype(np.int32)
    slope = 655 if shape == "3x3" else 0
    row = Conv("y", "x", w, bias, np.full(cout, shift, np.uint8), lo, hi, stride, (pad,) * 4, upsample, slope)
    return Network("test", {"g": Graph("g", (TensorSpec("x", cin, -x_hi, x_hi),), (row,), ("y",))}, {}, {})


def check(net: Network, rng: np.random.Generator, isa: str) -> None:
    spec = net.graphs["g"].inputs[0]
    reference, side = ReferenceEngine(net), net.graphs["g"].rows[0].weight.shape[1]
    engines = [
        NativeEngine(net, threads, isa=isa, workspace=size) for threads, size in ((1, None), (2, 1), (3, 1 << 14))
    ]
    for height, width in SIZES:
        if min(height, width) + 2 * net.graphs["g"].rows[0].pad[0] < side:
            continue
        shape = (height, width, spec.channels)
        for x in (
            np.full(shape, spec.hi),
            rng.choice([spec.lo, spec.hi], shape),
            rng.integers(spec.lo, spec.hi + 1, shape),
        ):
            given = {"x": x.astype(np.int16)}
            want = reference.run("g", given)["y"]
            for engine in engines:
                np.testing.assert_array_equal(engine.run("g", given)["y"], want, strict=True)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("kind", ["all", "signs", "uniform", "sparse"])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("w_hi", [1560, 2047])
def test_equal_to_the_reference(shape: str, kind: str, w_hi: int, isa: str) -> None:
    rng = np.random.default_rng(7)
    net = build(shape, kind, rng, w_hi=w_hi)
    prove(net)
    check(net, rng, isa)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize(("x_hi", "w_hi"), [*EDGES, (32767, 32767), (16, 3640), (16, 1560)])
def test_at_and_beyond_the_conditions(x_hi: int, w_hi: int, isa: str) -> None:
    rng = np.random.default_rng(8)
    for shape in ("3x3", "5x5 stride 2"):
        net = build(shape, "one input", rng, x_hi, w_hi)
        prove(net)
        check(net, rng, isa)

"""The wavefront: every position once, after all it sees; and the loop against a plain raster scan."""

from __future__ import annotations

import numpy as np
import pytest

from intcodec.coding import wavefront
from intcodec.coding.latents import from_symbols, to_symbols
from intcodec.engines.reference import ReferenceEngine
from intcodec.network.graph import Graph, Latent, Network
from intcodec.network.schedule import NEIGHBOURS
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.row import TensorSpec
from intcodec.rows.scale_index import ScaleIndex

M = 3


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1), (2, 2), (4, 9), (9, 4), (32, 48)])
def test_every_position_comes_once_and_after_its_neighbours(size):
    when = np.full(size, -1)
    for t, (rows, columns) in enumerate(wavefront.steps(*size)):
        assert (np.diff(rows) > 0).all()
        assert (when[rows, columns] == -1).all()
        when[rows, columns] = t
    assert (when >= 0).all()
    for (y, x), t in np.ndenumerate(when):
        for dy, dx in NEIGHBOURS:
            if 0 <= y + dy < size[0] and 0 <= x + dx < size[1]:
                assert when[y + dy, x + dx] < t


def test_a_kodak_latent_takes_141_steps():
    assert sum(1 for _ in wavefront.steps(32, 48)) == 141


def context_network():
    rng = np.random.default_rng(11)

    def conv(name, src, out, channels, lo=-2047, hi=2047, shift=9):
        weight = rng.integers(-60, 61, (out, 1, 1, channels)).astype(np.int16)
        return Conv(name, src, weight, np.full(out, 256, np.int32), np.full(out, shift, np.uint8), lo, hi)

    rows = (
        conv("context", "neighbours", 2 * M, 12 * M),
        Concat("joined", "params", "context"),
        conv("scale", "joined", M, 4 * M, 0, 4000, 3),
        ScaleIndex("index", "scale", np.array([100, 500, 1500], np.int32)),
        conv("mean", "joined", M, 4 * M, -(2**16), 2**16, 4),
    )
    inputs = (TensorSpec("neighbours", 12 * M, -2047, 2047), TensorSpec("params", 2 * M, -2047, 2047))
    graph = Graph("context", inputs, rows, ("index", "mean"))
    return Network("test", {"context": graph}, {}, {})


def test_the_loop_equals_a_raster_scan_position_by_position():
    engine = ReferenceEngine(context_network())
    latent = Latent("y", 10, np.zeros(M, np.int32), np.full(M, 6, np.uint8), -2047, 2047)
    rng = np.random.default_rng(12)
    y = rng.integers(-30000, 30000, (4, 7, M)).astype(np.int32)
    params = rng.integers(-2047, 2048, (4, 7, 2 * M)).astype(np.int16)
    seen_index = np.zeros((4, 7, M), np.uint8)

    def quantise(rows, columns, index, mean):
        seen_index[rows, columns] = index[:, 0]
        return to_symbols(y[rows, columns][:, None], latent, mean)

    symbols, y_hat = (np.empty((*params.shape[:2], latent.channels), np.int16) for _ in range(2))
    wavefront.code_steps(engine, "context", latent, {"params": params}, quantise, symbols, y_hat)
    expected = np.zeros((4, 7, M), np.int16)
    for i in range(4):
        for j in range(7):
            inside = [(i + dy, j + dx) for dy, dx in NEIGHBOURS]
            seen = [expected[a, b] if 0 <= a < 4 and 0 <= b < 7 else np.zeros(M, np.int16) for a, b in inside]
            inputs = {"neighbours": np.concatenate(seen)[None, None], "params": params[i : i + 1, j : j + 1]}
            out = engine.run("context", inputs)
            symbol = to_symbols(y[i : i + 1, j : j + 1], latent, out["mean"])
            expected[i, j] = from_symbols(symbol, latent, out["mean"])[0, 0]
            assert np.array_equal(symbols[i, j], symbol[0, 0])
            assert np.array_equal(seen_index[i, j], out["index"][0, 0])
    assert np.array_equal(y_hat, expected)

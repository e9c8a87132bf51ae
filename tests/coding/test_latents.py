"""docs/arithmetic.md, Latents by hand, and tiles."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from intcodec.coding import latents
from intcodec.network.graph import Latent


def test_latent_formula_by_hand() -> None:
    latent = Latent("y", 10, np.array([0, 100], np.int32), np.array([4, 0], np.uint8), -2047, 2047)
    v = np.array([[[511, 611], [512, 612], [-512, -412], [-513, -413], [1536, 0], [2**25, -(2**25) - 2000]]], np.int32)
    symbols = latents.to_symbols(v, latent)
    np.testing.assert_array_equal(symbols[0, :, 0], [0, 1, 0, -1, 2, 32767])  # ties towards +infinity
    np.testing.assert_array_equal(symbols[0, :, 1], [0, 1, 0, -1, 0, -32768])
    hat = latents.from_symbols(np.array([[[1, 1], [-1, -1], [40, 2]]], np.int16), latent)
    np.testing.assert_array_equal(hat[0], [[64, 1124], [-64, -924], [2047, 2047]])
    mean = np.array([[[7, 1], [8, -5], [-9, 0]]], np.int32)
    hat = latents.from_symbols(np.zeros((1, 3, 2), np.int16), latent, mean)
    np.testing.assert_array_equal(hat[0], [[0, 101], [1, 95], [-1, 100]])


@settings(max_examples=50)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5), st.integers(1, 60))
def test_tiles_cover_in_order(height: int, width: int, channels: int, tile: int) -> None:
    before, latents.TILE = latents.TILE, tile
    try:
        order = np.arange(height * width * channels).reshape(height, width, channels)
        pieces = [order[t].reshape(-1) for t in latents.tiles(order.shape)]
    finally:
        latents.TILE = before
    np.testing.assert_array_equal(np.concatenate(pieces), order.reshape(-1))
    assert max(map(len, pieces)) <= max(tile, channels)

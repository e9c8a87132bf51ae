"""Latent values to symbols and back: docs/arithmetic.md, Latents, in numpy.

Everything is int32 and works tile by tile, so that a latent of any size needs only a few temporaries of TILE values.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from intcodec.base.integers import IntArray
from intcodec.network.graph import Latent

#: Values per tile. Small enough for a core's cache to hold a tile's temporaries.
TILE = 2**17

Symbols = NDArray[np.int16]


def tiles(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Cut [H, W, C] into (row, column) slices of about TILE values, in C order.

    A tile is a number of whole rows or a part of one row, so that the tiles' elements follow each other in C order.
    """
    height, width, channels = shape
    rows = max(1, TILE // (width * channels))
    columns = width if rows > 1 else max(1, TILE // channels)
    for y in range(0, height, rows):
        for x in range(0, width, columns):
            yield slice(y, y + rows), slice(x, x + columns)


def to_symbols(v: IntArray, latent: Latent, mean: IntArray | None = None) -> Symbols:
    """Quantise a latent: clamp((v - mean + 2**(f-1)) >> f, -32768, 32767).

    Args:
        v: int32[H, W, C], f fractional bits, magnitude below 2**26.
        latent: the latent's description, whose offset is part of the mean.
        mean: int32[H, W, C] or None.

    Returns:
        int16[H, W, C].
    """
    out = np.empty(v.shape, np.int16)
    bias = np.int32((1 << latent.fraction) >> 1) - latent.offset
    for tile in tiles(v.shape):
        t = v[tile].astype(np.int32)
        t += bias
        if mean is not None:
            t -= mean[tile]
        t >>= latent.fraction
        out[tile] = np.clip(t, -32768, 32767, out=t)
    return out


def from_symbols(
    symbols: Symbols, latent: Latent, mean: IntArray | None = None, out: IntArray | None = None
) -> IntArray:
    """Reconstruct a latent: clamp(((symbol << f) + mean + half) >> shift, lo, hi).

    Args:
        symbols: int16[H, W, C].
        latent: the latent's description, whose offset is part of the mean.
        mean: int32[H, W, C] or None.
        out: where to write, [H, W, C] in a dtype that holds [lo, hi]; may be `symbols` itself.

    Returns:
        `out`, or a new int16[H, W, C].
    """
    if out is None:
        out = np.empty(symbols.shape, np.int16)
    shift = latent.shift.astype(np.int32)
    bias = latent.offset + ((np.int32(1) << shift) >> 1)
    for tile in tiles(symbols.shape):
        t = symbols[tile].astype(np.int32)
        t <<= latent.fraction
        t += bias
        if mean is not None:
            t += mean[tile]
        t >>= shift
        out[tile] = np.clip(t, latent.lo, latent.hi, out=t)
    return out


def checksum(array: NDArray[np.int16] | NDArray[np.uint8], crc: int = 0) -> int:
    """Return the CRC-32 of an array's elements in C order, little-endian, continuing from `crc`."""
    for tile in tiles(array.shape):
        part = array[tile]
        if part.dtype.itemsize > 1 and sys.byteorder == "big":
            part = part.byteswap()
        crc = crc32(np.ascontiguousarray(part).data, crc)
    return crc

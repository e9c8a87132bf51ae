"""Scale space and warp in numpy int64, as docs/arithmetic.md states them; what leaves a range raises RangeError."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import InputError, RangeError
from intcodec.base.integers import ACC_LIMIT
from intcodec.network.graph import (
    BLUR_BITS,
    BLUR_TAPS,
    LEVELS,
    MAX_WARP_SIDE,
    MOTION_BITS,
    MOTION_GRID,
    POINT_BITS,
    VOLUME_BITS,
    WARP_SIDE_STEP,
    can_warp,
)

Int64 = NDArray[np.int64]


def check_size(height: int, width: int) -> None:
    """Check the sides of a picture to be warped.

    Raises:
        InputError: they are no multiples of WARP_SIDE_STEP, or too large.
    """
    if not can_warp(height, width):
        what = f"multiples of {WARP_SIDE_STEP} up to {MAX_WARP_SIDE}"
        raise InputError(f"a scale space of {width}x{height} pixels: the sides must be {what}")


def scale_space(x: Int64) -> Int64:
    """Return the levels [H, W, LEVELS * C] of a picture [H, W, C]."""
    check_size(*x.shape[:2])
    small = x << VOLUME_BITS
    levels = [small]
    for level in range(1, LEVELS):
        small = blur(small, 0) if level == 1 else blur(sum4(small), 2)
        full = small
        for _ in range(level - 1):
            full = double(full)
        levels.append(full)
    return np.concatenate(levels, axis=2)


def blur(v: Int64, more: int) -> Int64:
    """Return v * 2**-more blurred along rows, rounded, then along columns, rounded; edges are repeated."""
    radius = len(BLUR_TAPS) // 2
    for axis in (1, 0):
        pad = [(0, 0)] * 3
        pad[axis] = (radius, radius)
        wide, size = np.pad(v, pad, mode="edge"), v.shape[axis]
        parts = [tap * wide.take(range(k, k + size), axis) for k, tap in enumerate(BLUR_TAPS)]
        bits = BLUR_BITS + (more if axis == 1 else 0)
        v = _below(np.sum(parts, axis=0) + np.int64(1 << (bits - 1))) >> bits
    return v


def sum4(v: Int64) -> Int64:
    """Return the sums of 2x2 blocks."""
    return v[0::2, 0::2] + v[0::2, 1::2] + v[1::2, 0::2] + v[1::2, 1::2]


def double(v: Int64) -> Int64:
    """Return v at twice the size: 9, 3, 3 and 1 sixteenths of the nearest four, rounded; edges are repeated."""
    height, width, channels = v.shape
    out = np.empty((2 * height, 2 * width, channels), np.int64)
    rows, columns = np.arange(height), np.arange(width)
    for py in (0, 1):
        beside = v[np.clip(rows + 2 * py - 1, 0, height - 1)]
        for px in (0, 1):
            near = np.clip(columns + 2 * px - 1, 0, width - 1)
            out[py::2, px::2] = (9 * v + 3 * beside + 3 * v[:, near] + beside[:, near] + 8) >> 4
    return out


def warp(volume: Int64, motion: Int64) -> Int64:
    """Return the samples [H, W, C] of a scale space [H, W, LEVELS * C] where a motion [H, W, 3] points to."""
    height, width, _ = volume.shape
    check_size(height, width)
    levels = volume.reshape(height, width, LEVELS, -1)
    rows, columns = np.mgrid[:height, :width]
    x0, x1, fx = _position(columns, motion[..., 0], width)
    y0, y1, fy = _position(rows, motion[..., 1], height)
    one = np.int64(1 << POINT_BITS)
    z = ((3 * motion[..., 2] + 128) >> (MOTION_BITS - POINT_BITS)) + (LEVELS - 1) * one // 2
    z = np.clip(z, 0, (LEVELS - 1) * one)
    z0 = np.minimum(z >> POINT_BITS, LEVELS - 2)
    fz = (z - (z0 << POINT_BITS))[..., None]

    def plane(z: Int64) -> Int64:
        """Return the bilinear samples of level z, POINT_BITS fraction bits more than the volume."""
        top = levels[y0, x0, z] * (one - fx) + levels[y0, x1, z] * fx
        bottom = levels[y1, x0, z] * (one - fx) + levels[y1, x1, z] * fx
        return _below(top * (one - fy) + bottom * fy + one // 2) >> POINT_BITS

    bits = 2 * POINT_BITS + VOLUME_BITS
    return _below(plane(z0) * (one - fz) + plane(z0 + 1) * fz + (1 << (bits - 1))) >> bits


def _position(at: Int64, motion: Int64, side: int) -> tuple[Int64, Int64, Int64]:
    """Return the two nearest positions on an axis, and the second's weight [H, W, 1] in units of 2**-POINT_BITS."""
    grid = -(-side // MOTION_GRID)
    bits = MOTION_BITS - POINT_BITS - (MOTION_GRID.bit_length() - 2)  # 2, of a motion times the grid
    point = (at << POINT_BITS) + ((_below(motion * grid + (1 << bits >> 1))) >> bits)
    point = np.clip(point, 0, (side - 1) << POINT_BITS)
    first = point >> POINT_BITS
    return first, np.minimum(first + 1, side - 1), (point & ((1 << POINT_BITS) - 1))[..., None]


def _below(v: Int64) -> Int64:
    if int(np.abs(v).max()) >= ACC_LIMIT:
        raise RangeError(f"warp: magnitude {int(np.abs(v).max())} reaches the limit {ACC_LIMIT}")
    return v

"""Warp: samples of a scale space where a motion points to (docs/arithmetic.md, scale_space)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT
from intcodec.rows.arithmetic import held
from intcodec.rows.row import Int64, Row, TensorSpec, below, require
from intcodec.rows.scale_space import LEVELS, MAX_WARP_SIDE, VOLUME_BITS, refusal

#: Fraction bits of a motion, and of the point in a scale space that it leads to.
MOTION_BITS: Final = 16
POINT_BITS: Final = 8
#: A motion of 1 is half the picture's side, rounded up to a multiple of this.
MOTION_GRID: Final = 128


@dataclass(frozen=True)
class Warp(Row):
    """Samples of a scale space where a motion points to: right, down and along the levels, all linear in between.

    Channels of `other`: motion right, down (in units of half the side) and level.
    """

    other: str  # the motion, [H, W, 3]; `input` is a scale space

    kind: ClassVar = "warp"
    reads: ClassVar = ("input", "other")
    scalars: ClassVar = {"other": str}
    whole: ClassVar = True

    def refusal(self, height: int, width: int) -> str | None:
        """Return why a picture of these sides has no scale space, or None."""
        return refusal(height, width)

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check the inputs."""
        volume, motion = sources
        require(volume.dtype == np.int16 and volume.channels == 3 * LEVELS, where, "the input must be a scale space")
        require(volume.magnitude <= 32764, where, "the scale space has too large values")
        require(motion.channels == 3 and motion.dtype == np.int32, where, "the motion must be int32[H, W, 3]")
        require(motion.magnitude < 2**18, where, "the motion reaches too far")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        volume, half = sources[0], (1 << VOLUME_BITS) >> 1
        lo, hi = ((end + half) >> VOLUME_BITS for end in (volume.lo, volume.hi))
        return TensorSpec(self.name, volume.channels // LEVELS, lo, hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest of a point's coordinates and the weighted sums."""
        volume, motion = sources
        reach = motion.magnitude * max(MAX_WARP_SIDE // MOTION_GRID, 3) + (1 << (POINT_BITS - 1))
        point = reach + (MAX_WARP_SIDE << POINT_BITS)
        sums = (volume.magnitude << (2 * POINT_BITS)) + (1 << (POINT_BITS + VOLUME_BITS + 7))
        return below(max(point, sums), ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the samples [H, W, C] of a scale space [H, W, LEVELS * C] where a motion [H, W, 3] points to."""
        volume, motion = x
        height, width, _ = volume.shape
        if why := refusal(height, width):
            raise InputError(f"row {self.name} {why}")
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
            return _held(top * (one - fy) + bottom * fy + one // 2) >> POINT_BITS

        bits = 2 * POINT_BITS + VOLUME_BITS
        return _held(plane(z0) * (one - fz) + plane(z0 + 1) * fz + (1 << (bits - 1))) >> bits


def _position(at: Int64, motion: Int64, side: int) -> tuple[Int64, Int64, Int64]:
    """Return the two nearest positions on an axis, and the second's weight [H, W, 1] in units of 2**-POINT_BITS."""
    grid = -(-side // MOTION_GRID)
    bits = MOTION_BITS - POINT_BITS - (MOTION_GRID.bit_length() - 2)  # 2, of a motion times the grid
    point = (at << POINT_BITS) + ((_held(motion * grid + (1 << bits >> 1))) >> bits)
    point = np.clip(point, 0, (side - 1) << POINT_BITS)
    first = point >> POINT_BITS
    return first, np.minimum(first + 1, side - 1), (point & ((1 << POINT_BITS) - 1))[..., None]


def _held(v: Int64) -> Int64:
    return held(v, ACC_LIMIT, "warp")

"""ScaleSpace: ever blurrier versions of a picture (docs/arithmetic.md, scale_space)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT
from intcodec.rows.arithmetic import held
from intcodec.rows.row import Int64, Row, TensorSpec, below, require

#: Levels of a scale space: the picture, and five times blurred.
LEVELS: Final = 6
#: Fraction bits that a scale space has more than its input.
VOLUME_BITS: Final = 2
#: A Gaussian of 1.5 pixels; the taps add up to 2**BLUR_BITS.
BLUR_TAPS: Final = (17, 124, 590, 1792, 3490, 4358, 3490, 1792, 590, 124, 17)
BLUR_BITS: Final = 14
#: Largest side of a picture that is warped.
MAX_WARP_SIDE: Final = 1 << 16
#: Its sides are multiples of this.
WARP_SIDE_STEP: Final = 1 << (LEVELS - 2)


def refusal(height: int, width: int) -> str | None:
    """Return why a picture of these sides has no scale space, or None."""
    steps = not (height % WARP_SIDE_STEP or width % WARP_SIDE_STEP)
    if steps and 0 < min(height, width) <= max(height, width) <= MAX_WARP_SIDE:
        return None
    return f"cannot warp {height}x{width}: sides must be multiples of {WARP_SIDE_STEP} up to {MAX_WARP_SIDE}"


@dataclass(frozen=True)
class ScaleSpace(Row):
    """Ever blurrier versions of a picture side by side: channels 3l, 3l + 1, 3l + 2 are level l, of three channels.

    level[0] = x << VOLUME_BITS;  small[1] = level[1] = blur(level[0])
    small[l] = blur(means of 2x2 blocks of small[l - 1]);  level[l] = small[l] doubled l - 1 times
    Sides must be multiples of WARP_SIDE_STEP.
    """

    kind: ClassVar = "scale_space"
    whole: ClassVar = True

    def refusal(self, height: int, width: int) -> str | None:
        """Return why a picture of these sides has no scale space, or None."""
        return refusal(height, width)

    def check(self, where: str, *sources: TensorSpec) -> None:
        """Check the input."""
        (source,) = sources
        fits = source.magnitude << VOLUME_BITS < 2**15
        require(source.dtype == np.int16 and source.channels == 3 and fits, where, "the input must be int16[H, W, 3]")

    def out(self, *sources: TensorSpec) -> TensorSpec:
        """Return the output's spec."""
        (source,) = sources
        lo, hi = source.lo << VOLUME_BITS, source.hi << VOLUME_BITS
        return TensorSpec(self.name, source.channels * LEVELS, lo, hi)

    def bound(self, where: str, *sources: TensorSpec) -> int:
        """Return the largest sum of a blur's first pass over sums of four."""
        bits = BLUR_BITS + 2
        return below((self.out(*sources).magnitude << bits) + (1 << (bits - 1)), ACC_LIMIT, where)

    def compute(self, sources: tuple[TensorSpec, ...], *x: Int64) -> Int64:
        """Return the levels [H, W, LEVELS * C] of a picture [H, W, C]."""
        if why := refusal(*x[0].shape[:2]):
            raise InputError(f"row {self.name} {why}")
        small = x[0] << VOLUME_BITS
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
        v = held(np.sum(parts, axis=0) + np.int64(1 << (bits - 1)), ACC_LIMIT, "scale space") >> bits
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

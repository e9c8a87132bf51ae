"""YUV and RGB in integers: docs/video.md, the part on colour. The same pixels on every machine.

What may live here: matrices, ranges and the resampling of chroma. Nothing here reads or writes a file.

    planes -> chroma to full size (linear, by its siting) -> matrix -> uint8[H, W, 3]
    uint8[H, W, 3] -> matrix -> chroma to its size (mean, by its siting) -> planes
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from fractions import Fraction
from functools import cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = NDArray[np.uint8]
#: Y, Cb, Cr, each uint8; Y alone if there is no chroma.
Planes: TypeAlias = tuple[Picture, ...]

#: Fraction bits of a matrix's coefficients.
BITS: Final = 20
_HALF: Final = 1 << (BITS - 1)
#: Values converted at a time: few enough to stay in a cache.
_STRIP: Final = 1 << 15


class Matrix(IntEnum):
    """Which weights make luma from RGB; the values up to 3 are those of the clip's colour byte."""

    RGB = 0  # the frames never were YUV
    BT601 = 1
    BT709 = 2
    BT2020 = 3
    FCC = 4  # read, but written as BT.601
    SMPTE240M = 5  # read, but written as BT.709


class Chroma(IntEnum):
    """Size and place of the chroma samples; the values up to 6 are those of the clip's colour byte."""

    C444 = 0
    C420_CENTRE = 1  # between columns and between rows: JPEG, MPEG-1
    C420_LEFT = 2  # on the left column, between rows: MPEG-2, H.264
    C420_TOP_LEFT = 3  # on the left column and the upper row: DV, H.265 as on discs
    C422 = 4  # on the left column
    C411 = 5  # on the left column of four
    MONO = 6
    C420_TOP = 8  # between columns, on the upper row; this and the next are read, but not written
    C440 = 9  # between rows
    C410 = 10  # in the middle of four columns and four rows


@dataclass(frozen=True)
class Axis:
    """How chroma lies along one axis."""

    factor: int  # luma samples per chroma sample
    centred: bool = False  # between two luma samples, instead of on the first


_ONE, _TWO, _MIDDLE = Axis(1), Axis(2), Axis(2, centred=True)
#: What a clip keeps of those that are only read.
_KEPT: Final = {
    Matrix.FCC: Matrix.BT601,
    Matrix.SMPTE240M: Matrix.BT709,
}
_KEPT_CHROMA: Final = {
    Chroma.C420_TOP: Chroma.C420_CENTRE,
    Chroma.C440: Chroma.C444,
    Chroma.C410: Chroma.C420_CENTRE,
}
#: Vertical and horizontal axis.
_AXES: Final[dict[Chroma, tuple[Axis, Axis]]] = {
    Chroma.C444: (_ONE, _ONE),
    Chroma.C420_CENTRE: (_MIDDLE, _MIDDLE),
    Chroma.C420_LEFT: (_MIDDLE, _TWO),
    Chroma.C420_TOP_LEFT: (_TWO, _TWO),
    Chroma.C422: (_ONE, _TWO),
    Chroma.C411: (_ONE, Axis(4)),
    Chroma.C420_TOP: (_TWO, _MIDDLE),
    Chroma.C440: (_MIDDLE, _ONE),
    Chroma.C410: (Axis(4, centred=True), Axis(4, centred=True)),
}
#: Shares of red and blue in luma. Source: Recommendations ITU-R BT.601, BT.709, BT.2020 and ITU-T H.273.
_SHARES: Final = {
    Matrix.BT601: (Fraction(299, 1000), Fraction(114, 1000)),
    Matrix.BT709: (Fraction(2126, 10000), Fraction(722, 10000)),
    Matrix.BT2020: (Fraction(2627, 10000), Fraction(593, 10000)),
    Matrix.FCC: (Fraction(30, 100), Fraction(11, 100)),
    Matrix.SMPTE240M: (Fraction(212, 1000), Fraction(87, 1000)),
}


@dataclass(frozen=True)
class Colour:
    """What the samples of a frame mean."""

    matrix: Matrix = Matrix.RGB
    full: bool = False  # luma 0 to 255, chroma centred on 128 with 255 steps; else 16 to 235, and 224 steps
    chroma: Chroma = Chroma.C444
    primaries: int = 2  # code points of ITU-T H.273; 2: nobody says
    transfer: int = 2

    def to_byte(self) -> int:
        """Return the clip's colour byte: bits 0-1 matrix, 2 full range, 3-5 chroma."""
        kept = self.kept()
        return kept.matrix | kept.full << 2 | kept.chroma << 3

    def kept(self) -> Colour:
        """Return what a clip keeps and files are written in: the same, or the nearest matrix and chroma of those."""
        matrix, chroma = _KEPT.get(self.matrix, self.matrix), _KEPT_CHROMA.get(self.chroma, self.chroma)
        return replace(self, matrix=matrix, chroma=chroma)

    @classmethod
    def from_byte(cls, value: int, primaries: int = 2, transfer: int = 2) -> Colour:
        """Return what a clip's header says; a chroma that this version does not know is taken as 4:4:4."""
        chroma = value >> 3 & 7
        known = Chroma(chroma) if chroma in list(Chroma) else Chroma.C444
        return cls(Matrix(value & 3), bool(value & 4), known, primaries, transfer)


def plane_shapes(height: int, width: int, chroma: Chroma) -> list[tuple[int, int]]:
    """Return the shape of each plane; chroma's sides are rounded up."""
    if chroma is Chroma.MONO:
        return [(height, width)]
    down, across = _AXES[chroma]
    small = (-(-height // down.factor), -(-width // across.factor))
    return [(height, width), small, small]


@cache
def to_rgb_weights(matrix: Matrix, full: bool) -> tuple[int, int, int, int, int]:
    """Return Y to all, Cr to R, Cb to G, Cr to G, Cb to B, in units of 2^-20, each rounded to nearest."""
    red, blue = _SHARES[matrix]
    green = 1 - red - blue
    luma, chroma = _gains(full)
    exact = (
        luma, 2 * (1 - red) * chroma, -2 * blue * (1 - blue) / green * chroma, -2 * red * (1 - red) / green * chroma,
        2 * (1 - blue) * chroma,
    )  # fmt: skip
    y, cr_r, cb_g, cr_g, cb_b = (_round(v) for v in exact)
    return y, cr_r, cb_g, cr_g, cb_b


@cache
def from_rgb_weights(matrix: Matrix, full: bool) -> tuple[tuple[int, int, int], ...]:
    """Return the rows Y, Cb, Cr over R, G, B, in units of 2^-20.

    Each is rounded to nearest but G's, which makes the sum of a row what grey needs: Y's total, and 0 for chroma.
    """
    red, blue = _SHARES[matrix]
    luma, chroma = _gains(full)
    y = _round(red / luma), _round(blue / luma)
    cb = _round(-red / (2 * (1 - blue)) / chroma), _round(Fraction(1, 2) / chroma)
    cr = _round(Fraction(1, 2) / chroma), _round(-blue / (2 * (1 - red)) / chroma)
    total = _round(1 / luma)
    return tuple((r, whole - r - b, b) for (r, b), whole in ((y, total), (cb, 0), (cr, 0)))


def to_rgb(planes: Planes, colour: Colour) -> Picture:
    """Convert YUV to RGB.

    Args:
        planes: Y uint8[H, W] and, unless `colour.chroma` is MONO, Cb and Cr of the shapes of `plane_shapes`.
        colour: their meaning; its matrix is not RGB.

    Returns:
        uint8[H, W, 3].
    """
    luma = planes[0]
    height, width = luma.shape
    out = np.empty((height, width, 3), np.uint8)
    y_w, cr_r, cb_g, cr_g, cb_b = to_rgb_weights(colour.matrix, colour.full)
    black = _HALF - y_w * (0 if colour.full else 16)
    chroma = [upsample(p, height, width, *_AXES[colour.chroma]) for p in planes[1:]]
    for rows in _strips(height, width):
        y = luma[rows].astype(np.int32) * y_w + black
        if not chroma:
            out[rows] = _clamped(y)[:, :, None]
            continue
        cb, cr = (p[rows].astype(np.int32) - 128 for p in chroma)
        out[rows, :, 0] = _clamped(y + cr * cr_r)
        out[rows, :, 1] = _clamped(y + cb * cb_g + cr * cr_g)
        out[rows, :, 2] = _clamped(y + cb * cb_b)
    return out


def from_rgb(picture: Picture, colour: Colour) -> Planes:
    """Convert RGB to YUV: the other way of `to_rgb`, which is not its inverse: both round.

    Args:
        picture: uint8[H, W, 3].
        colour: what to make; its matrix is not RGB.

    Returns:
        Planes of the shapes of `plane_shapes`.
    """
    height, width, _ = picture.shape
    count = 1 if colour.chroma is Chroma.MONO else 3
    planes = [np.empty((height, width), np.uint8) for _ in range(count)]
    weights = from_rgb_weights(colour.matrix, colour.full)[:count]
    offsets = (0 if colour.full else 16, 128, 128)
    for rows in _strips(height, width):
        r, g, b = (picture[rows, :, k].astype(np.int32) for k in range(3))
        for plane, (w_r, w_g, w_b), offset in zip(planes, weights, offsets, strict=False):
            plane[rows] = _clamped(r * w_r + g * w_g + b * w_b + (_HALF + (offset << BITS)))
    if count == 1:
        return (planes[0],)
    return (planes[0], *(downsample(p, *_AXES[colour.chroma]) for p in planes[1:]))


def upsample(plane: Picture, height: int, width: int, down: Axis, across: Axis) -> Picture:
    """Interpolate a chroma plane linearly to uint8[height, width]; beyond its ends its last value goes on.

    The weighted sum over both axes is rounded once, to nearest, ties up.
    """
    if down.factor == across.factor == 1:
        return plane
    above, below, low = _taps(down, height, plane.shape[0])
    left, right, near = _taps(across, width, plane.shape[1])
    bits = _denominator_bits(down) + _denominator_bits(across)
    values = plane.astype(np.uint16)
    total = (1 << _denominator_bits(across)) - near
    values = values[:, left] * total + values[:, right] * near
    if down.factor == 1:
        return (values + ((1 << bits) >> 1) >> bits).astype(np.uint8)
    out = np.empty((height, width), np.uint8)
    rest = (1 << _denominator_bits(down)) - low
    for rows in _strips(height, width):
        mixed = values[above[rows]] * rest[rows, None] + values[below[rows]] * low[rows, None]
        out[rows] = mixed + ((1 << bits) >> 1) >> bits
    return out


def downsample(plane: Picture, down: Axis, across: Axis) -> Picture:
    """Average a chroma plane uint8[H, W] to its smaller size.

    A centred sample is the mean of the `factor` samples it lies between; one that lies on a sample is the mean of
    its neighbourhood with triangular weights: 1 2 1, or 1 2 3 4 3 2 1. Beyond the ends the last value goes on. The
    weighted sum over both axes is rounded once, to nearest, ties up.
    """
    values, bits = plane.astype(np.uint16), 0
    for axis, along in ((across, 1), (down, 0)):
        if axis.factor == 1:
            continue
        values, more = _averaged(values, axis, along)
        bits += more
    return (values + ((1 << bits) >> 1) >> bits).astype(np.uint8)


def _averaged(values: NDArray[np.uint16], axis: Axis, along: int) -> tuple[NDArray[np.uint16], int]:
    """Return weighted sums along an axis, and the bits of their weights' sum."""
    length = values.shape[along]
    first = np.arange(0, length, axis.factor)
    if axis.centred:
        taps = [(k, 1) for k in range(axis.factor)]
    else:
        taps = [(k, axis.factor - abs(k)) for k in range(1 - axis.factor, axis.factor)]
    total = np.zeros(1, np.uint16)
    for offset, weight in taps:
        total = total + values.take(np.clip(first + offset, 0, length - 1), axis=along) * np.uint16(weight)
    return total, (sum(w for _, w in taps)).bit_length() - 1


@cache
def _taps(axis: Axis, length: int, small: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.uint16]]:
    """Return for each of `length` samples the chroma samples before and after it, and the weight of the latter."""
    unit = 1 << _denominator_bits(axis)
    at = np.arange(length) * (unit // axis.factor) - (
        unit * (axis.factor - 1) // (2 * axis.factor) if axis.centred else 0
    )
    before = at // unit
    weight = (at - before * unit).astype(np.uint16)
    return np.clip(before, 0, small - 1), np.clip(before + 1, 0, small - 1), weight


def _denominator_bits(axis: Axis) -> int:
    """Return the bits of the denominator of the positions along an axis."""
    return axis.factor.bit_length() - 1 + axis.centred


def _clamped(values: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return values in units of 2^-20, with the half already added, as integers in [0, 255]."""
    values >>= BITS
    return np.clip(values, 0, 255, out=values)


def _strips(height: int, width: int) -> Iterator[slice]:
    rows = max(1, _STRIP // width)
    return (slice(y, min(y + rows, height)) for y in range(0, height, rows))


def _gains(full: bool) -> tuple[Fraction, Fraction]:
    """Return by what luma and chroma are multiplied to span 255 steps."""
    return (Fraction(1), Fraction(1)) if full else (Fraction(255, 219), Fraction(255, 224))


def _round(value: Fraction) -> int:
    return int((value * (1 << BITS) + Fraction(1, 2)).__floor__())

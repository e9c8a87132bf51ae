"""Means over pictures, curves through them, and what one curve is worth against another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from intcodec.base.errors import InputError
from intcodec.evaluate.store import Row


@dataclass(frozen=True)
class Point:
    """The means of a codec: bits a pixel, PSNR in dB, MS-SSIM, seconds, bytes."""

    label: str
    bpp: float
    psnr: float
    ms_ssim: float | None = None
    encode_s: float | None = None
    decode_s: float | None = None
    bytes: float | None = None


@dataclass
class Curve:
    """A series of points, rates rising."""

    name: str
    points: list[Point] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.points = sorted(self.points, key=lambda p: p.bpp)


def mean(label: str, rows: Sequence[Row]) -> Point:
    """Return the means of rows; a figure that one row lacks is None."""

    def of(name: str) -> float | None:
        values = [row[name] for row in rows]
        return None if None in values or not values else fmean(values)

    bpp, psnr = fmean(row["bpp"] for row in rows), fmean(row["psnr"] for row in rows)
    return Point(label, bpp, psnr, of("ms_ssim"), of("encode_s"), of("decode_s"), of("bytes"))


def psnr_at(curve: Curve, bpp: float) -> float | None:
    """Return a curve's PSNR at a rate, linear in the logarithm of the rate; None beyond its ends."""
    for low, high in zip(curve.points, curve.points[1:], strict=False):
        if low.bpp <= bpp <= high.bpp:
            part = math.log(bpp / low.bpp) / math.log(high.bpp / low.bpp) if high.bpp > low.bpp else 0.0
            return low.psnr + part * (high.psnr - low.psnr)
    return None


def slope_at(curve: Curve, bpp: float) -> float | None:
    """Return dPSNR / dln(rate) in dB of the piece that holds a rate, or of the nearest one; None without a piece."""
    pieces = [(a, b) for a, b in zip(curve.points, curve.points[1:], strict=False) if b.bpp > a.bpp and b.psnr > a.psnr]
    if not pieces:
        return None
    low, high = min(pieces, key=lambda piece: max(piece[0].bpp - bpp, bpp - piece[1].bpp, 0.0))
    return (high.psnr - low.psnr) / math.log(high.bpp / low.bpp)


def equivalent_percent(bytes_ratio: float, psnr_difference: float, slope: float) -> float:
    """Return a difference in bytes and PSNR as one difference in rate, in percent.

    Args:
        bytes_ratio: ours / theirs.
        psnr_difference: ours - theirs, dB.
        slope: dPSNR / dln(rate) of the curve that both lie on.
    """
    return 100 * (bytes_ratio * math.exp(-psnr_difference / slope) - 1)


def bd_rate(anchor: Curve, test: Curve) -> float | None:
    """Return the BD-rate of a curve against another, in percent (negative: saves rate), piecewise cubic (PCHIP).

    Returns:
        None where a curve has fewer than two points, PSNR does not rise with the rate, or they do not overlap.

    Raises:
        InputError: the package `bjontegaard` is not installed.
    """
    if not (_rises(anchor) and _rises(test)):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = _bjontegaard().bd_rate(
            [p.bpp for p in anchor.points], [p.psnr for p in anchor.points],
            [p.bpp for p in test.points], [p.psnr for p in test.points],
            method="pchip", require_matching_points=False, min_overlap=0,
        )  # fmt: skip
    return None if math.isnan(value) else float(value)


def overlap(anchor: Curve, test: Curve) -> tuple[float, float]:
    """Return the PSNRs between which a BD-rate compares two curves."""
    lows, highs = zip(*((c.points[0].psnr, c.points[-1].psnr) for c in (anchor, test)), strict=True)
    return max(lows), min(highs)


def _rises(curve: Curve) -> bool:
    pairs = list(zip(curve.points, curve.points[1:], strict=False))
    return bool(pairs) and all(a.psnr < b.psnr and a.bpp < b.bpp for a, b in pairs)


def _bjontegaard() -> Any:
    try:
        import bjontegaard
    except ImportError as error:
        advice = 'pip install "intcodec[eval]"'
        raise InputError(f"the BD-rate needs bjontegaard, which is not installed: {advice}") from error
    return bjontegaard


@dataclass(frozen=True)
class Loss:
    """What conversion costs: an integer model beside the float checkpoint that it was made from.

    Args:
        arch: architecture.
        model: label of the integer model.
        pictures: how many.
        bytes: mean of the coded sections, ours.
        float_bytes: mean of the float model's, with the same tables and choice of rows.
        bytes_percent: difference of the means.
        compressai_percent: the same against plain Gaussian tables and CompressAI's choice of rows.
        psnr: mean, dB.
        float_psnr: mean, dB.
        slope: dPSNR / dln(rate) that `equivalent` uses, dB; None where no curve is known.
        equivalent: difference in rate at equal PSNR, percent; None likewise.
        worst: the picture whose equivalent is the largest.
        worst_equivalent: its value.
    """

    arch: str
    model: str
    pictures: int
    bytes: float
    float_bytes: float
    bytes_percent: float
    compressai_percent: float
    psnr: float
    float_psnr: float
    slope: float | None
    equivalent: float | None
    worst: str
    worst_equivalent: float | None


def loss(arch: str, model: str, ours: Sequence[Row], theirs: Sequence[Row], slope: float | None) -> Loss:
    """Return the loss of conversion of rows on the same pictures."""
    size, other = fmean(r["payload_bytes"] for r in ours), fmean(r["bytes"] for r in theirs)
    wide = fmean(r["compressai_bytes"] for r in theirs)
    quality, other_quality = fmean(r["psnr"] for r in ours), fmean(r["psnr"] for r in theirs)
    equivalent, worst, worst_equivalent = None, "", None
    if slope is not None:
        equivalent = equivalent_percent(size / other, quality - other_quality, slope)
        each = [
            (equivalent_percent(a["payload_bytes"] / b["bytes"], a["psnr"] - b["psnr"], slope), a["picture"])
            for a, b in zip(ours, theirs, strict=True)
        ]
        worst_equivalent, worst = max(each)
    percent = 100 * (size / other - 1)
    return Loss(arch, model, len(ours), size, other, percent, 100 * (size / wide - 1), quality, other_quality, slope,
                equivalent, worst, worst_equivalent)  # fmt: skip

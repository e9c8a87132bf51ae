"""The rate-distortion picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from intcodec.base.errors import InputError
from intcodec.base.files import atomic_output
from intcodec.evaluate.curves import Curve, Point
from intcodec.evaluate.report import Report

FORMATS = (".png", ".svg", ".pdf")
#: Colours that differ for colour-blind readers too. Source: Okabe and Ito (2008).
_STRONG = ("#0072B2", "#D55E00", "#CC79A7", "#009E73")
_OTHERS = ("#000000", "#E69F00", "#56B4E9")


def check(path: str) -> None:
    """Refuse a file name whose ending names no format that is drawn, or a machine without matplotlib.

    Raises:
        InputError: so it is.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise InputError(f"{path}: a plot ends in one of {', '.join(FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError('--plot needs matplotlib, not installed: pip install "intcodec[eval]"') from error


def draw(report: Report, path: str, title: str) -> None:
    """Draw PSNR over rate, and MS-SSIM where it is known, and write the file atomically.

    Args:
        report: what was measured.
        path: ends in one of FORMATS.
        title: above the picture.
    """
    from matplotlib.figure import Figure

    with_ms_ssim = all(p.ms_ssim is not None for curve in report.models + report.others for p in curve.points)
    figure = Figure(figsize=(12.5 if with_ms_ssim else 7, 5.6), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(1, 2 if with_ms_ssim else 1, squeeze=False)[0]
    _panel(panels[0], report, "PSNR of RGB, dB", lambda point: point.psnr)
    if with_ms_ssim:
        _panel(panels[1], report, "MS-SSIM of RGB, dB: -10 log10(1 - MS-SSIM)", _decibels)
    _legend(panels[0], [curve.name for curve in report.models + report.published + report.others])
    with atomic_output(path) as file:
        figure.savefig(file, format=Path(path).suffix[1:].lower())


def _panel(axes: Any, report: Report, label: str, value: Any) -> None:
    width = _widest(report)
    for k, curve in enumerate(report.published):
        style = {"color": ("0.45", "0.65")[k % 2], "linestyle": ("--", "-.", ":")[k % 3], "linewidth": 1.3}
        _line(axes, curve, value, marker=".", markersize=4, zorder=1, **style)
    for k, curve in enumerate(report.others):
        colour = _OTHERS[k % len(_OTHERS)]
        _line(axes, curve, value, color=colour, linewidth=1.3, marker="s^v"[k % 3], markersize=3.5, zorder=2)
    for k, curve in enumerate(report.models):
        bold = {"color": _STRONG[k % len(_STRONG)], "linewidth": 2.2, "zorder": 4}
        hollow = {"markerfacecolor": "none", "linestyle": ":"} if curve.name.startswith("float") else {}
        _line(axes, curve, value, marker="D" if hollow else "o", markersize=9 if hollow else 6, **{**bold, **hollow})
    axes.set_xlabel("rate, bits per pixel (whole files)")
    axes.set_ylabel(label)
    axes.set_xlim(0, width)
    axes.set_ylim(*_heights(report, value, width))
    axes.grid(visible=True, color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _legend(axes: Any, order: list[str]) -> None:
    handles, names = axes.get_legend_handles_labels()
    sorted_pairs = sorted(zip(names, handles, strict=True), key=lambda pair: order.index(pair[0]))
    names, handles = zip(*sorted_pairs, strict=True)
    axes.legend(handles, names, loc="lower right", fontsize=8.5, framealpha=0.95)


def _line(axes: Any, curve: Curve, value: Any, **style: Any) -> None:
    points = [(p.bpp, value(p)) for p in curve.points if value(p) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), label=curve.name, **style)


def _widest(report: Report) -> float:
    """Return the largest rate to show: some way beyond the last of our models."""
    ours = [p.bpp for curve in report.models for p in curve.points]
    return math.ceil(max(ours) * 1.35 * 10) / 10 if ours else 2.0


def _heights(report: Report, value: Any, width: float) -> tuple[float, float]:
    curves = report.models + report.others + report.published
    shown = [value(p) for curve in curves for p in curve.points if p.bpp <= width and value(p) is not None]
    margin = 0.04 * (max(shown) - min(shown)) + 0.2
    return min(shown) - margin, max(shown) + margin


def _decibels(point: Point) -> float | None:
    return None if point.ms_ssim is None or point.ms_ssim >= 1 else -10 * math.log10(1 - point.ms_ssim)

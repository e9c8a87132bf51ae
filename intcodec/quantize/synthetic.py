"""The generated calibration set: pictures with the statistics of photographs, made from a seed.

The project cannot ship other people's photographs, and calibration needs only the range of every channel: edges of
every orientation and contrast, texture at every scale, saturated and flat areas. A dead-leaves model (occluding discs
and polygons with power-law sizes; Lee, Mumford and Huang 2001) gives the first, 1/f noise (Field 1987) the second. How
well this does against real crops is measured in calibration/README.md.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
Field = NDArray[np.float64]


def pictures(count: int = 16, side: int = 256, seed: int = 2018) -> Iterator[Picture]:
    """Yield `count` pictures uint8[side, side, 3], the same for the same seed."""
    rng = np.random.default_rng(seed)
    for i in range(count):
        yield _picture(rng, side, contrast=(0.5, 0.8, 1.0, 1.3)[i % 4], leaves=(60, 200, 600)[i % 3])


def clips(count: int = 12, side: int = 256, length: int = 4, seed: int = 2020) -> Iterator[list[Picture]]:
    """Yield `count` clips of `length` pictures uint8[side, side, 3]: windows that move over generated pictures.

    Displacements are whole pixels and constant, of a standard deviation of 0, 2 or 8 pixels a frame each way; there is
    noise of one level, and every fourth clip ends with a cut.
    """
    rng = np.random.default_rng(seed)
    for i, picture in enumerate(pictures(count, 2 * side, seed)):
        speed = rng.normal(0, (0, 2, 8)[i % 3], 2)
        clip = []
        for t in range(length):
            cut = i % 4 == 3 and t == length - 1
            place = rng.uniform(0, side, 2) if cut else side / 2 + speed * t
            top, left = (int(v) for v in np.rint(place).clip(0, side))
            window = picture[top : top + side, left : left + side] + rng.normal(0, 1, (side, side, 3))
            clip.append(np.rint(window).clip(0, 255).astype(np.uint8))
        yield clip


def _picture(rng: np.random.Generator, side: int, contrast: float, leaves: int) -> Picture:
    fields = [_noise(rng, side, slope) for slope in (0.3, 0.6, 1.0, 1.4)]
    canvas = fields[2][..., None] * 0.3 + rng.uniform(0, 1, 3)
    for _ in range(leaves):
        radius = min(side / 2, 2.0 / max(rng.uniform(0, 1), 1e-3) ** 0.9)
        _add_leaf(rng, canvas, radius, fields)
    canvas = (canvas - 0.5) * contrast + 0.5 + rng.normal(0, rng.choice([0.002, 0.01, 0.03]), canvas.shape)
    return np.rint(np.clip(canvas, 0, 1) * 255).astype(np.uint8)


def _add_leaf(rng: np.random.Generator, canvas: Field, radius: float, fields: list[Field]) -> None:
    """Paint one disc or rectangle with soft edges, shading and texture over the canvas, in place."""
    side = canvas.shape[0]
    cy, cx, angle = rng.uniform(0, side), rng.uniform(0, side), rng.uniform(0, np.pi)
    reach = 1.5 * radius + 5
    rows = slice(max(0, int(cy - reach)), min(side, int(cy + reach) + 1))
    columns = slice(max(0, int(cx - reach)), min(side, int(cx + reach) + 1))
    y, x = np.mgrid[rows, columns].astype(np.float64)
    u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    v = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    flat = rng.uniform(0.2, 1)
    distance = np.maximum(abs(u), abs(v) / flat) if rng.random() < 0.4 else np.hypot(u, v / flat)
    mask = np.clip((radius - distance) / rng.choice([0.7, 1.5, 4.0]) + 0.5, 0, 1)[..., None]
    shade = 1 + rng.uniform(-0.4, 0.4) * (u / radius)
    kind, amplitude = rng.random(), rng.choice([0.01, 0.05, 0.2])
    texture = np.zeros_like(x)
    if kind > 0.5:
        texture = amplitude * fields[rng.integers(len(fields))][rows, columns]
    elif kind > 0.3:  # a grating, from coarse to the finest that the grid holds
        texture = amplitude * np.sin(2 * np.pi * u / (2 * 32 ** rng.uniform(0, 1)))
    paint = _colour(rng) * shade[..., None] + texture[..., None]
    canvas[rows, columns] = canvas[rows, columns] * (1 - mask) + mask * paint


def _colour(rng: np.random.Generator) -> Field:
    grey = rng.beta(0.8, 0.8)
    return np.asarray(np.clip(grey + rng.normal(0, rng.choice([0.03, 0.12, 0.35]), 3), 0, 1))


def _noise(rng: np.random.Generator, side: int, slope: float) -> Field:
    """Return unit-variance noise [side, side] whose amplitude spectrum falls as frequency**-slope."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None]
    amplitude = np.maximum(np.hypot(fy, fx), 1 / side) ** -slope
    amplitude[0, 0] = 0
    spectrum = np.fft.rfft2(rng.normal(size=(side, side))) * amplitude
    noise = np.fft.irfft2(spectrum, s=(side, side))
    return np.asarray(noise / noise.std())

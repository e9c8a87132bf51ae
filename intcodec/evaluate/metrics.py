"""PSNR and MS-SSIM of uint8 pictures, in numpy."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_Plane = NDArray[np.float32]

#: Weights of the five scales. Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity" (2003).
WEIGHTS: Final = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
_TAPS, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
#: The smallest side that has five scales: the last must be larger than the window.
MIN_SIDE: Final = (_TAPS - 1) * 2 ** (len(WEIGHTS) - 1) + 1


def psnr(a: Picture, b: Picture) -> float:
    """Return the PSNR in dB over all samples of two pictures uint8[H, W, 3]; infinity where they are equal."""
    difference = a.astype(np.int32) - b
    mse = float(np.mean(difference * difference, dtype=np.float64))
    return math.inf if mse == 0 else 10 * math.log10(255**2 / mse)


def ms_ssim(a: Picture, b: Picture) -> float | None:
    """Return the mean MS-SSIM of the three channels of two pictures, in [0, 1]; None where they are too small.

    Args:
        a: uint8[H, W, 3].
        b: uint8[H, W, 3].

    Source: Wang, Simoncelli, Bovik, "Multiscale structural similarity for image quality assessment" (2003).
    """
    if min(a.shape[:2]) < MIN_SIDE:
        return None
    x, y = (np.ascontiguousarray(p.transpose(2, 0, 1), dtype=np.float32) for p in (a, b))
    product = np.ones(3)
    for k, weight in enumerate(WEIGHTS):
        luminance, structure = _similarity(x, y)
        last = k == len(WEIGHTS) - 1
        product *= np.maximum(luminance if last else structure, 0) ** weight
        x, y = _halve(x), _halve(y)
    return float(product.mean())


def _similarity(x: _Plane, y: _Plane) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the means of SSIM and of its contrast-structure term, float64[3] each, of planes [3, H, W]."""
    mx, my = _blur(x), _blur(y)
    xx, yy, xy = _blur(x * x) - mx * mx, _blur(y * y) - my * my, _blur(x * y) - mx * my
    structure = (2 * xy + _C2) / (xx + yy + _C2)
    full = structure * (2 * mx * my + _C1) / (mx * mx + my * my + _C1)
    axes = (1, 2)
    return full.mean(axes, dtype=np.float64), structure.mean(axes, dtype=np.float64)


def _blur(x: _Plane) -> _Plane:
    """Filter with the Gaussian window along both axes, without padding: [3, H, W] to [3, H - 10, W - 10]."""
    offsets = np.arange(_TAPS) - _TAPS // 2
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    window /= window.sum()
    for axis in (1, 2):
        size = x.shape[axis] - _TAPS + 1
        parts = [x[:, k : k + size] if axis == 1 else x[:, :, k : k + size] for k in range(_TAPS)]
        out, scaled = parts[0] * np.float32(window[0]), np.empty_like(parts[0])
        for part, weight in zip(parts[1:], window[1:], strict=True):
            out += np.multiply(part, np.float32(weight), out=scaled)
        x = out
    return x


def _halve(x: _Plane) -> _Plane:
    """Average 2x2 blocks; an odd side gets a row of zeros before it, as the customary implementation does."""
    x = np.pad(x, ((0, 0), *((side % 2, side % 2) for side in x.shape[1:])))
    height, width = (side // 2 * 2 for side in x.shape[1:])
    x = x[:, :height, :width]
    total = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
    return np.asarray(total * np.float32(0.25))

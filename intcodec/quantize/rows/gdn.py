"""FloatGdn: a divisive normalisation in float, and its folding into `intcodec.rows.gdn`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT
from intcodec.quantize.precision import Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source, not_too_fine, rounded_up
from intcodec.rows.gdn import NORM_LIMIT, Gdn


@dataclass(frozen=True, eq=False)
class FloatGdn(FloatRow):
    """GDN or its inverse with effective (reparametrised) beta float64[C] and gamma float64[C, C]."""

    beta: Float
    gamma: Float
    inverse: bool

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C, H, W]."""
        gamma = torch.from_numpy(self.gamma).float()[:, :, None, None]
        norm = F.conv2d(x[0] * x[0], gamma, torch.from_numpy(self.beta).float())
        return x[0] * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Gdn, Float]:
        """Return the integer row and its scales (docs/arithmetic.md, gdn)."""
        (source,), top = sources, precision.activation_max
        x, scale_in = source.spec.magnitude, source.scale
        t = max(0, (x * x).bit_length() - 15)
        q = (x * x + ((1 << t) >> 1)) >> t
        real = self.gamma * (scale_in * scale_in)[None, :] * 2.0**t  # of q
        target = rounded_up(not_too_fine(measured[self.name] * precision.margin / top), unit)
        root, step, scale = self._root(q, real, scale_in, target)
        factor = root * root
        gamma, beta = np.rint(real * factor[:, None]), np.maximum(np.rint(self.beta * factor), 1)
        shift, numerator = step, np.zeros(len(root))
        if not self.inverse:
            power = self._power(x, beta, step)
            shift, numerator = step + power, 2.0**power
        gdn = Gdn(
            self.name, self.input, gamma.astype(np.int16), beta.astype(np.int32), numerator.astype(np.int32),
            shift.astype(np.uint8), t, -top, top, self.inverse,
        )  # fmt: skip
        return gdn, scale

    def _root(self, q: int, real: Float, scale_in: Float, target: Float) -> tuple[Float, Float, Float]:
        """Return the free factor of each norm as its root, the power of two after the product, and the output scales.

        The factor is as large as its limit, gamma's width and the digit sums allow, then less by below 2, so that the
        power of two gives the target scale exactly.
        """
        norm = self.beta + (q + 384) * real.sum(axis=1)
        root = np.sqrt(np.minimum(0.98 * NORM_LIMIT / norm, 32600 / real.max(axis=1).clip(1e-30)))
        if self.inverse:  # scale = scale_in / root * 2**shift
            step = np.floor(np.log2(target / scale_in * root)).clip(1, 29)
            root = np.minimum(root, scale_in / target * 2.0**step)
            return root, step, scale_in / root * 2.0**step
        step = np.ceil(np.log2(target / scale_in / root))  # scale = scale_in * root * 2**(shift - log2(numerator))
        root = np.minimum(root, target / scale_in * 2.0**-step)
        return root, step, scale_in * root * 2.0**step

    def _power(self, x: int, beta: Float, step: Float) -> Float:
        """Return the power of two of each numerator; the shift is step + power."""
        smallest = np.array([isqrt(int(b)) for b in beta])
        power = np.minimum(np.floor(np.log2((ACC_LIMIT - 2**29) / x * smallest)).clip(0, 30), 29 - step)
        if (power < 0).any() or (step + power < 1).any():
            raise InputError(
                f"row {self.name}: the range of this normalisation does not fit; calibrate on more pictures"
            )
        return np.asarray(power)

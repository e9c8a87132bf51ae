"""FloatConv: a convolution in float, and its folding into `intcodec.rows.conv`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT
from intcodec.quantize.precision import CEILING, Fixed, Precision
from intcodec.quantize.rows.row import Float, FloatRow, Source, not_too_fine, rounded_up
from intcodec.rows.conv import Conv
from intcodec.rows.row import TensorSpec

#: LeakyReLU slope 0.01 in units of 2**-16.
LEAKY_SLOPE = 655
#: A convolution of at most so many products for an output takes wider inputs without coarser weights.
WIDE_TERMS = 128


@dataclass(frozen=True, eq=False)
class FloatConv(FloatRow):
    """Convolution, optional activation ("relu", "leaky", "clamp"), optional pixel shuffle.

    weight: float64[out, in, kh, kw].
    """

    weight: Float
    bias: Float
    stride: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    upsample: int = 1
    activation: str = ""
    fixed: Fixed | None = None

    @property
    def takes_wide(self) -> bool:
        """Whether its sums are short."""
        return bool(self.weight[0].size <= WIDE_TERMS)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self.weight).float(), torch.from_numpy(self.bias).float()

    def evaluate(self, *x: Tensor) -> Tensor:
        """Return the output float32[1, C', H', W']."""
        top, left, bottom, right = self.pad
        v = F.conv2d(F.pad(x[0], (left, right, top, bottom)), *self._tensors, self.stride)
        return F.pixel_shuffle(self._activated(v), self.upsample)

    def _activated(self, v: Tensor) -> Tensor:
        if self.activation == "relu":
            return F.relu(v)
        if self.activation == "clamp":
            return v.clamp(0, CEILING)
        return F.leaky_relu(v, 0.01) if self.activation else v

    def measure(self, y: Tensor) -> dict[str, Tensor]:
        """Return magnitudes, and those of negative values alone where there is a LeakyReLU."""
        return {self.name: y.abs(), **({f"{self.name}-": -y} if self.activation == "leaky" else {})}

    def fold(
        self, sources: tuple[Source, ...], measured: Mapping[str, Float], precision: Precision, unit: Float | None
    ) -> tuple[Conv, Float]:
        """Return the integer row and its scales: the largest shifts for which weights and sums fit."""
        lo, hi, scale = self._range(measured, precision)
        w, b, shift, scale = self._integers(sources[0], precision, rounded_up(scale, unit))
        slope = LEAKY_SLOPE if self.activation == "leaky" else 0
        weight = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).astype(np.int16)
        conv = Conv(
            self.name, self.input, weight, b.astype(np.int32), shift.astype(np.uint8), lo, hi, self.stride, self.pad,
            self.upsample, slope,
        )  # fmt: skip
        return conv, scale

    def _range(self, measured: Mapping[str, Float], precision: Precision) -> tuple[int, int, Float]:
        """Return the range before a LeakyReLU, and the wished scale of each output."""
        if self.fixed is not None:
            scale = np.full(len(self.bias) // self.upsample**2, self.fixed.scale)
            return self.fixed.lo, self.fixed.hi, scale
        top, largest = precision.activation_max, measured[self.name]
        if self.activation == "leaky":  # what is negative was 100 times larger before
            largest = np.maximum(largest, measured[f"{self.name}-"] * 100 * top / 32768)
        hi = precision.unsigned_max if self.activation in ("relu", "clamp") else top
        lo = {"": -top, "relu": 0, "clamp": 0, "leaky": -32768}[self.activation]
        wanted = largest * precision.margin
        if self.activation == "clamp":
            wanted = np.minimum(wanted, CEILING)
        return lo, hi, not_too_fine(wanted / hi)

    def _integers(self, source: Source, precision: Precision, scale: Float) -> tuple[Float, Float, Float, Float]:
        """Return weights [out, in, kh, kw], biases and shifts as integers, and the scales, some of them doubled.

        Each output's shift is the largest for which its weights fit their width and |bias| + X * sum |w|, in digits as
        well, stays below 2**31.
        """
        group, shift = self.upsample**2, np.full(len(self.bias), 24)
        real = self.weight * source.scale[None, :, None, None]
        while True:
            factor = 2.0**shift / np.repeat(scale, group)
            w = np.rint(real * factor[:, None, None, None])
            b = np.rint(self.bias * factor) + np.where(shift > 0, 2.0 ** (shift - 1), 0)
            over = (digit_sums(w, b, source.spec) >= ACC_LIMIT) | (np.abs(w).max(axis=(1, 2, 3)) > precision.weight_max)
            if not over.any():
                return w, b, shift, scale
            stuck = (over & (shift == 0)).reshape(-1, group).any(axis=1)  # mostly channels that calibration saw dead
            if self.fixed is not None and stuck.any():
                raise InputError(f"row {self.name}: weights too large for its output's fixed scale")
            scale = np.where(stuck, scale * 2, scale)
            shift = np.where(over & (shift > 0), shift - 1, shift)


def digit_sums(w: Float, b: Float, source: TensorSpec) -> Float:
    """Return the largest partial sum of each output float64[out], in digits, for weights [out, in, kh, kw]."""
    w_hi = np.floor((w + 128) / 256)
    sums = (256 * np.abs(w_hi) + np.abs(w - 256 * w_hi)).sum(axis=(1, 2, 3)) * (source.magnitude + 384)
    return np.asarray(sums + np.abs(b))

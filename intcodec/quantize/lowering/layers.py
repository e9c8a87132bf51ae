"""Lowering of layers: weights out of torch modules.

A transposed convolution becomes the plain convolution and pixel shuffle of docs/arithmetic.md, conv, so the rows after
this are exactly the rows of the integer network.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from intcodec.base.errors import InputError
from intcodec.quantize.lowering.registry import joins, lowers
from intcodec.quantize.rows.conv import FloatConv
from intcodec.quantize.rows.gdn import FloatGdn
from intcodec.quantize.rows.row import Float, FloatRow
from intcodec.zoo.layers import GDN


@lowers(nn.Conv2d)
def _conv(module: nn.Conv2d, name: str, src: str) -> list[FloatRow]:
    return [lower_conv(module, name, src)]


@lowers(nn.ConvTranspose2d)
def _transposed(module: nn.ConvTranspose2d, name: str, src: str) -> list[FloatRow]:
    return [lower_transposed(module, name, src)]


@lowers(GDN)
def _gdn(module: GDN, name: str, src: str) -> list[FloatRow]:
    return [lower_gdn(module, name, src)]


@joins(nn.ReLU)
def _relu(module: nn.ReLU, row: FloatConv) -> FloatConv:
    return replace(row, activation="relu")


@joins(nn.LeakyReLU)
def _leaky(module: nn.LeakyReLU, row: FloatConv) -> FloatConv:
    if abs(module.negative_slope - 0.01) > 1e-9:
        raise InputError(f"{row.name}: LeakyReLU slope {module.negative_slope} is not supported, only 0.01")
    return replace(row, activation="leaky")


@joins(nn.PixelShuffle)
def _shuffle(module: nn.PixelShuffle, row: FloatConv) -> FloatConv:
    if module.upscale_factor != 2 or row.upsample != 1:
        raise InputError(f"{row.name}: only pixel shuffles by 2 are supported, one after a convolution")
    return replace(row, upsample=2)


def lower_conv(module: nn.Conv2d, name: str, src: str) -> FloatConv:
    """Return the row of a plain convolution with symmetric zero padding."""
    if module.groups != 1 or module.dilation != (1, 1) or module.stride[0] != module.stride[1]:
        raise InputError(f"{name}: grouped, dilated or anisotropic convolutions are not supported")
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise InputError(f"{name}: only padding by given numbers of zeros is supported")
    ph, pw = (int(p) for p in module.padding)
    return FloatConv(name, src, as_float(module.weight), _bias(module), module.stride[0], (ph, pw, ph, pw))


def lower_transposed(module: nn.ConvTranspose2d, name: str, src: str) -> FloatConv:
    """Return the row of a 5x5 stride-2 transposed convolution: a 3x3 convolution and a pixel shuffle."""
    setting = (module.kernel_size, module.stride, module.padding, module.output_padding, module.groups)
    if setting != ((5, 5), (2, 2), (2, 2), (1, 1), 1) or module.dilation != (1, 1):
        raise InputError(f"{name}: only 5x5 stride-2 padding-2 transposed convolutions are supported")
    kernel = as_float(module.weight)  # [in, out, 5, 5]
    cin, cout = kernel.shape[:2]
    # tap j of the 3x3 convolution reads x[m - 1 + j]; in phase p that is tap k = 2 * (1 - j) + p + 2 of the 5x5 kernel
    weight = np.zeros((cout, 2, 2, cin, 3, 3))
    for py in (0, 1):
        for px in (0, 1):
            for j in range(py, 3):
                for i in range(px, 3):
                    weight[:, py, px, :, j, i] = kernel[:, :, 4 + py - 2 * j, 4 + px - 2 * i].T
    bias = np.repeat(_bias(module), 4)
    return FloatConv(name, src, weight.reshape(cout * 4, cin, 3, 3), bias, 1, (1, 1, 1, 1), upsample=2)


def lower_gdn(module: GDN, name: str, src: str) -> FloatGdn:
    """Return the row of a normalisation."""
    beta, gamma = module.effective()
    return FloatGdn(name, src, as_float(beta), as_float(gamma).reshape(len(beta), -1), module.inverse)


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Float:
    return as_float(module.bias) if module.bias is not None else np.zeros(module.out_channels)


def as_float(t: Any) -> Float:
    """Return a tensor as float64."""
    array: Float = torch.as_tensor(t).detach().to(torch.float64).numpy()
    return array

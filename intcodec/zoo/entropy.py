"""The float entropy models: how probable a quantised latent is, differentiably.

What may live here: densities, likelihoods and rounding. Integer CDF tables are made elsewhere, once; the CDF buffers
kept here only carry what a checkpoint had in them, of any size, so that it loads and saves unchanged.

         training                          eval
    y ---- + U(-1/2, 1/2) ----> y_hat      y ---- round(y - mean) + mean ----> y_hat
                        likelihood = F(y_hat + 1/2) - F(y_hat - 1/2)
"""

from __future__ import annotations

from itertools import pairwise
from math import log
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intcodec.zoo.layers import LowerBound

#: No likelihood is reported below this, so that its logarithm stays finite.
LIKELIHOOD_BOUND = 1e-9
#: Probability that the outer quantiles leave outside, both sides together.
TAIL_MASS = 1e-9
#: Half the width that the bottleneck's density starts with.
INIT_SCALE = 10.0
#: Smallest scale (standard deviation) that the Gaussian model uses.
SCALE_BOUND = 0.11
#: Buffers whose size depends on the tables that a checkpoint was saved with.
TABLE_BUFFERS = ("_offset", "_quantized_cdf", "_cdf_length", "scale_table")


class CumulativeLayer(NamedTuple):
    """One layer of the bottleneck's cumulative: h = matrix @ x + bias, then h + factor * tanh(h) unless last.

    Tensors are float64 on the CPU, detached: matrix [C, out, in] > 0, bias [C, out, 1], factor [C, out, 1] in (-1, 1).
    """

    matrix: Tensor
    bias: Tensor
    factor: Tensor | None


def round_or_noise(x: Tensor, mean: Tensor | None, training: bool) -> Tensor:
    """Quantise to the integers around `mean` (ties to even), or add uniform noise in their place when training."""
    if training:
        return x + torch.empty_like(x).uniform_(-0.5, 0.5)
    return torch.round(x) if mean is None else torch.round(x - mean) + mean


def _add_tables(module: nn.Module) -> None:
    """Register the CDF buffers, empty, and let `load_state_dict` give them any size or leave them out."""
    for name in ("_offset", "_quantized_cdf", "_cdf_length"):
        module.register_buffer(name, torch.zeros(0, dtype=torch.int32))
    register = cast(Any, module)._register_load_state_dict_pre_hook  # public only in later torch than we require
    register(_resize_tables, with_module=True)


def _resize_tables(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    for name in TABLE_BUFFERS:
        buffer = module._buffers.get(name)
        if buffer is None:
            continue
        value = state.setdefault(prefix + name, buffer)
        if isinstance(value, Tensor) and value.shape != buffer.shape:
            module._buffers[name] = buffer.new_empty(value.shape)


class EntropyBottleneck(nn.Module):
    """A learned density per channel, the same at every position.

    The cumulative of channel c is sigmoid(f_c(x)), f_c a small monotone network 1-3-3-3-3-1; `quantiles` holds its
    lower tail, median and upper tail, learned by `loss`.

    Source: Balle et al., "Variational image compression with a scale hyperprior" (ICLR 2018), appendix 6.1.
    """

    target: Tensor
    _offset: Tensor
    _quantized_cdf: Tensor
    _cdf_length: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        widths = (1, 3, 3, 3, 3, 1)
        self.matrices = nn.ParameterList()
        self.biases = nn.ParameterList()
        self.factors = nn.ParameterList()
        slope = INIT_SCALE ** (-1 / (len(widths) - 1))  # the product over all layers is 1 / INIT_SCALE
        for fan_in, fan_out in pairwise(widths):
            weight = torch.full((channels, fan_out, fan_in), slope / fan_out)
            self.matrices.append(nn.Parameter(torch.log(torch.expm1(weight))))
            self.biases.append(nn.Parameter(torch.rand(channels, fan_out, 1) - 0.5))
        for fan_out in widths[1:-1]:
            self.factors.append(nn.Parameter(torch.zeros(channels, fan_out, 1)))
        self.quantiles = nn.Parameter(torch.tensor([-INIT_SCALE, 0.0, INIT_SCALE]).repeat(channels, 1, 1))
        tail = log(2 / TAIL_MASS - 1)
        self.register_buffer("target", torch.tensor([-tail, 0.0, tail]))
        self.likelihood_lower_bound = LowerBound(LIKELIHOOD_BOUND)
        _add_tables(self)

    @property
    def medians(self) -> Tensor:
        """Median of each channel's density, float32 [C], detached."""
        return self.quantiles[:, 0, 1].detach()

    def cumulative_layers(self) -> list[CumulativeLayer]:
        """Return f's layers with softplus and tanh applied in float64, ready for a table builder."""
        raw = [p.detach().to("cpu", torch.float64) for p in (*self.matrices, *self.biases, *self.factors)]
        depth = len(self.matrices)
        factors = [torch.tanh(f) for f in raw[2 * depth :]] + [None]
        rows = zip(raw[:depth], raw[depth : 2 * depth], factors, strict=True)
        return [CumulativeLayer(F.softplus(matrix), bias, factor) for matrix, bias, factor in rows]

    def logits(self, x: Tensor, frozen: bool = False) -> Tensor:
        """Evaluate f: the logit of the cumulative at x, [C, 1, n] to [C, 1, n].

        Args:
            x: points, one row for each channel.
            frozen: let no gradient reach the density's own parameters.
        """
        last = len(self.matrices) - 1
        for i in range(last + 1):
            matrix, bias = self.matrices[i], self.biases[i]
            x = torch.matmul(F.softplus(matrix.detach() if frozen else matrix), x) + (bias.detach() if frozen else bias)
            if i < last:
                factor = self.factors[i]
                x = x + torch.tanh(factor.detach() if frozen else factor) * torch.tanh(x)
        return x

    def loss(self) -> Tensor:
        """Return the scalar that training minimises so that `quantiles` settle on the density's tails and median."""
        return (self.logits(self.quantiles, frozen=True) - self.target).abs().sum()

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Quantise z [B, C, H, W] around the medians.

        Returns:
            z_hat and the likelihood of each of its elements in [1e-9, 1], both of z's shape.
        """
        rows = z.transpose(0, 1)
        shape = rows.shape
        flat = rows.reshape(self.channels, 1, -1)
        z_hat = round_or_noise(flat, self.quantiles[:, :, 1:2], self.training)
        likelihood = torch.sigmoid(self.logits(z_hat + 0.5)) - torch.sigmoid(self.logits(z_hat - 0.5))
        likelihood = self.likelihood_lower_bound(likelihood)
        return (
            z_hat.reshape(shape).transpose(0, 1).contiguous(),
            likelihood.reshape(shape).transpose(0, 1).contiguous(),
        )


class GaussianConditional(nn.Module):
    """A Gaussian for each element of y, its scale and mean predicted from what the decoder already knows.

    `scale_table` (float32, increasing, any length or empty) only carries what a checkpoint had.

    Source: Balle et al., "Variational image compression with a scale hyperprior" (ICLR 2018), section 3.
    """

    scale_table: Tensor
    scale_bound: Tensor
    _offset: Tensor
    _quantized_cdf: Tensor
    _cdf_length: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale_table", torch.zeros(0))
        self.register_buffer("scale_bound", torch.tensor([SCALE_BOUND]))
        self.lower_bound_scale = LowerBound(SCALE_BOUND)
        self.likelihood_lower_bound = LowerBound(LIKELIHOOD_BOUND)
        _add_tables(self)

    def likelihood(self, y_hat: Tensor, scales: Tensor, means: Tensor | None = None) -> Tensor:
        """Return the probability of the unit interval around each y_hat, in [1e-9, 1], the shape of y_hat."""
        scales = self.lower_bound_scale(scales)
        # The lower tail keeps its precision where the upper one would round to 1: work on -|y_hat - mean|.
        distance = torch.abs(y_hat if means is None else y_hat - means)
        upper = _normal_cdf((0.5 - distance) / scales)
        lower = _normal_cdf((-0.5 - distance) / scales)
        return cast(Tensor, self.likelihood_lower_bound(upper - lower))

    def forward(self, y: Tensor, scales: Tensor, means: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Quantise y around `means`, all [B, M, H, W].

        Returns:
            y_hat and its likelihood, both of y's shape.
        """
        y_hat = round_or_noise(y, means, self.training)
        return y_hat, self.likelihood(y_hat, scales, means)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-(2**-0.5) * x)

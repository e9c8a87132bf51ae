"""The four priors: how a latent is quantised, how probable it is, and what comes back as an image.

What may live here: forward passes. A prior receives its transforms and never builds them, so that one prior serves
every set of transforms. Images are float32 [B, 3, H, W] in [0, 1]; y is 1/16 and z is 1/64 of the image each way.

    x --g_a--> y --h_a--> z --bottleneck--> z_hat --h_s--> scales (, means) --+
               |                                                             v
               +------------------------------------------------> gaussian_conditional --> y_hat --g_s--> x_hat
"""

from __future__ import annotations

from typing import TypeAlias, TypedDict

import torch
from torch import Tensor, nn

from intcodec.base.errors import InputError
from intcodec.zoo.entropy import EntropyBottleneck, GaussianConditional, round_or_noise
from intcodec.zoo.layers import MaskedConv2d
from intcodec.zoo.transforms import Transforms, entropy_parameters
from intcodec.zoo.video import ScaleSpaceFlow


class Output(TypedDict):
    """What a forward pass returns: x_hat [B, 3, H, W] (not clamped), likelihoods of "y" and, but factorized, "z"."""

    x_hat: Tensor
    likelihoods: dict[str, Tensor]


class FactorizedPrior(nn.Module):
    """Every element of y follows a density learned for its channel.

    Source: Balle et al., "Variational image compression with a scale hyperprior" (ICLR 2018), the factorized model.
    """

    downsampling_factor = 16

    def __init__(self, arch: str, N: int, M: int, transforms: Transforms) -> None:
        super().__init__()
        self.arch, self.N, self.M = arch, N, M
        self.g_a, self.g_s = transforms
        self.entropy_bottleneck = EntropyBottleneck(M)

    def aux_loss(self) -> Tensor:
        """Return the scalar loss of the bottleneck's quantiles, to minimise with an optimiser of its own."""
        return self.entropy_bottleneck.loss()

    def forward(self, x: Tensor) -> Output:
        """Code and decode x [B, 3, H, W]; x_hat is padded up to multiples of 16."""
        y = self.g_a(x)
        y_hat, y_likelihoods = self.entropy_bottleneck(y)
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": y_likelihoods}}


class ScaleHyperprior(nn.Module):
    """Every element of y is a zero-mean Gaussian whose scale is predicted from z.

    Source: Balle et al., "Variational image compression with a scale hyperprior" (ICLR 2018).
    """

    downsampling_factor = 64

    def __init__(self, arch: str, N: int, M: int, transforms: Transforms) -> None:
        super().__init__()
        self.arch, self.N, self.M = arch, N, M
        self.g_a, self.g_s, self.h_a, self.h_s = transforms
        self.entropy_bottleneck = EntropyBottleneck(N)
        self.gaussian_conditional = GaussianConditional()

    def aux_loss(self) -> Tensor:
        """Return the scalar loss of the bottleneck's quantiles, to minimise with an optimiser of its own."""
        return self.entropy_bottleneck.loss()

    def forward(self, x: Tensor) -> Output:
        """Code and decode x [B, 3, H, W], H and W multiples of 64.

        Raises:
            InputError: H or W does not survive the trip to z and back.
        """
        y = self.g_a(x)
        z_hat, z_likelihoods = self.entropy_bottleneck(self.h_a(torch.abs(y)))
        scales = _same_size(self.h_s(z_hat), y, x)
        y_hat, y_likelihoods = self.gaussian_conditional(y, scales)
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": y_likelihoods, "z": z_likelihoods}}


class MeanScaleHyperprior(nn.Module):
    """Every element of y is a Gaussian whose scale and mean are predicted from z.

    Source: Minnen, Balle, Toderici, "Joint autoregressive and hierarchical priors for learned image compression"
    (NeurIPS 2018), the model without context.
    """

    downsampling_factor = 64

    def __init__(self, arch: str, N: int, M: int, transforms: Transforms) -> None:
        super().__init__()
        self.arch, self.N, self.M = arch, N, M
        self.g_a, self.g_s, self.h_a, self.h_s = transforms
        self.entropy_bottleneck = EntropyBottleneck(N)
        self.gaussian_conditional = GaussianConditional()

    def aux_loss(self) -> Tensor:
        """Return the scalar loss of the bottleneck's quantiles, to minimise with an optimiser of its own."""
        return self.entropy_bottleneck.loss()

    def forward(self, x: Tensor) -> Output:
        """Code and decode x [B, 3, H, W], H and W multiples of 64.

        Raises:
            InputError: H or W does not survive the trip to z and back.
        """
        y = self.g_a(x)
        z_hat, z_likelihoods = self.entropy_bottleneck(self.h_a(y))
        scales, means = _same_size(self.h_s(z_hat), y, x).chunk(2, dim=1)
        y_hat, y_likelihoods = self.gaussian_conditional(y, scales, means)
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": y_likelihoods, "z": z_likelihoods}}


class AutoregressivePrior(nn.Module):
    """Every element of y is a Gaussian predicted from z and from the elements decoded before it.

    Source: Minnen, Balle, Toderici, "Joint autoregressive and hierarchical priors for learned image compression"
    (NeurIPS 2018); with other transforms, Cheng et al. (CVPR 2020) with one Gaussian in place of a mixture.
    """

    downsampling_factor = 64

    def __init__(self, arch: str, N: int, M: int, transforms: Transforms) -> None:
        super().__init__()
        self.arch, self.N, self.M = arch, N, M
        self.g_a, self.g_s, self.h_a, self.h_s = transforms
        self.context_prediction = MaskedConv2d(M, 2 * M, kernel_size=5)
        self.entropy_parameters = entropy_parameters(M)
        self.entropy_bottleneck = EntropyBottleneck(N)
        self.gaussian_conditional = GaussianConditional()

    def aux_loss(self) -> Tensor:
        """Return the scalar loss of the bottleneck's quantiles, to minimise with an optimiser of its own."""
        return self.entropy_bottleneck.loss()

    def forward(self, x: Tensor) -> Output:
        """Code and decode x [B, 3, H, W], H and W multiples of 64.

        All positions at once, so the context sees y rounded to integers: an estimate. A decoder, which goes position
        by position, sees y rounded around its means.

        Raises:
            InputError: H or W does not survive the trip to z and back.
        """
        y = self.g_a(x)
        z_hat, z_likelihoods = self.entropy_bottleneck(self.h_a(y))
        hyper = _same_size(self.h_s(z_hat), y, x)
        y_hat = round_or_noise(y, None, self.training)
        joined = torch.cat((hyper, self.context_prediction(y_hat)), dim=1)
        scales, means = self.entropy_parameters(joined).chunk(2, dim=1)
        _, y_likelihoods = self.gaussian_conditional(y, scales, means)
        return {"x_hat": self.g_s(y_hat), "likelihoods": {"y": y_likelihoods, "z": z_likelihoods}}


PictureModel: TypeAlias = FactorizedPrior | ScaleHyperprior | MeanScaleHyperprior | AutoregressivePrior
#: Every model of the zoo; the last is for clips.
Model: TypeAlias = PictureModel | ScaleSpaceFlow


def _same_size(hyper: Tensor, y: Tensor, x: Tensor) -> Tensor:
    if hyper.shape[-2:] != y.shape[-2:]:
        height, width = x.shape[-2:]
        raise InputError(f"image of {height}x{width} (height x width): pad both to multiples of 64")
    return hyper

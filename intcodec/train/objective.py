"""What is minimised: rate plus weighted distortion, as one object for each kind of model.

    mse        L = lambda * 255^2 * MSE + R
    ms-ssim    L = lambda * (1 - MS-SSIM) + R

R is bits a pixel, estimated by the entropy models; MSE is of samples in [0, 1]. Source: CompressAI's model zoo page.
For a clip both are means over its frames, the key frame among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from intcodec.base.errors import InputError
from intcodec.zoo import ScaleSpaceFlow


@dataclass(frozen=True)
class Terms:
    """What a step costs: scalars; `loss` carries the gradient, the others are detached."""

    loss: Tensor
    bpp: Tensor
    distortion: Tensor


class Objective(Protocol):
    """The loss of a kind of model."""

    def __call__(self, net: nn.Module, batch: Tensor) -> Terms:
        """Run the model on a batch, float32 in [0, 1], and weigh the result."""

    def quality(self, distortion: float) -> dict[str, float]:
        """Return a mean distortion as what people read: {"psnr": dB} or {"ms_ssim_db": dB}."""


def objective_for(net: nn.Module, lmbda: float, metric: str) -> Objective:
    """Return the objective of a model, by what it maps.

    Args:
        net: the model.
        lmbda: weight of the distortion.
        metric: "mse" or "ms-ssim".
    """
    return ClipObjective(lmbda, metric) if isinstance(net, ScaleSpaceFlow) else PictureObjective(lmbda, metric)


class PictureObjective:
    """The loss of a model that maps pictures [B, 3, H, W] to `intcodec.zoo.Output`.

    Raises:
        InputError: MS-SSIM is asked for and pytorch-msssim is not installed.
    """

    def __init__(self, lmbda: float, metric: str) -> None:
        self._ms_ssim = _ms_ssim() if metric == "ms-ssim" else None
        self._weight = lmbda if self._ms_ssim else lmbda * 255**2

    def __call__(self, net: nn.Module, batch: Tensor) -> Terms:
        """Return the terms of a batch, float32 [B, 3, H, W] in [0, 1]."""
        output = net(batch)
        return self._weigh(output["x_hat"], batch, list(output["likelihoods"].values()))

    def _weigh(self, x_hat: Tensor, batch: Tensor, likelihoods: list[Tensor]) -> Terms:
        """Return the terms of pictures [B, 3, H, W], what became of them, and the likelihoods of all that was coded."""
        pixels = batch.shape[0] * batch.shape[2] * batch.shape[3]
        nats = torch.stack([torch.log(part.float()).sum() for part in likelihoods]).sum()
        bpp = nats / (-math.log(2) * pixels)
        x_hat = x_hat.float()
        if self._ms_ssim is None:
            distortion = (x_hat - batch).square().mean()
        else:
            distortion = 1 - self._ms_ssim(x_hat, batch, data_range=1.0)
        return Terms(self._weight * distortion + bpp, bpp.detach(), distortion.detach())

    def quality(self, distortion: float) -> dict[str, float]:
        """Return PSNR or MS-SSIM in dB."""
        decibels = -10 * math.log10(max(distortion, 1e-12))
        return {"psnr" if self._ms_ssim is None else "ms_ssim_db": round(decibels, 4)}


class ClipObjective(PictureObjective):
    """The loss of a model that maps a list of frames to `intcodec.zoo.video.VideoOutput`."""

    def __call__(self, net: nn.Module, batch: Tensor) -> Terms:
        """Return the terms of a batch of clips, float32 [B, T, 3, H, W] in [0, 1]."""
        output = net(list(batch.unbind(1)))
        parts = [part for frame in output["likelihoods"] for part in frame.values()]
        likelihoods = [latent for part in parts for latent in part.values()]
        x_hat, frames = (torch.cat(list(pictures)) for pictures in (output["x_hat"], batch.unbind(1)))
        return self._weigh(x_hat, frames, likelihoods)


def _ms_ssim() -> Any:
    try:
        from pytorch_msssim import ms_ssim
    except ImportError as error:
        advice = 'pip install "intcodec[train]"'
        raise InputError(f"training for MS-SSIM needs pytorch-msssim, which is not installed: {advice}") from error
    return ms_ssim

"""The float architectures, with CompressAI's signatures, channel tables and state-dict keys, in our own code.

The public door of the zoo: one function per architecture, `load_checkpoint` for files, and what a quantiser needs to
read off a model. Needs torch (`pip install intcodec[quantize]`); nothing outside `intcodec.zoo` and
`intcodec.quantize` does.

    from intcodec.zoo import bmshj2018_hyperprior, load_checkpoint
    net = load_checkpoint("bmshj2018_hyperprior", "my-checkpoint.pth.tar")
    net = bmshj2018_hyperprior(quality=3, pretrained=True)
"""

from __future__ import annotations

from intcodec.base.errors import InputError
from intcodec.zoo.architectures import ARCHITECTURES, Architecture, build, canonical_name
from intcodec.zoo.checkpoint import guess_architecture, load_checkpoint, read_state
from intcodec.zoo.entropy import CumulativeLayer, EntropyBottleneck, GaussianConditional
from intcodec.zoo.layers import GDN, MaskedConv2d
from intcodec.zoo.models import (
    AutoregressivePrior,
    FactorizedPrior,
    MeanScaleHyperprior,
    Model,
    Output,
    PictureModel,
    ScaleHyperprior,
)
from intcodec.zoo.pretrained import checkpoint_url, fetch
from intcodec.zoo.video import ScaleSpaceFlow

__all__ = [
    "ARCHITECTURES",
    "GDN",
    "Architecture",
    "AutoregressivePrior",
    "CumulativeLayer",
    "EntropyBottleneck",
    "FactorizedPrior",
    "GaussianConditional",
    "MaskedConv2d",
    "MeanScaleHyperprior",
    "Model",
    "Output",
    "PictureModel",
    "ScaleHyperprior",
    "ScaleSpaceFlow",
    "bmshj2018_factorized",
    "bmshj2018_hyperprior",
    "build",
    "canonical_name",
    "cheng2020_anchor",
    "cheng2020_attn",
    "guess_architecture",
    "load_checkpoint",
    "mbt2018",
    "mbt2018_mean",
    "read_state",
    "ssf2020",
]

METRICS = ("mse", "ms-ssim")


def bmshj2018_factorized(
    quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int
) -> Model:
    """Build the factorized-prior model of Balle et al. (ICLR 2018).

    Args:
        quality: 1 (smallest files) to 8.
        metric: what published weights were trained for, "mse" or "ms-ssim".
        pretrained: download CompressAI's published weights and return the model in eval mode; else random weights,
            in training mode.
        progress: draw a progress bar on stderr while downloading.
        kwargs: N and M, channel counts in place of the quality's; not together with pretrained.

    Raises:
        InputError: an argument is out of range, or the download failed or does not match its hash.
    """
    return _model("bmshj2018_factorized", quality, metric, pretrained, progress, kwargs)


def bmshj2018_hyperprior(
    quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int
) -> Model:
    """Build the scale-hyperprior model of Balle et al. (ICLR 2018); arguments as for `bmshj2018_factorized`."""
    return _model("bmshj2018_hyperprior", quality, metric, pretrained, progress, kwargs)


def mbt2018_mean(
    quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int
) -> Model:
    """Build the mean-and-scale hyperprior of Minnen et al. (NeurIPS 2018); arguments as for `bmshj2018_factorized`."""
    return _model("mbt2018_mean", quality, metric, pretrained, progress, kwargs)


def mbt2018(quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int) -> Model:
    """Build the joint autoregressive model of Minnen et al. (NeurIPS 2018); arguments as for `bmshj2018_factorized`."""
    return _model("mbt2018", quality, metric, pretrained, progress, kwargs)


def cheng2020_anchor(
    quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int
) -> Model:
    """Build the residual-block model of Cheng et al. (CVPR 2020) without attention.

    Arguments as for `bmshj2018_factorized`, with quality 1 to 6 and N alone in kwargs.
    """
    return _model("cheng2020_anchor", quality, metric, pretrained, progress, kwargs)


def cheng2020_attn(
    quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int
) -> Model:
    """Build the attention model of Cheng et al. (CVPR 2020).

    Arguments as for `bmshj2018_factorized`, with quality 1 to 6 and N alone in kwargs.
    """
    return _model("cheng2020_attn", quality, metric, pretrained, progress, kwargs)


def ssf2020(quality: int, metric: str = "mse", pretrained: bool = False, progress: bool = True, **kwargs: int) -> Model:
    """Build the scale-space flow model of Agustsson et al. (CVPR 2020), for clips.

    Arguments as for `bmshj2018_factorized`, with quality 1 to 9; published weights exist for metric "mse".
    """
    return _model("ssf2020", quality, metric, pretrained, progress, kwargs)


def _model(arch: str, quality: int, metric: str, pretrained: bool, progress: bool, kwargs: dict[str, int]) -> Model:
    channels = ARCHITECTURES[arch].channels
    if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= len(channels):
        raise InputError(f"quality {quality!r}: {arch} has qualities 1 to {len(channels)}")
    if metric not in METRICS:
        raise InputError(f"metric {metric!r}: choose one of {', '.join(METRICS)}")
    allowed = {"N"} if arch.startswith("cheng2020") else {"N", "M"}
    if kwargs.keys() - allowed:
        raise InputError(f"{arch} takes no argument {min(kwargs.keys() - allowed)!r}")
    if pretrained:
        if kwargs:
            raise InputError("N and M cannot be chosen with pretrained=True: the published weights fix them")
        return load_checkpoint(arch, fetch(checkpoint_url(arch, metric, quality), progress))
    N, M = channels[quality - 1]
    N = kwargs.get("N", N)
    return build(arch, N, N if arch.startswith("cheng2020") else kwargs.get("M", M))

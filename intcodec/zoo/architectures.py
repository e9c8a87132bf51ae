"""The table of architectures: a prior, its transforms and its channels by quality under one name.

What may live here: the table, and building a model from one of its rows. A new architecture is a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from intcodec.base.errors import InputError
from intcodec.zoo.models import AutoregressivePrior, FactorizedPrior, MeanScaleHyperprior, Model, ScaleHyperprior
from intcodec.zoo.transforms import (
    attention_transforms,
    factorized_transforms,
    mean_scale_transforms,
    residual_transforms,
    scale_transforms,
)
from intcodec.zoo.video import ScaleSpaceFlow, scale_space_transforms

Channels = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Architecture:
    """A row of `ARCHITECTURES`: a prior, the builder of its transforms, and (N, M) for qualities 1, 2, ..."""

    prior: Callable[[str, int, int, Any], Model]  # of name, N, M and what `transforms` returns
    transforms: Callable[[int, int], Any]
    channels: Channels


def _channels(low: tuple[int, int], low_count: int, high: tuple[int, int], high_count: int) -> Channels:
    return (low,) * low_count + (high,) * high_count


_FIVE_LOW = _channels((128, 192), 5, (192, 320), 3)
_FOUR_LOW = _channels((128, 192), 4, (192, 320), 4)
_JOINT = _channels((192, 192), 4, (192, 320), 4)
_CHENG = _channels((128, 128), 3, (192, 192), 3)
_VIDEO = ((128, 192),) * 9

ARCHITECTURES: dict[str, Architecture] = {
    "bmshj2018_factorized": Architecture(FactorizedPrior, factorized_transforms, _FIVE_LOW),
    "bmshj2018_hyperprior": Architecture(ScaleHyperprior, scale_transforms, _FIVE_LOW),
    "mbt2018_mean": Architecture(MeanScaleHyperprior, mean_scale_transforms, _FOUR_LOW),
    "mbt2018": Architecture(AutoregressivePrior, mean_scale_transforms, _JOINT),
    "cheng2020_anchor": Architecture(AutoregressivePrior, residual_transforms, _CHENG),
    "cheng2020_attn": Architecture(AutoregressivePrior, attention_transforms, _CHENG),
    "ssf2020": Architecture(ScaleSpaceFlow, scale_space_transforms, _VIDEO),
}


def canonical_name(arch: str) -> str:
    """Return the key of `ARCHITECTURES` for a name in either spelling, "mbt2018-mean" or "mbt2018_mean".

    Raises:
        InputError: no such architecture; the message lists those that exist.
    """
    name = arch.replace("-", "_")
    if name not in ARCHITECTURES:
        raise InputError(f"unknown architecture {arch!r}: choose one of {', '.join(ARCHITECTURES)}")
    return name


def build(arch: str, N: int, M: int) -> Model:
    """Build an architecture with random weights, in training mode.

    Args:
        arch: a key of `ARCHITECTURES`.
        N: channels inside the transforms and of z.
        M: channels of y; cheng2020 models need M = N.

    Raises:
        InputError: unknown architecture or impossible channel counts.
    """
    name = canonical_name(arch)
    for label, value in (("N", N), ("M", M)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 2:
            raise InputError(f"{label} = {value!r}: channel counts are integers from 2 up")
    if name.startswith("cheng2020") and N != M:
        raise InputError(f"{name} with N = {N}, M = {M}: this architecture has as many channels in y as inside, M = N")
    row = ARCHITECTURES[name]
    return row.prior(name, N, M, row.transforms(N, M))

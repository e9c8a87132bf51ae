"""The transforms g_a, g_s, h_a, h_s of each architecture, as chains of layers.

What may live here: builders from channel counts to `nn.Sequential`; a layer's position in its chain is the number in
its checkpoint keys. N is the width inside, M the number of channels of y.
"""

from __future__ import annotations

from typing import TypeAlias

from torch import nn

from intcodec.zoo.layers import (
    GDN,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
    conv,
    conv3x3,
    deconv,
    subpel_conv3x3,
)

#: (g_a, g_s), or (g_a, g_s, h_a, h_s) with a hyperprior.
Transforms: TypeAlias = tuple[nn.Sequential, ...]


def factorized_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s) of bmshj2018_factorized."""
    return gdn_analysis(N, M), gdn_synthesis(N, M)


def scale_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s, h_a, h_s) of bmshj2018_hyperprior."""
    return gdn_analysis(N, M), gdn_synthesis(N, M), *scale_hyper(N, M)


def mean_scale_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s, h_a, h_s) of mbt2018_mean and mbt2018."""
    return gdn_analysis(N, M), gdn_synthesis(N, M), *mean_scale_hyper(N, M)


def residual_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s, h_a, h_s) of cheng2020_anchor."""
    return residual_analysis(N, M), residual_synthesis(N, M), *small_kernel_hyper(N, M)


def attention_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s, h_a, h_s) of cheng2020_attn."""
    return attention_analysis(N, M), attention_synthesis(N, M), *small_kernel_hyper(N, M)


def gdn_analysis(N: int, M: int) -> nn.Sequential:
    """Build g_a of the GDN models: four 5x5 convolutions of stride 2, GDN between them."""
    return nn.Sequential(conv(3, N), GDN(N), conv(N, N), GDN(N), conv(N, N), GDN(N), conv(N, M))


def gdn_synthesis(N: int, M: int) -> nn.Sequential:
    """Build g_s of the GDN models, the mirror of `gdn_analysis`."""
    igdn = (GDN(N, inverse=True) for _ in range(3))
    return nn.Sequential(deconv(M, N), next(igdn), deconv(N, N), next(igdn), deconv(N, N), next(igdn), deconv(N, 3))


def scale_hyper(N: int, M: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build (h_a, h_s) of the scale hyperprior: h_s gives M scales, never negative."""
    h_a = nn.Sequential(conv3x3(M, N), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, N))
    h_s = nn.Sequential(deconv(N, N), nn.ReLU(), deconv(N, N), nn.ReLU(), conv3x3(N, M), nn.ReLU())
    return h_a, h_s


def mean_scale_hyper(N: int, M: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build (h_a, h_s) of the mbt2018 models: h_s gives 2M channels."""
    wide = M * 3 // 2
    h_a = nn.Sequential(conv3x3(M, N), nn.LeakyReLU(), conv(N, N), nn.LeakyReLU(), conv(N, N))
    h_s = nn.Sequential(deconv(N, M), nn.LeakyReLU(), deconv(M, wide), nn.LeakyReLU(), conv3x3(wide, 2 * M))
    return h_a, h_s


def small_kernel_hyper(N: int, M: int) -> tuple[nn.Sequential, nn.Sequential]:
    """Build (h_a, h_s) of the cheng2020 models: 3x3 kernels and sub-pixel upsampling; h_s gives 2M channels."""
    wide = N * 3 // 2
    h_a = _interleave(conv3x3(M, N), conv3x3(N, N), conv3x3(N, N, 2), conv3x3(N, N), conv3x3(N, N, 2))
    h_s = _interleave(
        conv3x3(N, N), subpel_conv3x3(N, N, 2), conv3x3(N, wide), subpel_conv3x3(wide, wide, 2), conv3x3(wide, 2 * M)
    )
    return h_a, h_s


def _interleave(first: nn.Module, *rest: nn.Module) -> nn.Sequential:
    """Chain layers with LeakyReLU(0.01) between them."""
    return nn.Sequential(first, *(module for layer in rest for module in (nn.LeakyReLU(), layer)))


def residual_analysis(N: int, M: int) -> nn.Sequential:
    """Build g_a of cheng2020_anchor."""
    strided = [ResidualBlockWithStride(n_in, N) for n_in in (3, N, N)]
    pairs = [module for block in strided for module in (block, ResidualBlock(N, N))]
    return nn.Sequential(*pairs, conv3x3(N, M, stride=2))


def residual_synthesis(N: int, M: int) -> nn.Sequential:
    """Build g_s of cheng2020_anchor."""
    pairs = [module for n_in in (M, N, N) for module in (ResidualBlock(n_in, N), ResidualBlockUpsample(N, N))]
    return nn.Sequential(*pairs, ResidualBlock(N, N), subpel_conv3x3(N, 3, 2))


def attention_analysis(N: int, M: int) -> nn.Sequential:
    """Build g_a of cheng2020_attn: the anchor's with attention at 1/4 and 1/16 of the image."""
    layers = list(residual_analysis(N, M))
    return nn.Sequential(*layers[:3], AttentionBlock(N), *layers[3:], AttentionBlock(M))


def attention_synthesis(N: int, M: int) -> nn.Sequential:
    """Build g_s of cheng2020_attn: the anchor's with attention at 1/16 and 1/4 of the image."""
    layers = list(residual_synthesis(N, M))
    return nn.Sequential(AttentionBlock(M), *layers[:4], AttentionBlock(N), *layers[4:])


def entropy_parameters(M: int) -> nn.Sequential:
    """Build the pointwise network from 4M channels (hyper, context) to 2M (scales, means)."""
    return _interleave(
        nn.Conv2d(4 * M, M * 10 // 3, 1), nn.Conv2d(M * 10 // 3, M * 8 // 3, 1), nn.Conv2d(M * 8 // 3, 2 * M, 1)
    )

"""A toy architecture: mbt2018_mean with a new block after the first convolution of g_a."""

from __future__ import annotations

from torch import Tensor, nn

from intcodec.zoo.transforms import Transforms, mean_scale_transforms


class Opposite(nn.Module):
    """-x."""

    def forward(self, x: Tensor) -> Tensor:
        """Return -x."""
        return -x


def toy_transforms(N: int, M: int) -> Transforms:
    """Build (g_a, g_s, h_a, h_s) of mbt2018_mean with the block in g_a."""
    g_a, *others = mean_scale_transforms(N, M)
    first, *rest = g_a
    return nn.Sequential(first, Opposite(), *rest), *others

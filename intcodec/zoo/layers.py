"""The layers that the float architectures are made of; every tensor is float32 [B, C, H, W] unless stated.

What may live here: layers without knowledge of an architecture. Parameter and buffer names are those of CompressAI's
checkpoints. No activation works in place, so that a forward hook sees the value that a layer really produced.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Offset of the square-root parametrisation: beta and gamma are stored as sqrt(value + OFFSET**2).
REPARAM_OFFSET = 2.0**-18


class _ClampBelow(torch.autograd.Function):
    """max(x, bound) whose gradient still passes where a step along it would raise x towards the bound."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bound: Tensor) -> Tensor:
        ctx.save_for_backward(x, bound)
        return torch.maximum(x, bound)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        x, bound = ctx.saved_tensors
        (grad,) = grads
        return torch.where((x < bound) & (grad >= 0), torch.zeros_like(grad), grad), None


class LowerBound(nn.Module):
    """Clamp from below without trapping values under the bound during training.

    The bound is a buffer, as checkpoints carry it: `bound`, float32 [1].
    """

    bound: Tensor

    def __init__(self, bound: float) -> None:
        super().__init__()
        self.register_buffer("bound", torch.tensor([bound], dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, bound), any shape."""
        return cast(Tensor, _ClampBelow.apply(x, self.bound))  # type: ignore[no-untyped-call]


class NonNegative(nn.Module):
    """Map a stored parameter p to max(p, bound)**2 - pedestal, which never falls below `minimum`.

    Source: Balle et al., "Density modeling of images using a generalized normalization transformation" (ICLR 2016),
    with the square-root storage of "Efficient nonlinear transforms for lossy image compression" (PCS 2018).
    """

    pedestal: Tensor

    def __init__(self, minimum: float = 0.0) -> None:
        super().__init__()
        pedestal = REPARAM_OFFSET**2
        self.register_buffer("pedestal", torch.tensor([pedestal], dtype=torch.float32))
        self.lower_bound = LowerBound((minimum + pedestal) ** 0.5)

    def stored(self, value: Tensor) -> Tensor:
        """Return the stored form of a non-negative value."""
        return torch.sqrt(value.clamp(min=0) + self.pedestal)

    def forward(self, stored: Tensor) -> Tensor:
        """Return the value that a stored parameter stands for."""
        bounded = self.lower_bound(stored)
        return cast(Tensor, bounded * bounded - self.pedestal)


class GDN(nn.Module):
    """Generalised divisive normalisation: x[i] / sqrt(beta[i] + sum_j gamma[i, j] * x[j]**2).

    With `inverse`, x[i] is multiplied by the root instead. Use `effective` for beta and gamma: the parameters of the
    same names hold their square-root form.

    Source: Balle et al., "Density modeling of images using a generalized normalization transformation" (ICLR 2016).
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.channels = channels
        self.inverse = inverse
        self.beta_reparam = NonNegative(minimum=1e-6)
        self.gamma_reparam = NonNegative()
        self.beta = nn.Parameter(self.beta_reparam.stored(torch.ones(channels)))
        self.gamma = nn.Parameter(self.gamma_reparam.stored(0.1 * torch.eye(channels)))

    def effective(self) -> tuple[Tensor, Tensor]:
        """Return beta [C] >= 1e-6 and gamma [C_out, C_in] >= 0 as the formula uses them, differentiable."""
        return self.beta_reparam(self.beta), self.gamma_reparam(self.gamma)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x [B, C, H, W] across channels, at each position alone."""
        beta, gamma = self.effective()
        norm = F.conv2d(x * x, gamma[:, :, None, None], beta)
        return x * (torch.sqrt(norm) if self.inverse else torch.rsqrt(norm))


class MaskedConv2d(nn.Module):
    """Same-size convolution that sees only positions already decoded in raster order, never the current one.

    Not an `nn.Conv2d`, on purpose: `weight` may hold values under the mask, so code that would read it as a plain
    convolution's must ask for `masked_weight` instead.

    Source: van den Oord et al., "Conditional image generation with PixelCNN decoders" (NeurIPS 2016), mask A.
    """

    mask: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 5) -> None:
        super().__init__()
        plain = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.padding = kernel_size // 2
        self.weight = plain.weight  # [out, in, k, k]
        self.bias = cast(nn.Parameter, plain.bias)  # [out]
        self.register_buffer("mask", causal_mask(out_channels, in_channels, kernel_size))

    def masked_weight(self) -> Tensor:
        """Return the kernel in effect, [out, in, k, k]: zero at the centre, right of it and below."""
        return self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H, W]."""
        return F.conv2d(x, self.masked_weight(), self.bias, padding=self.padding)


def causal_mask(out_channels: int, in_channels: int, kernel_size: int) -> Tensor:
    """Return float32 [out, in, k, k]: 1 for taps before the centre in raster order, else 0."""
    taps = torch.arange(kernel_size * kernel_size) < kernel_size * kernel_size // 2
    return taps.to(torch.float32).reshape(kernel_size, kernel_size).repeat(out_channels, in_channels, 1, 1)


def conv(in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2) -> nn.Conv2d:
    """Build a convolution that maps H to ceil(H / stride)."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2)


def deconv(in_channels: int, out_channels: int, kernel_size: int = 5, stride: int = 2) -> nn.ConvTranspose2d:
    """Build a transposed convolution that maps H to H * stride exactly."""
    pad = kernel_size // 2
    return nn.ConvTranspose2d(
        in_channels, out_channels, kernel_size, stride=stride, padding=pad, output_padding=stride - 1
    )


def conv3x3(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Build a 3x3 convolution that maps H to ceil(H / stride)."""
    return conv(in_channels, out_channels, kernel_size=3, stride=stride)


def conv1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    """Build a pointwise convolution."""
    return conv(in_channels, out_channels, kernel_size=1, stride=stride)


def subpel_conv3x3(in_channels: int, out_channels: int, factor: int) -> nn.Sequential:
    """Build a 3x3 convolution whose channels are shuffled into a plane `factor` times larger each way."""
    return nn.Sequential(conv3x3(in_channels, out_channels * factor * factor), nn.PixelShuffle(factor))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each followed by LeakyReLU(0.01), around a shortcut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels)
        self.conv2 = conv3x3(out_channels, out_channels)
        self.leaky_relu = nn.LeakyReLU()
        self.skip = conv1x1(in_channels, out_channels) if in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H, W]."""
        shortcut = x if self.skip is None else self.skip(x)
        inner = self.leaky_relu(self.conv1(x))
        return cast(Tensor, shortcut + self.leaky_relu(self.conv2(inner)))


class ResidualBlockWithStride(nn.Module):
    """A strided 3x3 convolution, LeakyReLU, 3x3 convolution and GDN around a strided 1x1 shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 2) -> None:
        super().__init__()
        self.conv1 = conv3x3(in_channels, out_channels, stride=stride)
        self.leaky_relu = nn.LeakyReLU()
        self.conv2 = conv3x3(out_channels, out_channels)
        self.gdn = GDN(out_channels)
        self.skip = conv1x1(in_channels, out_channels, stride) if stride > 1 or in_channels != out_channels else None

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, ceil(H / stride), ceil(W / stride)]."""
        shortcut = x if self.skip is None else self.skip(x)
        inner = self.leaky_relu(self.conv1(x))
        return cast(Tensor, shortcut + self.gdn(self.conv2(inner)))


class ResidualBlockUpsample(nn.Module):
    """Sub-pixel convolution, LeakyReLU, 3x3 convolution and inverse GDN around a sub-pixel shortcut."""

    def __init__(self, in_channels: int, out_channels: int, factor: int = 2) -> None:
        super().__init__()
        self.subpel_conv = subpel_conv3x3(in_channels, out_channels, factor)
        self.leaky_relu = nn.LeakyReLU()
        self.conv = conv3x3(out_channels, out_channels)
        self.igdn = GDN(out_channels, inverse=True)
        self.upsample = subpel_conv3x3(in_channels, out_channels, factor)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in, H, W] to [B, out, H * factor, W * factor]."""
        inner = self.leaky_relu(self.subpel_conv(x))
        return cast(Tensor, self.upsample(x) + self.igdn(self.conv(inner)))


class ResidualUnit(nn.Module):
    """A 1x1, 3x3, 1x1 bottleneck of half the channels, added to its input before a ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv = nn.Sequential(
            conv1x1(channels, half), nn.ReLU(), conv3x3(half, half), nn.ReLU(), conv1x1(half, channels)
        )
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        return cast(Tensor, self.relu(x + self.conv(x)))


class AttentionBlock(nn.Module):
    """Add to x a trunk of residual units, weighted by the sigmoid of a second branch.

    Source: Cheng et al., "Learned image compression with discretized Gaussian mixture likelihoods and attention
    modules" (CVPR 2020), the simplified attention module (no non-local block).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv_a = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)))
        self.conv_b = nn.Sequential(*(ResidualUnit(channels) for _ in range(3)), conv1x1(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to the same shape."""
        return cast(Tensor, x + self.conv_a(x) * torch.sigmoid(self.conv_b(x)))

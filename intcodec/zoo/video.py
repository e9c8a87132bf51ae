"""Scale-space flow: frames predicted by warping a blurred or sharp version of the last reconstruction.

What may live here: the float video model and its parts. Frames are float32 [B, 3, H, W] in [0, 1], H and W multiples
of 128; reconstructions are not clamped. An autoencoder's y is 1/16 and its z 1/128 of the frame each way.

    key     x ------------------> img ---------------------------------------> x_hat
    inter   x, x_ref -----------> motion --> flow, scale --> warp(x_ref) ----> prediction --+--> x_hat
            x - prediction -----> res (decoded with motion's y_hat) ---------> residual ----+

Source: Agustsson et al., "Scale-space flow for end-to-end optimized video compression" (CVPR 2020).
"""

from __future__ import annotations

from typing import Any, TypeAlias, TypedDict, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intcodec.base.errors import InputError
from intcodec.zoo.entropy import EntropyBottleneck, GaussianConditional
from intcodec.zoo.layers import conv, deconv

#: Names of the three autoencoders; each is coded into z and y.
PARTS = ("img", "motion", "res")
#: Standard deviation of the blur between two scales, in pixels of its input.
SIGMA = 1.5
#: Blurred volumes; with the picture itself, the scale axis has one level more.
LEVELS = 5
#: What the scales of the hyperprior are clamped to, layer by layer.
SCALE_CEILING = 255.0

Likelihoods: TypeAlias = dict[str, dict[str, Tensor]]
#: For each of PARTS: encoder, decoder, hyper encoder, hyper decoder of means, hyper decoder of scales.
VideoTransforms: TypeAlias = tuple[tuple[nn.Module, nn.Module, nn.Module, nn.Module, nn.Module], ...]


class VideoOutput(TypedDict):
    """What a forward pass returns: reconstructions, and for each frame {"keyframe" or "motion" and "residual": {...}}.

    The innermost are likelihoods of "y" and "z".
    """

    x_hat: list[Tensor]
    likelihoods: list[Likelihoods]


class _SoftClamp(torch.autograd.Function):
    """clamp(x, 0, ceiling) whose gradient fades within a few percent outside the range.

    Source: Balle, Johnston, Minnen, "Integer networks for data compression with latent-variable models" (ICLR 2019).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.ceiling = ceiling
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        (x,) = ctx.saved_tensors
        (grad,) = grads
        outside = (x < 0) | (x > ctx.ceiling)
        fading = torch.exp(-((torch.abs((2 / ctx.ceiling) * x - 1) * 0.9943258522851727) ** 100.0))
        return torch.where(outside, grad * fading, grad), None


class ScaleDecoder(nn.Module):
    """Three transposed convolutions, each clamped to [0, 255]: scales of y from z_hat."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv1, self.deconv2, self.deconv3 = (deconv(channels, channels) for _ in range(3))

    def forward(self, z_hat: Tensor) -> Tensor:
        """Return scales [B, M, 8h, 8w] of z_hat [B, M, h, w]."""
        for layer in (self.deconv1, self.deconv2, self.deconv3):
            z_hat = cast(Tensor, _SoftClamp.apply(layer(z_hat), SCALE_CEILING))  # type: ignore[no-untyped-call]
        return z_hat


class Hyperprior(nn.Module):
    """Codes a latent y with a Gaussian for each element, its scale and mean from z."""

    def __init__(self, channels: int, encoder: nn.Module, means: nn.Module, scales: nn.Module) -> None:
        super().__init__()
        self.entropy_bottleneck = EntropyBottleneck(channels)
        self.hyper_encoder = encoder
        self.hyper_decoder_mean = means
        self.hyper_decoder_scale = scales
        self.gaussian_conditional = GaussianConditional()

    def forward(self, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return y_hat, rounded around the means with the gradient of y, and the likelihoods of "y" and "z".

        Raises:
            InputError: y's sides are no multiples of 8.
        """
        if y.shape[-2] % 8 or y.shape[-1] % 8:
            height, width = (16 * side for side in y.shape[-2:])
            raise InputError(f"frame of about {height}x{width} (height x width): pad both to multiples of 128")
        z_hat, z_likelihoods = self.entropy_bottleneck(self.hyper_encoder(y))
        means, scales = self.hyper_decoder_mean(z_hat), self.hyper_decoder_scale(z_hat)
        _, y_likelihoods = self.gaussian_conditional(y, scales, means)
        offset = y - means
        y_hat = offset + (torch.round(offset) - offset).detach() + means
        return y_hat, {"y": y_likelihoods, "z": z_likelihoods}


class ScaleSpaceFlow(nn.Module):
    """A key-frame autoencoder, and motion and residual autoencoders for the frames after it."""

    downsampling_factor = 128

    def __init__(self, arch: str, N: int, M: int, transforms: VideoTransforms) -> None:
        super().__init__()
        self.arch, self.N, self.M = arch, N, M
        for part, (encoder, decoder, *hyper) in zip(PARTS, transforms, strict=True):
            self.add_module(f"{part}_encoder", encoder)
            self.add_module(f"{part}_decoder", decoder)
            self.add_module(f"{part}_hyperprior", Hyperprior(M, *hyper))

    def transform(self, name: str) -> nn.Module:
        """Return an encoder or a decoder, such as "img_encoder"."""
        return cast(nn.Module, getattr(self, name))

    def hyperprior(self, part: str) -> Hyperprior:
        """Return the hyperprior of one of PARTS."""
        return cast(Hyperprior, getattr(self, f"{part}_hyperprior"))

    def aux_loss(self) -> Tensor:
        """Return the scalar loss of all bottlenecks' quantiles, to minimise with an optimiser of its own."""
        return torch.stack([self.hyperprior(part).entropy_bottleneck.loss() for part in PARTS]).sum()

    def forward(self, frames: list[Tensor]) -> VideoOutput:
        """Code and decode a clip: the first frame as a key frame, each other one after the frame before it.

        Raises:
            InputError: the clip is empty, or a side is no multiple of 128.
        """
        if not frames:
            raise InputError("a clip needs at least one frame")
        x_hat, likelihoods = self.key_frame(frames[0])
        pictures, bits = [x_hat], [likelihoods]
        reference = x_hat.detach()  # as in the paper, the key frame is not trained through the frames after it
        for frame in frames[1:]:
            reference, likelihoods = self.inter_frame(frame, reference)
            pictures.append(reference)
            bits.append(likelihoods)
        return {"x_hat": pictures, "likelihoods": bits}

    def key_frame(self, x: Tensor) -> tuple[Tensor, Likelihoods]:
        """Code and decode a frame [B, 3, H, W] by itself: (x_hat, {"keyframe": likelihoods})."""
        y_hat, likelihoods = self.hyperprior("img")(self.transform("img_encoder")(x))
        return self.transform("img_decoder")(y_hat), {"keyframe": likelihoods}

    def inter_frame(self, x: Tensor, reference: Tensor) -> tuple[Tensor, Likelihoods]:
        """Code and decode a frame after the reconstruction of the one before it, both [B, 3, H, W].

        Returns:
            x_hat and {"motion", "residual": likelihoods}.
        """
        motion_hat, motion = self.hyperprior("motion")(
            self.transform("motion_encoder")(torch.cat((x, reference), dim=1))
        )
        flow = self.transform("motion_decoder")(motion_hat)
        with torch.autocast(x.device.type, enabled=False):  # positions need all their bits
            prediction = warp(scale_space(reference.float()), flow.float())
        residual_hat, residual = self.hyperprior("res")(self.transform("res_encoder")(x - prediction))
        x_hat = prediction + self.transform("res_decoder")(torch.cat((residual_hat, motion_hat), dim=1))
        return x_hat, {"motion": motion, "residual": residual}


def gaussian_taps(sigma: float = SIGMA) -> Tensor:
    """Return the taps of a normalised Gaussian cut at the first whole pixel beyond 3 sigma, float32 [2r + 1]."""
    radius = -int(-3 * sigma // 1)
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1, dtype=torch.float32) / sigma) ** 2)
    return taps / taps.sum()


def blur(x: Tensor) -> Tensor:
    """Return x [B, C, H, W] blurred by a Gaussian of SIGMA pixels, edges replicated."""
    taps = gaussian_taps().to(x)
    radius = len(taps) // 2
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)
    return F.conv2d(F.pad(x, (radius,) * 4, mode="replicate"), kernel, groups=x.shape[1])


def scale_space(x: Tensor) -> Tensor:
    """Return the scale-space volume [B, C, LEVELS + 1, H, W] of x [B, C, H, W]: level 0 is x, each next one blurrier.

    Level 1 is blurred at full size; level i + 1 is the blurred half-size version of level i, brought back to full size
    by doubling it bilinearly i times.
    """
    volume = [x]
    for level in range(LEVELS):
        x = blur(x if level == 0 else F.avg_pool2d(x, 2))
        full = x
        for _ in range(level):
            full = F.interpolate(full, scale_factor=2, mode="bilinear", align_corners=False)
        volume.append(full)
    return torch.stack(volume, dim=2)


def warp(volume: Tensor, motion: Tensor) -> Tensor:
    """Sample a scale-space volume [B, C, D, H, W] trilinearly where `motion` points to; edges are replicated.

    Args:
        volume: from `scale_space`.
        motion: [B, 3, H, W]: displacement right and down in units of half the width and height, and the position on
            the scale axis, from -1 (half a level before the first) to 1 (half a level beyond the last).

    Returns:
        [B, C, H, W].
    """
    batch, channels, _, height, width = volume.shape
    identity = torch.eye(2, 3, device=volume.device).expand(batch, 2, 3)
    grid = F.affine_grid(identity, [batch, channels, height, width], align_corners=False)
    moved = motion.float().permute(0, 2, 3, 1)
    flow, scale = moved[..., :2], moved[..., 2:]
    points = torch.cat((grid + flow, scale), dim=-1).unsqueeze(1)
    return F.grid_sample(volume.float(), points, padding_mode="border", align_corners=False).squeeze(2)


def scale_space_transforms(N: int, M: int) -> VideoTransforms:
    """Build the transforms of ssf2020; the residual decoder sees the motion's latent, too."""
    inputs, outputs, latents = (3, 6, 3), (3, 3, 3), (M, M, 2 * M)
    return tuple(
        (_encoder(i, N, M), _decoder(latent, N, o), _encoder3(M), _decoder3(M), ScaleDecoder(M))
        for i, o, latent in zip(inputs, outputs, latents, strict=True)
    )


def _encoder(inputs: int, N: int, M: int) -> nn.Sequential:
    return nn.Sequential(conv(inputs, N), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, N), nn.ReLU(), conv(N, M))


def _decoder(latent: int, N: int, outputs: int) -> nn.Sequential:
    layers = deconv(latent, N), nn.ReLU(), deconv(N, N), nn.ReLU(), deconv(N, N), nn.ReLU(), deconv(N, outputs)
    return nn.Sequential(*layers)


def _encoder3(M: int) -> nn.Sequential:
    return nn.Sequential(conv(M, M), nn.ReLU(), conv(M, M), nn.ReLU(), conv(M, M))


def _decoder3(M: int) -> nn.Sequential:
    return nn.Sequential(deconv(M, M), nn.ReLU(), deconv(M, M), nn.ReLU(), deconv(M, M))

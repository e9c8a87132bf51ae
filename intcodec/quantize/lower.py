"""Lower a zoo model to float rows: the integer network's shape, with real numbers in it.

What may live here: reading weights out of torch modules. A transposed convolution becomes the plain convolution and
pixel shuffle of docs/arithmetic.md section 3, so the rows after this are exactly the rows of the integer network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from intcodec import cdf
from intcodec.errors import InputError
from intcodec.zoo.entropy import EntropyBottleneck
from intcodec.zoo.layers import GDN

Float: TypeAlias = NDArray[np.float64]

#: Fractional bits of latents, means and scales.
FRACTION = 10
#: Largest magnitude of a latent or mean, in units of 2**-FRACTION.
LATENT_MAX = 2**21 - 1
#: Largest scale, in units of 2**-FRACTION: the scale table ends at 256.
SCALE_MAX = 2**18 - 1


@dataclass(frozen=True)
class Fixed:
    """An output whose scale and range are given, not calibrated: value = integer * scale, integer in [lo, hi]."""

    scale: float
    lo: int
    hi: int


PIXELS = Fixed(1 / 255, 0, 255)
LATENT = Fixed(2.0**-FRACTION, -LATENT_MAX, LATENT_MAX)
SCALE = Fixed(2.0**-FRACTION, 0, SCALE_MAX)


@dataclass(frozen=True)
class FloatConv:
    """Convolution, optional activation ("relu", "leaky"), optional pixel shuffle; weight float64[out, in, kh, kw]."""

    name: str
    input: str
    weight: Float
    bias: Float
    stride: int = 1
    pad: tuple[int, int, int, int] = (0, 0, 0, 0)
    upsample: int = 1
    activation: str = ""
    fixed: Fixed | None = None


@dataclass(frozen=True)
class FloatGdn:
    """GDN or its inverse with effective (reparametrised) beta float64[C] and gamma float64[C, C]."""

    name: str
    input: str
    beta: Float
    gamma: Float
    inverse: bool


@dataclass(frozen=True)
class FloatRescale:
    """Identity or magnitude of a latent, about to become an activation."""

    name: str
    input: str
    magnitude: bool


@dataclass(frozen=True)
class FloatScaleIndex:
    """Row index of a scale in the scale table (float64[K], ascending)."""

    name: str
    input: str
    scale_table: Float


FloatRow: TypeAlias = FloatConv | FloatGdn | FloatRescale | FloatScaleIndex


@dataclass(frozen=True)
class FloatGraph:
    """One transform in float: input name, rows in execution order, output names."""

    name: str
    input: str
    rows: tuple[FloatRow, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class FloatCodec:
    """A lowered model: its graphs, its entropy model's parameters, and the medians of the factorized latent."""

    arch: str
    graphs: dict[str, FloatGraph]
    factorized: str  # the latent under the factorized prior: "y" or "z"
    medians: Float
    density: dict[str, Any]  # matrices, biases, factors, quantiles: see intcodec.cdf.factorized_tables
    scale_table: Float | None


def lower_model(arch: str, model: nn.Module) -> FloatCodec:
    """Lower a zoo model.

    Args:
        arch: name of the architecture, a key of `ARCHITECTURES`.
        model: the zoo's module, as `intcodec.zoo.load_checkpoint` returns it.

    Raises:
        InputError: the architecture has no lowering.
    """
    if arch not in ARCHITECTURES:
        raise InputError(f"cannot quantize {arch!r}; choose one of {', '.join(ARCHITECTURES)}")
    return ARCHITECTURES[arch](arch, model)


def _factorized(arch: str, model: Any) -> FloatCodec:
    graphs = {
        "g_a": _graph("g_a", "x", "y", lower_sequence(model.g_a, "x", "g_a"), LATENT),
        "g_s": _graph("g_s", "y_hat", "x_hat", lower_sequence(model.g_s, "y_hat", "g_s"), PIXELS),
    }
    return FloatCodec(arch, graphs, "y", *_density(model.entropy_bottleneck), None)


def _hyperprior(arch: str, model: Any) -> FloatCodec:
    """Scale and mean-scale hyperpriors: the first sees |y| and emits scales, the second sees y and emits both."""
    has_mean = arch != "bmshj2018_hyperprior"
    stored = _numpy(model.gaussian_conditional.scale_table)
    table = stored if len(stored) > 1 else cdf.default_scale_table()
    into = FloatRescale("h_a_in", "y", magnitude=not has_mean)
    h_a = _graph("h_a", "y", "z", [into, *lower_sequence(model.h_a, into.name, "h_a")], LATENT)
    h_s = lower_sequence(model.h_s, "z_hat", "h_s")
    last = h_s.pop()
    assert isinstance(last, FloatConv)
    m = last.weight.shape[0] // 2 if has_mean else last.weight.shape[0]
    heads: list[FloatRow] = [
        replace(last, name="scale", weight=last.weight[:m], bias=last.bias[:m], fixed=SCALE, activation="relu"),
        FloatScaleIndex("index", "scale", table),
    ]
    if has_mean:
        heads.append(replace(last, name="mean", weight=last.weight[m:], bias=last.bias[m:], fixed=LATENT))
    graphs = {
        "g_a": _graph("g_a", "x", "y", lower_sequence(model.g_a, "x", "g_a"), LATENT),
        "h_a": h_a,
        "h_s": FloatGraph("h_s", "z_hat", (*h_s, *heads), ("index", "mean") if has_mean else ("index",)),
        "g_s": _graph("g_s", "y_hat", "x_hat", lower_sequence(model.g_s, "y_hat", "g_s"), PIXELS),
    }
    return FloatCodec(arch, graphs, "z", *_density(model.entropy_bottleneck), table)


ARCHITECTURES: dict[str, Callable[[str, Any], FloatCodec]] = {
    "bmshj2018_factorized": _factorized,
    "bmshj2018_hyperprior": _hyperprior,
    "mbt2018_mean": _hyperprior,
}


def _graph(name: str, src: str, out: str, rows: list[FloatRow], fixed: Fixed) -> FloatGraph:
    """Close a graph whose last row is a convolution that writes `out` in a fixed scale."""
    last = rows[-1]
    assert isinstance(last, FloatConv)
    rows[-1] = replace(last, name=out, fixed=fixed)
    return FloatGraph(name, src, tuple(rows), (out,))


def lower_sequence(modules: Iterable[nn.Module], src: str, prefix: str) -> list[FloatRow]:
    """Lower a sequence of modules that starts at tensor `src`; row names are prefix + position.

    Raises:
        InputError: a module or a setting of it has no integer form.
    """
    rows: list[FloatRow] = []
    for position, module in enumerate(modules):
        name, last = f"{prefix}_{position}", rows[-1].name if rows else src
        if isinstance(module, nn.ConvTranspose2d):
            rows.append(lower_transposed(module, name, last))
        elif isinstance(module, nn.Conv2d):
            rows.append(lower_conv(module, name, last))
        elif isinstance(module, GDN):
            beta, gamma = module.effective()
            rows.append(FloatGdn(name, last, _numpy(beta), _numpy(gamma).reshape(len(beta), -1), module.inverse))
        elif isinstance(module, (nn.ReLU, nn.LeakyReLU)):
            before = rows.pop()
            assert isinstance(before, FloatConv)
            rows.append(replace(before, activation=_activation(module)))
        else:
            raise InputError(f"{prefix}.{position}: no integer form of {type(module).__name__} is known")
    return rows


def _activation(module: nn.Module) -> str:
    if isinstance(module, nn.LeakyReLU):
        if abs(module.negative_slope - 0.01) > 1e-9:
            raise InputError(f"LeakyReLU slope {module.negative_slope} is not supported, only 0.01")
        return "leaky"
    return "relu"


def lower_conv(module: nn.Conv2d, name: str, src: str) -> FloatConv:
    """Return the row of a plain convolution with symmetric zero padding."""
    if module.groups != 1 or module.dilation != (1, 1) or module.stride[0] != module.stride[1]:
        raise InputError(f"{name}: grouped, dilated or anisotropic convolutions are not supported")
    ph, pw = (int(p) for p in module.padding)
    return FloatConv(name, src, _numpy(module.weight), _bias(module), module.stride[0], (ph, pw, ph, pw))


def lower_transposed(module: nn.ConvTranspose2d, name: str, src: str) -> FloatConv:
    """Return the row of a 5x5 stride-2 transposed convolution: a 3x3 convolution and a pixel shuffle."""
    setting = (module.kernel_size, module.stride, module.padding, module.output_padding, module.groups)
    if setting != ((5, 5), (2, 2), (2, 2), (1, 1), 1):
        raise InputError(f"{name}: only 5x5 stride-2 padding-2 transposed convolutions are supported")
    kernel = _numpy(module.weight)  # [in, out, 5, 5]
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


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Float:
    return _numpy(module.bias) if module.bias is not None else np.zeros(module.out_channels)


def _density(bottleneck: EntropyBottleneck) -> tuple[Float, dict[str, Any]]:
    parts: dict[str, Any] = {
        name: [_numpy(p) for p in getattr(bottleneck, name)] for name in ("matrices", "biases", "factors")
    }
    return _numpy(bottleneck.medians), {**parts, "quantiles": _numpy(bottleneck.quantiles)}


def _numpy(t: Any) -> Float:
    array: Float = torch.as_tensor(t).detach().to(torch.float64).numpy()
    return array

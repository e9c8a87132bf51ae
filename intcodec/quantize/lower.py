"""Lower a zoo model to float rows: the integer network's shape, with real numbers in it.

What may live here: reading weights out of torch modules. A transposed convolution becomes the plain convolution and
pixel shuffle of docs/arithmetic.md section 3, so the rows after this are exactly the rows of the integer network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from intcodec.base.errors import InputError
from intcodec.entropy import cdf
from intcodec.quantize.rows import (
    GATE,
    LATENT,
    PIXELS,
    SCALE,
    UNIT,
    Fixed,
    Float,
    FloatAdd,
    FloatCodec,
    FloatConcat,
    FloatConv,
    FloatGate,
    FloatGdn,
    FloatGraph,
    FloatRescale,
    FloatRow,
    FloatScaleIndex,
)
from intcodec.zoo.entropy import EntropyBottleneck
from intcodec.zoo.layers import (
    GDN,
    AttentionBlock,
    ResidualBlock,
    ResidualBlockUpsample,
    ResidualBlockWithStride,
    ResidualUnit,
)

#: Neighbours (dy, dx) that a context model sees, in the order of their channels: a 5x5 window before its centre.
CONTEXT = tuple((k // 5 - 2, k % 5 - 2) for k in range(12))


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
        "g_a": close_graph("g_a", "x", "y", lower_sequence(model.g_a, "x", "g_a"), LATENT),
        "g_s": close_graph("g_s", "y_hat", "x_hat", lower_sequence(model.g_s, "y_hat", "g_s"), PIXELS),
    }
    return FloatCodec(arch, graphs, "y", *density(model.entropy_bottleneck), None)


def _hyperprior(arch: str, model: Any) -> FloatCodec:
    """Scale and mean-scale hyperpriors: the first sees |y| and emits scales, the second sees y and emits both."""
    has_mean = arch != "bmshj2018_hyperprior"
    table = scale_table_of(model)
    h_s = _heads(lower_sequence(model.h_s, "z_hat", "h_s"), table, has_mean)
    graphs = _transforms(model, magnitude=not has_mean)
    graphs["h_s"] = FloatGraph("h_s", ("z_hat",), tuple(h_s), ("index", "mean") if has_mean else ("index",))
    return FloatCodec(arch, graphs, "z", *density(model.entropy_bottleneck), table)


def _autoregressive(arch: str, model: Any) -> FloatCodec:
    """Context models: h_s emits parameters; with the neighbours decoded before, they give scale and mean."""
    table = scale_table_of(model)
    graphs = _transforms(model, magnitude=False)
    h_s = lower_sequence(model.h_s, "z_hat", "h_s")
    h_s[-1] = replace(h_s[-1], name="params")
    graphs["h_s"] = FloatGraph("h_s", ("z_hat",), tuple(h_s), ("params",))
    masked = _numpy(model.context_prediction.masked_weight())  # [2M, M, 5, 5]
    taps = np.stack([masked[:, :, dy + 2, dx + 2] for dy, dx in CONTEXT], axis=1)  # [2M, 12, M]
    context: list[FloatRow] = [
        FloatConv("context", "neighbours", taps.reshape(len(taps), -1, 1, 1), _numpy(model.context_prediction.bias)),
        FloatConcat("joined", "params", "context"),
        *lower_sequence(model.entropy_parameters, "joined", "parameters"),
    ]
    rows = _heads(context, table, True)
    graphs["context"] = FloatGraph("context", ("neighbours", "params"), tuple(rows), ("index", "mean"))
    return FloatCodec(arch, graphs, "z", *density(model.entropy_bottleneck), table)


def _transforms(model: Any, magnitude: bool) -> dict[str, FloatGraph]:
    """Return g_a, g_s and h_a."""
    into = FloatRescale("h_a_in", "y", magnitude)
    return {
        "g_a": close_graph("g_a", "x", "y", lower_sequence(model.g_a, "x", "g_a"), LATENT),
        "h_a": close_graph("h_a", "y", "z", [into, *lower_sequence(model.h_a, into.name, "h_a")], LATENT),
        "g_s": close_graph("g_s", "y_hat", "x_hat", lower_sequence(model.g_s, "y_hat", "g_s"), PIXELS),
    }


def _heads(rows: list[FloatRow], table: Float, has_mean: bool) -> list[FloatRow]:
    """Split the last convolution into the scale, which becomes an index at once, and the mean."""
    last = rows.pop()
    assert isinstance(last, FloatConv)
    m = last.weight.shape[0] // 2 if has_mean else last.weight.shape[0]
    scale = replace(last, name="scale", weight=last.weight[:m], bias=last.bias[:m], fixed=SCALE, activation="relu")
    rows += [scale, FloatScaleIndex("index", "scale", table)]
    if has_mean:
        rows.append(replace(last, name="mean", weight=last.weight[m:], bias=last.bias[m:], fixed=LATENT))
    return rows


def scale_table_of(model: Any) -> Float:
    """Return the scales of the Gaussian tables: those that a module carries, else the usual ones."""
    stored = _numpy(model.gaussian_conditional.scale_table)
    return stored if len(stored) > 1 else cdf.default_scale_table()


ARCHITECTURES: dict[str, Callable[[str, Any], FloatCodec]] = {
    "bmshj2018_factorized": _factorized,
    "bmshj2018_hyperprior": _hyperprior,
    "mbt2018_mean": _hyperprior,
    "mbt2018": _autoregressive,
    "cheng2020_anchor": _autoregressive,
    "cheng2020_attn": _autoregressive,
}


def close_graph(name: str, src: str, out: str, rows: list[FloatRow], fixed: Fixed) -> FloatGraph:
    """Close a graph: its last row (a convolution, or an attention block's sum) writes `out` in a fixed scale."""
    last = rows[-1]
    assert isinstance(last, (FloatConv, FloatAdd))
    rows[-1] = replace(last, name=out, fixed=fixed)
    if isinstance(last, FloatAdd):  # the shortcut's scales must be powers of two for the sum's to be 2**-FRACTION
        rows = [replace(r, align=UNIT) if isinstance(r, FloatConv) and r.name == last.other else r for r in rows]
    return FloatGraph(name, (src,), tuple(rows), (out,))


def lower_sequence(modules: Iterable[nn.Module], src: str, prefix: str) -> list[FloatRow]:
    """Lower a sequence of modules that starts at tensor `src`; row names are prefix + position.

    Raises:
        InputError: a module or a setting of it has no integer form.
    """
    rows: list[FloatRow] = []
    for position, module in enumerate(modules):
        name, last = f"{prefix}_{position}", rows[-1].name if rows else src
        if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
            before = rows.pop()
            assert isinstance(before, FloatConv)
            rows.append(replace(before, activation=_activation(module)))
        else:
            rows += lower_module(module, name, last)
    return rows


def lower_module(module: Any, name: str, src: str) -> list[FloatRow]:
    """Lower one layer or block that reads tensor `src`; the last row is called `name`.

    Raises:
        InputError: it has no integer form.
    """
    if isinstance(module, nn.ConvTranspose2d):
        return [lower_transposed(module, name, src)]
    if isinstance(module, nn.Conv2d):
        return [lower_conv(module, name, src)]
    if isinstance(module, GDN):
        beta, gamma = module.effective()
        return [FloatGdn(name, src, _numpy(beta), _numpy(gamma).reshape(len(beta), -1), module.inverse)]
    if isinstance(module, nn.Sequential) and len(module) == 2 and isinstance(module[1], nn.PixelShuffle):
        if module[1].upscale_factor != 2:
            raise InputError(f"{name}: only pixel shuffles by 2 are supported")
        return [replace(lower_conv(cast(nn.Conv2d, module[0]), name, src), upsample=2)]
    if type(module) in BLOCKS:
        return BLOCKS[type(module)](module, name, src)
    raise InputError(f"{name}: no integer form of {type(module).__name__} is known")


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


def _residual(module: ResidualBlock, name: str, src: str) -> list[FloatRow]:
    rows: list[FloatRow] = []
    if module.skip is not None:
        rows.append(lower_conv(module.skip, f"{name}_skip", src))
    shortcut = rows[-1].name if rows else src
    first = replace(lower_conv(module.conv1, f"{name}_1", src), activation="leaky")
    second = replace(lower_conv(module.conv2, f"{name}_2", first.name), activation="leaky", align=shortcut)
    return [*rows, first, second, FloatAdd(name, second.name, shortcut)]


def _residual_strided(module: ResidualBlockWithStride, name: str, src: str) -> list[FloatRow]:
    if module.skip is None:
        raise InputError(f"{name}: a strided residual block without a strided shortcut is not supported")
    skip = lower_conv(module.skip, f"{name}_skip", src)
    first = replace(lower_conv(module.conv1, f"{name}_1", src), activation="leaky")
    second = lower_conv(module.conv2, f"{name}_2", first.name)
    (gdn,) = lower_module(module.gdn, f"{name}_gdn", second.name)
    assert isinstance(gdn, FloatGdn)
    return [skip, first, second, replace(gdn, align=skip.name), FloatAdd(name, gdn.name, skip.name)]


def _residual_upsampled(module: ResidualBlockUpsample, name: str, src: str) -> list[FloatRow]:
    (skip,) = lower_module(module.upsample, f"{name}_skip", src)
    (first,) = lower_module(module.subpel_conv, f"{name}_1", src)
    assert isinstance(first, FloatConv)
    second = lower_conv(module.conv, f"{name}_2", first.name)
    (gdn,) = lower_module(module.igdn, f"{name}_gdn", second.name)
    assert isinstance(gdn, FloatGdn)
    gdn = replace(gdn, align=skip.name)
    return [skip, replace(first, activation="leaky"), second, gdn, FloatAdd(name, gdn.name, skip.name)]


def _residual_unit(module: ResidualUnit, name: str, src: str) -> list[FloatRow]:
    rows = lower_sequence(module.conv, src, name)
    last = rows.pop()
    assert isinstance(last, FloatConv)
    return [*rows, replace(last, align=src), FloatAdd(name, last.name, src, relu=True)]


def _attention(module: AttentionBlock, name: str, src: str) -> list[FloatRow]:
    trunk = lower_sequence(module.conv_a, src, f"{name}_a")
    branch = lower_sequence(module.conv_b, src, f"{name}_b")
    last = branch.pop()
    assert isinstance(last, FloatConv)
    gate = FloatGate(f"{name}_gate", trunk[-1].name, last.name)
    return [*trunk, *branch, replace(last, fixed=GATE), gate, FloatAdd(name, gate.name, src)]


BLOCKS: dict[type[nn.Module], Callable[[Any, str, str], list[FloatRow]]] = {
    ResidualBlock: _residual,
    ResidualBlockWithStride: _residual_strided,
    ResidualBlockUpsample: _residual_upsampled,
    ResidualUnit: _residual_unit,
    AttentionBlock: _attention,
}


def _bias(module: nn.Conv2d | nn.ConvTranspose2d) -> Float:
    return _numpy(module.bias) if module.bias is not None else np.zeros(module.out_channels)


def density(bottleneck: EntropyBottleneck) -> tuple[Float, dict[str, Any]]:
    """Return the medians and the parameters of a factorized density, as `FloatCodec` holds them."""
    parts: dict[str, Any] = {
        name: [_numpy(p) for p in getattr(bottleneck, name)] for name in ("matrices", "biases", "factors")
    }
    return _numpy(bottleneck.medians), {**parts, "quantiles": _numpy(bottleneck.quantiles)}


def _numpy(t: Any) -> Float:
    array: Float = torch.as_tensor(t).detach().to(torch.float64).numpy()
    return array

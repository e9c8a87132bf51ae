"""Lowering of whole models of the zoo: their graphs, their densities and their scale tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from intcodec.base.errors import InputError
from intcodec.entropy import cdf
from intcodec.quantize.floatgraph import FloatCodec, FloatGraph
from intcodec.quantize.fold import UNIT
from intcodec.quantize.lowering import blocks  # noqa: F401 - it registers the zoo's blocks
from intcodec.quantize.lowering.layers import as_float
from intcodec.quantize.lowering.registry import lower_sequence
from intcodec.quantize.precision import LATENT, PIXELS, SCALE, Fixed
from intcodec.quantize.rows.add import FloatAdd
from intcodec.quantize.rows.concat import FloatConcat
from intcodec.quantize.rows.conv import FloatConv
from intcodec.quantize.rows.rescale import FloatRescale
from intcodec.quantize.rows.row import Float, FloatRow
from intcodec.quantize.rows.scale_index import FloatScaleIndex
from intcodec.zoo.entropy import EntropyBottleneck

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
    masked = as_float(model.context_prediction.masked_weight())  # [2M, M, 5, 5]
    taps = np.stack([masked[:, :, dy + 2, dx + 2] for dy, dx in CONTEXT], axis=1)  # [2M, 12, M]
    context: list[FloatRow] = [
        FloatConv("context", "neighbours", taps.reshape(len(taps), -1, 1, 1), as_float(model.context_prediction.bias)),
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
    stored = as_float(model.gaussian_conditional.scale_table)
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


def density(bottleneck: EntropyBottleneck) -> tuple[Float, dict[str, Any]]:
    """Return the medians and the parameters of a factorized density, as `FloatCodec` holds them."""
    parts: dict[str, Any] = {
        name: [as_float(p) for p in getattr(bottleneck, name)] for name in ("matrices", "biases", "factors")
    }
    return as_float(bottleneck.medians), {**parts, "quantiles": as_float(bottleneck.quantiles)}

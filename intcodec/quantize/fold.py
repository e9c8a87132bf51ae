"""Fold calibrated scales into integer rows and choose every shift from the accumulator's worst case.

What may live here: the choice of scales, shifts and integers (numpy only, no torch). `intcodec.network.proof`
proves the result afterwards without any of this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from typing import Any

import numpy as np

from intcodec.base.errors import InputError
from intcodec.base.integers import ACC_LIMIT
from intcodec.network.graph import Graph, Latent
from intcodec.quantize.rows import (
    CEILING,
    FRACTION,
    PIXELS,
    UNIT,
    Float,
    FloatAdd,
    FloatCodec,
    FloatConcat,
    FloatConv,
    FloatGate,
    FloatGdn,
    FloatGraph,
    FloatRescale,
    FloatScaleIndex,
)
from intcodec.quantize.scales import row_borders
from intcodec.rows.add import Add
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gate import Gate
from intcodec.rows.gdn import NORM_LIMIT, Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.scale_index import ScaleIndex

#: LeakyReLU slope 0.01 in units of 2**-16.
LEAKY_SLOPE = 655
#: Bits of activations that only sums and products of at most so many terms read.
WIDE_BITS, WIDE_TERMS = 14, 128


@dataclass(frozen=True)
class Precision:
    """Bit widths and head room of a conversion, and how it picks the CDF rows of scales.

    `unsigned_max` is the largest activation where none is negative: as large as the larger Winograd tiles of the native
    engine take. `hedge` is where the borders between rows lie (`intcodec.quantize.scales.row_borders`); None is where
    calibration pictures become smallest.
    """

    activation_bits: int = 12
    weight_bits: int = 12
    latent_bits: int = 13
    unsigned_max: int = 2730
    margin: float = 1.25
    hedge: float | None = None

    @property
    def activation_max(self) -> int:
        """Largest activation: 2**(bits - 1) - 1."""
        return (1 << (self.activation_bits - 1)) - 1

    @property
    def weight_max(self) -> int:
        """Largest weight: 2**(bits - 1) - 1."""
        return (1 << (self.weight_bits - 1)) - 1

    @property
    def latent_max(self) -> int:
        """Largest integer of a rounded latent that enters h_s or g_s."""
        return (1 << (self.latent_bits - 1)) - 1


@dataclass(frozen=True)
class Source:
    """An input of a row: its spec and the real scale of each channel."""

    spec: TensorSpec
    scale: Float


def fold_codec(
    codec: FloatCodec,
    magnitudes: Mapping[str, Float],
    precision: Precision,
    given: Mapping[str, Source] | None = None,
) -> tuple[dict[str, Graph], dict[str, Latent]]:
    """Return the integer graphs and latents of a lowered, calibrated model.

    Args:
        codec: the lowered model.
        magnitudes: from `calibrate`.
        precision: bit widths and head room; its hedge is given, where the model predicts scales.
        given: tensors that come from outside, by name; by default the pixels "x".
    """
    latents: dict[str, Latent] = {}
    pixels = {"x": Source(TensorSpec("x", 3, PIXELS.lo, PIXELS.hi), np.full(3, PIXELS.scale))}
    sources = {UNIT: Source(TensorSpec(UNIT, 1, 0, 1), np.ones(1)), **(pixels if given is None else given)}
    for name in ("y", "z"):
        if f"{name}_hat" in magnitudes:
            latents[name], sources[f"{name}_hat"] = _latent(codec, name, magnitudes[f"{name}_hat"], precision)
    if "context" in codec.graphs:
        one = sources["y_hat"]
        spec = TensorSpec("neighbours", 12 * one.spec.channels, one.spec.lo, one.spec.hi)
        sources["neighbours"] = Source(spec, np.tile(one.scale, 12))
    graphs = {}
    for graph in codec.graphs.values():
        inside = dict(sources)
        finer, wide = replace(precision, activation_bits=WIDE_BITS, unsigned_max=2**WIDE_BITS - 1), _wide(graph)
        rows = [_fold_row(row, inside, magnitudes, finer if row.name in wide else precision) for row in graph.rows]
        inputs = tuple(sources[name].spec for name in graph.inputs)
        graphs[graph.name] = Graph(graph.name, inputs, tuple(rows), graph.outputs)
        for name in graph.outputs:
            sources[name] = inside[name]
    return graphs, latents


def _wide(graph: FloatGraph) -> set[str]:
    """Return the tensors that are read only where more bits cost nothing: by sums, and by products of few terms.

    That is the path around and through an attention block, whose sums of many steps would each add a rounding.
    """
    wide = {row.name for row in graph.rows} - set(graph.outputs)
    for row in graph.rows:
        few = isinstance(row, FloatConv) and row.weight[0].size <= WIDE_TERMS
        if not few and not isinstance(row, (FloatAdd, FloatGate)):
            wide.discard(row.input)
            wide.discard(getattr(row, "other", ""))
    return wide


def _latent(codec: FloatCodec, name: str, largest: Float, precision: Precision) -> tuple[Latent, Source]:
    """Choose the fixed point in which a rounded latent enters the next graph: as many bits as its range allows."""
    top = precision.latent_max
    exact = name != codec.factorized and all("mean" not in graph.outputs for graph in codec.graphs.values())
    bits = np.floor(np.log2(top / np.maximum(largest * precision.margin + 1, 1e-9)))
    kept = np.zeros_like(bits) if exact else np.clip(bits, 0, FRACTION)
    offset = np.zeros(len(largest)) if name != codec.factorized else np.rint(codec.medians * 2.0**FRACTION)
    shift = (FRACTION - kept).astype(np.uint8)
    latent = Latent(name, FRACTION, offset.astype(np.int32), shift, -top, top)
    return latent, Source(TensorSpec(f"{name}_hat", len(largest), -top, top), 2.0**-kept)


def _fold_row(row: Any, sources: dict[str, Source], magnitudes: Mapping[str, Float], precision: Precision) -> Row:
    src = sources[row.input]
    largest = magnitudes.get(row.name)
    folded: Row
    if isinstance(row, FloatConv):
        aligned = sources[row.align].scale if row.align else None
        if row.activation == "leaky" and largest is not None:  # what is negative was 100 times larger before
            largest = np.maximum(largest, magnitudes[f"{row.name}-"] * 100 * precision.activation_max / 32768)
        folded, scale = fold_conv(row, src.spec, src.scale, largest, precision, aligned)
    elif isinstance(row, FloatGdn):
        aligned = sources[row.align].scale if row.align else None
        folded, scale = fold_gdn(row, src.spec, src.scale, magnitudes[row.name], precision, aligned)
    elif isinstance(row, FloatRescale):
        top = precision.activation_max
        shift = np.ceil(np.log2(_floor_scale(magnitudes[row.name] * precision.margin / top) / src.scale)).clip(0, 30)
        scale = src.scale * 2.0**shift
        lo = 0 if row.magnitude else -top
        folded = Rescale(row.name, row.input, shift.astype(np.uint8), lo, top, row.magnitude)
    elif isinstance(row, FloatScaleIndex):
        assert precision.hedge is not None, "to be chosen before"
        thresholds = np.floor(row_borders(row.scale_table, precision.hedge) / src.scale[0]).clip(0, src.spec.hi)
        folded, scale = ScaleIndex(row.name, row.input, thresholds.astype(np.int32)), np.ones(1)
    elif isinstance(row, FloatConcat):
        folded = Concat(row.name, row.input, row.other)
        scale = np.concatenate([src.scale, sources[row.other].scale])
    elif isinstance(row, FloatAdd):
        folded, scale = fold_add(row, src.scale, sources[row.other].scale, magnitudes[row.name], precision)
    elif isinstance(row, FloatGate):
        folded, scale = fold_gate(row, src, sources[row.other], magnitudes[row.name], precision)
    else:
        raise InputError(f"no integer form of {type(row).__name__}")
    specs = {name: source.spec for name, source in sources.items()}
    sources[row.name] = Source(folded.out(*(specs[n] for n in folded.inputs)), scale)
    return folded


def fold_add(row: FloatAdd, a: Float, b: Float, largest: Float, precision: Precision) -> tuple[Add, Float]:
    """Return the integer row of a sum of tensors with scales a and b, equal up to powers of two, and its scales."""
    finer = np.minimum(a, b)
    ups = [np.rint(np.log2(scale / finer)) for scale in (a, b)]
    if any((np.abs(finer * 2.0**up / scale - 1) > 1e-6).any() for up, scale in zip(ups, (a, b), strict=True)):
        raise InputError(f"row {row.name}: its inputs' scales are not aligned")
    if max(float(up.max()) for up in ups) > 14:
        raise InputError(f"row {row.name}: its inputs' scales are too far apart; calibrate on more pictures")
    if row.fixed is not None:
        step = np.rint(np.log2(row.fixed.scale / finer))
        ups = [up - step.clip(None, 0) for up in ups]
        return _add(row, ups, step.clip(0, None), row.fixed.lo, row.fixed.hi), np.full(len(a), row.fixed.scale)
    top = precision.activation_max
    hi, lo = (precision.unsigned_max, 0) if row.relu else (top, -top)
    shift = np.ceil(np.log2(_floor_scale(largest * precision.margin / hi) / finer) - 1e-9).clip(0, 29)
    return _add(row, ups, shift, lo, hi), finer * 2.0**shift


def _add(row: FloatAdd, ups: list[Float], shift: Float, lo: int, hi: int) -> Add:
    first, second, down = (v.astype(np.uint8) for v in (*ups, shift))
    return Add(row.name, row.input, row.other, first, second, down, lo, hi)


def fold_gate(row: FloatGate, a: Source, b: Source, largest: Float, precision: Precision) -> tuple[Gate, Float]:
    """Return the integer row of a * sigmoid(b) and its scales; b has one scale for all channels."""
    steps = np.arange(b.spec.lo, b.spec.hi + 1) * float(b.scale[0])
    table = np.rint(32767 / (1 + np.exp(-steps))).astype(np.int16)
    top = precision.activation_max
    wanted = np.log2(_floor_scale(largest * precision.margin / top) / a.scale)
    shift = 15 + np.ceil(wanted - 1e-9).clip(-14, 14)
    return Gate(row.name, row.input, row.other, table, shift.astype(np.uint8), -top, top), a.scale * 2.0 ** (shift - 15)


def _align(scale: Float, aligned: Float | None) -> Float:
    """Round scales up to the other tensor's times a power of two."""
    return scale if aligned is None else aligned * 2.0 ** np.ceil(np.log2(scale / aligned) - 1e-9).clip(-14, 14)


def _floor_scale(scale: Float) -> Float:
    """Keep dead channels from getting absurdly fine scales: none below 1/256 of the median."""
    return np.maximum(scale, max(float(np.median(scale)) / 256, 1e-12))


def fold_conv(
    row: FloatConv,
    src: TensorSpec,
    scale_in: Float,
    largest: Float | None,
    precision: Precision,
    aligned: Float | None = None,
) -> tuple[Conv, Float]:
    """Return the integer row of a convolution and the real scale of each of its outputs.

    Each output channel's shift is the largest for which its weights fit their width and
    |bias| + X * sum |w| (in digits as well) stays below 2**31.
    """
    lo, hi, scale = _conv_range(row, largest, precision)
    scale = _align(scale, aligned)
    x, group = max(abs(src.lo), abs(src.hi)), row.upsample**2
    shift = np.full(len(row.bias), 24)
    while True:
        per_row = np.repeat(scale, group)
        factor = 2.0**shift / per_row
        w = np.rint(row.weight * scale_in[None, :, None, None] * factor[:, None, None, None])
        b = np.rint(row.bias * factor) + np.where(shift > 0, 2.0 ** (shift - 1), 0)
        w_hi = np.floor((w + 128) / 256)
        digits = (256 * np.abs(w_hi) + np.abs(w - 256 * w_hi)).sum(axis=(1, 2, 3)) * (x + 384) + np.abs(b)
        over = (digits >= ACC_LIMIT) | (np.abs(w).max(axis=(1, 2, 3)) > precision.weight_max)
        if not over.any():
            break
        stuck = (over & (shift == 0)).reshape(-1, group).any(axis=1)  # mostly channels that calibration saw dead
        if row.fixed is not None and stuck.any():
            raise InputError(f"row {row.name}: weights too large for its output's fixed scale")
        scale = np.where(stuck, scale * 2, scale)
        shift = np.where(over & (shift > 0), shift - 1, shift)
    weight = np.ascontiguousarray(w.transpose(0, 2, 3, 1)).astype(np.int16)
    slope = LEAKY_SLOPE if row.activation == "leaky" else 0
    conv = Conv(
        row.name, row.input, weight, b.astype(np.int32), shift.astype(np.uint8), lo, hi, row.stride, row.pad,
        row.upsample, slope,
    )  # fmt: skip
    return conv, scale


def _conv_range(row: FloatConv, largest: Float | None, precision: Precision) -> tuple[int, int, Float]:
    fixed = row.fixed
    if fixed is not None:
        return fixed.lo, fixed.hi, np.full(len(row.bias) // row.upsample**2, fixed.scale)
    assert largest is not None
    top = precision.activation_max
    hi = precision.unsigned_max if row.activation in ("relu", "clamp") else top
    lo = {"": -top, "relu": 0, "clamp": 0, "leaky": -32768}[row.activation]
    wanted = largest * precision.margin
    if row.activation == "clamp":
        wanted = np.minimum(wanted, CEILING)
    return lo, hi, _floor_scale(wanted / hi)


def fold_gdn(
    row: FloatGdn,
    src: TensorSpec,
    scale_in: Float,
    largest: Float,
    precision: Precision,
    aligned: Float | None = None,
) -> tuple[Gdn, Float]:
    """Return the integer row of a GDN and the real scale of each of its outputs (docs/arithmetic.md section 4)."""
    x, top = max(abs(src.lo), abs(src.hi)), precision.activation_max
    t = max(0, (x * x).bit_length() - 15)
    q = (x * x + ((1 << t) >> 1)) >> t
    real = row.gamma * (scale_in * scale_in)[None, :] * 2.0**t  # of q
    target = _align(_floor_scale(largest * precision.margin / top), aligned)
    # the free factor of each norm, as its root: as large as its limit, gamma's width and the digit sums allow ...
    root = np.sqrt(
        np.minimum(0.98 * NORM_LIMIT / (row.beta + (q + 384) * real.sum(axis=1)), 32600 / real.max(axis=1).clip(1e-30))
    )
    # ... then down by less than 2, so that the power of two between product and output gives the target scale exactly
    if row.inverse:  # scale = scale_in / root * 2**shift
        step = np.floor(np.log2(target / scale_in * root)).clip(1, 29)
        root = np.minimum(root, scale_in / target * 2.0**step)
        scale = scale_in / root * 2.0**step
    else:  # scale = scale_in * root * 2**(shift - log2(numerator))
        step = np.ceil(np.log2(target / scale_in / root))
        root = np.minimum(root, target / scale_in * 2.0**-step)
        scale = scale_in * root * 2.0**step
    factor = root * root
    gamma, beta = np.rint(real * factor[:, None]), np.maximum(np.rint(row.beta * factor), 1)
    smallest = np.array([isqrt(int(b)) for b in beta])
    power = np.floor(np.log2((ACC_LIMIT - 2**29) / x * smallest)).clip(0, 30)
    power = np.minimum(power, 29 - step)  # of the numerator; shift = step + power
    if row.inverse:
        shift, numerator = step, np.zeros(len(root))
    else:
        shift, numerator = step + power, 2.0**power
        if (power < 0).any() or (shift < 1).any():
            raise InputError(
                f"row {row.name}: the range of this normalisation does not fit; calibrate on more pictures"
            )
    gdn = Gdn(
        row.name, row.input, gamma.astype(np.int16), beta.astype(np.int32), numerator.astype(np.int32),
        shift.astype(np.uint8), t, -top, top, row.inverse,
    )  # fmt: skip
    return gdn, scale

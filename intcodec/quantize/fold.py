"""Fold a calibrated model: walk its graphs and let every row choose its integers.

What may live here: what holds for graphs of any rows, and the fixed point of latents. `intcodec.network.proof` proves
the result afterwards without any of this code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from intcodec.network.graph import Graph, Latent
from intcodec.quantize.floatgraph import FloatCodec, FloatGraph
from intcodec.quantize.precision import FRACTION, PIXELS, Precision
from intcodec.quantize.rows.row import Float, Source
from intcodec.rows.row import Row, TensorSpec

#: Bits of activations that only rows read that take wider inputs at no cost.
WIDE_BITS = 14
#: Stands for a tensor of scale 1 where a row's scales must be powers of two.
UNIT = "unit"


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
    pixels = {"x": Source(TensorSpec("x", 3, PIXELS.lo, PIXELS.hi), np.full(3, PIXELS.scale))}
    sources = {UNIT: Source(TensorSpec(UNIT, 1, 0, 1), np.ones(1)), **(pixels if given is None else given)}
    latents: dict[str, Latent] = {}
    for name in ("y", "z"):
        if f"{name}_hat" in magnitudes:
            latents[name], sources[f"{name}_hat"] = _latent(codec, name, magnitudes[f"{name}_hat"], precision)
    if "context" in codec.graphs:
        one = sources["y_hat"]
        spec = TensorSpec("neighbours", 12 * one.spec.channels, one.spec.lo, one.spec.hi)
        sources["neighbours"] = Source(spec, np.tile(one.scale, 12))
    return {graph.name: _fold_graph(graph, sources, magnitudes, precision) for graph in codec.graphs.values()}, latents


def _fold_graph(
    graph: FloatGraph, sources: dict[str, Source], magnitudes: Mapping[str, Float], precision: Precision
) -> Graph:
    """Return an integer graph, and add its outputs to the sources."""
    inside, rows = dict(sources), list[Row]()
    finer, wide = replace(precision, activation_bits=WIDE_BITS, unsigned_max=2**WIDE_BITS - 1), _wide(graph)
    for row in graph.rows:
        read = tuple(inside[name] for name in row.inputs)
        unit = inside[row.align].scale if row.align else None
        folded, scale = row.fold(read, magnitudes, finer if row.name in wide else precision, unit)
        inside[row.name] = Source(folded.out(*(source.spec for source in read)), scale)
        rows.append(folded)
    sources.update({name: inside[name] for name in graph.outputs})
    inputs = tuple(sources[name].spec for name in graph.inputs)
    return Graph(graph.name, inputs, tuple(rows), graph.outputs)


def _wide(graph: FloatGraph) -> set[str]:
    """Return the tensors that are read only where more bits cost nothing: by sums, and by products of few terms.

    That is the path around and through an attention block, whose sums of many steps would each add a rounding.
    """
    wide = {row.name for row in graph.rows} - set(graph.outputs)
    return wide.difference(*(row.inputs for row in graph.rows if not row.takes_wide))


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

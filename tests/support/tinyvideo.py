"""A small video network with random integer weights, in the shape of ssf2020; no torch, made in milliseconds.

tinyvideo.network(seed=0), tinyvideo.bundle(seed=0), tinyvideo.codec(engine="native")
tinyvideo.clip(count, height, width, seed=0)      a textured picture that moves, with noise
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import tiny

from intcodec import engines
from intcodec.clips.framecodec import REFERENCE_HI, REFERENCE_LO, VideoCodec
from intcodec.entropy.cdf import default_scale_table, gaussian_tables
from intcodec.modelfile.model import Model
from intcodec.network.graph import Graph, Latent, Network
from intcodec.rows.concat import Concat
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.scale_index import ScaleIndex
from intcodec.rows.scale_space import ScaleSpace
from intcodec.rows.warp import MOTION_BITS, Warp

N, M = 4, 6
_WIDEST = REFERENCE_HI - REFERENCE_LO
_RESIDUAL = 32767 - REFERENCE_HI
_REACH = 2 << MOTION_BITS
#: What each part's encoder reads: channels, range, standard deviation.
_READ = {
    "img": (3, 0, 255, 128.0),
    "motion": (6, REFERENCE_LO, REFERENCE_HI, 2000.0),
    "res": (3, -_WIDEST, _WIDEST, 600.0),
}
#: What its decoder makes: name, range, standard deviation, centre.
_MADE = {
    "img": ("x_hat", REFERENCE_LO, REFERENCE_HI, 640.0, 2048.0),
    "motion": ("motion", -_REACH, _REACH, 9000.0, 0.0),
    "res": ("residual", -_RESIDUAL, _RESIDUAL, 160.0, 0.0),
}


def _analysis(rng: np.random.Generator, part: str) -> Graph:
    channels, lo, hi, rms = _READ[part]
    rows: list[Row] = []
    source = ("x", channels, rms)
    for k in range(3):
        rows.append(tiny._conv(rng, f"conv{k}", source, N, 300, stride=2, lo=0, hi=4095, centre=200))
        source = (f"conv{k}", N, 400.0)
    rows.append(tiny._conv(rng, "y", source, M, 3 * 2**tiny.FRACTION, stride=2, lo=-tiny.WIDE, hi=tiny.WIDE))
    return Graph(f"{part}_g_a", (TensorSpec("x", channels, lo, hi),), tuple(rows), ("y",))


def _hyper_analysis(rng: np.random.Generator, part: str) -> Graph:
    rows: list[Row] = [Rescale("y_in", "y", np.full(M, 4, np.uint8), -tiny.ACT, tiny.ACT)]
    source = ("y_in", M, 200.0)
    for k in range(2):
        rows.append(tiny._conv(rng, f"conv{k}", source, M, 300, stride=2, lo=0, hi=4095, centre=200))
        source = (f"conv{k}", M, 400.0)
    rows.append(tiny._conv(rng, "z", source, M, 2 * 2**tiny.FRACTION, stride=2, lo=-tiny.WIDE, hi=tiny.WIDE))
    return Graph(f"{part}_h_a", (TensorSpec("y", M, -tiny.WIDE, tiny.WIDE),), tuple(rows), ("z",))


def _hyper_synthesis(rng: np.random.Generator, part: str) -> Graph:
    rows: list[Row] = []
    ends = {"mean": (2.0**tiny.FRACTION, -tiny.WIDE, tiny.WIDE, 0.0), "scale": (2.0**11, 0, 2**18, 2.0**11)}
    for name, (target, lo, hi, centre) in ends.items():
        source = ("z_hat", M, 100.0)
        for k in range(2):
            row = f"{name}{k}"
            rows.append(tiny._conv(rng, row, source, M, 300, side=3, lo=0, hi=4095, upsample=2, centre=200))
            source = (row, M, 400.0)
        rows.append(tiny._conv(rng, name, source, M, target, side=3, lo=lo, hi=hi, upsample=2, centre=centre))
    rows.append(ScaleIndex("index", "scale", np.floor(default_scale_table()[:-1] * 2**tiny.FRACTION).astype(np.int32)))
    return Graph(f"{part}_h_s", (TensorSpec("z_hat", M, -tiny.ACT, tiny.ACT),), tuple(rows), ("index", "mean"))


def _synthesis(rng: np.random.Generator, part: str) -> Graph:
    name, lo, hi, target, centre = _MADE[part]
    inputs = [TensorSpec("y_hat", M, -tiny.ACT, tiny.ACT)]
    rows: list[Row] = []
    source = ("y_hat", M, 150.0)
    if part == "res":
        inputs.append(TensorSpec("motion_y_hat", M, -tiny.ACT, tiny.ACT))
        rows.append(Concat("joined", "y_hat", "motion_y_hat"))
        source = ("joined", 2 * M, 150.0)
    for k in range(3):
        rows.append(tiny._conv(rng, f"deconv{k}", source, N, 300, side=3, lo=0, hi=4095, upsample=2, centre=200))
        source = (f"deconv{k}", N, 400.0)
    rows.append(tiny._conv(rng, name, source, 3, target, side=3, lo=lo, hi=hi, upsample=2, centre=centre))
    return Graph(f"{part}_g_s", tuple(inputs), tuple(rows), (name,))


def predict() -> Graph:
    """The graph that warps."""
    inputs = (TensorSpec("reference", 3, REFERENCE_LO, REFERENCE_HI), TensorSpec("motion", 3, -_REACH, _REACH))
    rows = (ScaleSpace("volume", "reference"), Warp("prediction", "volume", "motion"))
    return Graph("predict", inputs, rows, ("prediction",))


@lru_cache(maxsize=4)
def network(seed: int = 0) -> Network:
    rng = np.random.default_rng([seed, 2020])
    graphs: dict[str, Graph] = {}
    latents: dict[str, Latent] = {}
    tables: dict[str, Any] = {}
    for part in ("img", "motion", "res"):
        for make in (_analysis, _hyper_analysis, _hyper_synthesis, _synthesis):
            graph = make(rng, part)
            graphs[graph.name] = graph
        latents[f"{part}_y"] = tiny._latent(rng, f"{part}_y", M, centred=True)
        latents[f"{part}_z"] = tiny._latent(rng, f"{part}_z", M)
        tables[f"{part}_y"] = gaussian_tables(default_scale_table())
        tables[f"{part}_z"] = tiny._channel_tables(rng, M)
    return Network("ssf2020", {**graphs, "predict": predict()}, latents, tables)


@lru_cache(maxsize=4)
def bundle(seed: int = 0) -> Model:
    return Model.build(network(seed), {"name": "tiny ssf2020"}, {})


def codec(engine: str = "native", threads: int = 1, seed: int = 0) -> VideoCodec:
    model = bundle(seed)
    return VideoCodec(model, engines.create(engine, model.network, threads))


def clip(count: int, height: int, width: int, seed: int = 0) -> Sequence[np.ndarray]:
    """Pictures uint8[height, width, 3] of a window that moves two pixels right and one down each frame."""
    rng = np.random.default_rng(seed)
    large = tiny.picture(height + count, width + 2 * count, seed).astype(float)
    out = []
    for t in range(count):
        frame = large[t : t + height, 2 * t : 2 * t + width] + rng.normal(0, 2, (height, width, 3))
        out.append(np.clip(np.rint(frame), 0, 255).astype(np.uint8))
    return out

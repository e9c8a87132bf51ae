"""Small networks with random integer weights, in the shape that real models have; no torch, made in milliseconds.

tiny.network("factorized" | "hyperprior" | "mean-scale" | "context", seed=0)      N = 8, M = 12 channels
tiny.network("groups", seed=0)                          two groups of channels: a checkerboard, and one that is refined
tiny.picture(height, width, seed=0)                                   a smooth picture with texture and edges
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import numpy as np

from intcodec.entropy.cdf import CdfTables, default_scale_table, gaussian_tables
from intcodec.network.graph import Graph, Latent, Network
from intcodec.network.schedule import Pass
from intcodec.rows.add import Add
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gate import Gate
from intcodec.rows.gdn import Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.scale_index import ScaleIndex

ARCHS = ("factorized", "hyperprior", "mean-scale", "context")
FRACTION = 10
ACT = 2047  # activations in [-ACT, ACT]
WIDE = 2**24  # latents in [-WIDE, WIDE]


def _conv(
    rng: np.random.Generator,
    name: str,
    source: tuple[str, int, float],
    out: int,
    target: float,
    *,
    side: int = 5,
    stride: int = 1,
    pad: int | None = None,
    lo: int = -ACT,
    hi: int = ACT,
    upsample: int = 1,
    slope: int = 0,
    centre: float = 0.0,
) -> Conv:
    """Random weights, and shifts for which outputs have about the standard deviation `target` around `centre`."""
    input_name, cin, rms = source
    weight = np.clip(np.rint(rng.normal(0, 300, (out * upsample**2, side, side, cin))), -2047, 2047)
    sigma = rms * np.sqrt((weight**2).sum(axis=(1, 2, 3)))
    shift = np.clip(np.rint(np.log2(sigma / target)), 0, 24).astype(np.uint8)
    half = (np.int64(1) << shift.astype(np.int64)) >> 1
    bias = rng.normal(centre, target / 4, len(weight)) * (1 << shift.astype(np.int64)) + half
    p = side // 2 if pad is None else pad
    return Conv(
        name, input_name, weight.astype(np.int16), np.rint(bias).astype(np.int32), shift, lo, hi,
        stride=stride, pad=(p, p, p, p), upsample=upsample, slope=slope,
    )  # fmt: skip


def _gdn(rng: np.random.Generator, name: str, source: str, channels: int, *, inverse: bool) -> Gdn:
    gamma = rng.integers(0, 16000 // channels, (channels, channels)).astype(np.int16)
    np.fill_diagonal(gamma, rng.integers(2000, 6000, channels))
    beta = rng.integers(2**19, 2**21, channels).astype(np.int32)
    numerator = np.full(channels, 2**28, np.int32)
    shift = np.full(channels, 11 if inverse else 17, np.uint8)
    return Gdn(name, source, gamma, beta, numerator, shift, 7, -ACT, ACT, inverse=inverse)


def _analysis(rng: np.random.Generator, n: int, m: int) -> Graph:
    rows: list[Row] = []
    source = ("x", 3, 128.0)
    for k in range(3):
        rows.append(_conv(rng, f"conv{k}", source, n, 300, stride=2))
        rows.append(_gdn(rng, f"gdn{k}", f"conv{k}", n, inverse=False))
        source = (f"gdn{k}", n, 300.0)
    rows.append(_conv(rng, "y", source, m, 3 * 2**FRACTION, stride=2, lo=-WIDE, hi=WIDE))
    return Graph("g_a", (TensorSpec("x", 3, 0, 255),), tuple(rows), ("y",))


def _synthesis(rng: np.random.Generator, n: int, m: int) -> Graph:
    rows: list[Row] = []
    source = ("y_hat", m, 150.0)
    for k in range(3):
        rows.append(_conv(rng, f"deconv{k}", source, n, 300, side=3, upsample=2))
        rows.append(_gdn(rng, f"igdn{k}", f"deconv{k}", n, inverse=True))
        source = (f"igdn{k}", n, 300.0)
    rows.append(_conv(rng, "x_hat", source, 3, 40, side=3, lo=0, hi=255, upsample=2, centre=128))
    return Graph("g_s", (TensorSpec("y_hat", m, -ACT, ACT),), tuple(rows), ("x_hat",))


def _hyper_analysis(rng: np.random.Generator, n: int, m: int, *, magnitude: bool) -> Graph:
    slope, lo = (0, 0) if magnitude else (655, -ACT)
    rows: list[Row] = [Rescale("y_in", "y", np.full(m, 4, np.uint8), -ACT, ACT, magnitude=magnitude)]
    rows.append(_conv(rng, "conv0", ("y_in", m, 200), n, 300, side=3, lo=lo, slope=slope))
    rows.append(_conv(rng, "conv1", ("conv0", n, 200), n, 300, stride=2, lo=lo, slope=slope))
    rows.append(_conv(rng, "z", ("conv1", n, 200), n, 2 * 2**FRACTION, stride=2, lo=-WIDE, hi=WIDE))
    return Graph("h_a", (TensorSpec("y", m, -WIDE, WIDE),), tuple(rows), ("z",))


def _hyper_synthesis(rng: np.random.Generator, n: int, m: int, *, mean: bool) -> Graph:
    slope, lo = (655, -ACT) if mean else (0, 0)
    rows: list[Row] = [
        _conv(rng, "deconv0", ("z_hat", n, 100), n, 300, side=3, lo=lo, upsample=2, slope=slope),
        _conv(rng, "deconv1", ("deconv0", n, 200), n, 300, side=3, lo=lo, upsample=2, slope=slope),
        _conv(rng, "scale", ("deconv1", n, 200), m, 2 * 2**FRACTION, side=3, lo=0, hi=2**19, centre=2**FRACTION),
        ScaleIndex("index", "scale", np.floor(default_scale_table()[:-1] * 2**FRACTION).astype(np.int32)),
    ]
    if mean:
        rows.append(_conv(rng, "mean", ("deconv1", n, 200), m, 2**FRACTION, side=3, lo=-WIDE, hi=WIDE))
    outputs = ("index", "mean") if mean else ("index",)
    return Graph("h_s", (TensorSpec("z_hat", n, -ACT, ACT),), tuple(rows), outputs)


def _context(rng: np.random.Generator, n: int, m: int) -> tuple[Graph, Graph]:
    """Return h_s, which ends in an attention block, and the graph of a context model."""
    zeros, sevens = np.zeros(2 * m, np.uint8), np.full(2 * m, 7, np.uint8)
    sigmoid = np.rint(32767 / (1 + np.exp(-np.arange(-ACT, ACT + 1) / 256))).astype(np.int16)
    h_s: tuple[Row, ...] = (
        _conv(rng, "deconv0", ("z_hat", n, 100), n, 300, side=3, lo=-32768, upsample=2, slope=655),
        _conv(rng, "deconv1", ("deconv0", n, 200), 2 * m, 300, side=3, upsample=2),
        _conv(rng, "branch", ("deconv1", 2 * m, 200), 2 * m, 300, side=1),
        Gate("gate", "deconv1", "branch", sigmoid, np.full(2 * m, 15, np.uint8), -ACT, ACT),
        Add("params", "gate", "deconv1", zeros + 6, sevens, sevens, -ACT, ACT),
    )
    rows: tuple[Row, ...] = (
        _conv(rng, "seen", ("neighbours", 12 * m, 150), 2 * m, 300, side=1),
        Concat("joined", "params", "seen"),
        _conv(rng, "hidden", ("joined", 4 * m, 300), 3 * m, 300, side=1, lo=-32768, slope=655),
        _conv(rng, "scale", ("hidden", 3 * m, 200), m, 2 * 2**FRACTION, side=1, lo=0, hi=2**19, centre=2**FRACTION),
        ScaleIndex("index", "scale", np.floor(default_scale_table()[:-1] * 2**FRACTION).astype(np.int32)),
        _conv(rng, "mean", ("hidden", 3 * m, 200), m, 2**FRACTION, side=1, lo=-WIDE, hi=WIDE),
    )
    inputs = (TensorSpec("neighbours", 12 * m, -ACT, ACT), TensorSpec("params", 2 * m, -ACT, ACT))
    made = Graph("h_s", (TensorSpec("z_hat", n, -ACT, ACT),), h_s, ("params",))
    return made, Graph("context", inputs, rows, ("index", "mean"))


def _head(rng: np.random.Generator, source: str, cin: int, count: int, side: int = 1) -> tuple[Row, ...]:
    """Return rows that give index and mean of `count` channels."""
    thresholds = np.floor(default_scale_table()[:-1] * 2**FRACTION).astype(np.int32)
    seen = (source, cin, 200)
    return (
        _conv(rng, "scale", seen, count, 2 * 2**FRACTION, side=side, lo=0, hi=2**19, centre=2**FRACTION),
        ScaleIndex("index", "scale", thresholds),
        _conv(rng, "mean", seen, count, 2**FRACTION, side=side, lo=-WIDE, hi=WIDE),
    )


def _groups(rng: np.random.Generator, n: int, m: int) -> tuple[dict[str, Graph], tuple[Pass, ...]]:
    """Return the graphs and the schedule of a model with two groups of channels, four and the rest."""
    params = TensorSpec("params", 2 * m, -ACT, ACT)

    def seen(channels: int) -> TensorSpec:
        return TensorSpec("y_hat", channels, -ACT, ACT)

    def reading(channels: int) -> tuple[Row, ...]:
        return (
            _conv(rng, "near", ("y_hat", channels, 150), 2 * m, 300, side=5),
            Concat("joined", "params", "near"),
        )

    h_s = _context(rng, n, m)[0]
    even = Graph("first", (params,), _head(rng, "params", 2 * m, 4), ("index", "mean"))
    odd = Graph("second", (params, seen(4)), (*reading(4), *_head(rng, "joined", 4 * m, 4)), ("index", "mean"))
    rest = Graph("third", (params, seen(4)), (*reading(4), *_head(rng, "joined", 4 * m, m - 4, 3)), ("index", "mean"))
    refined = _conv(rng, "refined", ("joined", 4 * m, 200), m - 4, 150, side=3)
    refine = Graph("refine", (params, seen(m)), (*reading(m), refined), ("refined",))
    schedule = (
        Pass("z", 0, n),
        Pass("y", 0, 4, "even", ("h_s", "first")),
        Pass("y", 0, 4, "odd", ("second",)),
        Pass("y", 4, m - 4, "all", ("third",), "refine"),
    )
    return {g.name: g for g in (h_s, even, odd, rest, refine)}, schedule


def _latent(rng: np.random.Generator, name: str, channels: int, *, centred: bool = False) -> Latent:
    offset = np.zeros(channels, np.int32) if centred else rng.integers(-1500, 1500, channels).astype(np.int32)
    return Latent(name, FRACTION, offset, rng.integers(4, 7, channels).astype(np.uint8), -ACT, ACT)


def _channel_tables(rng: np.random.Generator, channels: int) -> CdfTables:
    return gaussian_tables(np.exp(rng.uniform(0.2, 2.0, channels)))


@lru_cache(maxsize=16)
def network(arch: str = "hyperprior", seed: int = 0, n: int = 8, m: int = 12) -> Network:
    """Return a random network of one of ARCHS, or "groups"."""
    rng = np.random.default_rng([seed, (*ARCHS, "groups").index(arch)])
    schedule: tuple[Pass, ...] = ()
    g_a, g_s = _analysis(rng, n, m), _synthesis(rng, n, m)
    if arch == "factorized":
        return Network(arch, {"g_a": g_a, "g_s": g_s}, {"y": _latent(rng, "y", m)}, {"y": _channel_tables(rng, m)})
    graphs = {"g_a": g_a, "h_a": _hyper_analysis(rng, n, m, magnitude=arch == "hyperprior")}
    if arch == "context":
        graphs["h_s"], graphs["context"] = _context(rng, n, m)
    elif arch == "groups":
        more, schedule = _groups(rng, n, m)
        graphs.update(more)
    else:
        graphs["h_s"] = _hyper_synthesis(rng, n, m, mean=arch == "mean-scale")
    latents = {"y": _latent(rng, "y", m, centred=True), "z": _latent(rng, "z", n)}
    tables = {"y": gaussian_tables(default_scale_table()), "z": _channel_tables(rng, n)}
    return Network(arch, {**graphs, "g_s": g_s}, latents, tables, schedule=schedule)


def model(arch: str = "hyperprior", seed: int = 0) -> Any:
    """Return what a codec needs of a Model, its network and an id, in no time."""
    return SimpleNamespace(network=network(arch, seed), model_id=f"{(*ARCHS, 'groups').index(arch):02x}{seed:02x}" * 16)


@lru_cache(maxsize=16)
def bundle(arch: str = "hyperprior", seed: int = 0) -> Any:
    """Return a real Model of a tiny network."""
    from intcodec.modelfile.model import Model

    return Model.build(network(arch, seed), {"name": f"tiny {arch}"})


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return uint8[height, width, 3]: waves, an edge and a little noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    planes = [np.sin(x * fx + y * fy + p) for fx, fy, p in rng.uniform(0, 0.4, (3, 3))]
    out = 128 + 70 * np.stack(planes, axis=-1) + rng.normal(0, 6, (height, width, 3))
    out[x + 2 * y > (height + width)] -= 50
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)

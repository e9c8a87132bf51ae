"""Lower, calibrate and fold a video model: three codecs with a hyperprior, and the warp between them.

What may live here: what a clip needs beyond what `lower`, `calibrate` and `fold` do for pictures. The graphs of a part
are called <part>_<graph>, its latents and tables likewise, as `Network.part` takes them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
import torch

from intcodec.base.integers import IntArray
from intcodec.clips.framecodec import PARTS, REFERENCE_BITS, REFERENCE_HI, REFERENCE_LO
from intcodec.entropy import cdf
from intcodec.network.graph import Graph, Latent, Network
from intcodec.quantize.calibrate import FloatRunner
from intcodec.quantize.floatgraph import FloatCodec, FloatGraph
from intcodec.quantize.fold import fold_codec
from intcodec.quantize.lowering.architectures import close_graph, density, scale_table_of
from intcodec.quantize.lowering.layers import lower_transposed
from intcodec.quantize.lowering.registry import lower_sequence
from intcodec.quantize.precision import CEILING, FRACTION, LATENT, Fixed, Precision
from intcodec.quantize.rows.concat import FloatConcat
from intcodec.quantize.rows.rescale import FloatRescale
from intcodec.quantize.rows.row import FloatRow, Magnitudes, Source
from intcodec.quantize.rows.scale_index import FloatScaleIndex
from intcodec.rows.row import TensorSpec
from intcodec.rows.scale_space import ScaleSpace
from intcodec.rows.warp import MOTION_BITS, Warp
from intcodec.zoo.video import ScaleSpaceFlow, scale_space, warp

#: A pixel's value of 1 is this much of the range [0, 1] of the float model.
_STEP: Final = 1 / (255 << REFERENCE_BITS)
_WIDEST: Final = REFERENCE_HI - REFERENCE_LO
_REFERENCE: Final = Fixed(_STEP, REFERENCE_LO, REFERENCE_HI)
_RESIDUAL: Final = Fixed(_STEP, -(32767 - REFERENCE_HI), 32767 - REFERENCE_HI)
#: A motion reaches twice the picture at most.
_MOTION: Final = Fixed(2.0**-MOTION_BITS, -(2 << MOTION_BITS), 2 << MOTION_BITS)
_SCALE: Final = Fixed(2.0**-FRACTION, 0, int(CEILING) << FRACTION)
#: What the decoder of each part makes, and what its encoder reads: channels, scale and range.
_MADE: Final = {"img": _REFERENCE, "motion": _MOTION, "res": _RESIDUAL}
_READ: Final = {
    "img": (3, Fixed(1 / 255, 0, 255)),
    "motion": (6, _REFERENCE),
    "res": (3, Fixed(_STEP, -_WIDEST, _WIDEST)),
}

#: The scales that a video model predicts are too small as often as too large, above all for residuals, so no scale is
#: given a narrower row than CompressAI gives it.
PRECISION: Final = Precision(hedge=0.0)

Clip = Sequence[IntArray]


def quantize_video(
    arch: str, model: ScaleSpaceFlow, clips: Iterable[Clip], precision: Precision | None = None
) -> Network:
    """Convert a video model into an integer network.

    Args:
        arch: architecture name.
        model: the zoo's module in eval mode.
        clips: calibration clips of at least two pictures uint8[H, W, 3] each, sides multiples of 128.
        precision: bit widths and head room; None takes `PRECISION`.
    """
    codecs = {part: lower_part(arch, model, part) for part in PARTS}
    magnitudes = calibrate_video(codecs, clips)
    precision = precision or PRECISION
    if precision.hedge is None:
        precision = replace(precision, hedge=PRECISION.hedge)
    graphs: dict[str, Graph] = {}
    latents: dict[str, Latent] = {}
    tables: dict[str, cdf.CdfTables] = {}
    motion: dict[str, Source] = {}
    for part, codec in codecs.items():
        channels, read = _READ[part]
        given = {"x": Source(TensorSpec("x", channels, read.lo, read.hi), np.full(channels, read.scale)), **motion}
        made, coded = fold_codec(codec, magnitudes[part], precision, given)
        graphs.update({f"{part}_{name}": replace(graph, name=f"{part}_{name}") for name, graph in made.items()})
        latents.update({f"{part}_{name}": replace(latent, name=f"{part}_{name}") for name, latent in coded.items()})
        assert codec.scale_table is not None
        tables[f"{part}_z"] = cdf.factorized_tables(**codec.density)
        tables[f"{part}_y"] = cdf.gaussian_tables(codec.scale_table)
        if part == "motion":
            y = coded["y"]
            spec = TensorSpec("motion_y_hat", y.channels, y.lo, y.hi)
            motion = {"motion_y_hat": Source(spec, 2.0 ** (y.shift.astype(float) - y.fraction))}
    return Network(arch, {**graphs, "predict": _predict()}, latents, tables)


def _predict() -> Graph:
    """Return the graph that warps a reference."""
    inputs = (TensorSpec("reference", 3, REFERENCE_LO, REFERENCE_HI), TensorSpec("motion", 3, _MOTION.lo, _MOTION.hi))
    rows = (ScaleSpace("volume", "reference"), Warp("prediction", "volume", "motion"))
    return Graph("predict", inputs, rows, ("prediction",))


def lower_part(arch: str, model: Any, part: str) -> FloatCodec:
    """Lower one of the three codecs; its graphs have their names within the part.

    Raises:
        InputError: a module has no integer form.
    """
    hyper = model.hyperprior(part)
    source, rows = "y_hat", list[FloatRow]()
    if part == "res":
        source, rows = "joined", [FloatConcat("joined", "y_hat", "motion_y_hat")]
    rows += lower_sequence(model.transform(f"{part}_decoder"), source, "g_s")
    into = FloatRescale("h_a_in", "y", False)
    encoder = lower_sequence(model.transform(f"{part}_encoder"), "x", "g_a")
    hyper_encoder = [into, *lower_sequence(hyper.hyper_encoder, into.name, "h_a")]
    g_s = close_graph("g_s", "y_hat", PARTS[part], rows, _MADE[part])
    if part == "res":
        g_s = replace(g_s, inputs=("y_hat", "motion_y_hat"))
    graphs = {
        "g_a": close_graph("g_a", "x", "y", encoder, LATENT),
        "h_a": close_graph("h_a", "y", "z", hyper_encoder, LATENT),
        "h_s": _parameters(hyper),
        "g_s": g_s,
    }
    return FloatCodec(f"{arch} {part}", graphs, "z", *density(hyper.entropy_bottleneck), scale_table_of(hyper))


def _parameters(hyper: Any) -> FloatGraph:
    """Lower the two hyper decoders into one graph."""
    means = close_graph("h_s", "z_hat", "mean", lower_sequence(hyper.hyper_decoder_mean, "z_hat", "mean"), LATENT)
    scales: list[FloatRow] = []
    for k, name in ((1, "scale_1"), (2, "scale_2"), (3, "scale")):
        row = lower_transposed(
            getattr(hyper.hyper_decoder_scale, f"deconv{k}"), name, scales[-1].name if scales else "z_hat"
        )
        scales.append(replace(row, activation="clamp", fixed=_SCALE if k == 3 else None))
    index = FloatScaleIndex("index", "scale", scale_table_of(hyper))
    return FloatGraph("h_s", ("z_hat",), (*means.rows, *scales, index), ("index", "mean"))


def calibrate_video(codecs: Mapping[str, FloatCodec], clips: Iterable[Clip]) -> dict[str, Magnitudes]:
    """Return, for each part, the largest magnitudes as `calibrate` does, over clips coded as the model codes them."""
    runner = ClipRunner(codecs)
    largest: dict[str, Magnitudes] = {part: {} for part in codecs}
    with torch.inference_mode():
        for clip in clips:
            runner.start()
            for picture in clip:
                frame = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
                for part, tensors in runner.frame(frame).items():
                    runner.record(largest[part], part, tensors)
    return largest


class ClipRunner:
    """Run the lowered codecs in float32 on the frames of a clip; the first is a key frame.

    Attributes:
        reference: the last frame's reconstruction float32[1, 3, H, W]; None before the first.
    """

    def __init__(self, codecs: Mapping[str, FloatCodec]) -> None:
        self._runners = {part: FloatRunner(codec) for part, codec in codecs.items()}
        self.reference: torch.Tensor | None = None

    def start(self) -> None:
        """Begin a new clip."""
        self.reference = None

    def frame(self, x: torch.Tensor) -> dict[str, dict[str, torch.Tensor]]:
        """Code the next frame x float32[1, 3, H, W] in [0, 1]; return every tensor of the parts that it takes."""
        if self.reference is None:
            img = self._code("img", {"x": x})
            self.reference = _clamped(img["x_hat"])
            return {"img": img}
        motion = self._code("motion", {"x": torch.cat((x, self.reference), dim=1)})
        prediction = warp(scale_space(self.reference), motion["motion"])
        res = self._code("res", {"x": x - prediction, "motion_y_hat": motion["y_hat"]})
        self.reference = _clamped(prediction + res["residual"])
        return {"motion": motion, "res": res}

    def record(self, largest: Magnitudes, part: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raise the largest magnitudes to those of a part's tensors."""
        self._runners[part].record(largest, tensors)

    def _code(self, part: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        self._runners[part].code(tensors)
        return tensors


def _clamped(picture: torch.Tensor) -> torch.Tensor:
    return picture.clamp(REFERENCE_LO * _STEP, REFERENCE_HI * _STEP)

"""Checkpoint in, proved and self-tested model bundle out."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image, ImageOps
from torch import nn
from tqdm import tqdm

import intcodec.zoo
from intcodec.base.errors import InputError
from intcodec.entropy import cdf
from intcodec.modelfile.model import Model
from intcodec.network.graph import Network
from intcodec.quantize import synthetic
from intcodec.quantize.calibrate import calibrate
from intcodec.quantize.floatgraph import FloatCodec
from intcodec.quantize.fold import fold_codec
from intcodec.quantize.lowering.architectures import ARCHITECTURES, lower_model
from intcodec.quantize.precision import Precision
from intcodec.quantize.scales import RowCosts
from intcodec.quantize.video import quantize_video
from intcodec.zoo import ScaleSpaceFlow

#: Pictures of the generated calibration set.
SYNTHETIC_COUNT = 24
#: Clips of the generated calibration set of a video model.
SYNTHETIC_CLIPS = 12
#: Architectures for clips.
VIDEO_ARCHITECTURES = ("ssf2020",)
#: Pictures that are taken of a calibration clip.
CLIP_LENGTH = 5
#: Largest side of a calibration picture; larger ones are cropped in the middle.
CALIBRATION_SIDE = 1024


def export_model(
    arch: str,
    checkpoint: Path | None,
    quality: int | None,
    metric: str,
    pretrained: bool,
    calibration: Path | None,
    output: Path,
    progress: bool = True,
    store_onnx: bool = True,
) -> Model:
    """Convert a float model and write its bundle.

    Args:
        arch: architecture name, such as "bmshj2018_hyperprior".
        checkpoint: a CompressAI checkpoint file; or None with `quality` and `pretrained`.
        quality: 1..8, selects the published model with `pretrained`.
        metric: "mse" or "ms-ssim", what the published model was trained for.
        pretrained: download the published weights.
        calibration: a folder of pictures, for a video model of folders of pictures; None calibrates on the generated
            set.
        output: the bundle to write (atomically).
        progress: show a progress bar on standard error.
        store_onnx: put the ONNX graphs into the bundle; without them the file is half as long and they are built when
            needed.

    Raises:
        InputError: the arguments, the checkpoint or the calibration folder cannot be used.
        ModelError: the converted network could not be proved.
    """
    if arch not in (*ARCHITECTURES, *VIDEO_ARCHITECTURES):
        raise InputError(f"cannot export {arch!r}; choose one of {', '.join((*ARCHITECTURES, *VIDEO_ARCHITECTURES))}")
    float_model, source = _float_model(arch, checkpoint, quality, metric, pretrained, progress)
    pictures, name = _calibration_clips(calibration) if arch in VIDEO_ARCHITECTURES else _calibration_set(calibration)
    network = quantize(arch, float_model, tqdm(pictures, "calibrate", disable=not progress, leave=False))
    manifest = {"quality": quality, "metric": metric, "source": source, "calibration": name}
    model = Model.build(network, manifest, None if store_onnx else {})
    model.save(output)
    return model


def quantize(
    arch: str,
    float_model: nn.Module,
    pictures: Iterable[np.ndarray] | Iterable[Sequence[np.ndarray]],
    precision: Precision | None = None,
) -> Network:
    """Convert a zoo model into an integer network.

    Args:
        arch: architecture name.
        float_model: the zoo's module in eval mode.
        pictures: calibration pictures uint8[H, W, 3], sides multiples of 64; for a video model clips of them, sides
            multiples of 128.
        precision: bit widths, head room and choice of CDF rows; None takes the defaults (12-bit activations and
            weights, and rows that code the calibration pictures shortest).
    """
    if isinstance(float_model, ScaleSpaceFlow):
        return quantize_video(arch, float_model, cast("Iterable[Sequence[np.ndarray]]", pictures), precision)
    codec = lower_model(arch, float_model)
    precision, tables, costs = precision or Precision(), _tables(codec), None
    if codec.scale_table is not None and precision.hedge is None:
        costs = RowCosts(codec.scale_table, tables["y"])
    magnitudes = calibrate(codec, cast("Iterable[np.ndarray]", pictures), costs)
    if costs is not None:
        precision = replace(precision, hedge=costs.best())
    graphs, latents = fold_codec(codec, magnitudes, precision)
    return Network(arch, graphs, latents, tables)


def _tables(codec: FloatCodec) -> dict[str, cdf.CdfTables]:
    tables = {codec.factorized: cdf.factorized_tables(**codec.density)}
    if codec.scale_table is not None:
        tables["y"] = cdf.gaussian_tables(codec.scale_table, outliers=cdf.OUTLIERS)
    return tables


def _float_model(
    arch: str, checkpoint: Path | None, quality: int | None, metric: str, pretrained: bool, progress: bool
) -> tuple[nn.Module, dict[str, Any]]:
    if checkpoint is not None:
        model = intcodec.zoo.load_checkpoint(arch, checkpoint)
        return model, {"file": checkpoint.name, "sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    if quality is None or not pretrained:
        raise InputError("give --checkpoint FILE, or --quality Q with --pretrained")
    model = getattr(intcodec.zoo, arch)(quality, metric=metric, pretrained=True, progress=progress).eval()
    return model, {"pretrained": f"{arch}-{quality}-{metric}"}


def _calibration_clips(folder: Path | None) -> tuple[list[list[np.ndarray]], str]:
    """Return clips and the name of their set: the generated one, or the pictures of each folder in a folder."""
    if folder is None:
        return list(synthetic.clips(SYNTHETIC_CLIPS)), f"generated, {SYNTHETIC_CLIPS} clips"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    found = (list(_folder(path, 128, CLIP_LENGTH)) for path in sorted(folder.iterdir()) if path.is_dir())
    clips = [clip for clip in found if len(clip) > 1 and len({p.shape for p in clip}) == 1]
    if not clips:
        raise InputError(f"{folder}: no folder in it has two pictures of one size, at least 128x128, to calibrate on")
    return clips, f"{len(clips)} clips of a folder"


def _calibration_set(folder: Path | None) -> tuple[list[np.ndarray], str]:
    if folder is None:
        return list(synthetic.pictures(SYNTHETIC_COUNT)), f"generated, {SYNTHETIC_COUNT} pictures"
    pictures = list(_folder(folder))
    if not pictures:
        raise InputError(f"{folder}: no picture of at least 64x64 to calibrate on")
    return pictures, f"{len(pictures)} pictures of a folder"


def _folder(folder: Path, step: int = 64, count: int | None = None) -> Iterator[np.ndarray]:
    """Yield the middle of the first `count` pictures of a folder, sides multiples of `step`."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder")
    endings = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff"}
    for path in [p for p in sorted(folder.iterdir()) if p.suffix.lower() in endings][:count]:
        try:
            with Image.open(path) as image:
                picture = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        except (OSError, Image.DecompressionBombError) as error:
            raise InputError(f"{path}: cannot be read as a picture ({error})") from error
        h, w = (min(side, CALIBRATION_SIDE) // step * step for side in picture.shape[:2])
        top, left = (picture.shape[0] - h) // 2, (picture.shape[1] - w) // 2
        if h and w:
            yield picture[top : top + h, left : left + w]

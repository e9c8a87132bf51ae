"""A float checkpoint as a codec: our zoo in float32, its latents rounded and really coded.

The bytes are those of our range coder. Which row of which table codes a symbol of a Gaussian can be chosen two ways,
and both are counted: as the integer model made of this checkpoint does it ("bytes": a comparison shows what conversion
costs and nothing else), and as CompressAI does ("compressai_bytes"). "ideal_bytes" is the code length under the
model's own likelihoods, which no coder of that model reaches. Nothing here decodes the float bytes: that this is not
safe across machines is why the project exists.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.coding.wavefront import steps
from intcodec.entropy.cdf import CdfTables, default_scale_table, factorized_tables, gaussian_tables
from intcodec.entropy.rangecoder import encode
from intcodec.evaluate.codecs import Outcome, Picture
from intcodec.network.graph import Network
from intcodec.quantize.precision import FRACTION
from intcodec.rows.scale_index import ScaleIndex
from intcodec.zoo import (
    AutoregressivePrior,
    EntropyBottleneck,
    FactorizedPrior,
    PictureModel,
    ScaleHyperprior,
    ScaleSpaceFlow,
)

#: Pixels of a position of y, each way.
_STRIDE = 16
_WINDOW = 5

Symbols = NDArray[np.int16]


class FloatModel:
    """A float checkpoint at its one rate.

    Args:
        path: a checkpoint in CompressAI's format.
        threads: threads of torch; None leaves it to torch.
        converted: integer networks by the SHA-256 of the checkpoint that they were made of; without one of this
            checkpoint tables and rows are CompressAI's.

    Raises:
        InputError: it cannot be read, or is of no architecture that pictures are coded with.
    """

    def __init__(
        self, path: Path, threads: int | None = None, converted: Mapping[str, Network] = MappingProxyType({})
    ) -> None:
        arch = zoo.guess_architecture(zoo.read_state(path))
        if arch is None:
            raise InputError(f"{path}: a checkpoint of no known architecture")
        self.arch = arch
        net = zoo.load_checkpoint(arch, path)
        if isinstance(net, ScaleSpaceFlow):
            raise InputError(f"{path}: a {arch} model codes clips, not pictures")
        self.net: PictureModel = net
        self.series, self.label = f"float {arch}", path.name
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        self.key = f"float {arch} {self.sha256} torch {torch.__version__}"
        if threads is not None:
            torch.set_num_threads(threads)
        self._factorized = _factorized_tables(self.net.entropy_bottleneck)
        scales = default_scale_table()
        self._compressai = self._ours = _Rows(gaussian_tables(scales), scales[:-1])
        if self.sha256 in converted:
            self._ours = _rows_of(converted[self.sha256]) or self._ours
            self.key += f" rows {self._ours.digest}"

    def code(self, picture: Picture) -> Outcome:
        """Code a picture and reconstruct it, rounded to 8 bits."""
        height, width, _ = picture.shape
        pad = ((0, -height % _STRIDE), (0, -width % _STRIDE), (0, 0))
        padded = np.pad(picture, pad, mode="edge")
        x = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            y_hat, sizes = self._latents(self.net.g_a(x))
            out = self.net.g_s(y_hat)[0, :, :height, :width]
        decoded = np.ascontiguousarray(out.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy())
        return Outcome(int(sizes["bytes"]), decoded, None, None, {k: v for k, v in sizes.items() if k != "bytes"})

    def _latents(self, y: Tensor) -> tuple[Tensor, dict[str, float]]:
        net = self.net
        if isinstance(net, FactorizedPrior):
            y_hat, size, ideal = self._bottleneck(y)
            return y_hat, {"bytes": size, "compressai_bytes": size, "ideal_bytes": ideal}
        z_hat, z_size, z_ideal = self._bottleneck(net.h_a(y.abs() if isinstance(net, ScaleHyperprior) else y))
        hyper = net.h_s(z_hat)[..., : y.shape[2], : y.shape[3]]
        if isinstance(net, AutoregressivePrior):
            scales, means = _step_by_step(net, y, hyper)
        elif isinstance(net, ScaleHyperprior):
            scales, means = hyper, torch.zeros_like(hyper)
        else:
            scales, means = hyper.chunk(2, dim=1)
        y_hat = torch.round(y - means) + means
        symbols = _symbols(torch.round(y - means))
        size, wide = (z_size + rows.size(symbols, scales) for rows in (self._ours, self._compressai))
        ideal = z_ideal + _ideal_bytes(net.gaussian_conditional.likelihood(y_hat, scales, means))
        return y_hat, {"bytes": size, "compressai_bytes": wide, "ideal_bytes": ideal}

    def _bottleneck(self, z: Tensor) -> tuple[Tensor, int, float]:
        """Round and code a latent whose density is fixed for each channel."""
        bottleneck = self.net.entropy_bottleneck
        z_hat, likelihoods = bottleneck(z)
        symbols = _symbols(z_hat - bottleneck.medians.view(1, -1, 1, 1))
        rows = np.broadcast_to(np.arange(z.shape[1], dtype=np.uint16), symbols.shape)
        return z_hat, len(encode(symbols, rows, self._factorized)), _ideal_bytes(likelihoods)


def _step_by_step(net: AutoregressivePrior, y: Tensor, hyper: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scales and means of every position as a decoder finds them, step by step of the wavefront."""
    channels, height, width = y.shape[1:]
    border = _WINDOW // 2
    padded = F.pad(torch.zeros_like(y), (border,) * 4)[0]
    scales, means = torch.empty_like(y), torch.empty_like(y)
    weight, bias = net.context_prediction.masked_weight(), net.context_prediction.bias
    for rows, columns in steps(height, width):
        windows = [padded[:, r : r + _WINDOW, c : c + _WINDOW] for r, c in zip(rows, columns, strict=True)]
        seen = F.conv2d(torch.stack(windows), weight, bias)
        above = hyper[0, :, rows, columns].T[:, :, None, None]
        both = net.entropy_parameters(torch.cat((above, seen), dim=1))[:, :, 0, 0].T
        scales[0, :, rows, columns], means[0, :, rows, columns] = both[:channels], both[channels:]
        here, mean = y[0, :, rows, columns], both[channels:]
        padded[:, rows + border, columns + border] = torch.round(here - mean) + mean
    return scales, means


def _symbols(values: Tensor) -> Symbols:
    """Return integers held in float32 [1, C, H, W] as int16[H, W, C]; clamped to int16 as our codec does."""
    clamped = values[0].permute(1, 2, 0).round().clamp(-32768, 32767)
    return np.ascontiguousarray(clamped.to(torch.int16).numpy())


def _ideal_bytes(likelihoods: Tensor) -> float:
    return float(-torch.log(likelihoods).double().sum()) / (8 * math.log(2))


@dataclass(frozen=True)
class _Rows:
    """Tables for Gaussians, and the scale up to which each row but the last is used."""

    tables: CdfTables
    borders: NDArray[np.float64]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.tables.cdf.tobytes() + self.borders.tobytes()).hexdigest()[:16]

    def size(self, symbols: Symbols, scales: Tensor) -> int:
        """Return the bytes of symbols int16[H, W, C] of scales [1, C, H, W]."""
        rows = np.searchsorted(self.borders, scales[0].permute(1, 2, 0).double().numpy(), side="left")
        return len(encode(symbols, rows.astype(np.uint16), self.tables))


def _rows_of(network: Network) -> _Rows | None:
    """Return the rows that an integer model uses; None where it predicts no scales."""
    found = (row for _, row in network.rows() if isinstance(row, ScaleIndex))
    return next((_Rows(network.tables["y"], row.thresholds * 2.0**-FRACTION) for row in found), None)


def _factorized_tables(bottleneck: EntropyBottleneck) -> CdfTables:
    groups = (bottleneck.matrices, bottleneck.biases, bottleneck.factors)
    matrices, biases, factors = ([p.detach().double().numpy() for p in group] for group in groups)
    return factorized_tables(matrices, biases, factors, bottleneck.quantiles.detach().numpy())

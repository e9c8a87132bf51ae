"""Run the lowered float model on pictures and record the largest magnitude of every channel of every tensor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch.nn import functional as F

from intcodec.quantize.floatgraph import FloatCodec
from intcodec.quantize.lowering.architectures import CONTEXT
from intcodec.quantize.rows.row import Magnitudes
from intcodec.quantize.scales import RowCosts


class FloatRunner:
    """Run a `FloatCodec` in float32, row by row, with its latents rounded as the codec rounds them."""

    def __init__(self, codec: FloatCodec) -> None:
        self.codec = codec
        self._rows = {row.name: row for graph in codec.graphs.values() for row in graph.rows}

    def image(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the whole codec.

        Args:
            x: float32[1, 3, H, W] in [0, 1], H and W multiples of 64.

        Returns:
            Every tensor by name, float32[1, C, h, w]: inputs, rows, latents and their rounded forms.
        """
        tensors = {"x": x}
        self.code(tensors)
        return tensors

    def code(self, tensors: dict[str, torch.Tensor]) -> None:
        """Run the whole codec on "x", and what else its graphs read, and add every other tensor."""
        medians = torch.from_numpy(self.codec.medians).float().view(1, -1, 1, 1)
        self.graph("g_a", tensors)
        if self.codec.factorized == "y":
            tensors["y_hat"] = torch.round(tensors["y"] - medians) + medians
        else:
            self.graph("h_a", tensors)
            tensors["z_hat"] = torch.round(tensors["z"] - medians) + medians
            self.graph("h_s", tensors)
            if "context" in self.codec.graphs:
                tensors["neighbours"] = neighbours(torch.round(tensors["y"]))
                self.graph("context", tensors)
            mean = tensors.get("mean", torch.zeros(()))
            tensors["y_hat"] = torch.round(tensors["y"] - mean) + mean
        self.graph("g_s", tensors)

    def graph(self, name: str, tensors: dict[str, torch.Tensor]) -> None:
        """Run one graph on the tensors present and add its rows' outputs."""
        for row in self.codec.graphs[name].rows:
            tensors[row.name] = row.evaluate(*(tensors[read] for read in row.inputs))

    def record(self, largest: Magnitudes, tensors: Mapping[str, torch.Tensor]) -> None:
        """Raise the largest magnitudes to those of tensors [1, C, h, w] of this codec."""
        for name, tensor in tensors.items():
            row = self._rows.get(name)
            for key, value in ({name: tensor.abs()} if row is None else row.measure(tensor)).items():
                top = value.amax(dim=(0, 2, 3)).clamp(min=0).double().numpy()
                largest[key] = np.maximum(largest[key], top) if key in largest else top


def neighbours(y_hat: torch.Tensor) -> torch.Tensor:
    """Return what a context model sees at every position: float32[1, 12 * M, h, w] of y_hat [1, M, h, w]."""
    h, w = y_hat.shape[-2:]
    padded = F.pad(y_hat, (2, 2, 2, 0))
    return torch.cat([padded[..., 2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w] for dy, dx in CONTEXT], dim=1)


def calibrate(codec: FloatCodec, pictures: Iterable[np.ndarray], costs: RowCosts | None = None) -> Magnitudes:
    """Return the largest magnitude of every channel of every tensor over a set of pictures.

    Args:
        codec: the lowered model.
        pictures: uint8[H, W, 3], H and W multiples of 64.
        costs: gets the latents of every picture, where the model predicts scales.

    Returns:
        float64[C] by tensor name, and what else rows measure (`FloatRow.measure`).
    """
    runner, largest = FloatRunner(codec), Magnitudes()
    with torch.inference_mode():
        for picture in pictures:
            copy = torch.from_numpy(np.array(picture))  # torch wants it writable
            tensors = runner.image(copy.permute(2, 0, 1)[None].float() / 255)
            runner.record(largest, tensors)
            if costs is not None:
                mean = tensors.get("mean", torch.zeros(()))
                costs.add(tensors["y"].numpy(), mean.numpy(), tensors["scale"].numpy())
    return largest

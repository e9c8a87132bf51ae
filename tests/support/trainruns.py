"""Short training runs for tests: their settings, their networks, what they leave."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from intcodec import zoo
from intcodec.train import Settings

N, M = 8, 12


def settings(photos: Path, tmp_path: Path, **changes: object) -> Settings:
    base = Settings("mbt2018_mean", photos, tmp_path / "out.pth.tar", 0.013, N=N, M=M, steps=6, batch_size=2, crop=64,
                    lr=1e-3, warmup=2, validate_every=4, log_every=2, held_out=2)  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


def random_net(arch: str = "mbt2018_mean", seed: int = 0) -> zoo.Model:
    torch.manual_seed(seed)
    return zoo.build(arch, N, N if arch.startswith("cheng") else M)


def saved(net: zoo.Model, path: Path) -> Path:
    torch.save({"state_dict": net.state_dict()}, path)
    return path

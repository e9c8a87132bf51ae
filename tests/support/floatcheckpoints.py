"""Small float checkpoints with random weights."""

from __future__ import annotations

from pathlib import Path

import torch

from intcodec import zoo
from intcodec.train.tables import fill_tables, settle_quantiles


def float_checkpoint(arch: str, folder: Path) -> Path:
    """Random weights whose latents are about 2, and whose scales and means differ and suit them."""
    torch.manual_seed(1)
    net = zoo.build(arch, 8, 8 if arch.startswith("cheng") else 12)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("weight"):
                value.mul_(1.5)
            elif name.endswith("bias"):
                value.add_(0.1 * torch.randn_like(value))
        for chain in ("h_s", "entropy_parameters"):
            convs = [m for m in getattr(net, chain, torch.nn.Identity()).modules() if isinstance(m, torch.nn.Conv2d)]
            if convs:
                convs[-1].bias.add_(2)
        [m for m in net.g_a.modules() if isinstance(m, torch.nn.Conv2d)][-1].weight.mul_(3)
    settle_quantiles(net)
    fill_tables(net)
    path = folder / f"{arch}.pth.tar"
    torch.save({"state_dict": net.state_dict()}, path)
    return path

"""Make the models of the conformance vectors: narrow zoo networks, trained for a minute, quantised by the real pass.

    python scripts/conformance/make_models.py [--force | --repack] [ARCH ...]     -> tests/conformance/models/ARCH.intm

The bundles store no ONNX graphs: these are derived from the network, so that a vector pins integers and nothing else.
The models are sources, made once: training in floating point gives other weights on another machine. All that depends
on them is made and checked by make_vectors.py. Pictures come from the generated calibration set.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch

from intcodec.modelfile.model import Model
from intcodec.quantize import synthetic
from intcodec.quantize.export import quantize
from intcodec.quantize.lowering.architectures import ARCHITECTURES
from intcodec.train.clips import moving
from intcodec.train.objective import ClipObjective
from intcodec.zoo import build

MODELS = Path(__file__).resolve().parents[2] / "tests" / "conformance" / "models"
#: (N, M): narrow, and no multiples of what a vector register holds, so that tails are computed.
CHANNELS = {"bmshj2018_factorized": (10, 14), "bmshj2018_hyperprior": (9, 13), "mbt2018_mean": (11, 15)}
NARROWEST = {"mbt2018": (8, 12), "cheng2020_anchor": (8, 8), "cheng2020_attn": (8, 8)}
VIDEO = {"ssf2020": (9, 11)}
STEPS, BATCH, SIDE = 1200, 4, 64
#: Steps, frames and side of a frame of clips to train on.
CLIP_STEPS, LENGTH, CLIP_SIDE = 400, 3, 128
#: What the last layers of the motion's encoder and decoder are multiplied with.
LOUDER, FURTHER = 8, 4
LAMBDA = 0.01
#: Fresh latents drown in the noise that stands for rounding; larger ones are learned from at once.
BOOST = 20


def crops(rng: np.random.Generator) -> torch.Tensor:
    """Yield batches float32[BATCH, 3, SIDE, SIDE] in [0, 1] for ever."""
    pictures = np.stack(list(synthetic.pictures(12, 192, seed=7)))
    while True:
        at = [(rng.integers(len(pictures)), *rng.integers(0, 192 - SIDE, 2)) for _ in range(BATCH)]
        batch = np.stack([pictures[k, y : y + SIDE, x : x + SIDE] for k, y, x in at])
        yield torch.from_numpy(batch).permute(0, 3, 1, 2).float() / 255


def train(arch: str, n: int, m: int) -> torch.nn.Module:
    """Return a float model whose latents are not all zero and whose pictures are not all grey."""
    torch.backends.mkldnn.enabled = False  # its backward pass of narrow residual networks crashes in torch 2.13
    torch.manual_seed(1)
    model = build(arch, n, m)
    last = [p for name, p in model.g_a.named_parameters() if name.endswith("weight") and p.dim() == 4][-1]
    last.data *= BOOST
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)
    for step, x in enumerate(itertools.islice(crops(np.random.default_rng(1)), STEPS)):
        out = model(x)
        bits = sum(-torch.log2(p).sum() for p in out["likelihoods"].values()) / (BATCH * SIDE * SIDE)
        mse = ((out["x_hat"] - x) ** 2).mean() * 255**2
        loss = LAMBDA * mse + bits + 0.05 * model.aux_loss()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 250 == 249:
            print(f"{arch} step {step + 1}: {bits.item():.2f} bits per pixel, mse {mse.item():.0f}", flush=True)
    return model.eval()


def train_video(n: int, m: int) -> torch.nn.Module:
    """Return a float ssf2020 whose predictions move and whose residuals correct them.

    So narrow a network learns to send no motion at all: its last layers are made louder, so that symbols are coded and
    predictions move and blur, for better or worse.
    """
    torch.manual_seed(1)
    model = build("ssf2020", n, m)
    for encoder in (model.img_encoder, model.motion_encoder, model.res_encoder):
        [p for p in encoder.parameters() if p.dim() == 4][-1].data *= BOOST
    pictures = list(synthetic.pictures(12, 192, seed=7))
    objective = ClipObjective(LAMBDA, "mse")
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, CLIP_STEPS)
    for step in range(CLIP_STEPS):
        batch = [moving(pictures[(step + k) % 12], pictures[(step + 5 * k + 1) % 12], LENGTH, CLIP_SIDE, 2 * step + k)
                 for k in range(2)]  # fmt: skip
        terms = objective(model, torch.from_numpy(np.stack(batch)).float() / 255)
        optimiser.zero_grad()
        (terms.loss + 0.05 * model.aux_loss()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 99:
            mse = 255**2 * terms.distortion.item()
            print(f"ssf2020 step {step + 1}: {terms.bpp.item():.2f} bits per pixel, mse {mse:.0f}", flush=True)
    for transform, factor in ((model.motion_encoder, LOUDER), (model.motion_decoder, FURTHER)):
        last = [m for m in transform.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.ConvTranspose2d))][-1]
        last.weight.data *= factor
    return model.eval()


def make(arch: str) -> None:
    """Train, quantise, prove and write one model."""
    n, m = {**CHANNELS, **NARROWEST, **VIDEO}[arch]
    if arch in VIDEO:
        network = quantize(arch, train_video(n, m), list(synthetic.clips(4, 128)))
    else:
        network = quantize(arch, train(arch, n, m), synthetic.pictures(6, 128))
    manifest = {"name": f"conformance {arch}", "N": n, "M": m, "made_by": "scripts/conformance/make_models.py"}
    save(arch, Model.build(network, manifest, onnx_graphs={}))


def repack(arch: str) -> None:
    """Write a model again from its stored network: needed when the format of bundles changes; trains nothing."""
    old = Model.load(MODELS / f"{arch}.intm")
    extra = {name: old.manifest[name] for name in ("name", "N", "M", "made_by")}
    save(arch, Model.build(old.network, extra, onnx_graphs={}))


def save(arch: str, model: Model) -> None:
    """Write a model and say so."""
    model.save(MODELS / f"{arch}.intm")
    print(f"{arch}: {len(model.data)} bytes, model {model.model_id}", flush=True)


def main() -> None:
    """Make the models that are missing, or those named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "archs", metavar="ARCH", nargs="*", choices=[*ARCHITECTURES, *VIDEO, []], help="default: all missing"
    )
    parser.add_argument("--force", action="store_true", help="make a model again, with other bytes, if it is there")
    parser.add_argument("--repack", action="store_true", help="write models again from their stored networks")
    args = parser.parse_args()
    MODELS.mkdir(parents=True, exist_ok=True)
    for arch in args.archs or [*ARCHITECTURES, *VIDEO]:
        if args.repack:
            repack(arch)
        elif args.force or not (MODELS / f"{arch}.intm").exists():
            make(arch)


if __name__ == "__main__":
    main()

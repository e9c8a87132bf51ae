"""Train several rungs of a ladder at once on one GPU; how the embedded models were made (docs/train.md).

    scripts/train_gpu.py --data CROPS.zip --minutes 3 --out DIR ARCH:LAMBDA:N:M[:INIT] ...

`intcodec train` with everything that waits taken out: the pictures live in the GPU's memory, batches are drawn there,
and one step of all models is captured as a CUDA graph, a stream for each model. Loss, zoo and bfloat16 are its own.
Large weights are written as float16, to travel; `scripts/train_gpu.py --finish FILE...` makes checkpoints of them.
"""

from __future__ import annotations

import argparse
import io
import math
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from intcodec import zoo
from intcodec.train.loop import Half
from intcodec.train.objective import objective_for
from intcodec.train.state import save
from intcodec.train.tables import fill_tables, settle_quantiles
from intcodec.train.warmstart import warm_start

SIDE, HELD_OUT, CLIP, WARMUP = 256, 64, 1.0, 300
#: Tensors of at least so many weights travel as float16.
LARGE = 20_000


def pictures(path: Path) -> Tensor:
    """Return every 256x256 picture of an archive, uint8[n, 3, 256, 256]."""
    with zipfile.ZipFile(path) as archive:
        contents = [archive.read(name) for name in sorted(archive.namelist()) if name.endswith((".jpg", ".png"))]

    def decode(content: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    with ThreadPoolExecutor() as pool:
        found = [p for p in pool.map(decode, contents) if p.shape == (SIDE, SIDE, 3)]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2).contiguous()


class Source:
    """Draws batches: random pictures at random places, half of them mirrored."""

    def __init__(self, data: Tensor, batch: int, crop: int) -> None:
        self.data, self.batch, self.crop = data, batch, crop
        self.along = torch.arange(crop, device=data.device)

    def draw(self) -> Tensor:
        """Return float32[B, 3, crop, crop] in [0, 1]."""
        device, b = self.data.device, self.batch
        which = torch.randint(len(self.data), (b, 1, 1, 1), device=device)
        corner = torch.randint(SIDE - self.crop + 1, (2, b, 1), device=device)
        rows, columns = corner + self.along
        columns = torch.where(torch.rand(b, 1, device=device) < 0.5, columns, columns.flip(1))
        channel = torch.arange(3, device=device)[None, :, None, None]
        x = self.data[which, channel, rows[:, None, :, None], columns[:, None, None, :]]
        return (x.float() / 255).contiguous(memory_format=torch.channels_last)


@dataclass
class Recipe:
    """What all models of a run share; written into each checkpoint."""

    batch_size: int
    crop: int
    lr: float
    minutes: float


class Job:
    """A model in training."""

    def __init__(self, text: str, recipe: Recipe, device: str) -> None:
        arch, lmbda, n, m, *init = text.split(":")
        self.name = f"{arch}-lambda{lmbda}-N{n}-M{m}"
        net = zoo.build(arch, int(n), int(m))
        if init:
            print(self.name, "from", warm_start(net, Path(init[0])), flush=True)
        self.record = {
            "arch": arch, "N": int(n), "M": int(m), "lmbda": float(lmbda), "metric": "mse", "bf16": True, "clip": CLIP,
            "schedule": "cosine", "batch_size": recipe.batch_size, "crop": recipe.crop, "lr": recipe.lr,
            "init": init[0] if init else None,
        }  # fmt: skip
        self.net: Any = net.to(device).to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        settle_quantiles(self.net)
        self.half = Half(self.net, device)
        self.objective = objective_for(self.net, float(lmbda), "mse")
        self.main = [p for name, p in self.net.named_parameters() if not name.endswith("quantiles")]
        self.rate = torch.tensor(0.0, device=device)
        cuda = device == "cuda"
        self.adam = torch.optim.Adam(self.main, lr=self.rate, fused=cuda, capturable=cuda)
        self.sums = torch.zeros(3, device=device)
        self.stream = torch.cuda.Stream() if cuda else None

    def step(self, x: Tensor) -> None:
        """Take a step; nothing in it waits for the GPU."""
        terms = self.objective(self.net, x)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.main, CLIP)
        for p in self.main:
            if p.grad is not None:
                p.grad.nan_to_num_(0.0, 0.0, 0.0)
        self.adam.step()
        self.sums += torch.stack([terms.loss.detach(), terms.bpp, terms.distortion])

    def validate(self, held_out: Tensor) -> dict[str, float]:
        """Return the figures on the held-out pictures, rounded, in float32."""
        self.net.eval()
        self.half.on = False
        with torch.no_grad():
            parts = [self.objective(self.net, part.float() / 255) for part in held_out.split(16)]
        self.half.on = True
        self.net.train()
        columns = zip(*((t.loss, t.bpp, t.distortion) for t in parts), strict=True)
        loss, bpp, mse = (sum(map(float, values)) / len(parts) for values in columns)
        return {"loss": round(loss, 5), "bpp": round(bpp, 5), "psnr": round(-10 * math.log10(mse), 4)}

    def write(self, folder: Path, steps: int, seconds: float, figures: dict[str, float]) -> None:
        """Write the weights, large ones as float16."""
        state = {k: v.detach().cpu().contiguous() for k, v in self.net.state_dict().items()}
        state = {k: v.half() if v.numel() >= LARGE and v.is_floating_point() else v for k, v in state.items()}
        record = {**self.record, "trained_steps": steps, "seconds": seconds, "held_out": figures}
        torch.save({"state_dict": state, "intcodec": record}, folder / f"{self.name}.pth.tar")


def all_step(jobs: list[Job], source: Source) -> None:
    """Draw a batch and let every model take a step on it, side by side."""
    x = source.draw()
    for job in jobs:
        if job.stream is None:
            job.step(x)
            continue
        here = torch.cuda.current_stream()
        job.stream.wait_stream(here)
        with torch.cuda.stream(job.stream):
            job.step(x)
    for job in jobs:
        if job.stream is not None:
            torch.cuda.current_stream().wait_stream(job.stream)


def stepper(jobs: list[Job], source: Source) -> Any:
    """Return a function that takes a step: a captured graph where there is a GPU."""

    def eager() -> None:
        for job in jobs:
            job.adam.zero_grad(set_to_none=True)
        all_step(jobs, source)

    if source.data.device.type != "cuda":
        return eager
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for _ in range(4):
            eager()
    torch.cuda.synchronize()
    for job in jobs:
        job.adam.zero_grad(set_to_none=True)
        job.sums.zero_()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=side):
        all_step(jobs, source)
    return graph.replay


def run(args: argparse.Namespace) -> None:
    """Train."""
    begin = time.monotonic()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(args.seed)
    recipe = Recipe(args.batch_size, args.crop, args.lr, args.minutes)
    data = pictures(args.data)
    order = np.random.default_rng(2018).permutation(len(data))
    held_out = data[order[:HELD_OUT]].to(device)
    source = Source(data[order[HELD_OUT:]].to(device), recipe.batch_size, recipe.crop)
    jobs = [Job(text, recipe, device) for text in args.models]
    step_all = stepper(jobs, source)
    args.out.mkdir(parents=True, exist_ok=True)
    print(f"{len(data)} pictures, {device}, ready after {time.monotonic() - begin:.1f} s", flush=True)
    start = said = time.monotonic()
    steps = since = 0
    while (done := (time.monotonic() - start) / (60 * args.minutes)) < 1:
        rate = recipe.lr * min(1.0, (steps + 1) / WARMUP) * (0.5 + 0.5 * math.cos(math.pi * done))
        for job in jobs:
            job.rate.fill_(rate)
        for _ in range(args.burst):
            step_all()
        if device == "cuda":
            torch.cuda.synchronize()
        steps, since = steps + args.burst, since + args.burst
        if time.monotonic() - said > args.every:
            speed = since / (time.monotonic() - said)
            for job in jobs:
                loss, bpp, mse = (job.sums / since).tolist()
                job.sums.zero_()
                psnr = -10 * math.log10(mse)
                print(f"{steps} {job.name} loss {loss:.4f} bpp {bpp:.4f} psnr {psnr:.2f} rate {rate:.1e}", flush=True)
            print(f"{steps} {time.monotonic() - start:.0f} s, {speed:.1f} steps/s", flush=True)
            said, since = time.monotonic(), 0
    seconds = time.monotonic() - start
    for job in jobs:
        figures = job.validate(held_out)
        print(job.name, steps, figures, flush=True)
        job.write(args.out, steps, seconds, figures)
    print(f"done after {time.monotonic() - begin:.1f} s", flush=True)


def finish(paths: list[Path], out: Path) -> None:
    """Make checkpoints: float32, quantiles settled, tables filled."""
    for path in paths:
        content = torch.load(path, map_location="cpu", weights_only=True)
        record = content["intcodec"]
        net = zoo.build(record["arch"], record["N"], record["M"])
        net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in content["state_dict"].items()})
        settle_quantiles(net)
        fill_tables(net)
        out.mkdir(parents=True, exist_ok=True)
        save(out / path.name, {"state_dict": net.state_dict(), "intcodec": record})
        print(out / path.name)


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", metavar="ARCH:LAMBDA:N:M[:INIT]")
    parser.add_argument("--data", type=Path, help="ZIP archive of 256x256 pictures")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--crop", type=int, default=192)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--burst", type=int, default=10, help="steps between two looks at the clock")
    parser.add_argument("--every", type=float, default=10.0, help="seconds between two lines")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--finish", action="store_true", help="make checkpoints of files that travelled")
    args = parser.parse_args()
    if args.finish:
        finish([Path(p) for p in args.models], args.out)
    else:
        run(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())

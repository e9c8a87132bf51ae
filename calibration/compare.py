"""What the calibration set is worth: loss of conversion with the generated set, with real crops, and with noise.

    python calibration/compare.py [--images 3] [--arch A ...] [--threads 1]

Every model is converted once per set and run on Kodak beside CompressAI with the same checkpoint (as in
benchmarks/conversion.py, whose results of CompressAI are shared through out/). The real crops come from
train-crops.zip of the shared data, chosen by a fixed seed; Kodak is never calibrated on.
"""

from __future__ import annotations

import argparse
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from common import ARCHS, DATA, export, kodak, require, table
from conversion import measure, measure_peer, summarize

import intcodec
from intcodec.quantize.export import SYNTHETIC_COUNT
from intcodec.quantize.synthetic import pictures as generated

SEED = 1


def crops(count: int) -> Iterator[np.ndarray]:
    """Yield `count` real crops uint8[256, 256, 3]; a larger count extends a smaller one."""
    with zipfile.ZipFile(require(DATA / "train-crops.zip")) as archive:
        names = sorted(n for n in archive.namelist() if n.lower().endswith((".jpg", ".jpeg", ".png")))
        for k in np.random.default_rng(SEED).permutation(len(names))[:count]:
            yield np.array(Image.open(io.BytesIO(archive.read(names[k]))).convert("RGB"))


def white_noise(count: int) -> Iterator[np.ndarray]:
    """Yield `count` pictures uint8[256, 256, 3] of independent uniform values."""
    rng = np.random.default_rng(SEED)
    for _ in range(count):
        yield rng.integers(0, 256, (256, 256, 3), np.uint8)


SETS: dict[str, Callable[[], Iterator[np.ndarray]]] = {
    f"generated, {SYNTHETIC_COUNT} pictures (the default)": lambda: generated(SYNTHETIC_COUNT),
    "4 real crops": lambda: crops(4),
    "16 real crops": lambda: crops(16),
    "64 real crops": lambda: crops(64),
    f"white noise, {SYNTHETIC_COUNT} pictures": lambda: white_noise(SYNTHETIC_COUNT),
}


def main() -> None:
    """Convert, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3, choices=range(1, 25), metavar="N", help="how many of Kodak")
    parser.add_argument("--arch", nargs="+", default=ARCHS[1:], choices=ARCHS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    pictures = kodak(args.images)
    cells: dict[str, list[str]] = {name: [] for name in SETS}
    for arch in args.arch:
        peer = measure_peer(arch, pictures, args.threads)
        for name, calibration in SETS.items():
            print(f"{arch}: {name}", file=sys.stderr, flush=True)  # minutes in all
            codec = intcodec.load(export(arch, None, calibration()), engine="native", threads=args.threads)
            loss = summarize(arch, measure(codec, pictures, peer))
            cells[name] += [f"{loss.bytes_percent:+.3f} %", f"{loss.psnr_db:+.4f}", f"{loss.worst_psnr_db:+.4f}"]
    heads = [f"{arch} {what}" for arch in args.arch for what in ("bytes", "PSNR dB", "worst")]
    print(table(("calibrated on", *heads), ((name, *row) for name, row in cells.items())))


if __name__ == "__main__":
    main()

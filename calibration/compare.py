"""What the calibration set is worth: loss of conversion with the generated set, with real crops, and with noise.

    python calibration/compare.py [--images 8] [--arch A ...] [--threads 1]

Every model is converted once per set and run on Kodak beside its float checkpoint, as `intcodec eval --checkpoint` does
(docs/eval.md); results are kept in out/. The real crops come from train-crops.zip of the shared data, chosen by a fixed
seed; Kodak is never calibrated on.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from common import ARCHS, DATA, OUT, checkpoint, export, kodak, require, table

import intcodec
from intcodec.evaluate.codecs import IntegerModel
from intcodec.evaluate.curves import loss, slope_at
from intcodec.evaluate.floatmodel import FloatModel
from intcodec.evaluate.published import published
from intcodec.evaluate.run import evaluate
from intcodec.evaluate.store import Store
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


def cells(arch: str, data: bytes, pictures: list[Path], threads: int) -> list[str]:
    """Return the cells of a model: bytes, PSNR, BD-rate-equivalent, and the worst picture's."""
    ours = IntegerModel(intcodec.load(data, engine="native", threads=threads), arch)
    source = checkpoint(arch)
    float_model = FloatModel(
        source, threads, {hashlib.sha256(source.read_bytes()).hexdigest(): ours.codec.model.network}
    )
    results = evaluate(pictures, [ours, float_model], Store(OUT / "calibration.jsonl"), 2**28, progress=True)
    curve = published(arch)
    rate = float(np.mean([row["bpp"] for row in results.rows[1]]))
    x = loss(arch, arch, *results.rows, None if curve is None else slope_at(curve, rate))
    equivalents = (f"{x.equivalent:+.3f} %", f"{x.worst_equivalent:+.3f} %")
    return [f"{x.bytes_percent:+.3f} %", f"{x.psnr - x.float_psnr:+.4f}", *equivalents]


def main() -> None:
    """Convert, measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, choices=range(1, 25), metavar="N", help="how many of Kodak")
    parser.add_argument("--arch", nargs="+", default=ARCHS[1:], choices=ARCHS)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    pictures = kodak(args.images)
    rows: dict[str, list[str]] = {name: [] for name in SETS}
    for arch in args.arch:
        for name, calibration in SETS.items():
            print(f"{arch}: {name}", file=sys.stderr, flush=True)  # minutes in all
            rows[name] += cells(arch, export(arch, None, calibration()), pictures, args.threads)
    heads = [f"{arch} {what}" for arch in args.arch for what in ("bytes", "PSNR dB", "equivalent", "worst")]
    print(table(("calibrated on", *heads), ((name, *row) for name, row in rows.items())))


if __name__ == "__main__":
    main()

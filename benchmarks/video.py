"""ssf2020 as integers beside CompressAI with its real coder, on the test clip: bytes, PSNR, drift, speed, in one run.

    python benchmarks/video.py [--frames 30] [--threads 2] [--engine native] [--plot docs/video.png]

One key frame, then only inter frames. The clip is the middle 640x384 of Vid4's walk (sides that CompressAI takes as
they are). Both sides code the whole clip once; ours states the bytes of the sections, as CompressAI's strings have no
header. A missed bar (bytes +0.3 %, PSNR -0.03 dB) is exit code 1. The checkpoint is one's own:
INTCODEC_CHECKPOINTS/ssf2020-*.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from common import DATA, OUT, REPO, checkpoint, model_path, psnr, read, require, table

from intcodec.clips.framecodec import load_video

SIZE = 384, 640
BYTES_BAR, PSNR_BAR = 0.3, -0.03


def frames(count: int) -> np.ndarray:
    """Return the clip, uint8[n, 384, 640, 3]."""
    folder = require(DATA / "video" / "test" / "walk")
    pictures = [read(path) for path in sorted(folder.glob("*.png"))[:count]]
    top, left = ((side - size) // 2 for side, size in zip(pictures[0].shape, SIZE, strict=False))
    return np.stack([p[top : top + SIZE[0], left : left + SIZE[1]] for p in pictures])


def ours(clip: np.ndarray, path: Path, engine: str, threads: int) -> dict[str, np.ndarray]:
    """Code a clip and return what peer_video.py returns."""
    codec = load_video(path, engine=engine, threads=threads)
    height, width = clip.shape[1:3]
    encoder, decoder = codec.encoder(height, width), codec.decoder(height, width)
    begin = time.perf_counter()
    coded = [encoder.encode(frame, key=k == 0) for k, frame in enumerate(clip)]
    middle = time.perf_counter()
    decoded = np.stack([decoder.decode(frame) for frame in coded])
    end = time.perf_counter()
    sizes = np.array([sum(map(len, frame.sections)) for frame in coded])
    return {"decoded": decoded, "bytes": sizes, "encode": middle - begin, "decode": end - middle}


def theirs(clip: np.ndarray, path: Path, threads: int) -> dict[str, np.ndarray]:
    """Let CompressAI code a clip."""
    OUT.mkdir(exist_ok=True)
    np.savez(OUT / "clip.npz", frames=clip)
    python = require(REPO / ".venv-peer" / "bin" / "python")
    arguments = [str(path), str(OUT / "clip.npz"), str(OUT / "clip-peer.npz"), str(threads)]
    subprocess.run([str(python), str(REPO / "benchmarks" / "peer_video.py"), *arguments], check=True)
    with np.load(OUT / "clip-peer.npz") as answer:
        return dict(answer)


def plot(path: Path, mine: list[float], other: list[float]) -> None:
    """Draw PSNR and its difference along the clip."""
    import matplotlib.pyplot as plt

    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(7, 5), layout="constrained")
    top.plot(mine, label="intcodec, integers", color="#0072b2")
    top.plot(other, label="CompressAI, float", color="black", linestyle="--")
    top.set(ylabel="PSNR of RGB, dB", title="ssf2020, one key frame: no drift between integers and float")
    top.legend()
    bottom.plot(np.subtract(mine, other), color="#0072b2")
    bottom.axhline(0, color="grey", linewidth=0.8)
    bottom.set(xlabel="frame", ylabel="difference, dB")
    figure.savefig(path, dpi=120)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--engine", default="native")
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    path, clip = checkpoint("ssf2020"), frames(args.frames)
    mine, other = ours(clip, model_path("ssf2020"), args.engine, args.threads), theirs(clip, path, args.threads)
    quality = [[psnr(a, b) for a, b in zip(clip, side["decoded"], strict=True)] for side in (mine, other)]
    size = 100 * (mine["bytes"].sum() / other["bytes"].sum() - 1)
    gap = np.subtract(*quality)
    names = ("intcodec", "CompressAI")
    rows = [
        (
            name,
            f"{side['bytes'].sum()}",
            f"{np.mean(q):.3f}",
            *(f"{side[k] / len(clip):.3f}" for k in ("encode", "decode")),
        )
        for name, side, q in zip(names, (mine, other), quality, strict=True)
    ]
    print(
        table(
            (f"{len(clip)} frames, {args.threads} threads", "bytes", "PSNR dB", "encode s/frame", "decode s/frame"),
            rows,
        )
    )
    ratios = [float(other[k] / mine[k]) for k in ("encode", "decode")]
    slope = np.polyfit(np.arange(len(gap)), gap, 1)[0]
    print(f"\nbytes {size:+.3f} %, PSNR {gap.mean():+.4f} dB (key frame {gap[0]:+.4f}, last {gap[-1]:+.4f},")
    print(f"trend {slope:+.5f} dB a frame); {ratios[0]:.1f}x to encode, {ratios[1]:.1f}x to decode")
    if args.plot:
        plot(args.plot, *quality)
    return 0 if size <= BYTES_BAR and gap.mean() >= PSNR_BAR else 1


if __name__ == "__main__":
    sys.exit(main())

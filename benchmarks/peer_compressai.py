"""Run CompressAI itself on pictures and print one JSON line each. Runs in the peer venv, never imports intcodec.

    python peer_compressai.py ARCH CHECKPOINT THREADS REPEATS PICTURE...
"""

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "peer"))

import numpy as np
import stubs
import torch
from PIL import Image

stubs.install()
from compressai.models import (  # noqa: E402
    Cheng2020Anchor,
    Cheng2020Attention,
    FactorizedPrior,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)

CLASSES = {
    "bmshj2018_factorized": FactorizedPrior,
    "bmshj2018_hyperprior": ScaleHyperprior,
    "mbt2018_mean": MeanScaleHyperprior,
    "mbt2018": JointAutoregressiveHierarchicalPriors,
    "cheng2020_anchor": Cheng2020Anchor,
    "cheng2020_attn": Cheng2020Attention,
}


def timed(repeats, function, *args):
    """Return the function's result and its shortest time in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        result = function(*args)
        best = min(best, time.perf_counter() - start)
    return result, best


def main():
    arch, checkpoint, threads, repeats, *pictures = sys.argv[1:]
    torch.set_num_threads(int(threads))
    net = CLASSES[arch].from_state_dict(torch.load(checkpoint, map_location="cpu")["state_dict"]).eval()
    net.update(force=True)
    with torch.inference_mode():
        for path in pictures:
            pixels = np.asarray(Image.open(path).convert("RGB"))
            x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
            coded, encode_s = timed(int(repeats), net.compress, x)
            out, decode_s = timed(int(repeats), net.decompress, coded["strings"], coded["shape"])
            decoded = (out["x_hat"].clamp(0, 1) * 255).round().numpy()[0].transpose(1, 2, 0)
            mse = float(np.mean((decoded.astype(np.float64) - pixels) ** 2))
            size = sum(len(s[0]) for s in coded["strings"])
            row = {"image": Path(path).name, "bytes": size, "psnr": 10 * np.log10(255**2 / mse)}
            print(json.dumps({**row, "encode_s": encode_s, "decode_s": decode_s}), flush=True)


if __name__ == "__main__":
    main()

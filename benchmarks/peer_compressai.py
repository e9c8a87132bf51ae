"""Run CompressAI itself on pictures. Runs in the peer venv, never imports intcodec.

    python peer_compressai.py ARCH CHECKPOINT THREADS

Reads paths of pictures from standard input, one a line; compresses and decompresses each once with CompressAI's real
coder and answers with one line of JSON: bytes of its strings, PSNR of the picture rounded to 8 bits, and seconds.
A caller that wants several measurements asks several times, and can do something else between them.
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


def measure(net, path):
    """Return what one compression and decompression of a picture give; its sides must be multiples of 64."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    if pixels.shape[0] % 64 or pixels.shape[1] % 64:
        sys.exit(f"peer_compressai: {path}: CompressAI needs sides that are multiples of 64")
    x = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
    begin = time.perf_counter()
    coded = net.compress(x)
    middle = time.perf_counter()
    out = net.decompress(coded["strings"], coded["shape"])
    end = time.perf_counter()
    decoded = (out["x_hat"].clamp(0, 1) * 255).round().numpy()[0].transpose(1, 2, 0)
    mse = float(np.mean((decoded.astype(np.float64) - pixels) ** 2))
    size = sum(len(s[0]) for s in coded["strings"])
    return {"bytes": size, "psnr": 10 * np.log10(255**2 / mse), "encode_s": middle - begin, "decode_s": end - middle}


def main():
    arch, checkpoint, threads = sys.argv[1:]
    torch.set_num_threads(int(threads))
    net = CLASSES[arch].from_state_dict(torch.load(checkpoint, map_location="cpu")["state_dict"]).eval()
    net.update(force=True)
    with torch.inference_mode():
        for line in sys.stdin:
            path = Path(line.strip())
            print(json.dumps({"image": path.name, **measure(net, path)}), flush=True)


if __name__ == "__main__":
    main()

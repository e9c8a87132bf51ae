"""Run by the peer's Python: CompressAI's real coder on a checkpoint, with the tables that the checkpoint carries.

usage: compressai_code.py ARCH CHECKPOINT INPUT.npz [OUTPUT.npz]      prints JSON

`update` is not called: the tables must be there. "bits" is the size of the strings, "ideal" the code length under the
model's likelihoods, "error" the largest difference between the decoded picture and the forward pass's. The decoded
picture goes to OUTPUT.npz.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import stubs

stubs.install()
from compressai.zoo import image as zoo_image  # noqa: E402
from compressai.zoo.pretrained import load_pretrained  # noqa: E402


def main(arch: str, checkpoint: str, source: str, output: str | None = None) -> None:
    torch.set_num_threads(1)
    state = load_pretrained(torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"])
    net = zoo_image.model_architectures[arch.replace("_", "-")].from_state_dict(state).eval()
    x = torch.from_numpy(np.load(source)["x"])
    with torch.no_grad():
        result = net(x)
        coded = net.compress(x)
        decoded = net.decompress(coded["strings"], coded["shape"])["x_hat"]
    ideal = -sum(float(torch.log2(part).sum()) for part in result["likelihoods"].values())
    bits = 8 * sum(len(strings[0]) for strings in coded["strings"])
    error = float((decoded - result["x_hat"].clamp(0, 1)).abs().max())
    if output is not None:
        np.savez(output, x_hat=decoded.numpy())
    print(json.dumps({"bits": bits, "ideal": ideal, "error": error}))


if __name__ == "__main__":
    main(*sys.argv[1:])

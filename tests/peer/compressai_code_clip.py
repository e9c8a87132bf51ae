"""Run by the peer's Python: CompressAI's ssf2020 codes a clip with the tables that are in a checkpoint.

usage: compressai_code_clip.py checkpoint clip.npz output.npz

`clip.npz` holds `frames` uint8[n, H, W, 3]. Prints {"bits": of all strings}; the output holds x_hat [n, 3, H, W].
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import stubs

stubs.install()
from compressai.models.video import ScaleSpaceFlow  # noqa: E402


def count(strings: object) -> int:
    """Return the bytes in nested lists and dicts of strings."""
    if isinstance(strings, bytes):
        return len(strings)
    return sum(count(s) for s in (strings.values() if isinstance(strings, dict) else strings))


def main(checkpoint: str, clip: str, output: str) -> None:
    torch.set_num_threads(1)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    net = ScaleSpaceFlow.from_state_dict(content["state_dict"]).eval()  # no update(): the tables are the file's
    x = [torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255 for f in np.load(clip)["frames"]]
    with torch.no_grad():
        strings, shapes = net.compress(x)
        decoded = net.decompress(strings, shapes)
    np.savez(output, x_hat=np.concatenate([picture.numpy() for picture in decoded]))
    print(json.dumps({"bits": 8 * count(strings)}))


if __name__ == "__main__":
    main(*sys.argv[1:])

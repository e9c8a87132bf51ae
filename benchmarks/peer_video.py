"""Run CompressAI's ssf2020 on a clip. Runs in the peer venv, never imports intcodec.

    python peer_video.py CHECKPOINT CLIP.npz OUTPUT.npz THREADS

`CLIP.npz` holds `frames` uint8[n, H, W, 3], sides multiples of 128. Compresses and decompresses the clip with
CompressAI's real coder, the first frame as a key frame. The output holds `decoded`, uint8 as the input, `bytes` [n] of
each frame's strings, and the seconds `encode` and `decode` of the whole clip.
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "peer"))

import numpy as np
import stubs
import torch

stubs.install()
from compressai.models.video import ScaleSpaceFlow  # noqa: E402


def count(strings):
    """Return the bytes in nested lists of strings."""
    return (
        len(strings)
        if isinstance(strings, bytes)
        else sum(map(count, strings.values() if isinstance(strings, dict) else strings))
    )


def main(checkpoint, clip, output, threads):
    torch.set_num_threads(int(threads))
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    net = ScaleSpaceFlow.from_state_dict(content.get("state_dict", content)).eval()
    net.update(force=True)
    frames = np.load(clip)["frames"]
    x = [torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255 for f in frames]
    with torch.inference_mode():
        begin = time.perf_counter()
        strings, shapes = net.compress(x)
        middle = time.perf_counter()
        decoded = net.decompress(strings, shapes)
        end = time.perf_counter()
    pictures = [np.rint(p[0].clamp(0, 1).permute(1, 2, 0).numpy() * 255).astype(np.uint8) for p in decoded]
    np.savez(
        output,
        decoded=np.stack(pictures),
        bytes=[count(s) for s in strings],
        encode=middle - begin,
        decode=end - middle,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

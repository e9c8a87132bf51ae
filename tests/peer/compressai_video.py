"""Run by the peer's Python: what CompressAI's ssf2020 makes of a checkpoint and a clip.

usage: compressai_video.py checkpoint clip.npz output.npz

`clip.npz` holds `frames` [n, 3, H, W]. The output holds x_hat [n, 3, H, W] and the likelihoods as "FRAME/PART/NAME".
"""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import stubs

stubs.install()
from compressai.models.video import ScaleSpaceFlow  # noqa: E402


def main(checkpoint: str, clip: str, output: str) -> None:
    torch.set_num_threads(1)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    net = ScaleSpaceFlow.from_state_dict(content.get("state_dict", content)).eval()
    with torch.no_grad():
        result = net([torch.from_numpy(frame[None]) for frame in np.load(clip)["frames"]])
    answer = {"x_hat": np.concatenate([x.numpy() for x in result["x_hat"]])}
    for index, parts in enumerate(result["likelihoods"]):
        for part, tensors in parts.items():
            answer.update({f"{index}/{part}/{name}": value.numpy() for name, value in tensors.items()})
    np.savez(output, **answer)


if __name__ == "__main__":
    main(*sys.argv[1:])

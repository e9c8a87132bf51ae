"""Run by the peer's Python: what CompressAI's own classes make of given checkpoints.

usage: compressai_forward.py job.json

job.json: {"facts": path, "runs": [{"arch", "checkpoint", "input", "output"}, ...]}. For each run, the class's
from_state_dict (strict) loads the checkpoint, and x_hat and the likelihoods in eval mode on `x` of the npz `input` go
to the npz `output`. `facts` receives the zoo's signatures, channel tables and addresses as JSON.
"""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import stubs

stubs.install()
from compressai import zoo  # noqa: E402
from compressai.zoo import image as zoo_image  # noqa: E402
from compressai.zoo.pretrained import load_pretrained  # noqa: E402


def facts() -> dict[str, Any]:
    return {
        arch.replace("-", "_"): {
            "signature": list(inspect.signature(getattr(zoo, arch.replace("-", "_"))).parameters),
            "channels": [(row * 2)[:2] for _, row in sorted(zoo_image.cfgs[arch].items())],
            "urls": {metric: [url for _, url in sorted(table.items())] for metric, table in tables.items()},
        }
        for arch, tables in zoo_image.model_urls.items()
    }


def run(arch: str, checkpoint: str, source: str, output: str) -> None:
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    state = load_pretrained(content.get("state_dict", content))
    net = zoo_image.model_architectures[arch.replace("_", "-")].from_state_dict(state).eval()
    with torch.no_grad():
        result = net(torch.from_numpy(np.load(source)["x"]))
    likelihoods = {name: value.numpy() for name, value in result["likelihoods"].items()}
    np.savez(output, x_hat=result["x_hat"].numpy(), **likelihoods)


def main(job_path: str) -> None:
    torch.set_num_threads(1)
    job = json.loads(Path(job_path).read_text())
    Path(job["facts"]).write_text(json.dumps(facts()))
    for row in job["runs"]:
        run(row["arch"], row["checkpoint"], row["input"], row["output"])


if __name__ == "__main__":
    main(sys.argv[1])

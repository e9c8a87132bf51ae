"""Compare every tensor of every engine with the reference, on Kodak and on random sizes; then the whole codec.

    python benchmarks/exactness.py [--kodak 24] [--sizes 200] [-m MODEL ...]

For each picture the graphs run in the order of the codec; every intermediate tensor of the native engine (`trace`) and
of the ONNX graphs (exported once more with all tensors as outputs) must equal that of the reference. The picture is
also encoded and decoded whole, which must give the same bytes and pixels: on the native engine at every instruction-set
level with 1, 2 and 3 threads, on onnxruntime, and, where it is small enough, on the reference.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
from common import kodak, read

from intcodec.coding.latents import from_symbols, to_symbols
from intcodec.engines import create
from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.modelfile.model import Model
from intcodec.network.onnxgraph import build
from intcodec.pictures.codec import Codec, default_model

#: Pixels up to which the reference, which is slow, codes a picture too.
SMALL = 128 * 128


class Exposed:
    """The ONNX graphs with every tensor as an output."""

    def __init__(self, network):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 2
        self.network = network
        self.sessions = {
            name: onnxruntime.InferenceSession(build(graph, expose_all=True), options, ["CPUExecutionProvider"])
            for name, graph in network.graphs.items()
        }

    def trace(self, graph, inputs):
        """Return every row's tensor of a graph."""
        session = self.sessions[graph]
        feed = {k: v if v.dtype == np.uint8 else v.astype(np.int32) for k, v in inputs.items()}
        names = [o.name for o in session.get_outputs()]
        return dict(zip(names, session.run(names, feed), strict=True))


def stages(network, reference, picture):
    """Yield (graph, inputs, the reference's tensors) of encoding and decoding a picture without a context model."""
    pads = [(0, -side % 16) for side in picture.shape[:2]]
    x = np.pad(picture, (*pads, (0, 0)), mode="edge")
    tensors = reference.trace("g_a", {"x": x})
    yield "g_a", {"x": x}, tensors
    y, mean = tensors["y"], None
    if "h_a" in network.graphs:
        tensors = reference.trace("h_a", {"y": y})
        yield "h_a", {"y": y}, tensors
        z_hat = from_symbols(to_symbols(tensors["z"], network.latents["z"]), network.latents["z"])
        tensors = reference.trace("h_s", {"z_hat": z_hat})
        yield "h_s", {"z_hat": z_hat}, tensors
        mean = tensors["mean"][: y.shape[0], : y.shape[1]] if "mean" in tensors else None
    y_hat = from_symbols(to_symbols(y, network.latents["y"], mean), network.latents["y"], mean)
    yield "g_s", {"y_hat": y_hat}, reference.trace("g_s", {"y_hat": y_hat})


def compare(network, reference, others, picture):
    """Return how many tensors were compared; exit at the first that differs."""
    count = 0
    for graph, inputs, expected in stages(network, reference, picture):
        for name, engine in others.items():
            got = engine.trace(graph, inputs)
            for row in network.graphs[graph].rows:
                if not np.array_equal(got[row.name], expected[row.name]):
                    sys.exit(f"DIFFERENT: {name}, {picture.shape}, {graph}/{row.name}")
                count += 1
    return count


def check_model(name, model, pictures):
    """Compare all engines on all pictures, tensor by tensor and file by file."""
    network = model.network
    engines = {e: create(e, model.network, 2) for e in ("native", "onnxruntime", "reference")}
    others = {"native": engines["native"], "onnxruntime": Exposed(network)}
    fast = [Codec(model, engines["onnxruntime"])]
    fast += [Codec(model, NativeEngine(network, t, isa=isa)) for isa, here in isa_levels() if here for t in (1, 2, 3)]
    every = [*fast, Codec(model, engines["reference"])]
    start, tensors = time.time(), 0
    for i, (label, picture) in enumerate(pictures):
        tensors += compare(network, engines["reference"], others, picture)
        codecs = every if picture.shape[0] * picture.shape[1] <= SMALL else fast
        files = [codec.encode(picture) for codec in codecs]
        if len(set(files)) != 1:
            sys.exit(f"DIFFERENT: files of {label}")
        pixels = {hashlib.sha256(codec.decode(files[0]).tobytes()).digest() for codec in codecs}
        if len(pixels) != 1:
            sys.exit(f"DIFFERENT: pixels of {label}")
        print(f"\r{name}: {i + 1}/{len(pictures)} {label:<24}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(f"| {name} | {len(pictures)} | {tensors} | 0 | {time.time() - start:.0f} s |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kodak", type=int, default=24)
    parser.add_argument("--sizes", type=int, default=200)
    parser.add_argument("-m", "--model", type=Path, action="append", help="model files; the embedded one by default")
    args = parser.parse_args()
    photographs = [(path.name, read(path)) for path in kodak()]
    rng = np.random.default_rng(2026)
    pictures = photographs[: args.kodak]
    for _ in range(args.sizes):
        height, width = (int(v) for v in rng.integers(1, 301, 2))
        _, whole = photographs[rng.integers(len(photographs))]
        top, left = rng.integers(0, whole.shape[0] - height + 1), rng.integers(0, whole.shape[1] - width + 1)
        pictures.append((f"{width}x{height}", np.ascontiguousarray(whole[top : top + height, left : left + width])))
    print("| model | pictures | tensors compared | different | time |\n|---|---|---|---|---|")
    for path in args.model or [None]:
        model = Model.load(default_model() if path is None else path)
        check_model("default" if path is None else path.stem, model, pictures)


if __name__ == "__main__":
    main()

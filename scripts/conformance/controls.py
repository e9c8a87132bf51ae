"""Negative controls: wrong on purpose, so they must fail; one that passes shows that the matrix cannot see a break.

    python scripts/conformance/controls.py float        convolutions summed and rounded in 32-bit floating point
    python scripts/conformance/controls.py saturation   every convolution saturates one value early
    python scripts/conformance/controls.py bit          the lowest bit of one decoded value is flipped
    python scripts/conformance/controls.py stream       right engine; one bit of a stored stream is flipped
    python scripts/conformance/controls.py pixel        right engine; one bit of a stored picture is flipped
    python scripts/conformance/controls.py trap         plain uint8 x int8 products in onnxruntime: how many are wrong

The first five print a report as `intcodec conformance run --json` does. Wrong engines pass the self-test first: they
are wrong from their first picture on, so that the vectors alone must tell. The last prints {"full range": N, "both
-128": N}; on an emulated Haswell and Cortex-A53 these products saturate, or the emulation is not what it claims.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from unittest import mock

import numpy as np
from environment import VECTORS

from intcodec.base.integers import IntArray
from intcodec.conformance import report, vectors
from intcodec.engines.native import NativeEngine
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile.model import Model
from intcodec.network.graph import Network
from intcodec.rows import arithmetic
from intcodec.rows.conv import Conv

ARCH, VIDEO = "mbt2018_mean", "ssf2020"
Run = Callable[[str, Mapping[str, IntArray]], dict[str, IntArray]]


class Wrong:
    """An engine that is exact for the self-test's calls, one for each graph, and then computes with `wrong`."""

    name, threads = "control", 1

    def __init__(self, model: Model, wrong: Run) -> None:
        self._right, self._wrong = NativeEngine(model.network, 1), wrong
        self._left = len(model.vectors)
        self._graphs = model.network.graphs

    def trace(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return every tensor of a graph; see `Engine.run`."""
        self._left -= 1
        return self._right.trace(graph, inputs) if self._left >= 0 else self._wrong(graph, inputs)

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Return a graph's outputs; see `Engine.run`."""
        tensors = self._wrong(graph, inputs)
        return {name: tensors[name] for name in self._graphs[graph].outputs}


def in_float(model: Model) -> Run:
    """Return an engine that sums, scales and rounds convolutions in float32, half to even, as frameworks do."""
    engine = ReferenceEngine(model.network)

    def convolve(row: Conv, x: IntArray) -> IntArray:
        out, kh, kw, cin = row.weight.shape
        top, left, bottom, right = row.pad
        padded = np.pad(x, ((top, bottom), (left, right), (0, 0))).astype(np.float32)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kh, kw), axis=(0, 1))
        windows = windows[:: row.stride, :: row.stride].transpose(0, 1, 3, 4, 2)
        sums = windows.reshape(-1, kh * kw * cin) @ row.weight.reshape(out, -1).T.astype(np.float32)
        sums = sums.reshape(*windows.shape[:2], out) + row.bias.astype(np.float32)
        return sums

    exact = arithmetic.requantize

    def requantize(sums: IntArray, shift: IntArray, lo: int, hi: int) -> IntArray:
        if sums.dtype != np.float32:  # another kind of row
            return exact(sums, shift, lo, hi)
        half = arithmetic.half(shift).astype(np.float32)
        real = (sums - half) * np.exp2(-shift.astype(np.float32))
        return np.clip(np.rint(real), lo, hi).astype(np.int64)

    def run(graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        with mock.patch.object(Conv, "sums", convolve), mock.patch.object(arithmetic, "requantize", requantize):
            return engine.trace(graph, inputs)

    return run


def saturating_early(model: Model) -> Run:
    """Return an engine whose convolutions clamp at one below the highest value."""

    def early(network: Network) -> Network:
        graphs = {}
        for name, graph in network.graphs.items():
            rows = tuple(dataclasses.replace(r, hi=r.hi - 1) if isinstance(r, Conv) else r for r in graph.rows)
            graphs[name] = dataclasses.replace(graph, rows=rows)
        return dataclasses.replace(network, graphs=graphs)

    return NativeEngine(early(model.network), 1).trace


def flipping_a_bit(model: Model) -> Run:
    """Return an engine that flips the lowest bit of one value of the decoded picture."""
    return flipped(model, "g_s", "x_hat")


def flipped(model: Model, graph: str, tensor: str) -> Run:
    """Return an engine that flips the lowest bit of a tensor's first value."""
    engine = NativeEngine(model.network, 1)

    def run(name: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        tensors = engine.trace(name, inputs)
        if name == graph:
            tensors[tensor] = tensors[tensor].copy()
            tensors[tensor].flat[0] ^= 1
        return tensors

    return run


def drifting(model: Model) -> Run:
    """Return an engine that flips the lowest bit of one value of each frame's prediction."""
    return flipped(model, "predict", "prediction")


ENGINES: dict[str, Callable[[Model], Run]] = {
    "float": in_float,
    "saturation": saturating_early,
    "bit": flipping_a_bit,
    "drift": drifting,
}
FILES = {"stream": f"streams/{ARCH}/scene-64x64.intc", "pixel": f"pixels/{ARCH}/scene-64x64.ppm"}
NAMES = (*ENGINES, *FILES)


def replay(name: str) -> dict[str, object]:
    """Return the report of a control by name."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(shutil.copytree(VECTORS, Path(folder) / "vectors")) if name in FILES else VECTORS
        if name in FILES:
            data = bytearray((root / FILES[name]).read_bytes())
            data[-7] ^= 1
            (root / FILES[name]).write_bytes(data)
        files = [file for file in vectors.load(root) if file.name == (VIDEO if name == "drift" else ARCH)]
        wrong = ENGINES.get(name)
        if wrong is None:
            device = report.Device(name, lambda model: NativeEngine(model.network, 1))
        else:
            device = report.Device(name, lambda model: Wrong(model, wrong(model)))
        return report.as_json(root, files, [report.run(files, device)], [])


def trap() -> dict[str, int]:
    """Return how many plain products uint8 x int8 onnxruntime computes wrongly here, for two kinds of weights."""
    import onnxruntime

    from intcodec.onnxwriter.emitter import Emitter

    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (37, 256)).astype(np.uint8)
    x[:5], x[5:10] = 255, 0
    wrong = {}
    for name, weight in (
        ("full range", rng.integers(-128, 128, (256, 32)).astype(np.int8)),
        ("both -128", np.full((256, 32), -128, np.int8)),
    ):
        out = Emitter("trap")
        source = out.input("x", "uint8", ("n", 256))
        out.output("y", "int32", ("n", 32), out.op("MatMulInteger", source, out.const(weight, "int8")))
        session = onnxruntime.InferenceSession(out.model(), providers=["CPUExecutionProvider"])
        (y,) = session.run(["y"], {"x": x})
        wrong[name] = int(np.count_nonzero(y != x.astype(np.int64) @ weight.astype(np.int64)))
    return wrong


if __name__ == "__main__":
    print(json.dumps(trap() if sys.argv[1] == "trap" else replay(sys.argv[1])))

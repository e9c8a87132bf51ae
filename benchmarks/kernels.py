"""Speed of the native kernels: GMAC/s per layer and of the whole g_s, per instruction set and thread count.

    python benchmarks/kernels.py [--height 512] [--width 768] [--seconds 0.6] [--isa NAME] [--threads 1 2]

The network has random weights and the shape of a 4-layer synthesis transform, N = 128, M = 192: transposed 5x5
convolutions of stride 2 with IGDN after the first three. MACs are the true ones: 25 per input pixel and channel pair
of a transposed convolution, C * C per pixel of a GDN. In the same run onnxruntime executes the same network in fp32
(ConvTranspose, or one 3x3 Conv with four times the channels and DepthToSpace; the faster is quoted).
Last comes a context model, run on a few positions at a time: 12 * 192 -> 384, 768 -> 640 -> 512 -> 384 channels.
Times are the best of the repetitions, with one thread in processor time: the machine is shared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.network.graph import Graph, Network
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gdn import Gdn
from intcodec.rows.row import TensorSpec

X = 2047
LAYERS = ((192, 128), (128, 128), (128, 128), (128, 3))


def transposed(rng: np.random.Generator, name: str, src: str, cin: int, cout: int, lo: int, hi: int) -> Conv:
    """Return a transposed 5x5 convolution of stride 2 as its 3x3 form (docs/arithmetic.md, conv)."""
    w = rng.integers(-X, X + 1, (4 * cout, 3, 3, cin))
    w[2::4, 0] = w[3::4, 0] = 0  # py = 1 has no tap on row m - 1
    w[1::4, :, 0] = w[3::4, :, 0] = 0
    total = np.abs(w).sum(axis=(1, 2, 3)) * X
    w = (w * np.minimum(1, 2**30 / total)[:, None, None, None]).astype(np.int16)
    shift = np.full(4 * cout, 17 if hi > 255 else 20, np.uint8)
    bias = np.full(4 * cout, 1 << 16, np.int32)
    return Conv(name, src, w, bias, shift, lo, hi, pad=(1, 1, 1, 1), upsample=2)


def igdn(rng: np.random.Generator, name: str, src: str, c: int) -> Gdn:
    """Return an IGDN row whose norms fill their range."""
    gamma = rng.integers(0, 500, (c, c)).astype(np.int16)
    one = np.ones(c, np.int32)
    return Gdn(name, src, gamma, one << 20, one, np.full(c, 14, np.uint8), 8, -X, X, inverse=True)


def synthesis(rng: np.random.Generator) -> Graph:
    """Return g_s of the benchmark."""
    rows: list[Any] = []
    src = "y_hat"
    for i, (cin, cout) in enumerate(LAYERS):
        last = i == len(LAYERS) - 1
        rows.append(transposed(rng, f"conv{i}", src, cin, cout, 0 if last else -X, 255 if last else X))
        src = rows[-1].name
        if not last:
            rows.append(igdn(rng, f"igdn{i}", src, cout))
            src = rows[-1].name
    return Graph("g_s", (TensorSpec("y_hat", 192, -X, X),), tuple(rows), (src,))


def context(rng: np.random.Generator) -> Graph:
    """Return the graph `context` of an autoregressive model."""
    specs = {s.name: s for s in (TensorSpec("neighbours", 2304, -X, X), TensorSpec("params", 384, -X, X))}
    inputs, rows = tuple(specs.values()), list[Any]()
    for name, src, cout in (("seen", "neighbours", 384), ("a", "joined", 640), ("b", "a", 512), ("c", "b", 384)):
        if src == "joined":
            rows.append(Concat("joined", "params", "seen"))
            specs["joined"] = rows[-1].out(*(specs[n] for n in rows[-1].inputs))
        w = rng.integers(-200, 201, (cout, 1, 1, specs[src].channels)).astype(np.int16)
        rows.append(Conv(name, src, w, np.ones(cout, np.int32), np.full(cout, 15, np.uint8), -X, X))
        specs[name] = rows[-1].out(*(specs[n] for n in rows[-1].inputs))
    return Graph("context", inputs, tuple(rows), ("c",))


def macs(graph: Graph, height: int, width: int) -> float:
    """Return the true multiply-accumulates of a graph of these rows."""
    sizes = {s.name: (height, width) for s in graph.inputs}
    total = 0.0
    for row in graph.rows:
        h, w = sizes[row.inputs[0]]
        if isinstance(row, Conv):
            total += h * w * 25 / 4 * row.weight.shape[0] * row.weight.shape[3]
        elif isinstance(row, Gdn):
            total += h * w * row.gamma.size
        sizes[row.name] = row.size(h, w)
    return total


def best(call: Callable[[], object], seconds: float, threads: int = 1) -> float:
    """Return the shortest time of `call` within about `seconds`, warmed up.

    With one thread the clock is that thread's processor time, which is the wall clock less the time taken by others.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    call()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = clock()
        call()
        times.append(clock() - start)
    return min(times)


def speed(seconds: float, gmac: float) -> str:
    """Return time and rate as text."""
    return f"{1e3 * seconds:8.2f} ms {gmac / seconds:7.1f} GMAC/s"


def onnx_session(height: int, width: int, threads: int, form: str) -> Callable[[], object]:
    """Return a call that runs the same network in onnxruntime fp32, in the form "ConvTranspose" or "Conv"."""
    import onnx
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    nodes, weights = [], []
    src = "x"

    def constant(name: str, *shape: int) -> str:
        value = (np.abs(rng.standard_normal(shape)) * 0.02).astype(np.float32)
        weights.append(numpy_helper.from_array(value, name))
        return name

    for i, (cin, cout) in enumerate(LAYERS):
        if form == "Conv":
            w = [constant(f"w{i}", 4 * cout, cin, 3, 3), constant(f"b{i}", 4 * cout)]
            nodes.append(helper.make_node("Conv", [src, *w], [f"c{i}"], pads=[1, 1, 1, 1]))
            nodes.append(helper.make_node("DepthToSpace", [f"c{i}"], [f"y{i}"], blocksize=2, mode="CRD"))
        else:
            w = [constant(f"w{i}", cin, cout, 5, 5), constant(f"b{i}", cout)]
            args: dict[str, Any] = {"strides": [2, 2], "pads": [2, 2, 2, 2], "output_padding": [1, 1]}
            nodes.append(helper.make_node("ConvTranspose", [src, *w], [f"y{i}"], **args))
        src = f"y{i}"
        if i < len(LAYERS) - 1:
            gdn = [constant(f"g{i}", cout, cout, 1, 1), constant(f"beta{i}", cout)]
            nodes.append(helper.make_node("Mul", [src, src], [f"q{i}"]))
            nodes.append(helper.make_node("Conv", [f"q{i}", *gdn], [f"n{i}"]))
            nodes.append(helper.make_node("Sqrt", [f"n{i}"], [f"r{i}"]))
            nodes.append(helper.make_node("Mul", [src, f"r{i}"], [f"z{i}"]))
            src = f"z{i}"
    shapes = [[1, 192, height, width], [1, 3, 16 * height, 16 * width]]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(("x", src), shapes, strict=True)]
    graph = helper.make_graph(nodes, "g_s", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, ["CPUExecutionProvider"])
    x = rng.standard_normal(shapes[0]).astype(np.float32)
    return lambda: session.run(None, {"x": x})


def layers(graph: Graph) -> list[tuple[str, Graph, int]]:
    """Return each row as a graph of its own, with the factor by which its input exceeds y's size."""
    specs, out, factor = graph.specs(), [], 1
    for row in graph.rows:
        name = f"{row.name} {specs[row.inputs[0]].channels}->{specs[row.name].channels}"
        out.append((name, Graph(row.name, (specs[row.inputs[0]],), (row,), (row.name,)), factor))
        factor *= row.upsample if isinstance(row, Conv) else 1
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--seconds", type=float, default=0.6)
    parser.add_argument("--isa", nargs="*", help="instruction sets (default: all available)")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--no-layers", action="store_true")
    parser.add_argument("--no-onnx", action="store_true")
    args = parser.parse_args()
    h, w = args.height // 16, args.width // 16
    rng = np.random.default_rng(1)
    graph = synthesis(rng)
    singles = layers(graph)
    few = context(rng)
    network = Network("bench", {"g_s": graph, "context": few, **{g.name: g for _, g, _ in singles}}, {}, {})
    total = macs(graph, h, w) / 1e9
    print(f"g_s 192->128->128->128->3 with IGDN, {args.width}x{args.height} picture: {total:.2f} GMAC")
    floats: dict[int, float] = {}
    for threads in args.threads if not args.no_onnx else []:
        for form in ("ConvTranspose", "Conv"):
            seconds = best(onnx_session(h, w, threads, form), args.seconds, threads)
            floats[threads] = min(seconds, floats.get(threads, seconds))
            print(f"onnxruntime fp32 {form:13} {threads} thread(s) {speed(seconds, total)}")
    for isa in args.isa or [name for name, here in isa_levels() if here]:
        for threads in args.threads:
            engine = NativeEngine(network, threads, isa=isa)
            if not args.no_layers and threads == 1:
                for name, single, factor in singles:
                    spec = single.inputs[0]
                    x = rng.integers(spec.lo, spec.hi + 1, (h * factor, w * factor, spec.channels)).astype(spec.dtype)
                    seconds = best(partial(engine.run, single.name, {spec.name: x}), args.seconds / 2)
                    print(f"  {isa:11} {name:16} {speed(seconds, macs(single, h * factor, w * factor) / 1e9)}")
            x = rng.integers(-X, X + 1, (h, w, 192)).astype(np.int16)
            seconds = best(partial(engine.run, "g_s", {"y_hat": x}), args.seconds, threads)
            ratio = f"  {floats[threads] / seconds:5.2f} x onnxruntime fp32" if threads in floats else ""
            print(f"{isa:11} g_s {threads} thread(s) {speed(seconds, total)}{ratio}")
            for n in (1, 11, 16):
                pixels = {s.name: rng.integers(-X, X + 1, (n, 1, s.channels)).astype(np.int16) for s in few.inputs}
                seconds = best(partial(engine.run, "context", pixels), args.seconds / 4, threads)
                gmac = n * sum(row.weight.size for row in few.rows if isinstance(row, Conv)) / 1e9
                print(f"{isa:11} context n = {n:2} {threads} thread(s) {speed(seconds, gmac)}")


if __name__ == "__main__":
    main()

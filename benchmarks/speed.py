"""Speed beside CompressAI and beside the float network in onnxruntime, on one picture, in one run.

    python benchmarks/speed.py [--threads 2] [--repeats 5] [--image kodim07] [--arch A ...]
    python benchmarks/speed.py --startup
    python benchmarks/speed.py --megapixels 100 [--arch A ...]

Contenders take turns, round by round, because the machine is shared and its speed changes over time; the least time is
quoted, the median in brackets. Threads that spin at barriers gain a little on an idle machine and lose several times
over where another process has a core, so CompressAI and the float networks run both ways (`sleeping` is the other one),
and ratios are to the better of CompressAI's two. The output says so if the machine is busy.

Everything is timed inside a process that has its model loaded: `encode` is picture to bytes, `decode` bytes to picture,
coder included. `checked` is what `Codec.encode` does by default: it also decodes, to record a checksum of the pixels,
for which CompressAI has no counterpart. The float rows are the networks alone, without any coder, in the two forms that
a transposed convolution can take in onnxruntime.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import ARCHS, MORE_ARCHS, OUT, Missing, Peer, checkpoint, kodak, model_path, read, table, write_whole

import intcodec
from intcodec.engines import create
from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.modelfile.model import Model

#: Seconds by column: "encode", "checked", "decode".
Times = dict[str, float]
COLUMNS = ("encode", "checked", "decode")
PEER = "CompressAI"
#: Names of the graphs' inputs, as in intcodec.network.graph.
INPUTS = {"g_a": "x", "h_a": "y", "h_s": "z_hat", "g_s": "y_hat"}
#: Share of the machine that others may use before the figures are not worth quoting.
BUSY = 0.05
#: Rest before each measurement: threads of the one before spin on for a moment.
REST = 0.1

#: What `intcodec decode` does, stage by stage, in a fresh interpreter. Arguments: file, picture.
STAGES = """
import sys, time
stages, begin = {}, time.perf_counter()
def mark(name):
    global begin
    now = time.perf_counter()
    stages[name], begin = now - begin, time.perf_counter()
import intcodec.cli.main, intcodec.cli.decode, intcodec.modelfile.embedded; mark("import the command line")
source, target = sys.argv[1:]
rung = intcodec.modelfile.embedded.by_quality(None)
intcodec.modelfile.embedded.read_ahead(rung); mark("begin to read the model")
import numpy; mark("import numpy")
import PIL.Image; mark("import Pillow")
import intcodec.pictures.images, intcodec.pictures.codec, intcodec.modelfile.model, intcodec.modelfile.selftest
import intcodec.engines.native
mark("import the codec")
bundle = intcodec.modelfile.embedded.bundle(rung); mark("wait for the model")
model = intcodec.modelfile.model.Model.load(bundle); mark("check the model")
engine = intcodec.engines.create("native", model.network)
for graph in ("h_s", "g_s"):
    engine._native(graph)
mark("pack the weights")
intcodec.modelfile.selftest.self_test(model, engine, skip=intcodec.pictures.codec.ENCODER_GRAPHS); mark("self-test")
codec = intcodec.pictures.codec.Codec(model, engine, decode_only=True)
picture = codec.decode(open(source, "rb").read()); mark("decode")
intcodec.pictures.images.write_picture(open(target, "wb"), picture, target); mark("write the PNG")
import json; print(json.dumps(stages))
"""


def clock(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds that a call takes, and its result."""
    begin = time.perf_counter()
    result = call()
    return time.perf_counter() - begin, result


def ours(codec: intcodec.Codec, picture: np.ndarray) -> Callable[[], Times]:
    """Return a measurement of our codec."""

    def once() -> Times:
        checked, data = clock(lambda: codec.encode(picture))
        encode, _ = clock(lambda: codec.encode(picture, pixel_checksum=False))
        decode, _ = clock(lambda: codec.decode(data))
        return {"encode": encode, "checked": checked, "decode": decode}

    return once


def theirs(peer: Peer, path: Path) -> Callable[[], Times]:
    """Return a measurement of CompressAI."""

    def once() -> Times:
        row = peer.measure(path)
        return {"encode": row["encode_s"], "decode": row["decode_s"]}

    return once


def float_graphs(arch: str) -> dict[str, dict[str, Any]]:
    """Return the float network as torch modules by graph name, in two forms: the zoo's, and the lowered one."""
    from torch import nn

    from intcodec import zoo
    from intcodec.quantize.calibrate import FloatRunner
    from intcodec.quantize.lowering.architectures import lower_model

    class Lowered(nn.Module):
        """One graph in the form of the integer network: a plain convolution and a pixel shuffle."""

        def __init__(self, runner: FloatRunner, name: str) -> None:
            super().__init__()
            self.runner, self.graph = runner, name
            self.outputs = ["scale" if out == "index" else out for out in runner.codec.graphs[name].outputs]

        def forward(self, x: Any) -> Any:
            tensors = {INPUTS[self.graph]: x}
            self.runner.graph(self.graph, tensors)
            return tuple(tensors[name] for name in self.outputs)

    model = zoo.load_checkpoint(arch, checkpoint(arch))
    runner = FloatRunner(lower_model(arch, model))
    names = list(runner.codec.graphs)
    if not set(names) <= set(INPUTS):  # a context model runs once a position: its networks alone say nothing
        return {}
    return {
        "ConvTranspose": {name: getattr(model, name) for name in names},
        "Conv and shuffle": {name: Lowered(runner, name) for name in names},
    }


def float_session(module: Any, x: np.ndarray, threads: int, spin: bool) -> Callable[[np.ndarray], np.ndarray]:
    """Return a call that runs a torch module in onnxruntime fp32, for inputs of the shape of `x`."""
    import onnxruntime
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the exporter is the old one, and tracing sees constants: as wished
        torch.onnx.export(module, (torch.from_numpy(x),), buffer, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin)))
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    return lambda value: session.run(None, {"x": value})[0]


def floats(graphs: dict[str, Any], picture: np.ndarray, threads: int, spin: bool) -> Callable[[], Times]:
    """Return a measurement of the float networks: g_a, h_a and h_s to encode, h_s and g_s to decode."""
    inputs = {"g_a": np.ascontiguousarray(picture.transpose(2, 0, 1)[None], dtype=np.float32) / 255}
    run: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
    for name, after in (("g_a", ("h_a", "g_s")), ("h_a", ("h_s",)), ("h_s", ()), ("g_s", ())):
        if name in graphs:
            run[name] = float_session(graphs[name], inputs[name], threads, spin)
            out = run[name](inputs[name]) if after else None
            inputs.update(dict.fromkeys(after, out))

    def once() -> Times:
        seconds = {name: clock(lambda name=name: run[name](inputs[name]))[0] for name in run}
        hyper = seconds.get("h_s", 0.0)
        return {"encode": seconds["g_a"] + seconds.get("h_a", 0.0) + hyper, "decode": hyper + seconds["g_s"]}

    return once


def our_codecs(arch: str, threads: int) -> dict[str, intcodec.Codec]:
    """Return a codec per engine, and one per instruction set below the fastest that is worth its time."""
    path = model_path(arch)
    codec = intcodec.load(path, engine="native", threads=threads)
    engine = codec.engine
    assert isinstance(engine, NativeEngine)
    codecs = {f"intcodec native ({engine.isa})": codec}
    for isa in (name for name, here in isa_levels() if here and name not in (engine.isa, "scalar")):
        capped = NativeEngine(codec.model.network, threads, isa=isa)
        codecs[f"intcodec native ({isa})"] = intcodec.Codec(codec.model, capped)
    codecs["intcodec onnxruntime"] = intcodec.load(path, engine="onnxruntime", threads=threads)
    return codecs


def rounds(contenders: dict[str, Callable[[], Times]], repeats: int) -> dict[str, list[Times]]:
    """Measure every contender `repeats` times, in turns, after a round that does not count."""
    results: dict[str, list[Times]] = {name: [] for name in contenders}
    for k in range(repeats + 1):
        for name, once in contenders.items():
            time.sleep(REST)
            times = once()
            if k:
                results[name].append(times)
    return results


def show(arch: str, results: dict[str, list[Times]]) -> str:
    """Return the table of an architecture; ratios are CompressAI's least time, in any of its rows, over the row's."""
    least = {
        name: {c: min(t[c] for t in runs) for c in COLUMNS if c in runs[0]} for name, runs in results.items()
    }  # fmt: skip
    peers = [times for name, times in least.items() if name.startswith(PEER)]
    peer = {c: min(times[c] for times in peers) for c in ("encode", "decode") if peers}
    rows = []
    for name, runs in results.items():
        cells = [f"{least[name][c]:.3f} ({median(t[c] for t in runs):.3f})" if c in runs[0] else "" for c in COLUMNS]
        ratios = [f"{peer[c] / least[name][c]:.2f}x" if c in peer else "" for c in ("encode", "decode")]
        rows.append((name, *cells, *ratios))
    return table((arch, "encode s", "checked s", "decode s", "encode, faster by", "decode, faster by"), rows)


def side_by_side(arch: str, path: Path, threads: int, repeats: int) -> str:
    """Measure all contenders of one architecture and return the table."""
    picture = read(path)
    with ExitStack() as stack:
        contenders = {name: ours(codec, picture) for name, codec in our_codecs(arch, threads).items()}
        try:
            for how, passive in (("", False), (", sleeping", True)):
                contenders[PEER + how] = theirs(stack.enter_context(Peer(arch, threads, passive)), path)
        except Missing as missing:
            print(f"*** without CompressAI: {missing}", file=sys.stderr)
        for form, graphs in float_graphs(arch).items():
            for how, spin in (("", True), (", sleeping", False)):
                contenders[f"onnxruntime fp32, {form}{how}"] = floats(graphs, picture, threads, spin)
        return show(arch, rounds(contenders, repeats))


def warn_if_busy(when: str) -> None:
    """Say loudly, among the figures, if other processes use the machine while this one sleeps."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return
    ticks = []
    for wait in (1.0, 0.0):
        ticks.append(np.array(stat.read_text().split("\n", 1)[0].split()[1:9], np.int64))
        time.sleep(wait)
    spent = ticks[1] - ticks[0]
    busy = 1 - float(spent[3:5].sum()) / max(int(spent.sum()), 1)  # all but idle and waiting for input
    if busy > BUSY:
        print(f"\n*** {when}, others used {busy:.0%} of this machine: DO NOT QUOTE THESE FIGURES ***", flush=True)


def startup(repeats: int) -> str:
    """Return a table of what a whole `intcodec decode` of a 64x64 picture spends its time on."""
    source, target = OUT / "startup.intc", OUT / "startup.png"
    data = intcodec.load().encode(read(kodak(1)[0])[:64, :64])
    write_whole(source, data)
    command = ["-m", "intcodec", "decode", str(source), "--quiet", "-o", str(target)]
    whole, bare, stages = [], [], []
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(repeats + 1):
        whole.append(clock(lambda: subprocess.run([sys.executable, *command], check=True, env=env))[0])
        bare.append(clock(lambda: subprocess.run([sys.executable, "-c", "pass"], check=True, env=env))[0])
        staged = [sys.executable, "-c", STAGES, str(source), str(target)]
        ran = subprocess.run(staged, check=True, capture_output=True, text=True, env=env)
        stages.append(json.loads(ran.stdout))
    best = {name: min(s[name] for s in stages[1:]) for name in stages[0]}
    rows = [("start and end the interpreter", min(bare[1:])), *best.items(), ("whole process", min(whole[1:]))]
    return table(("decode of 64x64, default model", "ms"), [(name, f"{1e3 * seconds:.1f}") for name, seconds in rows])


def large(arch: str, megapixels: float, threads: int) -> str:
    """Return a table of time and memory for a Kodak picture and a large one, each step in a process of its own."""
    model = model_path(arch)
    small = read(kodak(7)[-1])
    factor = (megapixels * 1e6 / (small.shape[0] * small.shape[1])) ** 0.5
    rows = []
    for name, scale in (("Kodak", 1.0), ("large", factor)):
        height, width = (round(side * scale) for side in small.shape[:2])
        source, packed = OUT / f"{name}.npy", OUT / f"{name}.intc"
        np.save(source, _mirrored(small, height, width))
        for step, files in (("encode", (source, packed)), ("decode", (packed,))):
            worker = [sys.executable, __file__, "--worker", step, str(threads), str(model), *map(str, files)]
            got = json.loads(subprocess.run(worker, check=True, capture_output=True, text=True).stdout)
            mega = height * width / 1e6
            cells = (f"{got['seconds']:.2f}", f"{got['seconds'] / mega:.3f}", f"{got['before'] / 1e6:.0f}")
            more = f"{(got['peak'] - got['before']) / (height * width):.1f}"
            rows.append((f"{step} {width}x{height}", *cells, f"{got['peak'] / 1e6:.0f}", more))
        source.unlink()
    header = (arch, "seconds", "s a megapixel", "MB before", "MB at most", "bytes a pixel more")
    return table(header, rows)


def _mirrored(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return a picture [height, width, 3] that repeats `picture`, mirrored at each seam."""
    index = [np.arange(size) % (2 * side) for size, side in zip((height, width), picture.shape[:2], strict=True)]
    rows, columns = (np.minimum(i, 2 * s - 1 - i) for i, s in zip(index, picture.shape[:2], strict=True))
    return picture[rows[:, None], columns]


def worker(step: str, threads: str, model: str, source: str, target: str = "") -> None:
    """Encode an .npy picture, or decode a file, and print the seconds and the memory before and at the peak."""
    codec = intcodec.Codec(loaded := Model.load(model), engine := create("native", loaded.network, int(threads)))
    for graph in loaded.network.graphs:
        engine._native(graph)  # packs the weights, which the first run would do
    given: Any = np.load(source) if step == "encode" else Path(source).read_bytes()
    before = _memory("VmRSS")
    seconds, out = clock(lambda: codec.encode(given) if step == "encode" else codec.decode(given))
    if target:
        Path(target).write_bytes(out)
    print(json.dumps({"seconds": seconds, "before": before, "peak": _memory("VmHWM")}))


def _memory(field: str) -> int:
    """Return a figure of this process in bytes. Not from getrusage: on Linux that one begins at the parent's peak."""
    status = Path("/proc/self/status")
    if not status.exists():
        raise Missing("speed.py --megapixels reads memory from /proc, which this system does not have")
    return next(1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith(field))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--image", default="kodim07", help="a Kodak picture")
    parser.add_argument("--arch", nargs="+", default=ARCHS, choices=ARCHS + MORE_ARCHS)
    parser.add_argument("--startup", action="store_true", help="only: where a whole process spends its time")
    parser.add_argument("--megapixels", type=float, help="only: time and memory of a picture of this size")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def main() -> None:
    args = parse_args()
    if args.worker:
        return worker(*args.worker)
    warn_if_busy("before the run")
    if args.megapixels:
        for arch in args.arch:
            print(large(arch, args.megapixels, args.threads), flush=True)
    elif args.startup:
        print(startup(args.repeats))
    else:
        path = kodak()[int(args.image.removeprefix("kodim")) - 1]
        print(f"{path.stem}, {args.threads} threads, least of {args.repeats} (median)")
        for arch in args.arch:
            print(f"\n{side_by_side(arch, path, args.threads, args.repeats)}", flush=True)
        print(f"\n{startup(args.repeats)}")
    warn_if_busy("after the run")


if __name__ == "__main__":
    main()

"""The native engine against the reference engine, to the bit: every instruction set, thread count and strip size."""

from __future__ import annotations

import platform
import shutil
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from intcodec.engines.native import NativeEngine, choose_isa, isa_levels
from intcodec.engines.reference import ReferenceEngine
from intcodec.errors import InputError, RangeError
from intcodec.network import Add, Concat, Conv, Gate, Gdn, Graph, Network, Rescale, Row, ScaleIndex, TensorSpec

KERNELS = Path(__file__).parents[1] / "_ext" / "kernels"
AVAILABLE = [name for name, here in isa_levels() if here]
LIMIT = 2**31 - 1
RANGES = {"conv": [(-2047, 2047), (0, 2047), (0, 255), (-32767, 32767), (-(2**30), 2**30)]}


def network(*graphs: Graph) -> Network:
    return Network("test", {g.name: g for g in graphs}, {}, {})


def magnitude(spec: TensorSpec) -> int:
    return max(abs(spec.lo), abs(spec.hi))


def random_conv(rng: np.random.Generator, name: str, src: TensorSpec, extreme: bool) -> Conv:
    """Return a convolution whose worst-case sum stays below 2**31, or reaches it within 0.1 % if `extreme`."""
    upsample = int(rng.integers(1, 3))
    transposed = upsample == 2 and rng.random() < 0.5
    out = int(rng.choice([1, 3, 5, 16, 48, 64, 65, 80, src.channels, src.channels])) * upsample**2
    kh, kw = (3, 3) if transposed else (int(v) for v in rng.integers(1, 6, 2))
    pad = (1, 1, 1, 1) if transposed else tuple(int(v) for v in rng.integers(0, 4, 4))
    shape = (out, kh, kw, src.channels)
    w = rng.choice([-32767, 32767, 1], shape) if extreme else rng.integers(-2047, 2048, shape)
    if transposed:
        w[2::4, 0] = w[3::4, 0] = 0
        w[1::4, :, 0] = w[3::4, :, 0] = 0
    x = magnitude(src)
    total = np.abs(w).sum(axis=(1, 2, 3)) * x
    w = np.trunc(w * np.minimum(1.0, 0.999 * LIMIT / np.maximum(total, 1))[:, None, None, None]).astype(np.int64)
    room = LIMIT - np.abs(w).sum(axis=(1, 2, 3)) * x
    bias = rng.choice([-1, 0, 1], out) * room if extreme else rng.integers(-1000, 1000, out).clip(-room, room)
    shift = rng.integers(0, 31, out) if extreme else rng.integers(8, 18, out)
    slope = int(rng.choice([0, 655, 65535]))
    lo, hi = RANGES["conv"][rng.integers(4 if slope else 5)]
    arrays = w.astype(np.int16), bias.astype(np.int32), shift.astype(np.uint8)
    stride = 1 if transposed else int(rng.integers(1, 3))
    if rng.random() < 0.4:  # keeps its input's size, so that rows of two tensors find partners
        pad, stride = ((kh - 1) // 2, (kw - 1) // 2, kh // 2, kw // 2), 1
    return Conv(name, src.name, *arrays, lo, hi, stride, pad, upsample, slope)


def random_gdn(rng: np.random.Generator, name: str, src: TensorSpec) -> Gdn:
    """Return a GDN row whose norms reach the ends of their range: 1 and just below 2**30."""
    c, x = src.channels, magnitude(src)
    t = next(t for t in range(16) if (x * x + ((1 << t) >> 1)) >> t <= 32767)
    q = max(1, (x * x + ((1 << t) >> 1)) >> t)
    beta = rng.choice([1, 2, 2**20, 2**29], c)
    gamma = rng.integers(0, 32768, (c, c)) * (rng.random((c, 1)) < 0.8)
    scale = (2**30 - 1 - beta) / np.maximum(1, q * gamma.sum(axis=1))
    gamma = np.trunc(gamma * np.minimum(1, scale)[:, None]).astype(np.int64)
    shift = rng.integers(1, 20, c)
    most = np.minimum((2**31 - 1 - 2**19) // max(1, x) * np.floor(np.sqrt(beta)), 2**30)
    numerator = np.trunc(most * rng.choice([0, 0.001, 0.5, 1], c))
    lo, hi = [(-2047, 2047), (0, 255), (-32767, 32767), (-(2**30), 2**30)][rng.integers(4)]
    arrays = gamma.astype(np.int16), beta.astype(np.int32), numerator.astype(np.int32), shift.astype(np.uint8)
    return Gdn(name, src.name, *arrays, t, lo, hi, inverse=bool(rng.integers(2)))


def random_row(rng: np.random.Generator, name: str, src: TensorSpec) -> Row:
    kinds = ["rescale"]
    if magnitude(src) <= 32767:
        kinds += ["conv"] * 5 + ["gdn"] * 3
    if src.lo >= 0:
        kinds += ["index"]
    kind = rng.choice(kinds)
    if kind == "conv":
        return random_conv(rng, name, src, extreme=rng.random() < 0.4)
    if kind == "gdn":
        return random_gdn(rng, name, src)
    if kind == "rescale":
        lo, hi = [(-2047, 2047), (0, 255), (-(2**30), 2**30)][rng.integers(3)]
        shift = rng.integers(0, 29, src.channels).astype(np.uint8)
        return Rescale(name, src.name, shift, lo, hi, magnitude=bool(rng.integers(2)))
    thresholds = np.sort(rng.integers(src.lo, src.hi + 1, int(rng.integers(0, 70))))
    return ScaleIndex(name, src.name, thresholds.astype(np.int32))


def random_add(rng: np.random.Generator, name: str, a: TensorSpec, b: TensorSpec) -> Add:
    """Return a sum whose terms reach 2**30 each."""
    lo, hi = RANGES["conv"][rng.integers(5)]
    shifts = (rng.integers(0, most, a.channels).astype(np.uint8) for most in (16, 16, 17))
    return Add(name, a.name, b.name, *shifts, lo, hi)


def random_gate(rng: np.random.Generator, name: str, a: TensorSpec, b: TensorSpec) -> Gate:
    lo, hi = RANGES["conv"][rng.integers(5)]
    table = rng.integers(0, 32768, b.hi - b.lo + 1).astype(np.int16)
    return Gate(name, a.name, b.name, table, rng.integers(0, 31, a.channels).astype(np.uint8), lo, hi)


def random_pair(
    rng: np.random.Generator, name: str, specs: dict[str, TensorSpec], sizes: dict[str, tuple[int, int]]
) -> Row | None:
    """Return a row of two tensors that go together, or None where there is no such pair."""
    kind = [Concat, random_add, random_gate][rng.integers(3)]
    pairs = [
        (a, b)
        for a in specs.values()
        for b in specs.values()
        if sizes[a.name] == sizes[b.name]
        and (a.dtype == b.dtype == np.int16 and a.channels + b.channels < 200 if kind is Concat
             else a.channels == b.channels and max(magnitude(a), magnitude(b)) < 2**15)
    ]  # fmt: skip
    if not pairs:
        return None
    a, b = pairs[rng.integers(len(pairs))]
    return Concat(name, a.name, b.name) if kind is Concat else kind(rng, name, a, b)


def random_graph(rng: np.random.Generator, height: int, width: int) -> Graph:
    specs: dict[str, TensorSpec] = {}
    for name in ("x", "c")[: int(rng.integers(1, 3))]:
        lo, hi = [(0, 255), (-2047, 2047), (-32767, 32767)][rng.integers(3)]
        specs[name] = TensorSpec(name, int(rng.integers(1, 70)), lo, hi)
    inputs, sizes = tuple(specs.values()), dict.fromkeys(specs, (height, width))
    rows: list[Row] = []
    for i in range(int(rng.integers(1, 9))):
        names = list(specs)
        src = names[-1] if rng.random() < 0.8 else names[rng.integers(len(names))]
        row = random_pair(rng, f"t{i}", specs, sizes) if rng.random() < 0.4 else None
        rows.append(row or random_row(rng, f"t{i}", specs[src]))
        specs[rows[-1].name] = rows[-1].out_spec(specs)
        sizes[rows[-1].name] = rows[-1].out_size(*sizes[rows[-1].inputs[0]])
    extra = [row.name for row in rows[:-1] if rng.random() < 0.2]
    return Graph("g", inputs, tuple(rows), (rows[-1].name, *extra))


class Builder:
    """Rows of a graph one after the other, in the shapes that real models have."""

    def __init__(self, rng: np.random.Generator, *inputs: TensorSpec) -> None:
        self.rng, self.inputs, self.rows = rng, inputs, list[Row]()
        self.specs = {s.name: s for s in inputs}

    def add(self, row: Row) -> str:
        self.rows.append(row)
        self.specs[row.name] = row.out_spec(self.specs)
        return row.name

    def conv(self, src: str, out: int, side: int = 3, stride: int = 1, upsample: int = 1, wide: bool = False) -> str:
        spec, count = self.specs[src], out * upsample**2
        w = self.rng.integers(-600, 601, (count, side, side, spec.channels)).astype(np.int16)
        bias = self.rng.integers(-(2**20), 2**20, count).astype(np.int32)
        shift = np.full(count, 4 if wide else 13, np.uint8)
        lo, hi = (-(2**28), 2**28) if wide else (-2047, 2047)
        p, slope = side // 2, 0 if wide else 655
        name = f"t{len(self.rows)}"
        return self.add(Conv(name, src, w, bias, shift, lo, hi, stride, (p, p, p, p), upsample, slope))

    def gdn(self, src: str, inverse: bool = False) -> str:
        n = self.specs[src].channels
        gamma = self.rng.integers(0, 16000 // n, (n, n)).astype(np.int16)
        arrays = gamma, np.full(n, 2**20, np.int32), np.full(n, 2**27, np.int32), np.full(n, 14, np.uint8)
        return self.add(Gdn(f"t{len(self.rows)}", src, *arrays, 8, -2047, 2047, inverse))

    def sum(self, a: str, b: str, top: int = 2047) -> str:
        n = self.specs[a].channels
        shifts = (self.rng.integers(0, 4, n).astype(np.uint8) for _ in range(3))
        return self.add(Add(f"t{len(self.rows)}", a, b, *shifts, -top, top))

    def attention(self, src: str) -> str:
        n = self.specs[src].channels
        trunk = self.sum(self.conv(self.conv(src, n, 1), n), src)
        mask = self.conv(self.sum(self.conv(self.conv(src, n, 1), n), src), n, 1)
        gate = self.add(random_gate(self.rng, f"t{len(self.rows)}", self.specs[trunk], self.specs[mask]))
        return self.sum(src, gate) if magnitude(self.specs[gate]) < 2**15 else src

    def graph(self, name: str, *outputs: str) -> Graph:
        return Graph(name, self.inputs, tuple(self.rows), outputs)


def residual_graph(rng: np.random.Generator, n: int = 20) -> Graph:
    """Return blocks like cheng2020's: a shortcut of stride 2, attention, an upsampling shortcut, a sum beyond int16."""
    b = Builder(rng, TensorSpec("x", 3, 0, 255))
    down = b.sum(b.gdn(b.conv(b.conv("x", n, stride=2), n)), b.conv("x", n, 1, stride=2))
    first = b.attention(down)
    up = b.sum(b.gdn(b.conv(b.conv(first, n, upsample=2), n), inverse=True), b.conv(first, n, upsample=2))
    shared = b.conv(up, n)  # read by a GDN and by a sum: the GDN must not work in place
    last = b.sum(b.gdn(shared), shared, 2**20)
    return b.graph("g", last, b.conv(down, 70, 5, stride=2, wide=True))


def context_graph(rng: np.random.Generator, m: int = 24) -> Graph:
    """Return a context model: two inputs, convolutions of side 1 only."""
    b = Builder(rng, TensorSpec("neighbours", 12 * m, -4095, 4095), TensorSpec("params", 2 * m, -2047, 2047))
    seen = b.conv("neighbours", 2 * m, 1)
    joined = b.add(Concat("joined", "params", seen))
    hidden = b.conv(b.conv(joined, 70, 1), 64, 1)
    scale = b.add(Rescale("scale", hidden, np.zeros(64, np.uint8), 0, 2047, magnitude=True))
    index = b.add(ScaleIndex("index", scale, np.arange(0, 2000, 40, dtype=np.int32)))
    return b.graph("g", index, b.conv(hidden, m, 1, wide=True))


def random_input(rng: np.random.Generator, spec: TensorSpec, height: int, width: int) -> np.ndarray:
    shape = (height, width, spec.channels)
    ends = rng.choice([spec.lo, spec.hi], shape)
    return np.where(rng.random(shape) < 0.5, ends, rng.integers(spec.lo, spec.hi + 1, shape)).astype(spec.dtype)


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray], what: object) -> None:
    for name, x in got.items():
        assert x.dtype == want[name].dtype, (what, name)
        np.testing.assert_array_equal(x, want[name], err_msg=f"{what} {name}", strict=True)


def small_codec_graph(rng: np.random.Generator, n: int = 32, m: int = 48) -> Graph:
    """Return a g_s-like graph: two transposed convolutions with IGDN, and a last one to 3 channels of pixels."""
    specs = {"y_hat": TensorSpec("y_hat", m, -2047, 2047)}
    rows: list[Row] = []
    src = "y_hat"
    for i, channels in enumerate((n, n, 3)):
        w = rng.integers(-500, 501, (4 * channels, 3, 3, specs[src].channels)).astype(np.int16)
        w[2::4, 0] = w[3::4, 0] = 0
        w[1::4, :, 0] = w[3::4, :, 0] = 0
        bias = rng.integers(-(2**20), 2**20, 4 * channels).astype(np.int32)
        lo, hi = (0, 255) if channels == 3 else (-2047, 2047)
        shift = np.full(4 * channels, 13, np.uint8)
        rows.append(Conv(f"conv{i}", src, w, bias, shift, lo, hi, pad=(1, 1, 1, 1), upsample=2))
        src = rows[-1].name
        specs[src] = rows[-1].out_spec(specs)
        if channels != 3:
            gamma = rng.integers(0, 700, (n, n)).astype(np.int16)
            beta = rng.integers(1, 2**20, n).astype(np.int32)
            rows.append(Gdn(f"igdn{i}", src, gamma, beta, beta, np.full(n, 12, np.uint8), 8, -2047, 2047, inverse=True))
            src = rows[-1].name
            specs[src] = rows[-1].out_spec(specs)
    return Graph("g_s", (specs["y_hat"],), tuple(rows), (src,))


@pytest.mark.parametrize("seed", range(60))
def test_random_networks_equal_the_reference(seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(1, 24, 2))
    graph = random_graph(rng, height, width)
    net = network(graph)
    x = {s.name: random_input(rng, s, height, width) for s in graph.inputs}
    try:
        want = ReferenceEngine(net).trace("g", x)
    except InputError:
        with pytest.raises(InputError, match="does not fit"):
            NativeEngine(net, 1).run("g", x)
        return
    except RangeError:
        pytest.skip("the random network is not a proved one")
    for isa in AVAILABLE:
        for workspace in (None, 1, 30000):
            for threads in (1, 3):
                engine = NativeEngine(net, threads, isa=isa, workspace=workspace)
                assert_same(engine.run("g", x), want, (isa, workspace, threads))
                assert_same(engine.trace("g", x), want, (isa, workspace, threads, "trace"))


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 31), (37, 1), (9, 14), (29, 18)])
def test_residual_blocks_and_attention(isa: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size)
    net = network(residual_graph(rng))
    x = {"x": random_input(rng, net.graphs["g"].inputs[0], *size)}
    want = ReferenceEngine(net).trace("g", x)
    for threads in range(1, 5):
        for workspace in (1, 60_000, None):
            engine = NativeEngine(net, threads, isa=isa, workspace=workspace)
            assert_same(engine.run("g", x), want, (threads, workspace))
    assert_same(engine.trace("g", x), want, "trace")


@pytest.mark.parametrize("isa", AVAILABLE)
def test_context_graphs(isa: str) -> None:
    rng = np.random.default_rng(12)
    net = network(context_graph(rng))
    engines = [NativeEngine(net, threads, isa=isa) for threads in range(1, 5)]
    for size in (*((n, 1) for n in range(1, 41)), (3, 7), (1, 40), (1100, 1), (5, 300)):
        x = {s.name: random_input(rng, s, *size) for s in net.graphs["g"].inputs}
        want = ReferenceEngine(net).trace("g", x)
        for engine in engines:
            assert_same(engine.run("g", x), want, (size, engine.threads))
        assert_same(engines[size[0] % 4].trace("g", x), want, (size, "trace"))


def test_inputs_of_different_sizes_are_refused() -> None:
    net = network(context_graph(np.random.default_rng(12)))
    x = {s.name: np.zeros((2 + i, 1, s.channels), s.dtype) for i, s in enumerate(net.graphs["g"].inputs)}
    with pytest.raises(InputError, match="differ in size"):
        NativeEngine(net, 1).run("g", x)


@pytest.mark.parametrize("isa", AVAILABLE)
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (7, 13), (3, 130), (33, 2)])
def test_shapes_threads_and_strips(isa: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(5)
    net = network(small_codec_graph(rng))
    x = {"y_hat": random_input(rng, net.graphs["g_s"].inputs[0], *size)}
    want = ReferenceEngine(net).trace("g_s", x)
    for threads in range(1, 6):
        for workspace in (1, 100_000, 1 << 30):
            engine = NativeEngine(net, threads, isa=isa, workspace=workspace)
            got = engine.run("g_s", x)
            assert list(got) == ["conv2"]
            assert_same(got, want, (threads, workspace))
    assert_same(engine.trace("g_s", x), want, "trace")


def test_two_python_threads_share_an_engine() -> None:
    rng = np.random.default_rng(6)
    net = network(small_codec_graph(rng))
    engines = [NativeEngine(net, 2, workspace=50_000), NativeEngine(net, 1, isa="scalar")]
    inputs = [{"y_hat": random_input(rng, net.graphs["g_s"].inputs[0], 5 + i, 9)} for i in range(4)]
    want = [engines[1].run("g_s", x)["conv2"] for x in inputs]
    wrong: list[int] = []

    def work(i: int) -> None:
        for _ in range(10):
            if not np.array_equal(engines[0].run("g_s", inputs[i])["conv2"], want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong


def test_the_workspace_is_bounded_and_reused() -> None:
    rng = np.random.default_rng(7)
    net = network(small_codec_graph(rng))
    engine = NativeEngine(net, 1, workspace=1 << 20)
    graph = engine._graphs["g_s"]
    seen = []
    for height in (64, 256, 64):
        engine.run("g_s", {"y_hat": random_input(rng, net.graphs["g_s"].inputs[0], height, 12)})
        seen.append(graph.last_bytes)
    assert max(seen) < 2 << 20
    assert graph.last_steps > 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {}, "missing"),
        (lambda x: {"y_hat": x.astype(np.int32)}, "must be int16"),
        (lambda x: {"y_hat": x[:, :, 1:]}, "must be int16"),
        (lambda x: {"y_hat": x[0]}, "must be int16"),
        (lambda x: {"y_hat": x[:0]}, "must be int16"),
        (lambda x: {"y_hat": np.full_like(x, 2048)}, "outside"),
    ],
)
def test_wrong_inputs_are_refused(change: object, message: str) -> None:
    rng = np.random.default_rng(8)
    engine = NativeEngine(network(small_codec_graph(rng)), 1)
    x = np.zeros((2, 3, 48), np.int16)
    with pytest.raises(InputError, match=message):
        engine.run("g_s", change(x))  # type: ignore[operator]
    with pytest.raises(InputError, match="no graph"):
        engine.run("g_a", {"y_hat": x})


def test_a_strided_input_is_copied() -> None:
    rng = np.random.default_rng(9)
    net = network(small_codec_graph(rng))
    x = random_input(rng, net.graphs["g_s"].inputs[0], 8, 10)
    engine = NativeEngine(net, 1)
    assert_same(engine.run("g_s", {"y_hat": x[::2, ::2]}), engine.run("g_s", {"y_hat": x[::2, ::2].copy()}), "strided")


def test_the_instruction_set_can_be_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(small_codec_graph(np.random.default_rng(10)))
    monkeypatch.delenv("INTCODEC_ISA", raising=False)
    assert NativeEngine(net).isa == AVAILABLE[0]
    monkeypatch.setenv("INTCODEC_ISA", "scalar")
    assert NativeEngine(net).isa == "scalar"
    assert NativeEngine(net, isa=AVAILABLE[0]).isa == AVAILABLE[0]
    for name in ("sse9", *(name for name, here in isa_levels() if not here)):
        monkeypatch.setenv("INTCODEC_ISA", name)
        with pytest.raises(InputError, match="use one of"):
            choose_isa()


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_bad_thread_counts_are_refused(threads: int) -> None:
    with pytest.raises(InputError, match="threads must be"):
        NativeEngine(network(small_codec_graph(np.random.default_rng(0))), threads)


def build_check(tmp_path: Path, compiler: str, *flags: str) -> Path:
    """Compile _ext/kernels/check/check.c with all kernels; skip if this compiler cannot link it."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdlib.h>\nint main(void) { return 0; }\n")
    base = [compiler, "-std=c11", *flags, "-pthread"]
    if subprocess.run([*base, str(probe), "-o", str(tmp_path / "probe")], capture_output=True).returncode:
        pytest.skip(f"{compiler} cannot build with {' '.join(flags)}")
    sources = [KERNELS / "check" / "check.c", *sorted(KERNELS.glob("*.c"))]
    command = [*base, "-Wall", "-Wextra", "-Werror", f"-I{KERNELS}", *map(str, sources), "-o", str(tmp_path / "check")]
    built = subprocess.run(command, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return tmp_path / "check"


def run_check(*command: object) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal" in done.stdout
    return done.stdout


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_kernels_under_sanitizers(tmp_path: Path, sanitizer: str) -> None:
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-O1", "-g"]
    run_check(build_check(tmp_path, "gcc", *flags), 3)


def test_neon_equals_scalar_under_emulation(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this machine runs NEON itself")
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("no qemu-aarch64-static")
    (tmp_path / "arm").mkdir()
    (tmp_path / "here").mkdir()
    arm = run_check("qemu-aarch64-static", build_check(tmp_path / "arm", "aarch64-linux-gnu-gcc", "-O3", "-static"), 6)
    here = run_check(build_check(tmp_path / "here", "gcc", "-O3"), 6)
    assert "neon" in arm
    assert arm.split()[-1] == here.split()[-1]  # the hash of the scalar results

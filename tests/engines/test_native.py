"""The native engine against the reference engine, to the bit: every instruction set, thread count and strip size."""

from __future__ import annotations

import platform
import shutil
import subprocess
import threading
from pathlib import Path

import ccore
import numpy as np
import pytest
from randomnet import context_graph, network, random_graph, random_input, residual_graph, small_codec_graph

from intcodec.base.errors import InputError, RangeError
from intcodec.engines.columns import Columns
from intcodec.engines.native import NativeEngine, choose_isa, isa_levels
from intcodec.engines.reference import ReferenceEngine

AVAILABLE = [name for name, here in isa_levels() if here]


def assert_same(got: dict[str, np.ndarray], want: dict[str, np.ndarray], what: object) -> None:
    for name, x in got.items():
        assert x.dtype == want[name].dtype, (what, name)
        np.testing.assert_array_equal(x, want[name], err_msg=f"{what} {name}", strict=True)


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
    engines = [NativeEngine(net, threads, isa=isa, workspace=1) for threads in range(1, 5)]  # 1: all threads work
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
    graph = engine._native("g_s")
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


#: Fuzz targets that compare instruction sets, and how many random inputs of each are run.
TARGETS = {"graph": 1500, "flow": 80}


def built(tmp_path: Path, compiler: str, *flags: str) -> dict[str, Path]:
    """Compile programs that run the targets on random inputs; skip if this compiler cannot link them."""
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    tmp_path.mkdir(exist_ok=True)
    probe = tmp_path / "probe.c"
    probe.write_text("#include <stdlib.h>\nint main(void) { return 0; }\n")
    base = [compiler, "-std=c11", *flags, "-pthread"]
    if subprocess.run([*base, str(probe), "-o", str(tmp_path / "probe")], capture_output=True).returncode:
        pytest.skip(f"{compiler} cannot build with {' '.join(flags)}")
    base += ["-Wall", "-Wextra", "-Werror", ccore.INCLUDE]
    run([*base, "-c", *ccore.SOURCES], tmp_path)
    objects = [f"{Path(source).stem}.o" for source in ccore.SOURCES]
    for target in TARGETS:
        run([*base, *ccore.driver(target), *objects, "-o", target], tmp_path)
    return {target: tmp_path / target for target in TARGETS}


def run(command: list[object], folder: Path | None = None) -> str:
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_kernels_under_sanitizers(tmp_path: Path, sanitizer: str) -> None:
    flags = [f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", "-O1", "-g"]
    for target, program in built(tmp_path, "gcc", *flags).items():
        assert "equal" in run([program, TARGETS[target], 3 if sanitizer == "thread" else 0])


def test_neon_equals_scalar_under_emulation(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("this machine runs NEON itself")
    if shutil.which("qemu-aarch64-static") is None:
        pytest.skip("no qemu-aarch64-static")
    here = built(tmp_path / "here", "gcc", "-O3")
    for target, program in built(tmp_path / "arm", "aarch64-linux-gnu-gcc", "-O3", "-static").items():
        there = run(["qemu-aarch64-static", program, TARGETS[target]])
        assert "neon" in there
        assert there.split()[-1] == run([here[target], TARGETS[target]]).split()[-1]  # the hash of the scalar results


def test_stretches_cover_the_width_once_and_begin_at_whole_columns() -> None:
    graph = small_codec_graph(np.random.default_rng(4))
    columns = Columns(graph)
    for core in (columns.unit, 5 * columns.unit, 1 << 20):
        for width in (1, 7, 64, 1000):
            end = 0
            for s in columns.stretches(width, core):
                assert s.begin == end
                assert 0 <= s.first <= s.begin < s.end <= s.last <= width
                assert all(s.first * scale % 1 == s.begin * scale % 1 == 0 for scale in columns.scale.values())
                end = s.end
            assert end == width


@pytest.mark.parametrize("seed", range(40))
def test_columns_make_no_difference(seed: int) -> None:
    """Random networks, which pad unevenly, in cores of one unit: every column's halo must be wide enough."""
    rng = np.random.default_rng(seed + 500)
    height, width = int(rng.integers(1, 9)), int(rng.integers(40, 120))
    graph = random_graph(rng, height, width)
    net = network(graph)
    x = {s.name: random_input(rng, s, height, width) for s in graph.inputs}
    whole = NativeEngine(net, 1, core=1 << 20)
    try:
        want = whole.trace("g", x)
    except InputError:
        pytest.skip("the random network takes larger pictures only")
    for core in (1, 9):
        engine = NativeEngine(net, 2, core=core)
        assert_same(engine.trace("g", x), want, core)
        assert_same(engine.run("g", x), want, core)

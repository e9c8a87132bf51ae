"""The ONNX graphs on onnxruntime against the reference engine: every tensor of every row, to the bit."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
from randomnet import residual_graph

from intcodec.base.errors import InputError, ModelError
from intcodec.engines.reference import ReferenceEngine
from intcodec.network.graph import Graph, Network
from intcodec.network.proof import prove
from intcodec.rows.add import Add
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.gate import Gate
from intcodec.rows.gdn import Gdn
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.scale_index import ScaleIndex

pytest.importorskip("onnxruntime", reason="the engine needs onnxruntime")

from intcodec.engines.onnx import OnnxEngine, make_session
from intcodec.network import onnxgraph as onnxgraphs
from intcodec.onnxwriter import protobuf
from intcodec.onnxwriter.emitter import ELEMENT
from intcodec.onnxwriter.values import DIGIT_BITS, layout, weight_digits

SIZES = ((1, 1), (1, 7), (5, 2), (9, 16))


def inputs(graph: Graph, size: tuple[int, int], mode: str, seed: int = 0) -> dict[str, Any]:
    """Return random inputs: over the whole range, at its ends only, or small."""
    rng = np.random.default_rng(seed)
    out = {}
    for spec in graph.inputs:
        shape = (*size, spec.channels)
        if mode == "whole":
            x = rng.integers(spec.lo, spec.hi + 1, shape)
        elif mode == "ends":
            x = rng.choice([spec.lo, spec.hi], shape)
        else:
            x = np.clip(rng.integers(-3, 4, shape), spec.lo, spec.hi)
        out[spec.name] = x.astype(spec.dtype)
    return out


def check(graph: Graph, sizes: tuple[tuple[int, int], ...] = SIZES, threads: int = 1) -> None:
    """Compare every tensor of a graph."""
    network = Network("test", {graph.name: graph}, {}, {})
    prove(network)
    reference = ReferenceEngine(network)
    session = make_session(onnxgraphs.build(graph, expose_all=True), threads)
    for size in sizes:
        for mode in ("whole", "ends", "small"):
            given = inputs(graph, size, mode)
            expected = reference.trace(graph.name, given)
            feed = {k: v if v.dtype == np.uint8 else v.astype(np.int32) for k, v in given.items()}
            for row, got in zip(graph.rows, session.run(None, feed), strict=True):
                np.testing.assert_array_equal(got, expected[row.name], err_msg=f"{row.name} {size} {mode}")


def one(row: Row, channels: int, lo: int, hi: int) -> Graph:
    return Graph("g", (TensorSpec("x", channels, lo, hi),), (row,), (row.name,))


def random_conv(rng: np.random.Generator, channels: int, out: int, weight: int, reach: int, **options: Any) -> Conv:
    """Return a convolution that uses the accumulator: the largest weights that its proof allows, and any shifts."""
    side = int(rng.choice([1, 2, 3, 5]))
    w = rng.integers(-weight, weight + 1, (out, side, side, channels))
    w[rng.random(w.shape) < 0.1] = weight
    # The digit form of docs/arithmetic.md, Proof is the largest bound, at most (|x| + 256) * sum (|w| + 256).
    limit = (2**30 // ((reach + 384) * side * side * channels)) - 384
    w = np.clip(w, -max(limit, 1), max(limit, 1)) if limit < weight else w
    shift = rng.integers(0, 21, out)
    bias = rng.integers(-(2**28), 2**28, out)
    pad = tuple(int(p) for p in rng.integers(0, side, 4)) if side > 1 else (0, 0, 0, 0)
    return Conv("v", "x", w.astype(np.int16), bias.astype(np.int32), shift.astype(np.uint8), pad=pad, **options)


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_whole_networks(arch: str) -> None:
    for graph in tiny.network(arch).graphs.values():
        check(graph, ((1, 1), (16, 16), (19, 6)), threads=2)


@pytest.mark.parametrize("seed", range(40))
def test_random_convolutions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reach = int(rng.choice([1, 127, 2047, 16383, 32767]))
    lo = int(rng.choice([0, -reach, -reach // 3]))
    channels, upsample = int(rng.choice([1, 3, 8, 48])), int(rng.choice([1, 2]))
    out = int(rng.choice([1, 3])) * upsample**2
    ends = [(-2047, 2047), (0, 255), (0, 4095), (-128, 127), (-(2**24), 2**24), (5, 9), (-(2**31) + 1, 2**31 - 1)]
    low, high = ends[int(rng.integers(len(ends)))]
    slope = int(rng.choice([0, 655, 65535])) if -32768 <= low < 0 <= high <= 32767 else 0
    stride = int(rng.choice([1, 2]))
    weight = int(rng.choice([63, 2047, 32767]))
    row = random_conv(rng, channels, out, weight, reach, lo=low, hi=high, stride=stride, upsample=upsample, slope=slope)
    check(one(row, channels, lo, reach), ((5, 5), (9, 6), (7, 12)))


def test_a_convolution_without_weights() -> None:
    row = Conv("v", "x", np.zeros((4, 3, 3, 2), np.int16), np.arange(4, dtype=np.int32), np.zeros(4, np.uint8), -9, 9,
               pad=(1, 1, 1, 1), upsample=2)  # fmt: skip
    check(one(row, 2, -5, 5))


@pytest.mark.parametrize("seed", range(12))
def test_random_gdn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c, reach = int(rng.choice([1, 3, 16])), int(rng.choice([181, 2047]))
    t = 0 if reach == 181 else int(rng.choice([7, 10]))
    gamma = rng.integers(0, 30000 // c, (c, c)).astype(np.int16)
    beta = rng.choice([1, 2**10, 2**20], c).astype(np.int32)
    inverse = bool(seed % 2)
    top = 2**31 // (reach + 1) // 2
    numerator = np.minimum(2 ** rng.integers(0, 20, c), top).astype(np.int32)
    shift = rng.integers(1, 20, c).astype(np.uint8)
    check(one(Gdn("v", "x", gamma, beta, numerator, shift, t, -2047, 2047, inverse), c, -reach, reach))


def test_roots_next_to_squares() -> None:
    roots = np.unique(np.concatenate([np.arange(1, 300), np.random.default_rng(0).integers(300, 32767, 400), [32767]]))
    n = np.unique(np.concatenate([roots**2 - 1, roots**2, roots**2 + 1, [2**30 - 1]]))
    n = n[n >= 1]
    # x = 0: the norm is beta, one channel each; numerator / root tells the roots apart on top of x = 1.
    c = n.size
    row = Gdn("v", "x", np.zeros((c, c), np.int16), n.astype(np.int32), np.ones(c, np.int32), np.ones(c, np.uint8), 0,
              -40000, 40000, inverse=True)  # fmt: skip
    check(one(row, c, -3, 3), ((1, 4),))


@pytest.mark.parametrize("magnitude", [False, True])
def test_rescale(magnitude: bool) -> None:
    shift = np.arange(31, dtype=np.uint8)
    check(one(Rescale("v", "x", shift, -2047, 2047, magnitude), 31, -(2**30) + 1, 2**30 - 1))
    check(one(Rescale("v", "x", shift[:9], -(2**24), 2**24, magnitude), 9, -(2**25), 2**25))


@pytest.mark.parametrize("top", [300, 2**18, 2**25])
def test_scale_index(top: int) -> None:
    thresholds = np.sort(np.random.default_rng(top).integers(0, top, 63)).astype(np.int32)
    check(one(ScaleIndex("v", "x", thresholds), 5, 0, top))


@pytest.mark.parametrize("seed", range(6))
def test_rows_of_two_tensors(seed: int) -> None:
    """Whole tensors, bands and phases in every combination that the two sides can have."""
    rng = np.random.default_rng(seed)
    c = 4
    ends = [(-2047, 2047), (0, 4095), (-32767, 32767), (-9, 30000), (-128, 127)]
    (lo, hi), (lo2, hi2) = (ends[int(i)] for i in rng.integers(0, len(ends), 2))
    up = random_conv(rng, c, 4 * c, 63, max(-lo, hi), lo=lo2, hi=hi2, upsample=2)
    up = replace(up, weight=up.weight[:, :1, :1], pad=(0, 0, 0, 0))
    again = replace(up, name="w", bias=up.bias[::-1].copy())
    low = replace(up, name="low", upsample=1, weight=up.weight[:c], bias=up.bias[:c], shift=up.shift[:c])
    table = rng.integers(0, 32768, hi2 - lo2 + 1).astype(np.int16)

    def shifts(top: int) -> Any:
        return rng.integers(0, top + 1, c).astype(np.uint8)

    rows: list[Row] = [up, again, low]
    for name, a, b in (("vw", "v", "w"), ("xl", "x", "low"), ("lx", "low", "low")):
        rows.append(Add(f"add_{name}", a, b, shifts(13), shifts(13), shifts(20), -2047, 2047))
        if b != "x":
            rows.append(Gate(f"gate_{name}", a, b, table, shifts(20), -2047, 2047))
    rows += [Concat("cat", "x", "low"), Concat("cats", "v", "w")]
    rows.append(replace(low, name="after", input="cats", weight=np.repeat(low.weight, 2, axis=3) // 2))
    check(Graph("g", (TensorSpec("x", c, lo, hi),), tuple(rows), ("after",)), ((1, 1), (7, 5)))


@pytest.mark.parametrize("bands", [2, 3, 32])
def test_bands(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bands of rows, also where there are fewer rows than bands."""
    monkeypatch.setattr("intcodec.rows.conv.BAND_BYTES", 1)
    monkeypatch.setattr("intcodec.rows.conv.MAX_BANDS", bands)
    for graph in tiny.network("mean-scale").graphs.values():
        check(graph, ((1, 1), (16, 16), (19, 6)))
    check(residual_graph(np.random.default_rng(bands)), ((4, 4), (12, 8)))  # a 1x1 shortcut of stride 2


def test_digits_give_back_the_number() -> None:
    w = np.arange(-32767, 32768, dtype=np.int64)
    digits = weight_digits(w)
    assert np.array_equal(sum(d << (DIGIT_BITS * i) for i, d in enumerate(digits)), w)
    assert all(d.min() >= -64 and d.max() <= 64 for d in digits)
    for lo, hi in ((0, 255), (-2047, 2047), (-32767, 32767), (-128, 127), (0, 32767), (-16383, 5), (0, 256)):
        form = layout(lo, hi)
        assert form.digits > 0
        assert form.offset + lo >= 0
        assert (form.offset + hi) >> (DIGIT_BITS * (form.digits - 1)) <= 255
        assert form.offset == sum(form.zero << (DIGIT_BITS * i) for i in range(form.digits))


def test_the_bytes_are_deterministic() -> None:
    for graph in tiny.network("mean-scale").graphs.values():
        assert onnxgraphs.build(graph) == onnxgraphs.build(graph)


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_the_format_is_what_the_onnx_package_writes(arch: str) -> None:
    """It reads our bytes, finds nothing wrong with them, and writes the same ones."""
    onnx = pytest.importorskip("onnx")
    for graph in tiny.network(arch).graphs.values():
        data = onnxgraphs.build(graph, expose_all=True)
        model = onnx.load_from_string(data)
        onnx.checker.check_model(model)
        assert model.SerializeToString(deterministic=True) == data
        assert (model.ir_version, model.opset_import[0].version, model.producer_name) == (7, 13, "intcodec")


def test_attributes_and_tensors_against_the_onnx_package() -> None:
    onnx = pytest.importorskip("onnx")
    attributes = {"axis": -1, "mode": "constant", "pads": [1, -2, 300], "large": 2**40}
    ours = protobuf.node("Kind", ["a", "b"], ["c"], attributes)
    theirs = onnx.helper.make_node("Kind", ["a", "b"], ["c"], **attributes)
    assert ours == theirs.SerializeToString(deterministic=True)
    for dtype, element in ELEMENT.items():
        for shape in ((), (3,), (2, 0), (130, 2)):
            array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
            tensor = onnx.numpy_helper.from_array(array, "name")
            assert protobuf.tensor("name", array, element) == tensor.SerializeToString(deterministic=True)


def test_only_operators_of_the_published_list() -> None:
    onnx = pytest.importorskip("onnx")
    documented = set(re.findall(r"\w+", onnxgraphs.__doc__ or ""))
    for arch in tiny.ARCHS:
        for graph in tiny.network(arch).graphs.values():
            model = onnx.load_from_string(onnxgraphs.build(graph))
            assert {node.op_type for node in model.graph.node} <= documented
            assert [o.domain for o in model.opset_import] == [""]
            assert [i.name for i in model.graph.input] == [s.name for s in graph.inputs]
            assert [o.name for o in model.graph.output] == list(graph.outputs)


def test_sums_that_int32_cannot_hold_are_refused() -> None:
    w = np.full((1, 1, 1, 64), 32767, np.int16)
    row = Conv("v", "x", w, np.zeros(1, np.int32), np.zeros(1, np.uint8), -1, 1)
    with pytest.raises(ModelError, match="int32"):
        onnxgraphs.build(one(row, 64, -32767, 32767))


def test_engine() -> None:
    network = tiny.network("mean-scale")
    graphs = {name: onnxgraphs.build(graph) for name, graph in network.graphs.items()}
    engine, reference = OnnxEngine(graphs, network, 1), ReferenceEngine(network)
    for name, graph in network.graphs.items():
        given = inputs(graph, (16, 16), "whole")
        got, expected = engine.run(name, given), reference.run(name, given)
        assert list(got) == list(expected)
        for tensor in expected:
            assert got[tensor].dtype == expected[tensor].dtype
            np.testing.assert_array_equal(got[tensor], expected[tensor])


def test_engine_errors() -> None:
    network = tiny.network("factorized")
    with pytest.raises(ModelError, match="holds no ONNX graph"):
        OnnxEngine({}, network).run("g_a", inputs(network.graphs["g_a"], (16, 16), "whole"))
    engine = OnnxEngine({"g_a": b"not onnx"}, network)
    with pytest.raises(ModelError, match="onnxruntime failed"):
        engine.run("g_a", inputs(network.graphs["g_a"], (16, 16), "whole"))
    with pytest.raises(InputError, match="missing"):
        engine.run("g_a", {})
    with pytest.raises(InputError, match="uint8"):
        engine.run("g_a", {"x": np.zeros((16, 16, 3), np.int32)})

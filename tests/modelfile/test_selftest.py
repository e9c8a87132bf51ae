"""Self-test vectors, verification and the choice of an engine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny

from intcodec import engines
from intcodec.base.errors import InputError, SelfTestError
from intcodec.conformance.verify import verify
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile import selftest
from intcodec.modelfile.model import Model
from intcodec.network.graph import Network
from intcodec.rows.row import TensorSpec


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.build(tiny.network("mean-scale"))


@pytest.fixture(scope="module")
def bare() -> Model:
    """A model without ONNX graphs."""
    return Model.build(tiny.network("hyperprior"), onnx_graphs={})


class Wrong:
    """An engine that is off by one in one number of one tensor."""

    name = "wrong"
    threads = 1

    def __init__(self, network: Network, graph: str, tensor: str) -> None:
        self.inner = ReferenceEngine(network)
        self.where = graph, tensor

    def run(self, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return self.spoil(graph, self.inner.run(graph, inputs))

    def spoil(self, graph: str, tensors: dict[str, Any]) -> dict[str, Any]:
        if self.where[0] == graph and self.where[1] in tensors:
            tensors[self.where[1]].reshape(-1)[-1] ^= 1
        return tensors


class WrongInside(Wrong):
    """The same with a trace."""

    def trace(self, graph: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        return self.spoil(graph, self.inner.trace(graph, inputs))


def test_golden_test_input() -> None:
    """The numbers of docs/model.md."""
    x = selftest.test_input(TensorSpec("x", 3, 0, 255), 1, 4, 1)
    assert x.dtype == np.uint8
    assert x.ravel().tolist() == GOLDEN_U8
    y = selftest.test_input(TensorSpec("y", 4, -(2**24), 2**24), 1, 2, 2)
    assert y.dtype == np.int32
    assert y.ravel().tolist() == GOLDEN_I32


GOLDEN_U8 = [27, 11, 21, 0, 255, 122, 255, 255, 32, 52, 0, 0]
GOLDEN_I32 = [-16777216, -11246045, -10941779, -16777216, -28, 14929186, -13, -232605]


def test_hash_is_murmur3s_finaliser() -> None:
    """Published values of fmix32."""
    given = np.array([0, 1, 2, 0xFFFFFFFF], np.uint64)
    assert selftest.hash32(given).tolist() == [0, 0x514E28B7, 0x30F4C306, 0x81F16F39]


def test_test_inputs_reach_both_ends_and_stay_inside() -> None:
    for lo, hi in ((0, 255), (-2047, 2047), (-(2**26), 2**26), (-(2**31) + 1, 2**31 - 1), (3, 3)):
        x = selftest.test_input(TensorSpec("x", 8, lo, hi), 9, 9, 0)
        assert (int(x.min()), int(x.max())) == (lo, hi)


def test_an_engine_that_is_wrong_is_named(bare: Model) -> None:
    selftest.self_test(bare, ReferenceEngine(bare.network), deep=True)
    for graph, tensor in (("g_a", "y"), ("h_s", "index"), ("g_s", "x_hat")):
        with pytest.raises(SelfTestError, match=f"graph {graph} wrongly.*'{tensor}'"):
            selftest.self_test(bare, Wrong(bare.network, graph, tensor))
    selftest.self_test(bare, WrongInside(bare.network, "g_s", "igdn1"))
    with pytest.raises(SelfTestError, match="'igdn1'"):
        selftest.self_test(bare, WrongInside(bare.network, "g_s", "igdn1"), deep=True)


def test_verify_good_model(model: Model) -> None:
    report = verify(model.data)
    assert report.ok
    assert report.model_id == model.model_id
    status = {name: status for name, status, _ in report.checks}
    assert status["bounds"] == status["identity"] == status["onnx graphs"] == status["self-test reference"] == "ok"
    assert report.as_dict()["ok"] is True
    assert len(report.as_dict()["checks"]) == len(report.checks)


def test_verify_says_what_it_skips(model: Model, bare: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {name: (status, detail) for name, status, detail in verify(bare.data).checks}
    assert checks["onnx graphs"][0] == checks["self-test onnxruntime"][0] == "ok"
    assert checks["onnx graphs"][1].startswith("none stored")
    monkeypatch.setitem(sys.modules, "intcodec.engines.onnx", None)
    checks = {name: (status, detail) for name, status, detail in verify(model.data).checks}
    assert checks["self-test onnxruntime"][0] == "skipped"


def test_verify_finds_what_load_does_not(model: Model) -> None:
    from modelfiles import rebuild

    first = next(iter(model.bounds))
    wrong_bound = rebuild(model, bounds={**model.bounds, first: model.bounds[first] + 1})
    assert failed(wrong_bound) == ["bounds"]
    other = Model.build(tiny.network("mean-scale", seed=1))
    swapped = rebuild(model, onnx={**model.onnx, "g_s": other.onnx["g_s"]})
    assert failed(swapped) == ["onnx graphs"]  # the engine builds its own
    row = model.network.graphs["g_s"].rows[0]
    shift = row.shift.copy()  # type: ignore[union-attr]
    shift[0] += 1
    rows = (replace(row, shift=shift), *model.network.graphs["g_s"].rows[1:])
    changed = replace(model.network.graphs["g_s"], rows=rows)
    network = replace(model.network, graphs={**model.network.graphs, "g_s": changed})
    assert "self-test reference" in failed(rebuild(model, network=network))
    assert verify(b"nonsense").checks[0][:2] == ("bundle", "failed")
    assert not verify(b"nonsense").ok


def failed(data: bytes) -> list[str]:
    return [name for name, status, _ in verify(data).checks if status == "failed"]


def test_create(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engines.create("reference", model.network).name == "reference"
    assert engines.create(None, model.network, 1).name in ("native", "onnxruntime")
    with pytest.raises(InputError, match="unknown engine 'gpu'; choose one of native, onnxruntime, reference"):
        engines.create("gpu", model.network)
    for threads in (0, -1, 257):
        with pytest.raises(InputError, match="threads must be"):
            engines.create("reference", model.network, threads)
    assert 1 <= engines.cores() <= engines.MAX_THREADS
    monkeypatch.setitem(sys.modules, "intcodec.engines.native", None)
    with pytest.raises(InputError, match="'native' cannot be used here"):
        engines.create("native", model.network, 1)
    if "onnxruntime" in sys.modules:
        assert engines.create(None, model.network, 1).name == "onnxruntime"
    monkeypatch.setitem(sys.modules, "intcodec.engines.onnx", None)
    with pytest.raises(InputError, match="no engine is installed"):
        engines.create(None, model.network, 1)

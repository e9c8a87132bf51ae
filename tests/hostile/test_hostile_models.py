"""Model files made to hurt: each is a ModelError of one line, in memory that is measured in a process of its own.

tests/test_model.py has the container and its fields one by one. Here are the files that ask for much with few bytes,
what fuzzing found, and everything that a file could do to whoever loads it.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import peak
import pytest
import tiny

import intcodec
from intcodec.base.errors import IntCodecError, ModelError
from intcodec.cli.main import main
from intcodec.coding import bitstream
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile import selftest, tensorfile
from intcodec.modelfile.container import MANIFEST, NETWORK
from intcodec.modelfile.model import METADATA_KEY, Model, read_network, write_network
from intcodec.network.graph import Graph, Network
from intcodec.onnxwriter import protobuf
from intcodec.pictures.codec import Codec
from intcodec.rows.concat import Concat
from intcodec.rows.conv import Conv
from intcodec.rows.row import TensorSpec

#: What loading any of these files may take, the interpreter, numpy and two copies of the largest member included.
MEGABYTES = 900

LOAD = """
import sys, intcodec
try:
    intcodec.load(sys.argv[1], engine=sys.argv[2], threads=1)
    print("loaded")
except intcodec.IntCodecError as error:
    print(type(error).__name__, error)
"""


def refused(data: bytes, path: Path, match: str, engine: str = "native", megabytes: int = MEGABYTES) -> None:
    """Load a file in a process of its own: a ModelError of one line, below a peak of memory."""
    path.write_bytes(data)
    run = peak.run([sys.executable, "-c", LOAD, path, engine])
    assert run.code == 0, run.stderr[-2000:]
    (message,) = run.stdout.splitlines()
    assert message.startswith("ModelError"), message
    assert match in message
    assert len(message) < 400
    assert run.megabytes < megabytes


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def packed(network: bytes, onnx: dict[str, bytes] | None = None, **manifest: Any) -> bytes:
    """Return a file of this network.safetensors whose hashes are right."""
    members = {NETWORK: network, **{f"onnx/{name}.onnx": data for name, data in (onnx or {}).items()}}
    hashes = {name: hashlib.sha256(data).hexdigest() for name, data in members.items()}
    facts = {"format": 1, "arch": "x", "model_id": hashes[NETWORK], "sha256": hashes, **manifest}
    return zipped({MANIFEST: json.dumps(facts).encode(), **members})


def forged(network: Network, height: int = 1, width: int = 1) -> bytes:
    """Return a file of a network that nothing has checked, with self-test vectors of a size."""
    bounds = {f"{g.name}/{r.name}": 1 for g, r in network.rows()}
    bounds |= {f"latent/{name}": 1 for name in network.latents}
    vectors = tuple(
        {"graph": g.name, "height": height, "width": width, "seed": 1, "tensors": {r.name: "0" * 32 for r in g.rows}}
        for g in network.graphs.values()
    )
    return packed(write_network(network, bounds, vectors))


def with_graph(graph: Graph) -> Network:
    """Return a tiny factorized network with another graph in place of its own of that name."""
    network = tiny.network("factorized")
    return replace(network, graphs={**network.graphs, graph.name: graph})


def conv(name: str, source: str, shape: tuple[int, int, int, int], **fields: Any) -> Conv:
    out = shape[0]
    arrays = np.zeros(shape, np.int16), np.zeros(out, np.int32), np.zeros(out, np.uint8)
    return Conv(name, source, *arrays, **{"lo": -100, "hi": 100, **fields})


def chain(count: int, **fields: Any) -> list[Conv]:
    """Return convolutions of one weight for each output, one after the other."""
    out = fields.get("upsample", 1) ** 2
    names = ["y_hat", *(f"c{i}" for i in range(count))]
    return [conv(names[i + 1], names[i], (out, 1, 1, 1), **fields) for i in range(count)]


def deep(levels: int) -> bytes:
    return b'{"a":' * levels + b"1" + b"}" * levels


def raw(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


ONE = TensorSpec("y_hat", 1, -100, 100)


def wide_input(height: int) -> bytes:
    rows = (conv("x_hat", "y_hat", (1, 1, 1, 1 << 14)),)
    return forged(
        with_graph(Graph("g_s", (TensorSpec("y_hat", 1 << 14, -100, 100),), rows, ("x_hat",))), height, height
    )


def blown_up(count: int) -> bytes:
    rows = chain(count, upsample=2)
    return forged(with_graph(Graph("g_s", (ONE,), tuple(rows), (rows[-1].name,))), 3, 4)


def padded_up() -> bytes:
    rows = chain(250, pad=(14, 14, 14, 14))
    return forged(with_graph(Graph("g_s", (ONE,), tuple(rows), (rows[-1].name,))), 3, 4)


def many_products() -> bytes:
    rows = (conv("x_hat", "y_hat", (64, 15, 15, 1 << 12), pad=(7, 7, 7, 7)),)
    inputs = (TensorSpec("y_hat", 1 << 12, -100, 100),)
    return forged(with_graph(Graph("g_s", inputs, rows, ("x_hat",))), 64, 63)


def lanes_of_nothing() -> bytes:
    """One output channel a row, which kernels compute in whole groups of lanes."""
    inputs = (TensorSpec("y_hat", 1 << 14, -100, 100),)
    rows = tuple(conv(f"c{i}", "y_hat", (1, 8, 15, 1 << 14)) for i in range(20))
    return forged(with_graph(Graph("g_s", inputs, rows, ("c0",))), 8, 15)


def long_table() -> bytes:
    network = tiny.network("factorized")
    content = write_network(network, {}, ())
    tensors, metadata = tensorfile.read(content, "test")
    return packed(tensorfile.write({**tensors, "cdf/y/cdf": np.zeros(30 << 20, np.uint32)}, metadata))


def wide_rows() -> bytes:
    rows = (conv("x_hat", "y_hat", (1 << 17, 1, 1, 1)),)
    with mock.patch("intcodec.network.graph.MAX_CHANNELS", 1 << 20):
        return forged(with_graph(Graph("g_s", (ONE,), rows, ("x_hat",))))


def joined_channels() -> bytes:
    rows: list[Any] = [conv("c0", "y_hat", (1 << 13, 1, 1, 1), lo=-1000)]
    rows += [Concat(f"c{i + 1}", f"c{i}", f"c{i}") for i in range(8)]
    with mock.patch("intcodec.network.graph.MAX_CHANNELS", 1 << 30):
        return forged(with_graph(Graph("g_s", (ONE,), tuple(rows), ("c8",))))


def network_of(metadata: bytes) -> bytes:
    return raw(json.dumps({"__metadata__": {METADATA_KEY: metadata.decode()}}).encode())


#: Name: (file, part of the message). Each file is small; what it asks for is not.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zeros": (lambda: packed(bytes(255 << 20)), "not valid JSON"),
    "too much in all": (lambda: packed(bytes(1), {f"g{i}": bytes(180 << 20) for i in range(3)}), "declare more than"),
    "a directory of members": (lambda: zipped({f"onnx/g{i}.onnx": b"" for i in range(20000)}), "more than 64 members"),
    "deep header": (lambda: packed(raw(deep(1 << 20))), "not valid JSON"),
    "deep description": (lambda: packed(network_of(deep(1 << 19))), "not valid JSON"),
    "deep, but not too deep for the parser": (lambda: packed(network_of(deep(100))), "nested too deeply"),
    "wide header": (lambda: packed(raw(b"[" + b"[]," * (2 << 20) + b"1]")), "header"),
    "many keys": (lambda: packed(raw(json.dumps(dict.fromkeys(map(str, range(600000)), 0)).encode())), "header"),
    "long numbers": (lambda: packed(raw(b"[" + b"9" * (8 << 19) + b"]")), "not valid JSON"),
    "channels of an input": (lambda: wide_input(256), "too large"),
    "an upsampled chain": (lambda: blown_up(12), "too large"),
    "a long upsampled chain": (lambda: blown_up(250), "too large"),
    "a padded chain": (padded_up, "too large"),
    "products": (many_products, "too large"),
    "lanes": (lanes_of_nothing, "when packed"),
    "a long table": (long_table, "entries"),
    "outputs of a row": (wide_rows, "channels"),
    "joined channels": (joined_channels, "channels"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_files_that_ask_for_much(name: str, tmp_path: Path) -> None:
    make, match = BOMBS[name]
    data = make()
    assert len(data) < 4 << 20
    refused(data, tmp_path / "bomb.intm", match)


def test_the_bound_can_be_exceeded(tmp_path: Path) -> None:
    """The measure measures: the interpreter and numpy alone are more than nothing."""
    with pytest.raises(AssertionError):
        refused(BOMBS["zeros"][0](), tmp_path / "bomb.intm", "not valid JSON", megabytes=250)


def test_a_chain_that_the_self_test_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors between g_s's ends that grow and shrink again, below what a self-test of one position shows."""
    monkeypatch.setattr("intcodec.modelfile.selftest.SIZES", {**selftest.SIZES, "g_s": (1, 1)})
    network = tiny.network("factorized")
    g_s = network.graphs["g_s"]
    up = chain(10, upsample=2)
    down = [conv(f"d{i}", f"d{i - 1}" if i else "c9", (1, 1, 1, 1), stride=2) for i in range(10)]
    first = conv("narrow", "y_hat", (1, 1, 1, 12))
    up[0] = replace(up[0], input="narrow")
    last = conv("wide", "d9", (12, 1, 1, 1))
    rest = (replace(g_s.rows[0], input="wide"), *g_s.rows[1:])
    grown = replace(g_s, rows=(first, *up, *down, last, *rest))
    model = Model.build(replace(network, graphs={**network.graphs, "g_s": grown}), onnx_graphs={})
    codec = Codec(model, ReferenceEngine(model.network))
    picture = tiny.picture(100, 100)
    with pytest.raises(ModelError, match="values, more than"):
        codec.encode(picture)
    good = Codec(tiny.model("factorized"), ReferenceEngine(network)).encode(picture)
    stream = bitstream.parse(good)
    data = bitstream.serialize(replace(stream, model_id=bytes.fromhex(model.model_id)[:8]))
    with pytest.raises(ModelError, match="values, more than"):
        codec.decode(data)


def test_a_stride_beyond_reason() -> None:
    network = tiny.network("factorized")
    g_a = Graph("g_a", (TensorSpec("x", 3, 0, 255),), tuple(_halvings("x", "y", 12)), ("y",))
    with pytest.raises(ModelError, match="pixels into one position"):
        Codec(
            replace_network(tiny.model("factorized"), replace(network, graphs={**network.graphs, "g_a": g_a})),
            ReferenceEngine(network),
        )


def replace_network(model: Any, network: Network) -> Any:
    model.network = network
    return model


def _halvings(source: str, last: str, count: int) -> list[Conv]:
    names = [source, *(f"c{i}" for i in range(count - 1)), last]
    shapes = [(12, 1, 1, 3), *[(12, 1, 1, 12)] * (count - 1)]
    return [conv(names[i + 1], names[i], shapes[i], stride=2) for i in range(count)]


def external_tensor() -> bytes:
    """Return an ONNX model with an initializer whose values are in /etc/passwd, as the onnx package writes it."""
    onnx = pytest.importorskip("onnx")
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.int32), "w")
    onnx.external_data_helper.set_external_data(tensor, "/etc/passwd")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    inner = onnx.helper.make_graph([onnx.helper.make_node("If", ["c"], ["o"], then_branch=graph)], "outer", [], [])
    data: bytes = onnx.helper.make_model(inner).SerializeToString()
    return data


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.build(tiny.network("factorized"), {"name": "x"})


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_graphs_with_external_data(model: Model, tmp_path: Path) -> None:
    """Refused when read; never run: the onnxruntime engine builds its own, and decodes right beside a hostile one."""
    hostile = packed(members(model.data)[NETWORK], {"g_s": external_tensor()})
    loaded = Model.load(hostile)
    with pytest.raises(ModelError, match="refers to another file"):
        loaded.onnx["g_s"]
    path = tmp_path / "hostile.intm"
    path.write_bytes(hostile)
    picture = tiny.picture(17, 30)
    coded = intcodec.load(model.data, engine="reference").encode(picture)
    ours, theirs = (intcodec.load(data, engine="onnxruntime").decode(coded) for data in (model.data, hostile))
    np.testing.assert_array_equal(ours, theirs)
    assert main(["verify", str(path)]) == ModelError.exit_code


@pytest.mark.parametrize(
    "data",
    [
        b"\xff",
        protobuf.data(7, b"\x00\x80"),
        protobuf.data(7, protobuf.data(5, b"\x0d1")),
        b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3b",
        protobuf.data(7, protobuf.data(5, protobuf.number(14, 0))),
    ],
)
def test_stored_graphs_that_are_none(model: Model, data: bytes) -> None:
    with pytest.raises(ModelError, match="onnx/g_s"):
        Model.load(packed(members(model.data)[NETWORK], {"g_s": data})).onnx["g_s"]


def test_graphs_nested_without_end(model: Model) -> None:
    data = b""
    for _ in range(1000):
        data = protobuf.data(1, protobuf.data(5, protobuf.data(6, data)))
    with pytest.raises(ModelError, match="deeply"):
        Model.load(packed(members(model.data)[NETWORK], {"g_s": protobuf.data(7, data)})).onnx["g_s"]


def test_our_own_graphs_refer_to_nothing(model: Model) -> None:
    for arch in tiny.ARCHS:
        assert all(Model.build(tiny.network(arch)).onnx.values())


def test_a_manifest_cannot_write_to_the_terminal(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.intm"
    said = {"name": "\x1b[2J\x07", "half\n": "\ud800", "deep": [[["\x9b"]]]}
    path.write_bytes(packed(members(model.data)[NETWORK], **said))
    assert main(["info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "\\u001b[2J\\u0007" in out
    assert "\\ud800" in out
    assert all(line.isprintable() for line in out.splitlines())
    assert main(["info", "--json", str(path)]) == 0


def test_nothing_of_a_model_is_python_or_float(model: Model) -> None:
    """No value can be NaN, and no byte is code: the tensors are integers, the rest is JSON without NaN."""
    tensors, _ = tensorfile.read(members(model.data)[NETWORK], "test")
    assert {t.dtype.kind for t in tensors.values()} <= {"i", "u"}
    for text in (b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}'):
        with pytest.raises(ModelError, match="not valid JSON"):
            read_network(network_of(text))


def test_a_context_model_that_looks_around(model: Model) -> None:
    """Found by fuzzing: a padded convolution in `context` gave more rows than there are positions."""
    network = tiny.network("context")
    context = network.graphs["context"]
    row = context.rows[-1]
    for change in ({"pad": (1, 0, 0, 0)}, {"stride": 2}, {"upsample": 2}):
        rows = (*context.rows[:-1], replace(row, **change))  # type: ignore[arg-type]
        changed = replace(network, graphs={**network.graphs, "context": replace(context, rows=rows)})
        hostile = replace_network(tiny.model("context"), changed)
        with pytest.raises(IntCodecError):
            Codec(hostile, ReferenceEngine(changed)).encode(tiny.picture(40, 40))

"""The model bundle: round trips, determinism, and files made to hurt."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from modelfiles import members, pack, rebuild

from intcodec.base.errors import InputError, IntCodecError, ModelError
from intcodec.modelfile import model as bundle
from intcodec.modelfile import tensorfile
from intcodec.modelfile.container import MANIFEST, MAX_MANIFEST, NETWORK
from intcodec.modelfile.model import Model
from intcodec.network import description


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.build(tiny.network("mean-scale"), {"quality": 3, "metric": "mse"})


def rejected(data: bytes, match: str = ".") -> None:
    """Require a ModelError of one clear line."""
    with pytest.raises(ModelError, match=match) as caught:
        Model.load(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_round_trip(arch: str, tmp_path: Path) -> None:
    network = tiny.network(arch)
    made = Model.build(network, {"quality": 3}, onnx_graphs={})
    made.save(tmp_path / "m.intm")
    with open(tmp_path / "m.intm", "rb") as file:
        for source in (tmp_path / "m.intm", str(tmp_path / "m.intm"), made.data, file):
            again = Model.load(source)
            assert again.model_id == made.model_id
            assert again.arch == arch
            assert again.manifest["quality"] == 3
            assert again.bounds == made.bounds
            assert again.vectors == made.vectors
    assert [p.name for p in tmp_path.iterdir()] == ["m.intm"]
    before, after = description.describe(network), description.describe(again.network)
    assert before[0] == after[0]
    for name, array in before[1].items():
        assert after[1][name].dtype == array.dtype
        np.testing.assert_array_equal(after[1][name], array)


def test_identity_and_determinism(model: Model) -> None:
    content = members(model.data)
    assert model.model_id == hashlib.sha256(content[NETWORK]).hexdigest()
    assert Model.build(tiny.network("mean-scale"), {"metric": "mse", "quality": 3}).data == model.data
    assert list(content) == sorted(content)
    assert set(content) == {MANIFEST, NETWORK, *(f"onnx/{g}.onnx" for g in ("g_a", "h_a", "h_s", "g_s"))}
    with zipfile.ZipFile(io.BytesIO(model.data)) as archive:
        assert {i.date_time for i in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    other = Model.build(tiny.network("mean-scale"), {"quality": 4}, onnx_graphs={})
    assert other.model_id == model.model_id  # the manifest and the ONNX graphs are no part of the identity


def test_safetensors_package_reads_the_network(model: Model) -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="an independent reader: pip install safetensors")
    content = members(model.data)[NETWORK]
    tensors = safetensors.load(content)
    ours, _ = tensorfile.read(content, "test")
    assert set(tensors) == set(ours)
    for name, array in ours.items():
        assert tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(tensors[name], array)


def test_tensorfile_reads_the_safetensors_package() -> None:
    safetensors = pytest.importorskip("safetensors.numpy", reason="an independent writer: pip install safetensors")
    given = {"b": np.arange(6, dtype=np.int16).reshape(2, 3), "a": np.array([7], np.int32), "c": np.ones(5, np.uint8)}
    tensors, metadata = tensorfile.read(safetensors.save(given, {"k": "v"}), "test")
    assert metadata == {"k": "v"}
    for name, array in given.items():
        np.testing.assert_array_equal(tensors[name], array)


def test_onnx_is_read_late_and_checked(model: Model) -> None:
    assert set(model.onnx) == set(model.network.graphs)
    content = members(model.data)
    content["onnx/g_s.onnx"] += b"x"
    broken = Model.load(pack(content, fix=False))
    assert len(broken.onnx["g_a"]) > 0
    with pytest.raises(ModelError, match="hash"):
        broken.onnx["g_s"]


def test_onnx_graphs_that_are_not_stored_are_built(model: Model) -> None:
    bare = Model.build(model.network, onnx_graphs={})
    assert set(members(bare.data)) == {MANIFEST, NETWORK}
    assert bare.model_id == model.model_id
    assert dict(bare.onnx) == dict(model.onnx)
    with pytest.raises(KeyError):
        bare.onnx["none"]


def test_save_is_atomic(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot write"):
        model.save(tmp_path / "missing" / "m.intm")
    assert list(tmp_path.iterdir()) == []


def test_truncations(model: Model) -> None:
    for size in [*range(60), *range(60, len(model.data), 997), *range(len(model.data) - 60, len(model.data))]:
        rejected(model.data[:size])


def test_flipped_bytes(model: Model) -> None:
    """A flip is found, or changes nothing that counts."""
    rng = np.random.default_rng(0)
    positions = [*rng.integers(0, len(model.data), 150), *range(len(model.data) - 400, len(model.data)), *range(64)]
    for position in positions:
        data = bytearray(model.data)
        data[position] ^= 1 << int(rng.integers(8))
        try:
            got = Model.load(bytes(data))
            graphs = {name: got.onnx[name] for name in got.onnx}
        except ModelError:
            continue
        else:
            assert got.model_id == model.model_id
            assert graphs == {name: model.onnx[name] for name in graphs}


EVIL = ["../evil", "/etc/passwd", "onnx/../../x.onnx", "onnx/a/b.onnx", "onnx\\g.onnx", "x.py", "onnx/"]


@pytest.mark.parametrize("name", EVIL)
def test_unexpected_members(model: Model, name: str) -> None:
    rejected(pack({**members(model.data), name: b"x"}), "unexpected member")


def test_duplicate_members(model: Model) -> None:
    buffer = io.BytesIO(model.data)
    with zipfile.ZipFile(buffer, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(NETWORK, b"another")
    rejected(buffer.getvalue(), "twice")


def test_missing_and_extra_members(model: Model) -> None:
    for name in (MANIFEST, NETWORK):
        rejected(pack({k: v for k, v in members(model.data).items() if k != name}, fix=False), "missing")
    content = members(model.data)
    del content["onnx/g_a.onnx"]
    rejected(pack(content, fix=False), "exactly the members")
    rejected(pack({**members(model.data), "onnx/zz.onnx": b"x"}), "belongs to no graph")


def test_bombs(model: Model) -> None:
    """Declared sizes are refused before anything is inflated; lies about them when they are found out."""
    zeros = bytes(MAX_MANIFEST + 1)
    rejected(pack({**members(model.data), MANIFEST: zeros}, fix=False), "declares")
    with pytest.raises(ModelError, match="declare more than"):
        Model.load(model.data, max_bytes=1000)
    with zipfile.ZipFile(io.BytesIO(model.data)) as archive:
        size = archive.getinfo(NETWORK).file_size
        offset = archive.start_dir
    data = bytearray(model.data)
    at = data.index(NETWORK.encode(), offset) - 46 + 24
    assert struct.unpack_from("<I", data, at)[0] == size
    for lie in (0, 1, size - 1, size + 1, 2**31):
        struct.pack_into("<I", data, at, lie)
        began = time.perf_counter()
        rejected(bytes(data))
        assert time.perf_counter() - began < 1


def test_other_compression_is_refused(model: Model) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_BZIP2) as archive:
        for name, data in members(model.data).items():
            archive.writestr(name, data)
    rejected(buffer.getvalue(), "unknown way")


def test_manifest_lies(model: Model) -> None:
    content = members(model.data)
    good = json.loads(content[MANIFEST])
    wrong = {**good["sha256"], NETWORK: "0" * 64}
    for change in ({"format": 2}, {"sha256": 3}, {"model_id": "0" * 64}, {"sha256": wrong}):
        rejected(pack({**content, MANIFEST: json.dumps({**good, **change}).encode()}, fix=False))
    for text in (b"[]", b"{", b"\xff", b"[" * 100000, b'{"a": NaN}', b'{"a": 1, "a": 2}', b"1" * 10000):
        rejected(pack({**content, MANIFEST: text}, fix=False))


def with_description(model: Model, change: Any) -> bytes:
    """Return a bundle whose description was changed by a function of (JSON, tensors)."""
    content = members(model.data)
    tensors, metadata = tensorfile.read(content[NETWORK], "test")
    description = json.loads(metadata[bundle.METADATA_KEY])
    tensors = dict(tensors)
    change(description, tensors)
    content[NETWORK] = tensorfile.write(tensors, {bundle.METADATA_KEY: json.dumps(description)})
    return pack(content)


def walk(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value below a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in [(*path, k), *walk(v, (*path, k))]]


def test_every_field_of_the_description_is_checked(model: Model) -> None:
    """Remove or replace each value in turn: a ModelError, or a model that still is one."""
    content = members(model.data)
    tensors, metadata = tensorfile.read(content[NETWORK], "test")
    description = json.loads(metadata[bundle.METADATA_KEY])
    paths = [p for p in walk(description) if "vectors" not in p and "extra" not in p]
    bad = [None, -(2**70), 1.5, "..", [], {}, True, "\n"]
    refused = 0
    for i, path in enumerate(paths):
        changed = json.loads(metadata[bundle.METADATA_KEY])
        target = changed
        for key in path[:-1]:
            target = target[key]
        target[path[-1]] = bad[i % len(bad)]
        file = tensorfile.write(tensors, {bundle.METADATA_KEY: json.dumps(changed)})
        try:
            bundle.read_network(file)
        except ModelError:
            refused += 1
        else:
            assert target[path[-1]] in (True,), path
        if isinstance(target, dict):
            del target[path[-1]]
            with pytest.raises(ModelError):
                bundle.read_network(tensorfile.write(tensors, {bundle.METADATA_KEY: json.dumps(changed)}))
    assert refused > 0.95 * len(paths)


def test_tensors_missing_left_over_or_of_another_kind(model: Model) -> None:
    def edit(name: str, value: Any) -> Any:
        return lambda description, tensors: tensors.update({name: value})

    rejected(with_description(model, edit("g_a/conv0/other", np.ones(3, np.int32))), "belongs to nothing")
    rejected(with_description(model, lambda d, t: t.pop("g_a/conv0/bias")), "missing")
    weight = model.network.graphs["g_a"].rows[0].weight  # type: ignore[union-attr]
    rejected(with_description(model, edit("g_a/conv0/weight", weight.astype(np.int32))), "int16")
    rejected(with_description(model, edit("g_a/conv0/weight", weight[:, :, :, :2])), "input channels")
    rejected(with_description(model, edit("g_a/conv0/weight", weight.ravel())), "int16")
    rejected(with_description(model, edit("g_a/conv0/shift", np.full(8, 31, np.uint8))), "outside")
    rejected(with_description(model, edit("h_s/index/thresholds", np.array([5, 4], np.int32))), "ascend")
    rejected(with_description(model, edit("cdf/z/cdf", np.arange(9, dtype=np.uint32))), "cdf")
    first = next(iter(model.bounds))
    rejected(rebuild(model, bounds={**model.bounds, first: 2**31}), "limit")
    rejected(rebuild(model, bounds={k: v for k, v in model.bounds.items() if k != first}), "missing")
    rejected(with_description(model, lambda d, t: d["vectors"].pop()), "self-test")
    rejected(with_description(model, lambda d, t: d["vectors"][0].update(height=10**9)), "self-test")


def raw_tensorfile(header: Any, data: bytes, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


ENTRY = {"dtype": "I16", "shape": [2], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x02\0\0\0\0\0\0",
        raw_tensorfile({"a": ENTRY}, b"1234", size=2**63),
        raw_tensorfile({"a": ENTRY}, b"1234", size=4),
        raw_tensorfile(b"[]", b""),
        raw_tensorfile(b"[" * 5000, b""),
        raw_tensorfile({"a": 1}, b"1234"),
        raw_tensorfile({"a": ENTRY}, b"123"),
        raw_tensorfile({"a": ENTRY}, b"12345"),
        raw_tensorfile({"a": ENTRY, "b": ENTRY}, b"1234"),
        raw_tensorfile({"a": ENTRY, "b": {**ENTRY, "data_offsets": [6, 10]}}, b"1234567890"),
        raw_tensorfile({"a": {**ENTRY, "dtype": "F32"}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "dtype": ["I16"]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "shape": [-2]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "shape": [2**62, 2**62]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "shape": [0, 2**39], "data_offsets": [0, 0]}}, b""),
        raw_tensorfile({"a": {**ENTRY, "shape": [True, 2]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "shape": [1] * 40}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "data_offsets": [4, 0]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "data_offsets": [-4, 0]}}, b"1234"),
        raw_tensorfile({"a": {**ENTRY, "extra": 1}}, b"1234"),
        raw_tensorfile({"__metadata__": {"a": 1}}, b""),
        raw_tensorfile({"__metadata__": []}, b""),
    ],
)
def test_hostile_tensorfiles(data: bytes) -> None:
    with pytest.raises(ModelError):
        tensorfile.read(data, "test")


def test_random_damage_to_the_network(model: Model) -> None:
    """Damage below the hashes, where a malicious writer works: only intcodec's errors come out."""
    content = bytearray(members(model.data)[NETWORK])
    header = 8 + int.from_bytes(content[:8], "little")
    rng = np.random.default_rng(1)
    for _ in range(300):
        data = bytearray(content)
        for _ in range(int(rng.integers(1, 4))):
            at = int(rng.integers(header if rng.random() < 0.8 else len(data)))
            data[at] = int(rng.choice([0, 34, 44, 48, 57, 93, 125, 255]))
        try:
            bundle.read_network(bytes(data))
        except IntCodecError:
            continue


def test_loading_reads_no_more_than_it_must(model: Model) -> None:
    """Neither torch, onnx nor onnxruntime is imported by loading; checked in a fresh interpreter."""
    import subprocess
    import sys

    code = (
        "import sys; from intcodec.modelfile.model import Model; Model.load(sys.stdin.buffer.read()); "
        "print([m for m in ('torch', 'onnx', 'onnxruntime', 'intcodec.network.onnxgraph') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], input=model.data, capture_output=True, check=True)
    assert done.stdout.decode().strip() == "[]"


def test_crc_is_checked(model: Model) -> None:
    """A stored member whose bytes changed: zlib finds nothing, the CRC does."""
    content = members(model.data)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    stored = bytearray(buffer.getvalue())
    assert Model.load(bytes(stored)).model_id == model.model_id
    at = stored.index(content[NETWORK]) + len(content[NETWORK]) // 2
    stored[at] ^= 1
    assert zlib.crc32(content[NETWORK]) != 0
    rejected(bytes(stored), "damaged")

"""The decoder of web/ in Node, against Python: kernels, tensors, pixels, and what it refuses.

Real headless Chromium is tests/test_web_page.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import ccore
import numpy as np
import peak
import pytest
import tiny
import webdecoder
from places import VECTORS
from test_hostile_models import BOMBS
from webdecoder import BUILDS, ROOT, node

import intcodec
from intcodec.base.errors import IntCodecError
from intcodec.coding import bitstream
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile import embedded
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import digest

SIZES = [(1, 1), (33, 17), (50, 70), (16, 150)]
WASI = """
import { readFile } from "node:fs/promises";
import { WASI } from "node:wasi";
const wasi = new WASI({ version: "preview1", args: process.argv.slice(2) });
const module = await WebAssembly.compile(await readFile(process.argv[2]));
process.exitCode = wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject()));
"""


@pytest.fixture(scope="module")
def dist() -> Path:
    webdecoder.need_node()
    return webdecoder.build()


def decoded(folder: Path, file: Path, model: Path, *options: str) -> tuple[dict[str, Any], np.ndarray]:
    """Return what the command line prints and the picture that it writes."""
    out = file.with_suffix(".ppm")
    done = node(folder, "decode", file, model, out, *options)
    assert (done.returncode, done.stderr) == (0, "")
    head, pixels = re.fullmatch(rb"(P6\n\d+ \d+\n255\n)(.*)", out.read_bytes(), re.DOTALL).groups()  # type: ignore[union-attr]
    width, height = map(int, head.split()[1:3])
    return json.loads(done.stdout), np.frombuffer(pixels, np.uint8).reshape(height, width, 3)


def check_pictures(folder: Path, tmp_path: Path, data: bytes, sizes: list[tuple[int, int]], build: str) -> None:
    codec = intcodec.load(data, engine="native", threads=1)
    model, file = tmp_path / "model.intm", tmp_path / "a.intc"
    model.write_bytes(data)
    for seed, (height, width) in enumerate(sizes):
        file.write_bytes(codec.encode(tiny.picture(height, width, seed)))
        report, picture = decoded(folder, file, model, "--build", build)
        assert (report["build"], report["proved"]) == (build, True)
        np.testing.assert_array_equal(picture, codec.decode(file.read_bytes()))


@pytest.mark.parametrize(("target", "inputs"), [("graph", "3000"), ("flow", "100")])
@pytest.mark.parametrize("flag", ["-msimd128", "-mno-simd128"])
def test_kernels_equal_the_scalar_ones_and_those_of_this_machine(
    tmp_path: Path, flag: str, target: str, inputs: str
) -> None:
    webdecoder.need_node()
    if shutil.which("gcc") is None:
        pytest.skip("no gcc to compare with")
    base = ["-std=c11", "-O2", ccore.INCLUDE, *ccore.driver(target), *ccore.SOURCES, "-o"]
    subprocess.run([*webdecoder.zig(), flag, *base, tmp_path / "check.wasm"], check=True)
    subprocess.run(["gcc", "-pthread", *base, tmp_path / "check"], check=True)
    (tmp_path / "wasi.mjs").write_text(WASI)
    command = ["node", "--no-warnings", tmp_path / "wasi.mjs", tmp_path / "check.wasm", inputs]
    there = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    here = subprocess.run([tmp_path / "check", inputs], capture_output=True, text=True, check=True).stdout
    assert there.startswith("simd128 scalar equal" if flag == "-msimd128" else "scalar equal")
    assert there.split()[-1] == here.split()[-1]  # the hash of the scalar results


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_pixels_of_tiny_networks(dist: Path, tmp_path: Path, arch: str, build: str) -> None:
    check_pictures(dist, tmp_path, tiny.bundle(arch).data, SIZES, build)


@pytest.fixture(scope="module")
def small(request: pytest.FixtureRequest) -> bytes:
    pytest.importorskip("torch", reason="models of the six architectures are made with torch")
    from test_quantize import small_model

    from intcodec.quantize import synthetic
    from intcodec.quantize.export import quantize

    arch = request.param
    network = quantize(arch, small_model(arch), list(synthetic.pictures(1, 128)))
    return Model.build(network, onnx_graphs={}).data


ARCHS = (
    "bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018", "mbt2018_mean", "cheng2020_anchor", "cheng2020_attn",
)  # fmt: skip


@pytest.mark.parametrize("small", ARCHS, indirect=True)
def test_pixels_and_tensors_of_every_architecture(dist: Path, tmp_path: Path, small: bytes) -> None:
    check_pictures(dist, tmp_path, small, [(50, 70), (1, 1)], "simd128")
    check_pictures(dist, tmp_path, small, [(20, 30)], "scalar")
    done = node(dist, "verify", tmp_path / "model.intm")
    assert done.returncode == 0, done.stderr
    found = {vector["graph"] for vector in json.loads(done.stdout)["vectors"]}
    assert found == set(Model.load(small).network.graphs)


@pytest.mark.parametrize("quality", [rung.quality for rung in embedded.rungs()])
def test_pixels_of_the_embedded_models(dist: Path, tmp_path: Path, quality: int) -> None:
    check_pictures(dist, tmp_path, embedded.read(embedded.by_quality(quality)), [(75, 130)], "simd128")


def test_long_sections_have_four_lanes(dist: Path, tmp_path: Path) -> None:
    check_pictures(dist, tmp_path, tiny.bundle("factorized").data, [(1400, 1100)], "simd128")


@pytest.mark.parametrize("build", BUILDS)
@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_every_tensor_of_random_inputs(dist: Path, tmp_path: Path, arch: str, build: str) -> None:
    model = tiny.bundle(arch)
    model.save(tmp_path / "model.intm")
    rng = np.random.default_rng(3)
    for name, graph in model.network.graphs.items():
        inputs = {s.name: rng.integers(s.lo, s.hi + 1, (19, 13, s.channels)).astype(s.dtype) for s in graph.inputs}
        for key, value in inputs.items():
            value.tofile(tmp_path / key)
        given = [f"{key}=19x13:{tmp_path / key}" for key in inputs]
        done = node(dist, "trace", tmp_path / "model.intm", name, *given, "--build", build)
        assert done.returncode == 0, done.stderr
        expected = ReferenceEngine(model.network).trace(name, inputs)
        assert json.loads(done.stdout)["tensors"] == {row.name: digest(expected[row.name]) for row in graph.rows}


@pytest.mark.parametrize("build", BUILDS)
def test_conformance_vectors(dist: Path, build: str) -> None:
    if not VECTORS.is_dir():
        pytest.skip("no tests/conformance here")
    done = node(dist, "conformance", VECTORS, "--build", build)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["failures"], report["ok"]) == ({}, True)
    files = [json.loads(path.read_text()) for path in VECTORS.glob("*.json")]
    assert report["cases"] == sum(len(file.get("cases", ())) for file in files if file.get("kind") != "clips")
    assert report["skipped"] == {"ssf2020.json": "this decoder knows no clips"}
    assert "skipped ssf2020.json" in done.stderr


def test_the_replay_of_vectors_can_fail(dist: Path, tmp_path: Path) -> None:
    if not VECTORS.is_dir():
        pytest.skip("no tests/conformance here")
    shutil.copytree(VECTORS, tmp_path / "vectors")
    path = tmp_path / "vectors" / "mbt2018_mean.json"
    file = json.loads(path.read_text())
    valid = [case for case in file["cases"] if case["result"] == "valid"]
    invalid = [case for case in file["cases"] if case["result"] == "invalid"]
    call = next(call for call in valid[0]["calls"] if call["graph"] == "h_s")
    call["tensors"]["index"] = "0" * 32
    valid[1]["pixels"] = valid[2]["pixels"]
    invalid[0]["error"] = "LimitError"
    invalid[1]["bytes"] = (tmp_path / "vectors" / valid[1]["stream"]).read_bytes().hex()
    path.write_text(json.dumps(file))
    done = node(dist, "conformance", tmp_path / "vectors")
    report = json.loads(done.stdout)
    assert (done.returncode, report["ok"]) == (1, False)
    assert report["failures"][valid[0]["id"]] == "first tensor that differs: h_s/index, call 1"
    assert report["failures"][valid[1]["id"]] == "the decoded pixels differ"
    assert report["failures"][invalid[0]["id"]].startswith("BitstreamError instead of LimitError: ")
    assert report["failures"][invalid[1]["id"]] == "accepted, BitstreamError expected"
    assert len(report["failures"]) == 4


def bad_streams(data: bytes) -> dict[str, bytes]:
    """Return damaged forms of a bitstream."""
    flipped = {f"bit {bit}": bytes(b ^ (1 << bit % 8 if i == bit // 8 else 0) for i, b in enumerate(data))
               for bit in range(0, 8 * len(data), 8 * len(data) // 20 + 3)}  # fmt: skip
    big = bytearray(data[:14]) + b"\xff\xff\xff\x7f\xff\xff\xff\x7f" + data[16:]
    return {"empty": b"", "cut": data[:-1], "header": data[:9], "longer": data + b"\0", "huge": bytes(big), **flipped}


def outcome(work: Any) -> int:
    try:
        work()
    except IntCodecError as error:
        return error.exit_code
    return 0


def test_bad_streams_are_refused_as_python_refuses_them(dist: Path, tmp_path: Path) -> None:
    bundle = tiny.bundle("mean-scale")
    bundle.save(tmp_path / "model.intm")
    codec = intcodec.load(bundle.data, engine="reference")
    data = codec.encode(tiny.picture(20, 30))
    other = intcodec.load(tiny.bundle("mean-scale", 1).data, engine="reference").encode(tiny.picture(20, 30))
    for name, bad in {"another model": other, **bad_streams(data)}.items():
        (tmp_path / "bad.intc").write_bytes(bad)
        done = node(dist, "decode", tmp_path / "bad.intc", tmp_path / "model.intm", tmp_path / "bad.ppm")
        assert done.returncode == outcome(lambda bad=bad: codec.decode(bad)) > 1, name
        assert re.fullmatch(r"intcodec: error: [^\n]+\n", done.stderr), name
    assert not (tmp_path / "bad.ppm").exists()


def test_limits_and_wrong_arguments(dist: Path, tmp_path: Path) -> None:
    bundle = tiny.bundle("factorized")
    bundle.save(tmp_path / "model.intm")
    (tmp_path / "a.intc").write_bytes(intcodec.load(bundle.data, engine="reference").encode(tiny.picture(20, 30)))
    arguments = ["decode", tmp_path / "a.intc", tmp_path / "model.intm"]
    assert node(dist, *arguments, "--max-pixels", "600").returncode == 0
    assert node(dist, *arguments, "--max-pixels", "599").returncode == 7
    for wrong in (["decode"], ["fly"], [*arguments, "--build", "neon"], [*arguments, "--wings"], ["verify", "absent"]):
        done = node(dist, *wrong)
        assert (done.returncode, done.stdout) == (2, ""), wrong
        assert re.fullmatch(r"intcodec: error: [^\n]+\n", done.stderr), wrong


def test_bad_models_are_refused(dist: Path, tmp_path: Path) -> None:
    data = tiny.bundle("factorized").data
    path = tmp_path / "model.intm"
    for at in range(0, len(data), len(data) // 25):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        done = node(dist, "verify", path)
        refused = outcome(lambda: Model.load(path)) == 4  # zipfile overlooks some fields that zip.js checks
        assert done.returncode in ((4,) if refused else (0, 4)), (at, done.stderr)
    path.write_bytes(data[:-30])
    assert node(dist, "verify", path).returncode == 4


@pytest.mark.parametrize("name", BOMBS)
def test_models_that_ask_for_much_are_refused(dist: Path, tmp_path: Path, name: str) -> None:
    """The hostile models of tests/hostile, in bounded memory: two copies of the largest member and Node itself."""
    path = tmp_path / "bomb.intm"
    path.write_bytes(BOMBS[name][0]())
    run = peak.run(["node", dist / "cli.mjs", "verify", path])
    assert run.code == 4, run.stderr[-500:]
    assert re.fullmatch(r"intcodec: error: [^\n]{,400}\n", run.stderr)
    assert run.megabytes < 900


def test_a_context_model_that_looks_around_is_refused(dist: Path, tmp_path: Path) -> None:
    network = tiny.network("context")
    context = network.graphs["context"]
    file = tmp_path / "a.intc"
    for change in ({"pad": (1, 0, 0, 0)}, {"stride": 2}):
        rows = (*context.rows[:-1], replace(context.rows[-1], **change))  # type: ignore[arg-type]
        graphs = {**network.graphs, "context": replace(context, rows=rows)}
        model = Model.build(replace(network, graphs=graphs), onnx_graphs={})
        model.save(tmp_path / "model.intm")
        stream = bitstream.parse(intcodec.load(tiny.bundle("context").data).encode(tiny.picture(40, 40)))
        file.write_bytes(bitstream.serialize(replace(stream, model_id=bytes.fromhex(model.model_id)[:8])))
        done = node(dist, "decode", file, tmp_path / "model.intm")
        assert done.returncode == 4
        assert "looks at more than one position" in done.stderr


def test_a_machine_that_computes_wrongly_is_told_so(dist: Path, tmp_path: Path) -> None:
    """A constant of the compiled core is changed, which changes what it computes or makes it no core at all."""
    bundle = tiny.bundle("hyperprior")
    bundle.save(tmp_path / "model.intm")
    (tmp_path / "a.intc").write_bytes(intcodec.load(bundle.data, engine="reference").encode(tiny.picture(20, 30)))
    broken = tmp_path / "dist"
    shutil.copytree(dist, broken, ignore=shutil.ignore_patterns("models"))
    wasm = (broken / "simd128.wasm").read_bytes()
    dot, add = b"\xfd\xba\x01", b"\xfd\xae\x01"  # i32x4.dot_i16x8_s; i32x4.add, of the same type
    assert wasm.count(dot) > 8
    (broken / "simd128.wasm").write_bytes(wasm.replace(dot, add))
    arguments = ["decode", tmp_path / "a.intc", tmp_path / "model.intm"]
    done = node(broken, *arguments)
    assert done.returncode == 5
    assert "simd128" in done.stderr
    assert node(broken, *arguments, "--build", "scalar").returncode == 0


def test_checksums(dist: Path) -> None:
    """The two hashes in JavaScript against zlib's and hashlib's, at the lengths where their blocks end."""
    import hashlib

    data = np.random.default_rng(0).integers(0, 256, 300, np.uint8).tobytes()
    lengths = [0, 1, 7, 8, 9, 55, 56, 63, 64, 65, 119, 120, 300]
    script = f"""import {{ crc32, sha256 }} from {json.dumps((dist / "checksums.js").as_uri())};
      const data = Uint8Array.from({json.dumps(list(data))});
      console.log(JSON.stringify({lengths}.map((n) => [crc32(data.subarray(0, n)), sha256(data.subarray(0, n))])));"""
    command = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "1"})
    assert json.loads(done.stdout) == [[zlib.crc32(data[:n]), hashlib.sha256(data[:n]).hexdigest()] for n in lengths]


def test_the_build_leaves_foreign_folders_alone(tmp_path: Path) -> None:
    (tmp_path / "keep").write_text("mine")
    done = subprocess.run([ROOT / "scripts" / "build-web.sh", tmp_path], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("build-web: ")
    assert (tmp_path / "keep").read_text() == "mine"

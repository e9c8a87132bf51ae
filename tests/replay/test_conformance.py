"""The conformance vectors: well formed, what the tool writes, and able to tell a wrong engine from a right one."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from intcodec.base.errors import InputError
from intcodec.cli.main import main
from intcodec.conformance import archive, report, vectors
from intcodec.conformance.replay import replay
from intcodec.engines import create
from intcodec.engines.native import NativeEngine
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import digest

ROOT = Path(__file__).parents[1] / "conformance"
TOOL = Path(__file__).parents[2] / "scripts" / "conformance" / "make_vectors.py"
FILES = vectors.load(ROOT)
MEAN = next(f for f in FILES if f.name == "mbt2018_mean")
CLIPS = next(f for f in FILES if f.kind == "clips")


def test_the_tool_writes_what_is_there() -> None:
    done = subprocess.run([sys.executable, str(TOOL), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda f: f.name)
def test_files_follow_the_schema(file: vectors.VectorFile) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="pip install jsonschema")
    schema = json.loads((ROOT / "schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(file.content)
    assert {flag for case in file.cases for flag in case["flags"]} == set(file.content["flags"])
    assert 3 * sum(case["result"] == "invalid" for case in file.cases) >= len(file.cases)
    assert len({case["id"] for case in file.cases}) == len(file.cases)


def test_size_and_architectures() -> None:
    assert sum(p.stat().st_size for p in ROOT.rglob("*") if p.is_file()) < 5_000_000
    archs = {"bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018_mean", "mbt2018", "cheng2020_anchor"}
    assert {f.content["arch"] for f in FILES if f.kind == "pictures"} == archs | {"cheng2020_attn"}
    assert {f.content["arch"] for f in FILES if f.kind == "clips"} == {"ssf2020"}


def test_vectors_are_not_trivial() -> None:
    for file in FILES:
        if file.kind == "pictures":
            scene = next(c for c in file.cases if c["id"].endswith("scene-75x100"))
            pixels = vectors.read_ppm(file.read(scene["pixels"])).astype(int)
            original = vectors.read_ppm(file.read(scene["picture"])).astype(int)
            assert np.mean((pixels - original) ** 2) < 0.8 * original.var(), file.name


def test_vectors_of_clips_are_not_trivial() -> None:
    """Frames are recognisable, latents are coded, and every part of the codec makes a difference to its picture."""
    scene = next(c for c in CLIPS.cases if c["id"].endswith("scene"))
    assert [frame["key"] for frame in scene["frames"]] == [True, False, False, True, False]
    given = vectors.read_ppms(CLIPS.read(scene["clip"])).astype(int)
    decoded = vectors.read_ppms(CLIPS.read(scene["pixels"])).astype(int)
    assert decoded.shape == given.shape
    for was, now in zip(given, decoded, strict=True):
        assert np.mean((was - now) ** 2) < 0.8 * was.var()
    moved = scene["frames"][1]
    constant = {digest(np.zeros(s["count"], np.int16)) for s in moved["sections"]}
    assert not constant & {s["symbols"] for s in moved["sections"] if s["latent"].endswith("_y")}
    tensors = {call["graph"]: call["tensors"] for call in moved["calls"]}
    assert tensors["predict"]["prediction"] != tensors["predict"]["reference"]
    still = digest(np.zeros((80, 112, 3), np.int16))
    assert still not in (tensors["motion_g_s"]["motion"], tensors["res_g_s"]["residual"])


@pytest.mark.parametrize("device", report.devices(), ids=lambda d: d.name)
def test_this_machine_conforms(device: report.Device) -> None:
    if device.missing:
        pytest.skip(device.missing)
    result = report.run(FILES, device)
    assert not result.failures, result.failures[:5]
    assert len(result.outcomes) == sum(len(f.cases) for f in FILES)


class Wrong:
    """The native engine with one value of one tensor changed, after the self-test."""

    name, threads = "wrong", 1

    def __init__(self, model: Model, graph: str, tensor: str) -> None:
        self._engine = NativeEngine(model.network, 1)
        self._wrong = graph, tensor
        self._calls = 0

    def run(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = self.trace(graph, inputs)
        return {name: tensors[name] for name in self._engine.network.graphs[graph].outputs}

    def trace(self, graph: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._calls += 1
        tensors = {name: t.copy() for name, t in self._engine.trace(graph, inputs).items()}
        if graph == self._wrong[0] and self._calls > len(self._engine.network.graphs):
            tensors[self._wrong[1]].flat[0] += 1
        return tensors


@pytest.mark.parametrize(("graph", "tensor"), [("g_a", "y"), ("h_s", "mean"), ("g_s", "x_hat")])
def test_a_wrong_engine_is_named(graph: str, tensor: str) -> None:
    outcomes = {o.case: o.problem for o in replay(MEAN, lambda m: Wrong(m, graph, tensor))}
    problem = outcomes["mbt2018_mean/scene-64x64"]
    assert problem is not None
    assert f"first tensor that differs is {graph}/{tensor}" in problem


def test_an_inner_tensor_is_named() -> None:
    model = Model.load(ROOT / "models" / "mbt2018_mean.intm")
    inner = model.network.graphs["g_s"].rows[1].name
    outcomes = {o.case: o.problem for o in replay(MEAN, lambda m: Wrong(m, "g_s", inner))}
    assert f"first tensor that differs is g_s/{inner}" in str(outcomes["mbt2018_mean/noise"])


@pytest.mark.parametrize(
    ("graph", "tensor", "frame"),
    [("img_g_s", "x_hat", 0), ("motion_h_s", "index", 1), ("predict", "prediction", 1), ("res_g_s", "residual", 1)],
)
def test_a_wrong_engine_is_named_with_the_frame(graph: str, tensor: str, frame: int) -> None:
    outcomes = {o.case: str(o.problem) for o in replay(CLIPS, lambda m: Wrong(m, graph, tensor))}
    assert f"encoder: first tensor that differs is frame {frame}, {graph}/{tensor}" in outcomes["ssf2020/scene"]


def test_clips_that_decode_too_far_fail(tmp_path: Path) -> None:
    root = tmp_path / "vectors"
    shutil.copytree(ROOT, root)
    content = json.loads((root / "ssf2020.json").read_text())
    cases = {case["id"].removeprefix("ssf2020/"): case for case in content["cases"]}
    cases["bad-cut-frame"]["decoded"] = 1
    cases["bad-missing"]["decoded"] = 2
    cases["bad-trailing"]["error"] = "LimitError"
    cases["noise"]["pixels"], cases["noise"]["interval"] = cases["harsh"]["pixels"], 2
    (root / "ssf2020.json").write_text(json.dumps(content))
    file = next(f for f in vectors.load(root) if f.name == "ssf2020")
    found = {
        o.case.removeprefix("ssf2020/"): str(o.problem)
        for o in replay(file, lambda m: create("native", m.network, 1))
        if o.problem
    }
    assert set(found) == {"bad-cut-frame", "bad-missing", "bad-trailing", "noise"}
    assert found["bad-cut-frame"] == "2 frames were decoded, 1 expected"
    assert found["bad-missing"] == "1 frames were decoded, 2 expected"
    assert found["bad-trailing"].startswith("BitstreamError instead of LimitError")
    assert "encoded bytes differ; the decoded pixels of frame 0 differ" in found["noise"]


def test_damaged_vectors_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "vectors"
    shutil.copytree(ROOT, root)
    stream = root / "streams" / "mbt2018" / "noise.intc"
    stream.write_bytes(stream.read_bytes()[:-1])
    content = json.loads((root / "mbt2018.json").read_text())
    bad = next(case for case in content["cases"] if case["id"] == "mbt2018/bad-cut-end")
    bad["bytes"] = (root / "streams/mbt2018/harsh.intc").read_bytes().hex()
    (root / "mbt2018.json").write_text(json.dumps(content))
    assert main(["conformance", "run", str(root), "--engine", "native", "--json"]) == 5
    device = next(iter(json.loads(capsys.readouterr().out)["devices"].values()))
    assert set(device["failures"]) == {"mbt2018/noise", "mbt2018/bad-cut-end"}
    assert "accepted, BitstreamError expected" in device["failures"]["mbt2018/bad-cut-end"]


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "run", str(ROOT), "--engine", "native/scalar"]) == 0
    text = capsys.readouterr().out
    assert "CONFORMS" in text
    assert len(text.splitlines()) < 40
    assert main(["conformance", "run", str(ROOT), "--engine", "abacus"]) == 2
    assert "no engine 'abacus'" in capsys.readouterr().err


def test_a_folder_without_vectors_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["conformance", "run", str(tmp_path)]) == 2
    assert "no conformance vectors" in capsys.readouterr().err
    (tmp_path / "rangecoder.json").write_text('{"format": 9, "kind": "rangecoder"}')
    with pytest.raises(InputError, match="knows format 1"):
        vectors.load(tmp_path)
    (tmp_path / "rangecoder.json").write_text("[]")
    with pytest.raises(InputError, match="no file of conformance vectors"):
        vectors.load(tmp_path)


def test_ppm() -> None:
    picture = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(vectors.read_ppm(vectors.write_ppm(picture)), picture)
    two = vectors.write_ppms([picture, picture + 1])
    np.testing.assert_array_equal(vectors.read_ppms(two), [picture, picture + 1])
    with pytest.raises(InputError, match="2 pictures in place of one"):
        vectors.read_ppm(two)
    for bad in (
        b"",
        b"P5 1 1 255\n\0",
        b"P6 1 1 65535\n\0\0\0",
        b"P6 9 9 255\n\0",
        b"P6\n1 0\n255\n",
        b"P6\n-1 1\n255\n",
    ):
        with pytest.raises(InputError):
            vectors.read_ppm(bad)


@pytest.fixture(scope="module")
def archive_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archive") / "a.zip"
    subprocess.run([sys.executable, str(TOOL), "--archive", str(path)], check=True)
    return path


def test_archive_replays_as_the_folder_does(archive_file: Path, tmp_path: Path) -> None:
    engine = report.Device("native", lambda m: create("native", m.network, 1))
    packed = vectors.load(archive_file)
    found = report.run(packed, engine)
    assert not found.failures
    assert len(found.outcomes) == sum(len(file.cases) for file in vectors.load(ROOT)) > 100
    with zipfile.ZipFile(archive_file) as unpacked:
        unpacked.extractall(tmp_path)
    folder = tmp_path / archive.FOLDER
    names = {p.relative_to(ROOT) for p in ROOT.rglob("*") if p.is_file()}
    assert names == {p.relative_to(folder) for p in folder.rglob("*") if p.is_file()}
    assert all((folder / name).read_bytes() == (ROOT / name).read_bytes() for name in names)


def test_archive_is_the_one_that_the_documentation_states(archive_file: Path) -> None:
    digest = hashlib.sha256(archive_file.read_bytes()).hexdigest()
    assert digest in (ROOT.parents[1] / "docs" / "conformance.md").read_text(), digest


def test_a_wrong_archive_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {p.relative_to(ROOT).as_posix(): p.read_bytes() for p in ROOT.rglob("*") if p.is_file()}
    name = "streams/mbt2018/noise.intc"
    files[name] = files[name][:-9] + bytes([files[name][-9] ^ 1]) + files[name][-8:]
    (tmp_path / "a.zip").write_bytes(archive.pack(files))
    assert main(["conformance", "run", str(tmp_path / "a.zip"), "--engine", "native", "--json"]) == 5
    assert "mbt2018/noise" in capsys.readouterr().out
    del files[name]
    (tmp_path / "a.zip").write_bytes(archive.pack(files))
    assert main(["conformance", "run", str(tmp_path / "a.zip"), "--engine", "native"]) == 2
    assert f"has no member {name}" in capsys.readouterr().err


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, data in members:
            file.writestr(name, data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no archive", "not a zip file"),
        (zipped(), "holds no conformance vectors"),
        (zipped(("rangecoder.json", b"{}")), "unexpected member"),
        (zipped(("intcodec-conformance/../evil.json", b"{}")), "unexpected member"),
        (zipped(("intcodec-conformance//etc/passwd", b"{}")), "unexpected member"),
        (zipped(("intcodec-conformance/..", b"{}")), "unexpected member"),
        (zipped(("intcodec-conformance/a.json", b"{}"), method=zipfile.ZIP_LZMA), "compressed"),
        (zipped(("intcodec-conformance/a.json", b"{}")), "not the bytes"),
        (zipped(("intcodec-conformance/a", bytes(65 << 20)), method=zipfile.ZIP_DEFLATED), "declare more than"),
        (zipped(*((f"intcodec-conformance/{k}", b"") for k in range(4097))), "4096 members"),
    ],
)
def test_archives_that_are_refused(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(InputError, match=message):
        vectors.load(vectors.find(str(tmp_path / "a.zip")))


def test_damaged_archives_are_refused(tmp_path: Path) -> None:
    """Every flipped bit and every cut; one in the directory's size loses a member and nothing else."""
    good = {"rangecoder.json": b'{"format": 1, "kind": "rangecoder"}', "streams/a": bytes(range(50))}
    data, path = archive.pack(good), tmp_path / "a.zip"
    path.write_bytes(data)
    assert archive.read(path) == good
    for at in range(len(data)):
        for bad in (*(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :] for bit in range(8)), data[:at]):
            path.write_bytes(bad)
            with pytest.raises(InputError):
                archive.read(path)

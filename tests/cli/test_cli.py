"""The command line: outputs, messages of one line, exit codes, pipes, and files that are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image
from places import SUPPORT

import intcodec
from intcodec.base import files
from intcodec.cli.common import ENGINE_NAMES
from intcodec.cli.main import main
from intcodec.clips import framecodec
from intcodec.coding import bitstream
from intcodec.engines import ENGINES
from intcodec.engines.reference import ReferenceEngine
from intcodec.pictures import codec

RGB = tiny.picture(20, 30)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def tiny_codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands get a tiny random model; -m SEED chooses another one."""

    def load(
        path: str | None, *, engine: str | None, threads: int | None, max_pixels: int | None, decode_only: bool = False
    ) -> codec.Codec:
        model = tiny.model("hyperprior", int(path or 0))
        return codec.Codec(
            model, ReferenceEngine(model.network, threads), max_pixels=max_pixels or codec.DEFAULT_MAX_PIXELS
        )

    monkeypatch.setattr(codec, "load", load)
    monkeypatch.setattr(framecodec, "load_either", load)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(RGB).save("a.png")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*args: str) -> tuple[int, str, str]:
        try:
            code = main(args)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


def expected() -> np.ndarray:
    own = codec.load(None, engine=None, threads=None, max_pixels=2**20)
    return own.decode(own.encode(RGB))


def test_encode_decode_info(run: Run) -> None:
    code, out, err = run("encode", "a.png")
    assert (code, out) == (0, "")
    size = os.path.getsize("a.intc")
    assert err.startswith(f"intcodec: a.png -> a.intc: 30x20, {size} bytes, {8 * size / 600:.4f} bpp, ")
    code, out, err = run("decode", "a.intc", "-o", "b.png", "--threads", "2", "--engine", "reference")
    assert (code, out) == (0, "")
    np.testing.assert_array_equal(np.asarray(Image.open("b.png")), expected())
    code, out, err = run("info", "a.intc")
    assert (code, err) == (0, "")
    assert "width                30\nheight               20\n" in out
    described = json.loads(run("info", "a.intc", "--json")[1])
    assert (described["width"], described["height"], described["bytes"]) == (30, 20, size)
    assert described["overhead_bytes"] + sum(described["section_bytes"]) == size
    assert described["model_id"] == tiny.model().model_id[:16]


def test_quiet(run: Run) -> None:
    assert run("encode", "--quiet", "a.png") == (0, "", "")
    assert run("decode", "--quiet", "a.intc", "-f") == (0, "", "")


def test_decode_does_not_replace_the_original_unasked(run: Run) -> None:
    before = Path("a.png").read_bytes()
    run("encode", "a.png")
    code, _, err = run("decode", "a.intc")
    assert code == 2
    assert err == "intcodec: error: a.intc: a.png exists already; name the output with -o, or replace it with -f\n"
    assert Path("a.png").read_bytes() == before
    assert run("decode", "a.intc", "-f")[0] == 0
    assert run("decode", "a.intc", "-o", "a.png")[0] == 0
    assert Path("a.png").read_bytes() != before


@pytest.mark.parametrize("ending", ["ppm", "bmp", "tiff", "webp"])
def test_output_formats(run: Run, ending: str) -> None:
    run("encode", "a.png")
    assert run("decode", "a.intc", "-o", f"b.{ending}")[0] == 0
    np.testing.assert_array_equal(np.asarray(Image.open(f"b.{ending}").convert("RGB")), expected())


def test_lossy_output_is_refused(run: Run) -> None:
    run("encode", "a.png")
    code, _, err = run("decode", "a.intc", "-o", "b.jpg")
    assert code == 2
    assert err.count("\n") == 1
    assert not Path("b.jpg").exists()


def test_several_inputs(run: Run) -> None:
    Image.fromarray(RGB[:5]).save("b.bmp")
    Path("bad.png").write_bytes(b"no picture")
    code, _, err = run("encode", "a.png", "bad.png", "none.png", "b.bmp", "-o", "out")
    assert code == 2
    lines = err.splitlines()
    assert lines[0].startswith("intcodec: [1/4] a.png -> out/a.intc")
    assert lines[1] == "intcodec: error: bad.png: not a picture file that can be read"
    assert lines[2] == "intcodec: error: none.png: No such file or directory"
    assert lines[3].startswith("intcodec: [4/4] b.bmp -> out/b.intc")
    assert sorted(os.listdir("out")) == ["a.intc", "b.intc"]
    Path("out/c.intc").write_bytes(b"\x89INTx")
    os.mkdir("pictures")
    code, _, err = run("decode", "out/c.intc", "out/a.intc", "none.intc", "-o", "pictures")
    assert code == 3, "the first error's"
    assert os.listdir("pictures") == ["a.png"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["a.png", "a.png"], "would be written to"),
        (["a.png", "sub/a.png", "-o", "out"], "would be written to"),
        (["a.png", "-o", "a.png"], "would be written to"),
        (["a.png", "b.png", "-o", "-"], "cannot be used"),
        (["-", "b.png", "-o", "out"], "cannot be used"),
        (["-", "-"], "only once"),
        (["."], ". is a clip, or a folder of pictures: name a model for clips with -m MODEL"),
        (["a.png", "-o", "none/a.intc"], "No such file or directory"),
        (["a.png", "-o", "a.png/"], "File exists"),
    ],
)
def test_outputs_that_make_no_sense(run: Run, args: list[str], message: str) -> None:
    before = Path("a.png").read_bytes()
    code, out, err = run("encode", *args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
    assert Path("a.png").read_bytes() == before


def test_wrong_model_names_the_option(run: Run) -> None:
    code, _, err = run("encode", "a.png", "-m", "1")
    assert code == 0, err
    code, _, err = run("decode", "a.intc", "-o", "b.png")
    assert code == 4
    assert err.startswith(f"intcodec: error: a.intc: the file needs model {tiny.model(seed=1).model_id[:16]}")
    assert err.endswith("name it with -m MODEL\n")


def test_damaged_file(run: Run) -> None:
    run("encode", "a.png")
    data = bytearray(Path("a.intc").read_bytes())
    data[-6] ^= 1
    Path("a.intc").write_bytes(data)
    for command in (["decode", "a.intc", "-o", "b.png"], ["info", "a.intc"]):
        code, out, err = run(*command)
        assert (code, out) == (3, "")
        assert "checksum of section 1 does not match" in err
        assert err.count("\n") == 1
    assert not Path("b.png").exists()


def test_limit(run: Run) -> None:
    code, _, err = run("encode", "a.png", "--max-pixels", "599")
    assert code == 7
    assert "limit of 599 pixels" in err
    run("encode", "a.png")
    assert run("decode", "a.intc", "-o", "b.png", "--max-pixels", "599")[0] == 7


def test_background(run: Run) -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 100, np.uint8)])
    Image.fromarray(rgba).save("alpha.png")
    code, _, err = run("encode", "alpha.png")
    assert code == 2
    assert "alpha.png: the picture has transparent pixels" in err
    assert run("encode", "alpha.png", "--background", "white")[0] == 0


def test_notes(run: Run) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint16)).save("deep.png")
    assert "intcodec: note: deep.png: 16-bit picture reduced to 8 bits\n" in run("encode", "deep.png")[2]
    assert run("encode", "--quiet", "deep.png")[2] == ""


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "required: COMMAND"),
        (["encode"], "required: INPUT"),
        (["frobnicate"], "invalid choice"),
        (["encode", "a.png", "--threads", "0"], "not a positive integer"),
        (["decode", "a.intc", "--engine", "cuda"], "invalid choice"),
        (["export", "--arch", "x", "-o", "m.intm"], "give either --checkpoint FILE, or --pretrained"),
        (["export", "--arch", "x", "-o", "m.intm", "--pretrained"], "--pretrained needs --quality"),
        (["export", "--arch", "x", "-o", "m", "--checkpoint", "none.pth"], "cannot read none.pth: No such file"),
        (["info", "none.intc"], "cannot read none.intc: No such file or directory"),
    ],
)
def test_bad_arguments(run: Run, args: list[str], message: str) -> None:
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert err.startswith("intcodec: error: ")
    assert err.count("\n") == 1
    assert message in err


def test_version_and_help(run: Run) -> None:
    assert run("--version") == (0, f"intcodec {intcodec.__version__}\n", "")
    for command in ("export", "encode", "decode", "info", "verify"):
        code, out, _ = run(command, "--help")
        assert code == 0
        assert out.startswith(f"usage: intcodec {command}")


def test_interrupt_and_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def raises(error: BaseException) -> Any:
        def load(*args: Any, **kwargs: Any) -> Any:
            raise error

        return load

    monkeypatch.setattr(codec, "load", raises(KeyboardInterrupt()))
    assert run("encode", "a.png") == (130, "", "intcodec: error: interrupted\n")
    monkeypatch.setattr(codec, "load", raises(MemoryError()))
    assert run("encode", "a.png") == (1, "", "intcodec: error: out of memory\n")


def test_export_without_torch_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for name in [n for n in sys.modules if n.startswith(("intcodec.quantize", "intcodec.zoo"))]:
        monkeypatch.delitem(sys.modules, name)
    Path("c.pth").write_bytes(b"")
    if not Path(intcodec.__file__).with_name("quantize").joinpath("export.py").exists():
        pytest.skip("intcodec.quantize.export is not in this tree yet")
    code, _, err = run("export", "--arch", "bmshj2018_hyperprior", "--checkpoint", "c.pth", "-o", "m.intm")
    assert code == 2
    assert err == 'intcodec: error: export needs torch, which is not installed: pip install "intcodec[quantize]"\n'


def test_engine_names_are_the_engines() -> None:
    assert ENGINE_NAMES == ENGINES


# With a real model ---------------------------------------------------------------------------------------------------


def script(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(Path(intcodec.__file__).parents[1])}
    return subprocess.run([sys.executable, "-m", "intcodec", *args], capture_output=True, text=True, env=env, **options)


def test_whole_program() -> None:
    tiny.bundle().save("m.intm")
    tiny.bundle(seed=1).save("other.intm")
    done = script("encode", "a.png", "-m", "m.intm", "-o", "a.intc", "--engine", "reference")
    assert (done.returncode, done.stdout) == (0, "")
    for engine in ENGINES:
        done = script("decode", "a.intc", "-m", "m.intm", "-o", f"{engine}.ppm", "--engine", engine, "--quiet")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert len({Path(f"{engine}.ppm").read_bytes() for engine in ENGINES}) == 1
    done = script("decode", "a.intc", "-m", "other.intm", "-o", "b.png")
    assert done.returncode == 4
    assert f"needs model {tiny.bundle().model_id[:16]}, but model {tiny.bundle(seed=1).model_id[:16]}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_info_and_verify_of_a_model(run: Run) -> None:
    model = tiny.bundle()
    model.save("m.intm")
    code, out, err = run("info", "m.intm")
    assert (code, err) == (0, "")
    assert model.model_id in out
    described = json.loads(run("info", "--json", "m.intm")[1])
    assert described["arch"] == "hyperprior"
    assert described["latents"] == {"y": 12, "z": 8}
    assert described["manifest"]["name"] == "tiny hyperprior"
    code, out, err = run("verify", "m.intm")
    assert (code, err) == (0, "")
    assert f"verified: m.intm, model {model.model_id}\n" in out
    code, out, _ = run("verify", "--json", "m.intm")
    assert json.loads(out)["ok"] is True
    data = bytearray(Path("m.intm").read_bytes())
    data[len(data) // 2] ^= 1
    Path("m.intm").write_bytes(data)
    assert run("verify", "m.intm")[0] == 4
    assert run("verify", "none.intm")[0] == 2
    code, out, err = run("info", "m.intm")
    assert (code, out, err.count("\n")) == (4, "", 1)


# Disks that refuse ----------------------------------------------------------------------------------------------------


def test_read_only_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkdir("locked", 0o500)
    if os.access("locked", os.W_OK):  # root may write anywhere: let the system refuse as it would refuse others

        def refuse(*_: Any, **__: Any) -> Any:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(files.tempfile, "mkstemp", refuse)
    code, _, err = run("encode", "a.png", "-o", "locked/a.intc")
    assert code == 2
    assert err == "intcodec: error: a.png: cannot write locked/a.intc: Permission denied\n"


# Pipes and start-up, in processes of their own -----------------------------------------------------------------------

_RUNNER = f"""
import sys
sys.path[:0] = {[str(SUPPORT), str(Path(intcodec.__file__).parents[1])]!r}
import tiny
from intcodec.pictures import codec
from intcodec.cli.common import ENGINE_NAMES
from intcodec.cli.main import main
from intcodec.engines import ENGINES
from intcodec.engines.reference import ReferenceEngine
def load(path, *, max_pixels, **_):
    model = tiny.model("hyperprior")
    return codec.Codec(model, ReferenceEngine(model.network), max_pixels=max_pixels)
codec.load = load
sys.exit(main(sys.argv[1:]))
"""


def process(*args: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-c", _RUNNER, *args], input=stdin, capture_output=True)


def test_pipes() -> None:
    done = process("encode", "-", "--quiet", stdin=Path("a.png").read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert bitstream.parse(done.stdout).width == 30
    assert process("info", "-", stdin=done.stdout).returncode == 0
    done = process("decode", "-", "-o", "b.png", stdin=done.stdout)
    assert done.returncode == 0
    np.testing.assert_array_equal(np.asarray(Image.open("b.png")), expected())


def test_broken_pipe_is_silent() -> None:
    process("encode", "a.png")
    read_end, write_end = os.pipe()
    os.close(read_end)
    for args in (["decode", "a.intc", "-o", "-", "--quiet"], ["info", "a.intc"]):
        done = subprocess.run([sys.executable, "-c", _RUNNER, *args], stdout=write_end, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(write_end)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_behind_standard_output() -> None:
    process("encode", "a.png")
    for args in (["decode", "a.intc", "-o", "-", "--quiet"], ["info", "a.intc"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([sys.executable, "-c", _RUNNER, *args], stdout=full, stderr=subprocess.PIPE)
        message = b"intcodec: error: cannot write standard output: No space left on device\n"
        assert (done.returncode, done.stderr) == (2, message)


def test_start_up_imports_nothing_slow() -> None:
    root = str(Path(intcodec.__file__).parents[1])
    code = (
        f"import sys; sys.path[:0] = [{root!r}]; import intcodec; from intcodec.cli.main import build_parser;"
        "build_parser(); print(sorted({'numpy', 'PIL', 'onnxruntime', 'torch', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_coding_imports_no_training_framework() -> None:
    code = _RUNNER.replace(
        "sys.exit(main(sys.argv[1:]))",
        "main(['encode', 'a.png', '--quiet']); main(['decode', 'a.intc', '--quiet', '-f']);",
    ).strip()
    code += "\nprint(sorted({'torch', 'onnx', 'tqdm'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"

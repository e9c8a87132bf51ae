"""The program in a process of its own: pipes, streams that end or are full, and what start-up imports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

import intcodec
from intcodec.coding import bitstream

RGB = tiny.picture(20, 30)
Run = Callable[..., tuple[int, str, str]]


_RUNNER = """
import sys
sys.path[:0] = {path!r}
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
    path = [str(Path(__file__).parents[1] / "support"), str(Path(intcodec.__file__).parents[1])]
    return subprocess.run([sys.executable, "-c", _RUNNER.format(path=path), *args], input=stdin, capture_output=True)


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
    path = [str(Path(__file__).parents[1] / "support"), str(Path(intcodec.__file__).parents[1])]
    for args in (["decode", "a.intc", "-o", "-", "--quiet"], ["info", "a.intc"]):
        done = subprocess.run(
            [sys.executable, "-c", _RUNNER.format(path=path), *args], stdout=write_end, stderr=subprocess.PIPE
        )
        assert (done.returncode, done.stderr) == (141, b"")
    os.close(write_end)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_disk_behind_standard_output() -> None:
    process("encode", "a.png")
    path = [str(Path(__file__).parents[1] / "support"), str(Path(intcodec.__file__).parents[1])]
    for args in (["decode", "a.intc", "-o", "-", "--quiet"], ["info", "a.intc"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-c", _RUNNER.format(path=path), *args], stdout=full, stderr=subprocess.PIPE
            )
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
    code = (
        _RUNNER.format(path=[str(Path(__file__).parents[1] / "support"), str(Path(intcodec.__file__).parents[1])])
        .replace(
            "sys.exit(main(sys.argv[1:]))",
            "main(['encode', 'a.png', '--quiet']); main(['decode', 'a.intc', '--quiet', '-f']);",
        )
        .strip()
    )
    code += "\nprint(sorted({'torch', 'onnx', 'tqdm'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"

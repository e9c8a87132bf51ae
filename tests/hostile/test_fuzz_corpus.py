"""What fuzzing has learnt, replayed: every input of fuzz/corpus keeps what its target states.

The targets in C are compiled here, with the sanitizers where the compiler has them.
"""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import ccore
import pytest
from places import ROOT

FUZZ = ROOT / "fuzz"
ADDRESS = "-fsanitize=address"
UNDEFINED = f"{ADDRESS},undefined"
# Of the kernels addresses only: with every check one file takes clang half a minute. `make fuzz` has them all.
KERNELS = ([ccore.INCLUDE, "-pthread", ADDRESS], ccore.SOURCES)
TARGETS = {
    "coder": (["-I", str(ROOT / "_ext"), UNDEFINED], []),
    "graph": KERNELS,
    "flow": KERNELS,
}


def module(name: str) -> Any:
    if str(FUZZ) not in sys.path:
        sys.path.insert(0, str(FUZZ))
    return importlib.import_module(name)


@pytest.mark.parametrize("target", ["streams", "clips", "frames", "bundles"])
def test_targets_in_python(target: str) -> None:
    inputs, one_input = module("corpus").inputs(target), module(target).one_input
    assert len(inputs) > 50
    for data in inputs:
        one_input(data)


@pytest.mark.parametrize("target", TARGETS)
def test_targets_in_c(target: str, tmp_path: Path) -> None:
    compiler = shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler here")
    options, sources = TARGETS[target]
    program = tmp_path / target
    call = [compiler, "-std=c11", "-O1", "-g", "-w", *options, str(FUZZ / "replay.c"), str(FUZZ / f"{target}.c")]
    sanitized = [*call, *sources, "-fno-sanitize-recover=all", "-o", str(program)]
    if subprocess.run(sanitized, capture_output=True).returncode:
        plain = [word for word in sanitized if "sanitize" not in word]
        subprocess.run(plain, check=True)
    with tempfile.TemporaryDirectory() as folder:
        count = module("corpus").unpack(target, Path(folder))
        files = sorted(map(str, Path(folder).iterdir()))
        run = subprocess.run([str(program), *files], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, f"{count} inputs\n"), run.stderr[-3000:]

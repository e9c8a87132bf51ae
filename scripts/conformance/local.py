"""Devices that are this machine: its own Python at every instruction set, other onnxruntimes, an older x86 processor.

What may live here: virtual environments, and qemu-x86_64.
"""

from __future__ import annotations

import platform
import sys
from pathlib import Path

from environment import ROOT, Command, Missing, do, fresh, need, once

INTCODEC = ("-m", "intcodec")
#: Levels of the native engine that such a machine may have; those that this one lacks are skipped aloud.
LEVELS = ("scalar", "neon") if platform.machine() == "aarch64" else ("scalar", "avx2", "avx512vnni")
ENV = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@once
def here() -> Command:
    """Return this interpreter with what is installed beside it."""
    return Command((sys.executable, *INTCODEC), ENV)


@once
def level(isa: str) -> Command:
    """Return this interpreter, if the processor has an instruction set of the native engine.

    Raises:
        Missing: it has not, or the extension is not built.
    """
    try:
        from intcodec.engines.native import isa_levels
    except ImportError as error:
        raise Missing(f"the extension is not built: {error}") from error
    if not dict(isa_levels()).get(isa):
        raise Missing(f"this processor lacks {isa}")
    return Command((sys.executable, *INTCODEC), {**ENV, "INTCODEC_ISA": isa})


@once
def environment(onnxruntime: str, numpy: str) -> Path:
    """Return the Python of a virtual environment that has these versions; "" is the newest.

    Raises:
        Missing: pip does not find them for this Python.
    """

    def make(folder: Path) -> None:
        do([sys.executable, "-m", "venv", folder], "python -m venv")
        python = folder / "bin" / "python"
        wanted = (f"onnxruntime{onnxruntime}", f"numpy{numpy}")
        do([python, "-m", "pip", "--quiet", "install", "--only-binary=:all:", *wanted], "pip install onnxruntime")

    name = "onnxruntime-" + (onnxruntime.strip("=") or "newest")
    return fresh(name, f"{sys.version} {onnxruntime} {numpy}", make) / "bin" / "python"


@once
def onnxruntime(version: str = "", numpy: str = "") -> Command:
    """Return this Python with a version of onnxruntime ("==1.17.3") and of numpy ("<2")."""
    return Command((str(environment(version, numpy)), *INTCODEC), ENV)


@once
def haswell(version: str = "", numpy: str = "") -> Command:
    """Return the same under an emulated Haswell: AVX2 without VNNI, where 8-bit products saturate.

    Raises:
        Missing: qemu is absent, or this is no x86-64.
    """
    need("qemu-x86_64-static")
    python = environment(version, numpy)
    return Command(("qemu-x86_64-static", "-cpu", "Haswell", str(python), *INTCODEC), ENV)

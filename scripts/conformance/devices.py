"""The rows of the matrix: every device, how it is set up, and the devices on which 8-bit products are known to break.

What may live here: the list. How a device comes to be is in local, foreign and web.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import foreign
import local
from environment import VECTORS, Command

import web

OLD, OLDER = ("==1.20.1", ""), ("==1.17.3", "<2")


@dataclass(frozen=True)
class Device:
    """One row.

    Args:
        name: what the tables call it.
        prepare: makes it, or finds it made; raises `Missing`.
        engine: as `intcodec conformance run --engine` takes it; None for a program of its own.
        trap: "" or the way in which plain 8-bit products must go wrong on it: a control of the emulation.
    """

    name: str
    prepare: Callable[[], Command]
    engine: str | None = None
    trap: str = ""

    def arguments(self) -> list[str]:
        """Return what follows the command."""
        if self.engine is None:
            return [str(VECTORS)]
        return ["conformance", "run", str(VECTORS), "--engine", self.engine, "--json"]


def every() -> list[Device]:
    """Return all devices, the slow ones first, so that the others fill the gaps."""
    arm = [
        Device(f"aarch64 {core}, {engine}", partial(foreign.aarch64, core), engine, trap)
        for engine in ("onnxruntime", "native/neon")
        for core, trap in (
            ("cortex-a53", "both -128" if engine == "onnxruntime" else ""),
            ("neoverse-n1", ""),
            ("max", ""),
        )
    ]
    haswell = [
        Device("emulated Haswell, onnxruntime newest", local.haswell, "onnxruntime", "full range"),
        Device("emulated Haswell, onnxruntime 1.17.3", partial(local.haswell, *OLDER), "onnxruntime", "full range"),
        Device("emulated Haswell, native/avx2", local.haswell, "native/avx2"),
    ]
    others = [
        Device(f"{name}, native/scalar", partial(foreign.debian, arch), "native/scalar")
        for arch, name in (("s390x", "s390x (big-endian)"), ("armhf", "armhf (32 bits)"), ("i386", "i386 (32 bits)"))
    ]
    mine = [
        *(Device(f"this machine, native/{isa}", partial(local.level, isa), f"native/{isa}") for isa in local.LEVELS),
        Device("this machine, reference (numpy)", local.here, "reference"),
        Device("this machine, onnxruntime newest", local.onnxruntime, "onnxruntime"),
        Device("this machine, onnxruntime 1.20.1", partial(local.onnxruntime, *OLD), "onnxruntime"),
        Device("this machine, onnxruntime 1.17.3", partial(local.onnxruntime, *OLDER), "onnxruntime"),
    ]
    node = [Device(f"WebAssembly in Node, {build}", partial(web.node, build)) for build in ("simd128", "scalar")]
    return [*arm, *haswell, *others, *mine, *node]

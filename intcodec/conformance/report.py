"""Every engine and instruction set of this machine against the vectors, and the result as a screen of text or JSON."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np

import intcodec
from intcodec.base.errors import InputError
from intcodec.conformance.cases import MakeEngine, Outcome
from intcodec.conformance.replay import replay
from intcodec.conformance.vectors import Json, VectorFile
from intcodec.engines import ENGINES, create

#: Lines of problems that the text shows; JSON has all.
SHOWN = 10


@dataclass(frozen=True)
class Device:
    """An engine at an instruction set: what one replay runs on. `missing` says why it cannot run here."""

    name: str
    make: MakeEngine
    missing: str | None = None


@dataclass(frozen=True)
class Result:
    """All outcomes of one device."""

    device: str
    outcomes: tuple[Outcome, ...]
    seconds: float

    @property
    def failures(self) -> list[Outcome]:
        """The outcomes that are not as expected."""
        return [o for o in self.outcomes if o.problem]


def devices(wanted: str | None = None) -> list[Device]:
    """Return what this machine has.

    Args:
        wanted: "native", "native/avx2", "onnxruntime", "reference"; None is all.

    Raises:
        InputError: there is no device of that name.
    """
    found = _native()
    found.append(Device(f"onnxruntime {_version()}", lambda m: create("onnxruntime", m.network, 1), _onnx_missing()))
    found.append(Device("reference", lambda m: create("reference", m.network, 1)))
    if wanted is None:
        return found
    chosen = [d for d in found if d.name == wanted or d.name.replace(" ", "/").split("/")[0] == wanted]
    if not chosen:
        raise InputError(f"no engine {wanted!r} here; choose one of {', '.join(ENGINES)}, native/ISA")
    return chosen


def _native() -> list[Device]:
    try:
        from intcodec.engines.native import NativeEngine, isa_levels
    except ImportError as error:
        return [Device("native", lambda m: create("native", m.network, 1), f"the extension is not built: {error}")]

    def maker(isa: str) -> MakeEngine:
        return lambda model: NativeEngine(model.network, 1, isa=isa)

    absent = "this processor lacks it"
    return [Device(f"native/{isa}", maker(isa), None if here else absent) for isa, here in isa_levels()]


def _version() -> str:
    try:
        return metadata.version("onnxruntime")
    except metadata.PackageNotFoundError:
        return ""


def _onnx_missing() -> str | None:
    return None if _version() else "onnxruntime is not installed"


def run(files: Iterable[VectorFile], device: Device) -> Result:
    """Replay all files on a device that is not missing."""
    begin = time.perf_counter()
    outcomes = tuple(outcome for file in files for outcome in replay(file, device.make))
    return Result(device.name, outcomes, time.perf_counter() - begin)


def as_json(root: Path, files: list[VectorFile], results: list[Result], missing: list[Device]) -> Json:
    """Return the report as JSON values; `ok` is the verdict."""
    return {
        "intcodec": intcodec.__version__,
        "machine": platform.machine(),
        "byteorder": sys.byteorder,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "vectors": str(root),
        "cases": sum(len(f.cases) for f in files),
        "missing": {d.name: d.missing for d in missing},
        "devices": {r.device: _device_json(r) for r in results},
        "ok": bool(results) and not any(r.failures for r in results),
    }


def _device_json(result: Result) -> Json:
    return {
        "seconds": round(result.seconds, 2),
        "cases": len(result.outcomes),
        "failures": {o.case: o.problem for o in result.failures},
        "streams": {o.case: o.stream for o in result.outcomes if o.stream},
        "pixels": {o.case: o.pixels for o in result.outcomes if o.pixels},
    }


def as_text(report: Json, files: list[VectorFile]) -> str:
    """Return the report as one screen of text."""
    invalid = sum(case["result"] == "invalid" for f in files for case in f.cases)
    head = f"{report['cases']} cases, {invalid} of them invalid input that must be refused"
    where = f"intcodec {report['intcodec']}, {report['machine']} {report['byteorder']}-endian, numpy {report['numpy']}"
    lines = [f"{head} ({report['vectors']})", where, ""]
    problems: list[str] = []
    for name, device in report["devices"].items():
        failures = device["failures"]
        verdict = "ok" if not failures else f"{len(failures)} FAILED"
        lines.append(f"  {name:<20} {device['cases']:>4} cases  {device['seconds']:>6.1f} s  {verdict}")
        problems += [f"  {name}: {case}: {problem}" for case, problem in failures.items()]
    lines += [f"  {name:<20} not here: {why}" for name, why in report["missing"].items()]
    if problems:
        lines += ["", *problems[:SHOWN]]
        if len(problems) > SHOWN:
            lines.append(f"  ... and {len(problems) - SHOWN} more (--json has all)")
    lines += ["", "CONFORMS: every byte, tensor and pixel is equal" if report["ok"] else "DOES NOT CONFORM"]
    return "\n".join(lines)

"""Verification: prove a model from its own integers, compare all that is derived from them, run it everywhere here.

What may live here: the list of checks. Each reports; none stops the others.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

from intcodec import engines
from intcodec.base.errors import InputError, IntCodecError, ModelError
from intcodec.clips.framecodec import VideoCodec, is_video
from intcodec.engines.reference import ReferenceEngine
from intcodec.entropy.cdf import CdfTables
from intcodec.modelfile.container import NETWORK
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import self_test
from intcodec.network.derived import DerivedGraphs
from intcodec.network.graph import Network
from intcodec.network.proof import prove
from intcodec.pictures.codec import Codec

OK, FAILED, SKIPPED = "ok", "failed", "skipped"


@dataclass(frozen=True)
class Report:
    """What was checked of a model.

    Args:
        model_id: the model's id, None if the file is no model.
        checks: (name, "ok" | "failed" | "skipped", detail) in the order they ran.
    """

    model_id: str | None
    checks: tuple[tuple[str, str, str], ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed. A skipped check is no failure; `checks` names it."""
        return all(status != FAILED for _, status, _ in self.checks)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        checks = [{"name": n, "status": s, "detail": d} for n, s, d in self.checks]
        return {"ok": self.ok, "model_id": self.model_id, "checks": checks}


class _Skip(Exception):
    """A check that cannot be made here, and why."""


def verify(source: str | os.PathLike[str] | bytes | BinaryIO) -> Report:
    """Check a model: form, identity, bounds, codec, CDF tables, ONNX graphs, and self-test on every engine here.

    Args:
        source: a path, the bundle's bytes, or an open binary file.

    Raises:
        InputError: the file cannot be read. A damaged file is no exception but a failed check.
    """
    try:
        model = Model.load(source)
    except OSError as error:
        raise InputError(f"cannot read model: {error.strerror or error}") from error
    except ModelError as error:
        return Report(None, (("bundle", FAILED, str(error)),))
    checks = [("bundle", OK, f"{len(model.data)} bytes, arch {model.arch}")]
    checks.append(("identity", OK, f"{NETWORK} {model.model_id}"))
    checks.append(_run("bounds", lambda: _bounds(model)))
    checks.append(_run("codec", lambda: _codec(model)))
    checks.append(_run("cdf tables", lambda: _tables(model.network)))
    checks.append(_run("onnx graphs", lambda: _onnx(model)))
    for name in engines.ENGINES:
        checks.append(_run(f"self-test {name}", lambda name=name: _self_test(model, name)))  # type: ignore[misc]
    return Report(model.model_id, tuple(checks))


def _run(name: str, check: Callable[[], str]) -> tuple[str, str, str]:
    try:
        return name, OK, check()
    except _Skip as skip:
        return name, SKIPPED, str(skip)
    except IntCodecError as error:
        return name, FAILED, str(error)


def _bounds(model: Model) -> str:
    proved = prove(model.network)
    for row in {**proved, **model.bounds}:
        if proved.get(row) != model.bounds.get(row):
            raise ModelError(f"{row}: the proof gives {proved.get(row)}, the model states {model.bounds.get(row)}")
    return f"{len(proved)} rows proved, the largest magnitude is {max(proved.values())}"


def _codec(model: Model) -> str:
    """What a loader asks of the graphs before it codes anything with them."""
    kind, what = (VideoCodec, "clips") if is_video(model.network) else (Codec, "pictures")
    kind(model, ReferenceEngine(model.network))
    return f"its {len(model.network.graphs)} graphs code {what}"


def _tables(network: Network) -> str:
    """The tables checked themselves when they were made; here, that every index finds its row."""
    for name, table in network.tables.items():
        needed = network.latents[name].channels
        local = name.rpartition("_")[2]
        for graph in network.graphs.values():
            if local == "y" and "index" in graph.outputs and graph.name.startswith(name.removesuffix(local)):
                needed = graph.specs()["index"].hi + 1
        if table.rows < needed:
            raise ModelError(f"cdf table {name!r} has {table.rows} rows, {needed} are indexed")
        CdfTables.from_arrays(table.to_arrays())
    return ", ".join(f"{name}: {table.rows} rows" for name, table in network.tables.items())


def _onnx(model: Model) -> str:
    built = DerivedGraphs(model.network)
    if isinstance(model.onnx, DerivedGraphs):
        return f"none stored; {', '.join(f'{name} {len(data)} bytes' for name, data in built.items())} when needed"
    for name, data in model.onnx.items():
        if built[name] != data:
            raise ModelError(f"onnx/{name}.onnx is not what this version of intcodec makes of the network")
    return ", ".join(model.onnx)


def _self_test(model: Model, name: str) -> str:
    try:
        engine = engines.create(name, model.network, 1)
    except InputError as error:
        raise _Skip(str(error)) from error
    self_test(model, engine, deep=True)
    return f"{len(model.vectors)} graphs, {len(list(model.network.rows()))} rows"

"""A network as JSON and named tensors, and back: the normative content of a model (docs/model.md).

What may live here: the mapping between `Network` and what a file stores. Reading trusts nothing: every field must be
there, have its type and its range, and no field may be left over.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT, IntArray
from intcodec.entropy.cdf import CdfTables
from intcodec.network.graph import MAX_CHANNELS, Graph, Latent, Network
from intcodec.network.schedule import MAX_PASSES, Pass, usual_schedule
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.table import KINDS

FORMAT = 1
#: Entries of a cdf table; real ones have 10**5.
MAX_ENTRIES = 1 << 22
_FIELDS = {"format", "arch", "graphs", "latents", "tables", "extra"}
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_ARCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def describe(network: Network) -> tuple[dict[str, Any], dict[str, IntArray]]:
    """Return a network as JSON values and tensors by name."""
    tensors: dict[str, IntArray] = {}
    graphs = []
    for graph in network.graphs.values():
        rows = []
        for row in graph.rows:
            for field in row.arrays:
                tensors[f"{graph.name}/{row.name}/{field}"] = getattr(row, field)
            scalars = {f: list(v) if isinstance(v := getattr(row, f), tuple) else v for f in row.scalars}
            rows.append({"type": row.kind, "name": row.name, "input": row.input, **scalars})
        inputs = [{"name": s.name, "channels": s.channels, "lo": s.lo, "hi": s.hi} for s in graph.inputs]
        graphs.append({"name": graph.name, "inputs": inputs, "rows": rows, "outputs": list(graph.outputs)})
    latents = []
    for name, latent in network.latents.items():
        tensors[f"latent/{name}/offset"], tensors[f"latent/{name}/shift"] = latent.offset, latent.shift
        latents.append({"name": name, "fraction": latent.fraction, "lo": latent.lo, "hi": latent.hi})
    for name, table in network.tables.items():
        tensors.update({f"cdf/{name}/{k}": v for k, v in table.to_arrays().items()})
    json = {
        "format": FORMAT,
        "arch": network.arch,
        "graphs": graphs,
        "latents": latents,
        "tables": list(network.tables),
        "extra": dict(network.extra),
    }
    if network.schedule != usual(network):
        json["schedule"] = [step.as_json() for step in network.schedule]
    return json, tensors


def restore(json: Mapping[str, Any], tensors: Mapping[str, IntArray]) -> Network:
    """Return the network of `describe`'s result.

    Raises:
        ModelError: something is missing, left over, of the wrong type or out of range.
    """
    reader = _Reader(dict(tensors))
    if _get(json, "format", int, "network") != FORMAT:
        raise ModelError("network: its format is unknown to this version of intcodec")
    graphs = _unique([reader.graph(g) for g in _list(json, "graphs", "network", 64)], "graph")
    latents = _unique([reader.latent(v) for v in _list(json, "latents", "network", 16)], "latent")
    names = _list(json, "tables", "network", 16)
    tables = {_name(n, "table"): reader.table(n) for n in names}
    extra = _get(json, "extra", dict, "network")
    if reader.tensors:
        raise ModelError(f"network: tensor {min(reader.tensors)[:80]!r} belongs to nothing")
    if len(tables) != len(names) or set(json) - {"schedule"} != _FIELDS:
        raise ModelError("network: duplicate tables or unknown fields")
    if not graphs or set(tables) != set(latents):
        raise ModelError("network: no graphs, or latents and tables differ")
    arch: str = _get(json, "arch", str, "network")
    if not _ARCH.fullmatch(arch):
        raise ModelError("network: bad name of an arch")
    steps = _list(json, "schedule", "network", MAX_PASSES) if "schedule" in json else []
    network = Network(arch, graphs, latents, tables, extra, tuple(_pass(step) for step in steps))
    if "schedule" in json and (not steps or network.schedule == usual(network)):
        raise ModelError("network: a schedule is stated only where it is not the usual one")
    return network


def usual(network: Network) -> tuple[Pass, ...]:
    """Return the schedule that the network would have if it stated none."""
    return usual_schedule(network.graphs, {name: latent.channels for name, latent in network.latents.items()})


def _pass(json: Any) -> Pass:
    where = "schedule"
    _only(json, ("latent", "first", "count", "positions", "graphs", "refine"), where)
    latent, positions = (_name(_get(json, key, str, where), key) for key in ("latent", "positions"))
    graphs = tuple(_name(name, "graph") for name in _list(json, "graphs", where, 8))
    refine: str = _get(json, "refine", str, where)
    first, count = (_scalar(json, key, where) for key in ("first", "count"))
    return Pass(latent, first, count, positions, graphs, _name(refine, "graph") if refine else "")


class _Reader:
    """Takes tensors by name, each once."""

    def __init__(self, tensors: dict[str, IntArray]) -> None:
        self.tensors = tensors

    def take(self, name: str) -> IntArray:
        if name not in self.tensors:
            raise ModelError(f"network: tensor {name!r} is missing")
        return self.tensors.pop(name)

    def graph(self, json: Any) -> Graph:
        name = _name(_get(json, "name", str, "graph"), "graph")
        where = f"graph {name}"
        _only(json, ("name", "inputs", "rows", "outputs"), where)
        inputs = tuple(_spec(s, where) for s in _list(json, "inputs", where, 8))
        rows = tuple(self.row(r, name) for r in _list(json, "rows", where, 256))
        outputs = tuple(_name(o, "output") for o in _list(json, "outputs", where, 8))
        if not inputs or len({s.name for s in inputs}) != len(inputs) or not outputs:
            raise ModelError(f"{where}: inputs or outputs are missing or repeated")
        if not set(outputs) <= {r.name for r in rows}:
            raise ModelError(f"{where}: an output is written by no row")
        return Graph(name, inputs, rows, outputs)

    def row(self, json: Any, graph: str) -> Row:
        kind = _get(json, "type", str, f"graph {graph}: row")
        if kind not in KINDS:
            raise ModelError(f"graph {graph}: row type {kind[:40]!r} is unknown to this version of intcodec")
        row = KINDS[kind]
        name = _name(_get(json, "name", str, f"graph {graph}: row"), "row")
        where = f"graph {graph}: row {name}"
        _only(json, ("type", "name", "input", *row.scalars), where)
        values: dict[str, Any] = {field: _field(json, field, type_, where) for field, type_ in row.scalars.items()}
        values.update({field: self.take(f"{graph}/{name}/{field}") for field in row.arrays})
        return row(name=name, input=_name(_get(json, "input", str, where), "tensor"), **values)

    def latent(self, json: Any) -> Latent:
        name = _name(_get(json, "name", str, "latent"), "latent")
        where = f"latent {name}"
        _only(json, ("name", "fraction", "lo", "hi"), where)
        offset, shift = self.take(f"latent/{name}/offset"), self.take(f"latent/{name}/shift")
        fraction, lo, hi = (_scalar(json, f, where) for f in ("fraction", "lo", "hi"))
        if offset.dtype != np.int32 or shift.dtype != np.uint8 or offset.ndim != 1 or shift.shape != offset.shape:
            raise ModelError(f"{where}: offset must be int32[C] and shift uint8[C]")
        if not 0 <= fraction <= 10 or int(shift.max()) > 25 or not -ACC_LIMIT < lo <= hi < ACC_LIMIT:
            raise ModelError(f"{where}: fraction, shift or range is out of bounds")
        return Latent(name, fraction, offset, shift, lo, hi)

    def table(self, name: str) -> CdfTables:
        arrays = {k: self.take(f"cdf/{name}/{k}") for k in ("cdf", "starts", "offsets")}
        if any(a.size > MAX_ENTRIES for a in arrays.values()):
            raise ModelError(f"table {name}: more than {MAX_ENTRIES} entries")
        return CdfTables.from_arrays(arrays)


def _spec(json: Any, where: str) -> TensorSpec:
    _only(json, ("name", "channels", "lo", "hi"), where)
    name = _name(_get(json, "name", str, where), "tensor")
    channels, lo, hi = (_scalar(json, f, where) for f in ("channels", "lo", "hi"))
    if not 1 <= channels <= MAX_CHANNELS or not -ACC_LIMIT < lo <= hi < ACC_LIMIT:
        raise ModelError(f"{where}: input {name}: bad channels or range")
    return TensorSpec(name, channels, lo, hi)


def _get(json: Any, key: str, kind: type, where: str) -> Any:
    if not isinstance(json, Mapping) or type(json.get(key)) is not kind:
        raise ModelError(f"{where}: {key} is missing or no {kind.__name__}")
    return json[key]


def _field(json: Any, key: str, type_: type, where: str) -> Any:
    if type_ is int:
        return _scalar(json, key, where)
    if type_ is tuple:
        return _pad(json, where)
    value = _get(json, key, type_, where)
    return _name(value, "tensor") if type_ is str else value


def _scalar(json: Any, key: str, where: str) -> int:
    value: int = _get(json, key, int, where)
    if abs(value) >= 2**31:
        raise ModelError(f"{where}: {key} is out of range")
    return value


def _pad(json: Any, where: str) -> tuple[int, ...]:
    pad = _list(json, "pad", where, 4)
    if len(pad) != 4 or any(type(p) is not int for p in pad):
        raise ModelError(f"{where}: pad must be four integers")
    return tuple(pad)


def _list(json: Any, key: str, where: str, limit: int) -> list[Any]:
    value: list[Any] = _get(json, key, list, where)
    if len(value) > limit:
        raise ModelError(f"{where}: more than {limit} {key}")
    return value


def _name(value: Any, what: str) -> str:
    if type(value) is not str or not _NAME.fullmatch(value):
        raise ModelError(f"network: bad name of a {what}")
    return value


def _only(json: Any, fields: tuple[str, ...], where: str) -> None:
    if not isinstance(json, Mapping) or set(json) != set(fields):
        raise ModelError(f"{where}: expected exactly the fields {', '.join(fields)}")


def _unique(items: list[Any], what: str) -> dict[str, Any]:
    out = {item.name: item for item in items}
    if len(out) != len(items):
        raise ModelError(f"network: two {what}s have one name")
    return out

"""The compiled core's table of rows against the rows in Python: names, checks, outputs, bounds, costs and sizes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tinyvideo
from randomnet import context_graph, network, random_graph, residual_graph

from intcodec import _native
from intcodec.base.errors import ModelError
from intcodec.engines.native import NativeEngine
from intcodec.network.graph import Graph
from intcodec.rows.row import Row, TensorSpec
from intcodec.rows.table import KINDS

Sources = tuple[TensorSpec, ...]


def facts(row: Row, sources: Sources) -> Any:
    """Return what C knows of a row."""
    numbers = {name: getattr(row, name) for name in row.scalars}
    arrays = {name: np.ascontiguousarray(getattr(row, name)) for name in row.arrays}
    return _native.row_facts(row.kind, [(s.channels, s.lo, s.hi) for s in sources], numbers, arrays)


def expected(row: Row, sources: Sources) -> Any:
    """Return the same from Python, for an output of one unit of the pixel shuffle."""
    out, up = row.out(*sources), row.reach.upsample
    try:
        bound: int | None = row.bound("row", *sources)
    except ModelError:
        bound = None
    return (out.channels, out.lo, out.hi), bound, row.packed_weights(64), row.products(up, up)


def graphs(count: int) -> list[Graph]:
    made = [random_graph(np.random.default_rng(seed), 16, 16) for seed in range(count)]
    rng = np.random.default_rng(1)
    return [*made, residual_graph(rng), context_graph(rng), tinyvideo.predict()]


def rows(count: int) -> list[tuple[Row, Sources]]:
    return [(row, tuple(g.specs()[name] for name in row.inputs)) for g in graphs(count) for row in g.rows]


def test_both_have_the_same_kinds_inputs_arrays_and_fields() -> None:
    here = {
        kind: (row.reads, row.arrays, tuple(name for name, what in row.scalars.items() if what is not str))
        for kind, row in KINDS.items()
    }
    there = {kind: (reads, tuple(a[0] for a in arrays), fields) for kind, (reads, arrays, fields) in
             _native.row_kinds().items()}  # fmt: skip
    assert there == here
    assert list(there) == list(here)


def test_outputs_bounds_and_costs_are_equal() -> None:
    seen = set()
    for row, sources in rows(150):
        assert facts(row, sources) == expected(row, sources), row
        seen.add(row.kind)
    assert seen == set(KINDS)


def test_bounds_are_refused_alike() -> None:
    """Inputs of twice and four times the range bring most rows past the limit of the one or the other sum."""
    refused = set()
    for row, sources in rows(60):
        for factor in (2, 4):
            wider = tuple(replace(s, lo=factor * s.lo, hi=factor * s.hi) for s in sources)
            if max(s.magnitude for s in wider) >= 2**31:
                continue  # no tensor
            try:
                row.check("row", *wider)
            except ModelError:
                continue
            want = expected(row, wider)
            assert facts(row, wider) == want
            if want[1] is None:
                refused.add(row.kind)
    assert {"conv", "gdn"} <= refused


def damaged(rng: np.random.Generator, row: Row, sources: Sources) -> tuple[Row, Sources]:
    """Change one thing of a row or of what it reads."""
    ends = [
        -(2**31) + 1,
        -32769,
        -32768,
        -1,
        0,
        1,
        2,
        3,
        15,
        16,
        30,
        31,
        255,
        256,
        32767,
        32768,
        65536,
        2**30,
        2**31 - 1,
    ]
    value = int(rng.choice(ends))
    names = [*row.arrays, *(name for name, what in row.scalars.items() if what in (int, tuple)), "source"]
    name = names[rng.integers(len(names))]
    if name == "source":
        k = int(rng.integers(len(sources)))
        field = ["channels", "lo", "hi"][rng.integers(3)]
        spec = replace(sources[k], **{field: max(1, value % 300) if field == "channels" else value})
        return row, (*sources[:k], spec, *sources[k + 1 :])
    old = getattr(row, name)
    if isinstance(old, tuple):
        return replace(row, **{name: (*old[:2], value, old[3])}), sources
    if isinstance(old, int):
        return replace(row, **{name: value}), sources
    how = rng.integers(4)
    if how == 0:
        return replace(row, **{name: old.astype(rng.choice([np.uint8, np.int16, np.int32]))}), sources
    if how == 1:
        return replace(row, **{name: old[:-1] if rng.random() < 0.5 else old[..., None]}), sources
    new = old.copy()
    if new.size:
        new[tuple(rng.integers(n) for n in new.shape)] = np.clip(
            value, np.iinfo(new.dtype).min, np.iinfo(new.dtype).max
        )
    return replace(row, **{name: new}), sources


def test_both_refuse_the_same_rows() -> None:
    rng = np.random.default_rng(3)
    verdicts = {True: 0, False: 0}
    for row, sources in rows(60):
        for _ in range(20):
            bad, specs = damaged(rng, row, sources)
            if any(s.lo > s.hi for s in specs):
                continue  # refused as a tensor
            try:
                bad.check("row", *specs)
                allowed = bad.out(*specs).channels <= 2**14
            except ModelError:
                allowed = False
            try:
                got = facts(bad, specs)
            except ValueError:
                got = None
            assert (got is not None) == allowed, (bad, specs)
            assert got is None or got == expected(bad, specs)
            verdicts[allowed] += 1
    assert min(verdicts.values()) > 500


def test_sizes_are_equal() -> None:
    for graph in graphs(40):
        native = NativeEngine(network(graph), 1)._native(graph.name)
        for size in ((1, 1), (2, 7), (16, 16), (33, 5), (64, 80)):
            want = graph.out_sizes(*size)
            fits = all(h > 0 and w > 0 for h, w in want.values())
            fits &= not any(row.refusal(*want[row.inputs[0]]) for row in graph.rows)
            fits &= all(want[name] == want[row.inputs[0]] for row in graph.rows for name in row.inputs)
            if fits:
                assert native.out_sizes(*size) == list(want.values())
            else:
                with pytest.raises(ValueError, match=r"kernel|differ|sides"):
                    native.out_sizes(*size)

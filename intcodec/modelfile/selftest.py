"""Self-test: small inputs whose results the model stores, to be reproduced by an engine before it is trusted.

An input is a function of its shape, range and seed (docs/model.md, "Test inputs"), so that only hashes are stored. The
numbers go to the ends of the range on purpose, and the sizes are odd, so that borders, saturation and every row count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from intcodec.base.errors import ModelError, SelfTestError
from intcodec.base.integers import IntArray
from intcodec.engines.reference import ReferenceEngine
from intcodec.network.graph import Network
from intcodec.network.limits import check_test
from intcodec.rows.row import TensorSpec

if TYPE_CHECKING:
    from intcodec.engines import Engine

#: Height and width of the inputs of graphs with these names, or with names that end so after "_"; else DEFAULT_SIZE.
SIZES: Mapping[str, tuple[int, int]] = {
    "g_a": (37, 54), "h_a": (5, 7), "h_s": (2, 3), "g_s": (3, 4), "predict": (32, 48)
}  # fmt: skip
DEFAULT_SIZE = (5, 7)
DIGEST_CHARS = 32
MAX_SIDE = 256


class Tested(Protocol):
    """What is tested of a model."""

    @property
    def network(self) -> Network:
        """The integer network."""

    @property
    def vectors(self) -> tuple[Mapping[str, Any], ...]:
        """Its stored vectors."""


def hash32(i: IntArray) -> IntArray:
    """Return the 32-bit finaliser of MurmurHash3 of uint64 numbers below 2**32."""
    h = i.astype(np.uint64)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & np.uint64(0xFFFFFFFF)
    return h ^ (h >> np.uint64(16))


def test_input(spec: TensorSpec, height: int, width: int, seed: int) -> IntArray:
    """Return the test input [height, width, C] of a tensor, in its dtype."""
    i = np.arange(height * width * spec.channels, dtype=np.uint64)
    h = hash32((i + np.uint64(1 + 0x9E3779B9 * seed)) & np.uint64(0xFFFFFFFF))
    wide = (spec.lo + ((h * np.uint64(spec.hi - spec.lo + 1)) >> np.uint64(32)).astype(np.int64)).astype(np.int64)
    small = np.clip(((h >> np.uint64(8)) % np.uint64(65)).astype(np.int64) - 32, spec.lo, spec.hi)
    kind = h & np.uint64(7)
    out = np.select([kind == 0, kind == 1, kind <= 4], [np.int64(spec.lo), np.int64(spec.hi), small], wide)
    return out.reshape(height, width, spec.channels).astype(spec.dtype)


test_input.__test__ = False  # type: ignore[attr-defined]  # no test of pytest's


def digest(tensor: IntArray) -> str:
    """Return the first 32 hex digits of the SHA-256 of a tensor's little-endian bytes in C order."""
    data = np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))
    return hashlib.sha256(data.tobytes()).hexdigest()[:DIGEST_CHARS]


def make_vectors(network: Network, engine: ReferenceEngine) -> tuple[Mapping[str, Any], ...]:
    """Return the vectors of a network, one per graph, with the digest of every row's tensor.

    Args:
        network: the network.
        engine: a reference engine of it.
    """
    vectors = []
    for name in network.graphs:
        height, width = next((s for k, s in SIZES.items() if f"_{name}".endswith(f"_{k}")), DEFAULT_SIZE)
        vector: dict[str, Any] = {"graph": name, "height": height, "width": width, "seed": 1}
        tensors = engine.trace(name, _inputs(network, vector))
        rows = {row.name: digest(tensors[row.name]) for row in network.graphs[name].rows}
        vectors.append({**vector, "tensors": rows})
    return tuple(vectors)


def check_vectors(network: Network, vectors: Any) -> tuple[Mapping[str, Any], ...]:
    """Return stored vectors after checking their form.

    Raises:
        ModelError: they have another form, or a graph has none.
    """
    if not isinstance(vectors, list) or len(vectors) > 64:
        raise ModelError("model: self-test vectors are missing")
    for vector in vectors:
        if not isinstance(vector, dict) or set(vector) != {"graph", "height", "width", "seed", "tensors"}:
            raise ModelError("model: a self-test vector is damaged")
        graph, tensors = vector["graph"], vector["tensors"]
        sides = all(type(vector[k]) is int and 1 <= vector[k] <= MAX_SIDE for k in ("height", "width"))
        seed = type(vector["seed"]) is int and 0 <= vector["seed"] < 2**31
        if not isinstance(graph, str) or graph not in network.graphs or not sides or not seed:
            raise ModelError("model: a self-test vector is damaged")
        rows = {row.name for row in network.graphs[graph].rows}
        if not isinstance(tensors, dict) or set(tensors) != rows:
            raise ModelError(f"model: the self-test vector of graph {graph} does not name its tensors")
        check_test(network.graphs[graph], vector["height"], vector["width"])
    if {v["graph"] for v in vectors} != set(network.graphs):
        raise ModelError("model: a graph has no self-test vector")
    return tuple(vectors)


def self_test(model: Tested, engine: Engine, deep: bool = False, skip: Container[str] = ()) -> None:
    """Check that an engine reproduces a model's vectors.

    Args:
        model: the model.
        engine: an engine made for it.
        deep: compare every row's tensor where the engine has `trace`, not the outputs only.
        skip: names of graphs that will not be run.

    Raises:
        SelfTestError: it does not; the message names the graph and the first tensor that differs.
    """
    trace = getattr(engine, "trace", None) if deep else None
    for vector in model.vectors:
        if vector["graph"] in skip:
            continue
        graph = model.network.graphs[vector["graph"]]
        run = engine.run if trace is None else trace
        tensors = run(graph.name, _inputs(model.network, vector))
        for row in graph.rows:
            if row.name in tensors and digest(tensors[row.name]) != vector["tensors"][row.name]:
                raise SelfTestError(
                    f"engine {engine.name!r} computes graph {graph.name} wrongly on this machine: tensor {row.name!r} "
                    "differs from the model's self-test vector; use another engine"
                )


def _inputs(network: Network, vector: Mapping[str, Any]) -> dict[str, IntArray]:
    graph = network.graphs[vector["graph"]]
    size = vector["height"], vector["width"]
    return {s.name: test_input(s, *size, vector["seed"] + k) for k, s in enumerate(graph.inputs)}

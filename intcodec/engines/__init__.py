"""The engines: three ways to compute the same integers.

    native        the compiled kernels, the default
    onnxruntime   the network as ONNX graphs, wherever onnxruntime runs
    reference     numpy, slow, checks every range on the way

What may live here: the choice among them. A codec is given its engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from intcodec.base.errors import InputError
from intcodec.base.integers import IntArray

if TYPE_CHECKING:
    from intcodec.network.graph import Network

#: Every engine's name, the fastest first.
ENGINES = ("native", "onnxruntime", "reference")
MAX_THREADS = 256


class Engine(Protocol):
    """Computes the graphs of one network. All engines give equal results, whatever `threads` is."""

    name: str
    threads: int

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph: arrays [H, W, C] by tensor name in, the same out, in the dtypes of their specs.

        Raises:
            InputError: an input is missing, has the wrong dtype or shape, or values outside its range.
        """


def create(name: str | None, network: Network, threads: int | None = None) -> Engine:
    """Return an engine for a network.

    Args:
        name: one of ENGINES; None is the first of native and onnxruntime that is installed.
        network: the network to run.
        threads: threads to use; None is one for each core that this process may use.

    Raises:
        InputError: the name is unknown, its package is not installed, or `threads` is out of range.
    """
    if name is not None and name not in ENGINES:
        raise InputError(f"unknown engine {name!r}; choose one of {', '.join(ENGINES)}")
    count = cores() if threads is None else threads
    if not 1 <= count <= MAX_THREADS:
        raise InputError(f"threads must be 1 to {MAX_THREADS}, got {threads}")
    if name is not None:
        try:
            return _MAKE[name](network, count)
        except ImportError as error:
            raise InputError(f"engine {name!r} cannot be used here: {error}") from error
    for first in ("native", "onnxruntime"):
        try:
            return _MAKE[first](network, count)
        except ImportError:
            continue
    raise InputError("no engine is installed: build the extension, or pip install onnxruntime, or use 'reference'")


def cores() -> int:
    """Return how many cores this process may use, at most MAX_THREADS."""
    affinity = getattr(os, "sched_getaffinity", None)
    return min(len(affinity(0)) if affinity else os.cpu_count() or 1, MAX_THREADS)


def _native(network: Network, threads: int) -> Engine:
    from intcodec.engines.native import NativeEngine

    return NativeEngine(network, threads)


def _onnxruntime(network: Network, threads: int) -> Engine:
    from intcodec.engines.onnx import OnnxEngine
    from intcodec.network.derived import DerivedGraphs

    return OnnxEngine(DerivedGraphs(network), network, threads)  # what a file stores is untrusted, and not run


def _reference(network: Network, threads: int) -> Engine:
    from intcodec.engines.reference import ReferenceEngine

    return ReferenceEngine(network, threads)


_MAKE: dict[str, Callable[[Network, int], Engine]] = {
    "native": _native,
    "onnxruntime": _onnxruntime,
    "reference": _reference,
}

"""Run a network's ONNX graphs with onnxruntime.

What may live here: the only use of the `onnxruntime` package. The graphs were built from the network; nothing is built
here. A graph that warps has no ONNX form: the reference engine computes it, in numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np
import onnxruntime

from intcodec.base.errors import ModelError
from intcodec.base.integers import IntArray
from intcodec.engines.reference import ReferenceEngine, check_input
from intcodec.network.graph import Network


class OnnxEngine:
    """Run a network's graphs with onnxruntime, on the processor.

    A session is made at the first use of its graph and kept; an engine may be used from several threads.
    """

    name = "onnxruntime"

    def __init__(self, graphs: Mapping[str, bytes], network: Network, threads: int = 1) -> None:
        self.threads = threads
        self._graphs = graphs
        self._network = network
        self._specs = {name: graph.specs() for name, graph in network.graphs.items()}
        self._numpy = ReferenceEngine(network)
        self._sessions: dict[str, Any] = {}
        self._lock = Lock()

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph.

        Args:
            graph: name of the graph, such as "g_s".
            inputs: arrays [H, W, C] by tensor name, in the dtype of their spec.

        Returns:
            The graph's outputs by name, arrays [H', W', C'] in the dtype of their spec.

        Raises:
            InputError: an input is missing, has the wrong dtype or shape, or values outside its range.
            ModelError: the model has no such ONNX graph, or onnxruntime refuses it.
        """
        description, specs = self._network.graphs[graph], self._specs[graph]
        if description.whole:
            return self._numpy.run(graph, inputs)
        feed = {}
        for spec in description.inputs:
            x = check_input(description, spec, inputs)
            feed[spec.name] = np.ascontiguousarray(x if spec.dtype == np.uint8 else x.astype(np.int32, copy=False))
        if graph not in self._graphs:
            raise ModelError(f"the model holds no ONNX graph {graph}; use the native engine")
        try:
            arrays = self._session(graph).run(list(description.outputs), feed)
        except ModelError:
            raise
        except Exception as error:  # onnxruntime's errors have no common public base
            raise ModelError(f"graph {graph}: onnxruntime failed: {_line(error)}") from error
        return {n: a.astype(specs[n].dtype, copy=False) for n, a in zip(description.outputs, arrays, strict=True)}

    def _session(self, graph: str) -> Any:
        with self._lock:
            if graph not in self._sessions:
                self._sessions[graph] = make_session(self._graphs[graph], self.threads)
            return self._sessions[graph]


def make_session(graph: bytes, threads: int) -> Any:
    """Return an onnxruntime session for one serialised graph."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The graphs leave nothing to fuse: more optimisation takes longer to load and makes nothing faster.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

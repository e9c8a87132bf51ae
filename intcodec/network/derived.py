"""The ONNX graphs of a network, as a mapping that builds what is asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from intcodec.network.graph import Network


class DerivedGraphs(Mapping[str, bytes]):
    """The ONNX graphs of a network; each is built when it is read.

    A graph that warps has no ONNX form; engines compute it themselves.
    """

    def __init__(self, network: Network) -> None:
        self._network = network

    def __getitem__(self, graph: str) -> bytes:
        if self._network.graphs[graph].whole:
            raise KeyError(graph)
        from intcodec.network.onnxgraph import build  # few callers read one

        return build(self._network.graphs[graph])

    def __contains__(self, graph: object) -> bool:
        return graph in tuple(self)  # Mapping's own would build the graph

    def __iter__(self) -> Iterator[str]:
        return (name for name, graph in self._network.graphs.items() if not graph.whole)

    def __len__(self) -> int:
        return len(list(iter(self)))

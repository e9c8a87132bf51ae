"""What a model may cost. A model file is untrusted: a few bytes of it can ask for any amount of memory and time.

What may live here: limits on the size of a network's tensors and on the work of its self-test, checked before anything
of that size is allocated. They are far above what real models need; docs/hostile.md lists them with the others.
"""

from __future__ import annotations

from typing import Final

from intcodec.base.errors import ModelError
from intcodec.network.graph import Graph, Network

#: Values of one tensor for each pixel of the picture, real models stay below 100; and what a small picture may add.
VALUES_PER_PIXEL: Final = 1 << 10
SPARE_PIXELS: Final = 1 << 14
#: Values of all tensors, and products, of one self-test run; real models stay below 2**22 and 2**31.
TEST_VALUES: Final = 1 << 24
TEST_PRODUCTS: Final = 1 << 34
#: Weights of a network, each output counted as whole groups of lanes, as engines pack them; real models: below 2**26.
PACKED_WEIGHTS: Final = 1 << 27
LANES: Final = 64


def check_weights(network: Network) -> None:
    """Refuse a network whose packed weights would take too much memory.

    Raises:
        ModelError: they would.
    """
    total = sum(row.packed_weights(LANES) for _, row in network.rows())
    if total > PACKED_WEIGHTS:
        raise ModelError(f"model: its weights take {total} values when packed, more than {PACKED_WEIGHTS}")


def check_test(graph: Graph, height: int, width: int) -> None:
    """Refuse a self-test run that is too large, or whose input does not fit a row: too small for a kernel, say.

    Raises:
        ModelError: it is.
    """
    specs, sizes = graph.specs(), _sizes(graph, height, width)
    values = sum(h * w * specs[name].channels for name, (h, w) in sizes.items())
    products = sum(row.products(*sizes[row.name]) for row in graph.rows)
    if values > TEST_VALUES or products > TEST_PRODUCTS:
        raise ModelError(f"graph {graph.name}: a self-test of {height}x{width} is too large")


class PictureLimits:
    """Refuses pictures of which a network would make too much; looks at sizes only, never at values."""

    def __init__(self, network: Network) -> None:
        self._graphs = network.graphs
        self._channels = {g.name: {s.name: s.channels for s in g.specs().values()} for g in network.graphs.values()}

    def check(self, rows: int, columns: int, stride: int) -> None:
        """Check every graph that a picture goes through.

        Args:
            rows: of y.
            columns: of y.
            stride: pixels per row and column of y.

        Raises:
            ModelError: a tensor would be too large, or an input is smaller than a kernel.
        """
        pixels = rows * columns * stride**2
        self._check("g_a", rows * stride, columns * stride, pixels)
        if "h_a" in self._graphs:
            z = self._check("h_a", rows, columns, pixels)["z"]
            self._check("h_s", *z, pixels)
        self._check("g_s", rows, columns, pixels)

    def _check(self, name: str, height: int, width: int, pixels: int) -> dict[str, tuple[int, int]]:
        sizes, most = _sizes(self._graphs[name], height, width), VALUES_PER_PIXEL * (pixels + SPARE_PIXELS)
        for tensor, channels in self._channels[name].items():
            h, w = sizes[tensor]
            if h * w * channels > most:
                raise ModelError(
                    f"graph {name}: tensor {tensor} would have {h}x{w}x{channels} values, more than {most}"
                )
        return sizes


def _sizes(graph: Graph, height: int, width: int) -> dict[str, tuple[int, int]]:
    sizes = graph.out_sizes(height, width)
    for row in graph.rows:
        h, w = sizes[row.name]
        if h < 1 or w < 1:
            raise ModelError(f"graph {graph.name}: a {height}x{width} input is smaller than the kernel of {row.name}")
        if why := row.refusal(h, w):
            raise ModelError(f"graph {graph.name}: row {row.name} {why}")
        if any(sizes[name] != sizes[row.inputs[0]] for name in row.inputs):
            raise ModelError(f"graph {graph.name}: the tensors that row {row.name} reads differ in size")
    return sizes

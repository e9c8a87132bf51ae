"""Export of a graph to ONNX: standard operators of opset 13 whose integers every runtime computes alike.

Tensors are [H, W, C] as everywhere in intcodec, with H and W free; uint8 where the range fits, else int32. Inputs and
outputs carry the network's names, so a graph runs with plain onnxruntime:

    session.run(["x_hat"], {"y_hat": y_hat.astype(np.int32)})

Operators: MatMulInteger, Pad, Slice, Concat, Shape, Reshape, Flatten, Split, Gather, Cast, BitShift, Add, Sub, Mul,
Div, Min, Max, Abs, Greater, Identity; Sqrt inside GDN only, as an estimate that integers then correct (see `rows`).
"""

from __future__ import annotations

from intcodec.network.graph import Conv, Graph, Row, TensorSpec
from intcodec.network.onnxrows import finish, lower
from intcodec.onnxwriter.emitter import Emitter
from intcodec.onnxwriter.values import Value

#: Height and width of inputs in a picture of 768 x 512; they decide how many bands a tensor is cut into, only that.
NOMINAL = {"x": (512, 768), "y": (32, 48), "y_hat": (32, 48), "z_hat": (8, 12)}
#: Wished bytes of an int32 part of a tensor: some of them fit a second-level cache.
BAND_BYTES = 3 << 19
MAX_BANDS = 32


def build(graph: Graph, expose_all: bool = False) -> bytes:
    """Return the graph as a serialised ONNX model; equal graphs give equal bytes for one version of `onnx`.

    Args:
        graph: the description.
        expose_all: make every row's tensor an output, for tests.

    Raises:
        ModelError: the graph's sums cannot be held in int32 when split into digits.
    """
    e = Emitter(graph.name)
    specs = graph.specs()
    values: dict[str, Value] = {}
    for spec in graph.inputs:
        name = e.input(spec.name, _element(spec), [f"{spec.name}_h", f"{spec.name}_w", spec.channels])
        values[spec.name] = Value((name,), _element(spec), spec.lo, spec.hi)
    sizes = graph.out_sizes(*NOMINAL.get(graph.inputs[0].name, (32, 48)))
    for row in graph.rows:
        bands = _bands(row, *sizes[row.name])
        values[row.name] = lower(e, row, values, specs, bands)
    for name in [row.name for row in graph.rows] if expose_all else dict.fromkeys(graph.outputs):
        spec = specs[name]
        shape: list[int | str] = [f"{name}_h", f"{name}_w", spec.channels]
        e.output(name, _element(spec), shape, finish(e, values[name], spec.channels))
    return e.model()


def _bands(row: Row, height: int, width: int) -> int:
    """Return how many bands of rows a row's output is computed in."""
    if not isinstance(row, Conv):
        return 1
    phase: int = 4 * height * width * row.weight.shape[0] // row.upsample**4
    return max(1, min(MAX_BANDS, phase // BAND_BYTES))


def _element(spec: TensorSpec) -> str:
    return "uint8" if spec.dtype == "uint8" else "int32"

"""Export of a graph to ONNX: standard operators of opset 13 whose integers every runtime computes alike.

Tensors are [H, W, C] as everywhere in intcodec, with H and W free; uint8 where the range fits, else int32. Inputs and
outputs carry the network's names, so a graph runs with plain onnxruntime:

    session.run(["x_hat"], {"y_hat": y_hat.astype(np.int32)})

Operators: MatMulInteger, Pad, Slice, Concat, Shape, Reshape, Flatten, Split, Gather, Cast, BitShift, Add, Sub, Mul,
Div, Min, Max, Abs, Greater, Identity; Sqrt inside GDN only, as an estimate that integers then correct.
"""

from __future__ import annotations

from intcodec.network.graph import Graph
from intcodec.onnxwriter.values import Builder, Value
from intcodec.rows.row import TensorSpec

#: Height and width of inputs in a picture of 768 x 512; they decide how many bands a tensor is cut into, only that.
NOMINAL = {"x": (512, 768), "y": (32, 48), "y_hat": (32, 48), "z_hat": (8, 12)}


def build(graph: Graph, expose_all: bool = False) -> bytes:
    """Return the graph as a serialised ONNX model; equal graphs give equal bytes for one version of `onnx`.

    Args:
        graph: the description.
        expose_all: make every row's tensor an output, for tests.

    Raises:
        ModelError: the graph's sums cannot be held in int32 when split into digits.
    """
    e = Builder(graph.name)
    specs = graph.specs()
    values: dict[str, Value] = {}
    for spec in graph.inputs:
        name = e.input(spec.name, _element(spec), [f"{spec.name}_h", f"{spec.name}_w", spec.channels])
        values[spec.name] = Value((name,), _element(spec), spec.lo, spec.hi)
    sizes = graph.out_sizes(*NOMINAL.get(graph.inputs[0].name, (32, 48)))
    for row in graph.rows:
        sources = tuple(specs[name] for name in row.inputs)
        read = (values[name] for name in row.inputs)
        values[row.name] = row.onnx(e, row.onnx_bands(*sizes[row.name]), sources, *read)
    for name in [row.name for row in graph.rows] if expose_all else dict.fromkeys(graph.outputs):
        spec = specs[name]
        shape: list[int | str] = [f"{name}_h", f"{name}_w", spec.channels]
        e.output(name, _element(spec), shape, e.finish(values[name], spec.channels))
    return e.model()


def _element(spec: TensorSpec) -> str:
    return "uint8" if spec.dtype == "uint8" else "int32"

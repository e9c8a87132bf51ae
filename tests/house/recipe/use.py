"""Run in the copy: the toy row on every engine, then the toy architecture from float to decoded pixels."""

import numpy as np
import torch
from intcodec.rows.negate import Negate

from intcodec import zoo
from intcodec.engines import ENGINES, create
from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.modelfile.model import Model
from intcodec.network.description import describe, restore
from intcodec.network.graph import Graph, Network
from intcodec.network.proof import prove
from intcodec.pictures.codec import Codec
from intcodec.quantize import synthetic
from intcodec.quantize.export import quantize
from intcodec.rows.row import TensorSpec

graph = Graph("g", (TensorSpec("x", 3, -100, 32767),), (Negate("y", "x"),), ("y",))
network = restore(*describe(Network("toy", {"g": graph}, {}, {})))
assert prove(network) == {"g/y": 32767}
x = np.array([[[-100, 0, 32767], [1, -1, 7]]], np.int16)
engines = [create(name, network) for name in ENGINES] + [
    NativeEngine(network, isa=n) for n, here in isa_levels() if here
]
for engine in engines:
    assert engine.run("g", {"x": x})["y"].tolist() == [[[100, 0, -32767], [-1, 1, -7]]], engine.name

torch.manual_seed(1)
float_model = zoo.build("toy", 16, 24).eval()
network = quantize("toy", float_model, synthetic.pictures(2, 64))
assert any(isinstance(row, Negate) for row in network.graphs["g_a"].rows)
model = Model.load(Model.build(network, {}, {}).data)
picture = next(iter(synthetic.pictures(1, 64)))
files = {name: Codec(model, create(name, model.network)).encode(picture) for name in ENGINES}
pixels = [Codec(model, create(name, model.network)).decode(files["native"]) for name in ENGINES]
assert len(set(files.values())) == 1
assert all(np.array_equal(p, pixels[0]) for p in pixels)
print("the toy row and the toy architecture work")

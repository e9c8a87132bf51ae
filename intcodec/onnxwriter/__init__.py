"""A writer of ONNX graphs that needs no package: bytes, nodes, constants, numbers in digits.

May live here: the file format and the forms in which exact integers pass through ONNX operators. What a row of a
network computes is in `intcodec.rows`, a whole graph in `intcodec.network.onnxgraph`.
"""

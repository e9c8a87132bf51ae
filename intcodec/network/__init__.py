"""The integer network: graphs of rows, their proof, their limits, their description and their ONNX form.

May live here: what holds for a network whatever computes it and wherever it is stored. No kind of row is known by name.
"""

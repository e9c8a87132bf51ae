"""The kinds of rows that an integer network is made of, one module each.

May live here: all that one row means - its fields and their checks, its output, its bound, its exact form in numpy and
in ONNX. Nothing about whole graphs, engines or files.
"""

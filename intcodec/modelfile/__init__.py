"""The model file and the trust in it.

container      a ZIP file of named members, untrusted
tensorfile     tensors and text in the safetensors layout
model          what the members mean: a network, its proof, its vectors, its ONNX graphs
selftest       inputs whose results an engine must reproduce before it is used
embedded       the models that come with intcodec
"""

"""Pictures: the codec that callers use, and pixels in and out of picture files.

codec      uint8[H, W, 3] to a bitstream and back, whatever the model
images     picture files to pixels and back; the only place of Pillow in encoding and decoding
"""

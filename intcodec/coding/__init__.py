"""Latents to bytes and back: symbols, their order, their CDF rows, and the bitstream of a picture.

May live here: everything between a latent's integers and the bytes of a file. No pixels and no files on disk.
"""

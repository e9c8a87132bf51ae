"""Entropy coding: integer CDF tables and the range coder over them.

May live here: how tables are made, checked and stored, and symbols to bytes and back (the C is in _ext). Nothing about
networks, latents or files.
"""

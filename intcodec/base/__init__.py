"""The ground: what every package may use.

May live here: the errors that callers catch, and reading and writing files whole. The standard library only.
"""

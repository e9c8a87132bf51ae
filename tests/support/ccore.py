"""The compiled core for tests in C: what a compiler is told."""

from __future__ import annotations

from places import ROOT

#: The core's folders from the ground up: each includes from itself and, where named, from others.
FOLDERS = {"core": (), "isa": ("core",), "rows": ("core",), "run": ("core",)}
INCLUDE = f"-I{ROOT / '_ext'}"
SOURCES = [str(path) for folder in FOLDERS for path in sorted((ROOT / "_ext" / folder).glob("*.c"))]


def driver(target: str) -> list[str]:
    """Return the sources, beside the core's, of a program that runs fuzz/TARGET.c on random inputs."""
    return [str(ROOT / "fuzz" / "random.c"), str(ROOT / "fuzz" / f"{target}.c")]

"""Run a target in Python under libFuzzer: python fuzz/drive.py TARGET [libFuzzer's options]. Needs atheris.

A target is a module beside this one with a function one_input(data), which raises where what must hold does not.
"""

from __future__ import annotations

import importlib
import resource
import sys

import atheris

#: Address space of the process; more is a MemoryError, which no target forgives.
MEMORY = 3 << 30


def run() -> None:
    """Run the target that the first argument names."""
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["intcodec"]):
        target = importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    run()

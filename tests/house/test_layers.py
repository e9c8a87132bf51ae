"""Packages are layers: each imports only from those before it, and no two modules import each other in a circle.

Heavy packages from outside are imported in few places, so that decoding needs none of them. Imports inside functions
and under TYPE_CHECKING count as well.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
import tiny

from intcodec.modelfile.model import Model

PACKAGE = Path(__file__).resolve().parents[2] / "intcodec"

#: From the ground up; each package's __init__ says what may live there. "" is intcodec/__init__.py, the public door.
LAYERS = (
    *("base", "_rangecoder", "entropy", "onnxwriter", "rows", "network", "_native", "engines", "modelfile", "coding"),
    *("pictures", "clips", "", "zoo", "quantize", "train", "evaluate", "conformance", "cli", "__main__"),
)
#: Packages from outside and the only modules, or packages of modules, that may import them.
OUTSIDE = {
    "torch": ("zoo", "quantize", "train", "evaluate.floatmodel"),
    "tqdm": ("quantize", "train"),
    "pytorch_msssim": ("train",),
    "onnxruntime": ("engines.onnx",),
    "PIL": ("pictures", "quantize.export", "evaluate.codecs", "train.clips"),
    "bjontegaard": ("evaluate.curves",),
    "matplotlib": ("evaluate.plot",),
    "av": ("clips.videodecode", "clips.videofiles", "clips.videowriter"),
}
#: Modules that must stay quick to import, so numpy is not for them.
WITHOUT_NUMPY = (
    *("", "__main__", "base.errors", "base.files", "cli"),
    *("coding.bitstream", "modelfile.container", "modelfile.embedded"),
)


def modules() -> dict[str, str]:
    """Return the source of every module by name, without the leading "intcodec."."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def imports(name: str, source: str, known: set[str]) -> set[str]:
    """Return what a module imports, as full names: "numpy", "intcodec.entropy.cdf", "intcodec" for its __init__."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: imports are absolute here"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {i if i.removeprefix("intcodec.") in known else str(node.module) for i in inner}
    return found


def inside(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or (place and name.startswith(place + ".")) for place in places)


def complaint(name: str, target: str) -> str | None:
    """Return what is wrong with module `name` importing `target`, if anything. Circles are found elsewhere."""
    top, _, inner = target.partition(".")
    if top == "intcodec":
        here, there = (LAYERS.index(n.partition(".")[0]) for n in (name, inner))
        return None if there <= here else f"{name} imports {target}, a layer above it"
    if top in sys.stdlib_module_names:
        return None
    if top == "numpy":
        return f"{name} imports numpy" if inside(name, WITHOUT_NUMPY) else None
    return None if inside(name, OUTSIDE.get(top, ())) else f"{name} imports {top}, which it may not"


def complaints(sources: dict[str, str]) -> list[str]:
    """Return everything that is wrong with a set of modules."""
    found = [f"{n} is in no layer" for n in sources if n.partition(".")[0] not in LAYERS]
    arrows = {name: imports(name, source, set(sources)) for name, source in sources.items()}
    found += [text for name in sources for t in sorted(arrows[name]) if not found and (text := complaint(name, t))]
    local = {
        n: {t.removeprefix("intcodec").lstrip(".") for t in a if t.startswith("intcodec")} for n, a in arrows.items()
    }
    try:
        TopologicalSorter({n: targets - {n} for n, targets in local.items()}).prepare()
    except CycleError as circle:
        found.append(f"circle: {' - '.join(reversed(circle.args[1]))}")
    return found


def test_arrows_run_one_way() -> None:
    assert complaints(modules()) == []


def test_every_layer_is_there_and_says_what_may_live_in_it() -> None:
    sources = modules()
    assert {n.partition(".")[0] for n in sources} == set(LAYERS) - {"_native", "_rangecoder"}
    assert all(ast.get_docstring(ast.parse(sources[n])) for n in LAYERS if n in sources and n != "__main__")


CIRCLE = "circle: network.graph - network.proof - network.graph"


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("entropy.cdf", "from intcodec.network.graph import Graph", "imports intcodec.network.graph, a layer above it"),
        ("entropy.cdf", "from intcodec.network import graph", "imports intcodec.network.graph, a layer above it"),
        ("entropy.cdf", "def f():\n    import intcodec", "imports intcodec, a layer above it"),
        ("network.graph", "from intcodec.network.proof import x", CIRCLE),
        ("network.graph", "if TYPE_CHECKING:\n    from intcodec.network import proof", CIRCLE),
        ("news.today", "", "is in no layer"),
        ("pictures.codec", "import torch", "imports torch, which it may not"),
        ("pictures.codec", "def f():\n    from torch import nn", "imports torch, which it may not"),
        ("conformance.verify", "import onnxruntime", "imports onnxruntime, which it may not"),
        ("cli.decode", "import numpy as np", "imports numpy"),
        ("zoo.layers", "from torch.nn import functional\nfrom intcodec.base import errors", ""),
    ],
)
def test_the_checker_can_fail(name: str, source: str, expected: str) -> None:
    others = {"base.errors": "", "network.graph": "", "network.proof": "from intcodec.network.graph import Graph"}
    found = complaints({**others, name: source})
    assert found == ([expected] if expected == CIRCLE else [f"{name} {expected}"] if expected else [])


def test_coding_a_picture_imports_nothing_heavy(tmp_path: Path) -> None:
    """In a fresh interpreter, as this one has imported everything."""
    path = tmp_path / "tiny.intm"
    Model.build(tiny.network("hyperprior")).save(path)
    script = (
        "import sys, numpy, intcodec\n"
        "heavy = {'torch', 'onnx', 'onnxruntime', 'PIL', 'tqdm', 'scipy'}\n"
        "assert not heavy & set(sys.modules)\n"
        "x = numpy.zeros((20, 30, 3), numpy.uint8)\n"
        "data = intcodec.load(sys.argv[1], engine='native').encode(x)\n"
        "print(sorted(heavy & set(sys.modules)))\n"
        "intcodec.load(sys.argv[1], engine='onnxruntime').decode(data)\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "[]\n['onnxruntime']\n"), run.stderr

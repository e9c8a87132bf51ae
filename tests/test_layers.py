"""Arrows run one way: every module of intcodec has a floor and imports only from floors below its own.

Heavy packages are imported in few places, so that decoding needs none of them. Imports inside functions count as well;
those under TYPE_CHECKING do not, as they are names for annotations and never run.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from intcodec.model import Model

PACKAGE = Path(__file__).resolve().parent.parent / "intcodec"

#: From the ground up. A new module goes on the lowest floor that is above all it imports. "" is intcodec/__init__.py.
FLOORS = (
    # the ground: words that everything else is said in
    "errors _native _rangecoder",
    "bitstream bundle cdf files",
    "embedded network",
    # one step each: computing, proving, coding, storing a network
    "bounds description engines.columns engines.flow latents limits onnxgraphs.external rangecoder tensorfile",
    "engines.reference",
    "engines.native engines.onnx onnxgraphs.protobuf selftest wavefront",
    "onnxgraphs.emitter",
    "latentcoders",
    "onnxgraphs.values",
    "onnxgraphs.pairs",
    "onnxgraphs.rows",
    "onnxgraphs engines",
    # whole things
    "model",
    "codec",
    "framecodec",
    "verify",
    "",
    # training frameworks
    "zoo.layers",
    "zoo.entropy zoo.transforms",
    "zoo.video",
    "zoo.models",
    "zoo.architectures",
    "zoo.checkpoint zoo.pretrained",
    "zoo",
    "quantize quantize.rows quantize.synthetic",
    "quantize.lower quantize.scales",
    "quantize.fold",
    "quantize.calibrate",
    "quantize.video",
    "quantize.export",
    # screens and files
    "conformance",
    "conformance.archive conformance.trace",
    "conformance.vectors",
    "conformance.cases",
    "images",
    "video video.bytesource video.colour",
    "video.container video.frames",
    "video.clip video.folders video.y4m",
    "conformance.clips video.videofiles",
    "conformance.replay video.sources",
    "conformance.report",
    "train.progress train.settings train.state",
    "train.data train.finish train.objective train.warmstart",
    "train.clips",
    "train.material",
    "train.loop",
    "train",
    "evaluate evaluate.contestants evaluate.metrics evaluate.store",
    "evaluate.curves evaluate.floatmodel evaluate.run",
    "evaluate.published evaluate.report",
    "evaluate.plot",
    "cli cli.common",
    "cli.clips",
    "cli.conformance cli.decode cli.encode cli.evaluate cli.export cli.info cli.train cli.verify",
    "cli.main",
    "__main__",
)
FLOOR = {name: height for height, names in enumerate(FLOORS) for name in names.split(" ")}

#: What may import torch.
TRAINING = ("zoo", "quantize", "train", "evaluate.floatmodel")
#: Packages from outside and the only modules, or packages of modules, that may import them.
OUTSIDE = {
    "torch": TRAINING,
    "tqdm": ("quantize", "train"),
    "pytorch_msssim": ("train",),
    "onnx": (),
    "onnxruntime": ("engines.onnx",),
    "PIL": ("images", "quantize.export", "evaluate.contestants", "train.clips"),
    "bjontegaard": ("evaluate.curves",),
    "matplotlib": ("evaluate.plot",),
    "av": ("video.videofiles",),
}
#: Modules that must stay quick to import, so numpy is not for them.
WITHOUT_NUMPY = ("", "__main__", "bitstream", "bundle", "cli", "embedded", "errors", "files")


def modules() -> dict[str, str]:
    """Return the source of every module by name, without the leading "intcodec."."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text(encoding="utf-8")
    return found


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Walk a tree without what stands under `if TYPE_CHECKING`."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            for other in child.orelse:
                yield from running(other)
        else:
            yield from running(child)


def imports(name: str, source: str, packages: frozenset[str]) -> set[str]:
    """Return what a module imports, as full names: "numpy", "intcodec.cdf", "intcodec" for its __init__."""
    found = set()
    for node in running(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = ["intcodec", *(name.split(".") if name else [])]
                up = here[: len(here) - node.level + (name in packages)]
                base = ".".join([*up, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                found.add(inner if inner.removeprefix("intcodec.") in FLOOR else base)
    return found


def inside(name: str, places: tuple[str, ...]) -> bool:
    return any(name == place or (place and name.startswith(place + ".")) for place in places)


def complaint(name: str, target: str) -> str | None:
    """Return what is wrong with module `name` importing `target`, if anything."""
    top = target.partition(".")[0]
    if top == "intcodec":
        below = target.removeprefix("intcodec").removeprefix(".")
        if below not in FLOOR:
            return f"{name} imports {target}, which has no floor"
        return None if FLOOR[below] < FLOOR[name] else f"{name} imports {target}, which is not below it"
    if top in sys.stdlib_module_names:
        return None
    if top == "numpy":
        return f"{name} imports numpy" if inside(name, WITHOUT_NUMPY) else None
    if top not in OUTSIDE:
        return f"{name} imports {top}, which nothing may"
    return None if inside(name, OUTSIDE[top]) else f"{name} imports {top}, which only {OUTSIDE[top]} may"


def complaints(sources: dict[str, str]) -> list[str]:
    """Return everything that is wrong with a set of modules."""
    found: list[str | None] = [f"{name} has no floor: give it one in FLOORS" for name in sources if name not in FLOOR]
    packages = frozenset({"", *(name.rpartition(".")[0] for name in sources)})
    for name in sources:
        if name in FLOOR:
            found += [complaint(name, target) for target in sorted(imports(name, sources[name], packages))]
    return [text for text in found if text]


def test_arrows_run_one_way() -> None:
    assert complaints(modules()) == []


def test_floors_name_only_modules_that_exist() -> None:
    assert set(FLOOR) - set(modules()) == {"_native", "_rangecoder"}


@pytest.mark.parametrize(
    ("name", "source", "expected"),
    [
        ("cdf", "from intcodec.network import Conv", "cdf imports intcodec.network, which is not below it"),
        ("cdf", "from intcodec import network", "cdf imports intcodec.network, which is not below it"),
        ("cdf", "from .network import Conv", "cdf imports intcodec.network, which is not below it"),
        ("cdf", "from . import network", "cdf imports intcodec.network, which is not below it"),
        ("engines", "from ..codec import load", "engines imports intcodec.codec, which is not below it"),
        ("cdf", "import intcodec", "cdf imports intcodec, which is not below it"),
        ("bounds", "from intcodec import latents", "bounds imports intcodec.latents, which is not below it"),
        ("bounds", "import intcodec.news", "bounds imports intcodec.news, which has no floor"),
        ("news", "", "news has no floor: give it one in FLOORS"),
        ("codec", "import torch", f"codec imports torch, which only {TRAINING} may"),
        ("codec", "def f():\n    from torch import nn", f"codec imports torch, which only {TRAINING} may"),
        ("codec", "if not TYPE_CHECKING:\n    import scipy", "codec imports scipy, which nothing may"),
        ("codec", "if TYPE_CHECKING:\n    pass\nelse:\n    import scipy", "codec imports scipy, which nothing may"),
        ("verify", "import onnxruntime", "verify imports onnxruntime, which only ('engines.onnx',) may"),
        ("onnxgraphsish", "import onnx", "onnxgraphsish has no floor: give it one in FLOORS"),
        ("cli.decode", "import numpy as np", "cli.decode imports numpy"),
    ],
)
def test_the_checker_can_fail(name: str, source: str, expected: str) -> None:
    assert complaints({"engines.native": "", name: source}) == [expected]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("network", "from intcodec.cdf import CdfTables\nimport json, numpy\nfrom . import errors"),
        ("codec", "if TYPE_CHECKING:\n    import torch"),
        ("zoo.layers", "from torch.nn import functional"),
    ],
)
def test_the_checker_can_pass(name: str, source: str) -> None:
    assert complaints({name: source}) == []


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

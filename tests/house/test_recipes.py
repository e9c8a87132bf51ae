"""CONTRIBUTING's recipes work: a toy row and a toy architecture, added to a copy of the project.

Nothing is added but their files and the lines that the recipes name.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

from intcodec.rows.table import KINDS

RECIPE = Path(__file__).with_name("recipe")
#: Files of the recipe and where they go.
FILES = {
    "row.py": "intcodec/rows/negate.py",
    "row.c": "_ext/rows/negate.c",
    "float_row.py": "intcodec/quantize/rows/negate.py",
    "architecture.py": "intcodec/zoo/toy.py",
    "lowering.py": "intcodec/quantize/lowering/toy.py",
}
#: Lines elsewhere: a file, a text that stands there once, and what is put before it.
ROW_LINES = (
    ("intcodec/rows/table.py", "from intcodec.rows.rescale import", "from intcodec.rows.negate import Negate\n"),
    ("intcodec/rows/table.py", "Conv, Gdn,", "Negate, "),
    ("_ext/rows/table.c", "X(conv)", "X(negate) "),
)
ZOO, LOWERING = "intcodec/zoo/architectures.py", "intcodec/quantize/lowering/architectures.py"
ARCHITECTURE_LINES = (
    (ZOO, "from intcodec.zoo.video import", "from intcodec.zoo.toy import toy_transforms\n"),
    (ZOO, '    "ssf2020": Arch', '    "toy": Architecture(MeanScaleHyperprior, toy_transforms, _FIVE_LOW),\n'),
    (LOWERING, "from intcodec.quantize.lowering.layers import", "import intcodec.quantize.lowering.toy\n"),
    (LOWERING, '    "mbt2018_mean": _hyper', '    "toy": _hyperprior,\n'),
)


def put_before(path: Path, anchor: str, text: str) -> None:
    content = path.read_text()
    assert content.count(anchor) == 1, (path, anchor)
    path.write_text(content.replace(anchor, text + anchor))


def test_a_toy_row_and_a_toy_architecture(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="quantising a toy model needs torch")
    root = tmp_path / "copy"
    root.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    shutil.copytree(ROOT / "_ext", root / "_ext")
    shutil.copytree(
        ROOT / "intcodec", root / "intcodec", ignore=shutil.ignore_patterns("*.so", "*.intm", "__pycache__")
    )
    for source, target in FILES.items():
        shutil.copy(RECIPE / source, root / target)
    for name, anchor, text in (*ROW_LINES, *ARCHITECTURE_LINES):
        put_before(root / name, anchor, text)
    env = {**os.environ, "PYTHONPATH": str(root), "CFLAGS": "-O1"}
    build = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    done = subprocess.run(build, cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    done = subprocess.run([sys.executable, RECIPE / "use.py"], cwd=root, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "the toy row and the toy architecture work\n"), done.stderr[-3000:]


def test_the_recipes_are_short() -> None:
    assert len(ROW_LINES) <= 3
    assert [name for name in FILES if "row" in name] == ["row.py", "row.c", "float_row.py"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_its_module_its_c_file_and_its_section(kind: str) -> None:
    assert KINDS[kind].__module__ == f"intcodec.rows.{kind}"
    assert f"ic_kind_{kind} = {{" in (ROOT / "_ext" / "rows" / f"{kind}.c").read_text()
    assert f"\n### {kind}\n" in (ROOT / "docs" / "arithmetic.md").read_text()

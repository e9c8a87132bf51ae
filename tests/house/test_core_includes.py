"""Includes of the compiled core run one way: no folder reads one above it, no two files read each other."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import ccore
from places import ROOT


def included(folder: Path) -> dict[str, set[str]]:
    """Return for each file of a tree, without its ending, what it includes."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("*.[ch]")):
        unit = str(path.relative_to(folder).with_suffix(""))
        names = re.findall(r'#include "(.*)\.h"', path.read_text())
        found.setdefault(unit, set()).update(name for name in names if name != unit)
    return found


def problems(units: dict[str, set[str]], below: dict[str, tuple[str, ...]]) -> list[str]:
    """Return includes that point upwards, and a circle if there is one."""
    wrong = []
    for unit, names in units.items():
        folder = unit.split("/")[0]
        wrong += [f"{unit} -> {name}" for name in names if name.split("/")[0] not in (folder, *below[folder])]
    try:
        TopologicalSorter(units).prepare()
    except CycleError as error:
        wrong.append(" -> ".join(error.args[1]))
    return wrong


def test_includes_run_one_way() -> None:
    units = {k: v for k, v in included(ROOT / "_ext").items() if k.split("/")[0] in ccore.FOLDERS}
    assert len(units) > 25
    assert problems(units, ccore.FOLDERS) == []


def test_a_circle_and_a_wrong_direction_are_found(tmp_path: Path) -> None:
    for name, text in {"core/a.c": '#include "rows/b.h"', "rows/b.h": '#include "rows/c.h"', "rows/c.c": "",
                       "rows/c.h": '#include "rows/b.h"'}.items():  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = problems(included(tmp_path), ccore.FOLDERS)
    assert found[0] == "core/a -> rows/b"
    assert "rows/c" in found[1]

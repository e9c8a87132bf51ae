"""Errors of our own are also the built-in ones that people catch, and none is swallowed on its way by that."""

import ast
import builtins
from pathlib import Path

import pytest

from intcodec.base import errors

PACKAGE = Path(errors.__file__).resolve().parents[1]
BUILT_IN = {
    "InputError": ValueError,
    "BitstreamError": ValueError,
    "ModelError": ValueError,
    "WrongModelError": ValueError,
    "SelfTestError": ValueError,
    "LimitError": ValueError,
    "RangeError": ArithmeticError,
}


def own_errors() -> dict[str, type[errors.IntCodecError]]:
    found = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    return {name: value for name, value in found.items() if value is not errors.IntCodecError}


def test_each_error_is_the_built_in_one_that_people_expect() -> None:
    assert set(own_errors()) == set(BUILT_IN)
    for name, built_in in BUILT_IN.items():
        with pytest.raises(built_in, match="what is wrong"):
            raise own_errors()[name]("what is wrong")
        assert issubclass(own_errors()[name], errors.IntCodecError)


def calls_of_ours(body: list[ast.stmt]) -> set[str]:
    """Return the bare names and our own methods that statements call: what may raise an error of ours."""
    calls = (node.func for statement in body for node in ast.walk(statement) if isinstance(node, ast.Call))
    return {f.id for f in calls if isinstance(f, ast.Name) and not hasattr(builtins, f.id)}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_handler_of_value_errors_wraps_an_error_of_ours(path: Path) -> None:
    """A `try` that raises or calls what raises IntCodecError and catches ValueError must let ours through first."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    raising = {
        f.name
        for f in ast.walk(tree)
        if isinstance(f, ast.FunctionDef)
        and any(isinstance(n, ast.Raise) and "Error(" in ast.unparse(n) and names_ours(n) for n in ast.walk(f))
    }
    for node in (n for n in ast.walk(tree) if isinstance(n, ast.Try)):
        caught = [ast.unparse(handler.type) if handler.type else "" for handler in node.handlers]
        if not any("ValueError" in text or "ArithmeticError" in text for text in caught):
            continue
        first = caught[0]
        assert not (calls_of_ours(node.body) & raising) or "IntCodecError" in first, f"{path.name}:{node.lineno}"


def names_ours(node: ast.Raise) -> bool:
    return any(isinstance(n, ast.Name) and n.id in BUILT_IN for n in ast.walk(node))

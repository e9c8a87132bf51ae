"""Which function lowers which class of module.

    from intcodec.quantize.lowering.registry import lowers

    @lowers(MyLayer)
    def my_layer(module, name, src):
        return [FloatConv(name, src, ...)]  # rows, the last called `name`; see intcodec.quantize.rows

A class is looked up exactly as it is: a subclass may compute something else, so it is registered for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from torch import nn

from intcodec.base.errors import InputError
from intcodec.quantize.rows.conv import FloatConv
from intcodec.quantize.rows.row import FloatRow

#: (module, name, src) -> the rows that compute the module on tensor `src`; the last writes tensor `name`.
Lowering: TypeAlias = Callable[[Any, str, str], list[FloatRow]]
#: (module, row) -> the convolution before the module, with the module's work done in it.
Joining: TypeAlias = Callable[[Any, FloatConv], FloatConv]

LOWERINGS: Final[dict[type[nn.Module], Lowering]] = {}
#: Modules that become part of the convolution before them: activations, pixel shuffles.
JOININGS: Final[dict[type[nn.Module], Joining]] = {}


def lowers(*classes: type[nn.Module]) -> Callable[[Lowering], Lowering]:
    """Register the decorated function for modules of these classes."""

    def register(function: Lowering) -> Lowering:
        LOWERINGS.update(dict.fromkeys(classes, function))
        return function

    return register


def joins(*classes: type[nn.Module]) -> Callable[[Joining], Joining]:
    """Register the decorated function for modules that become part of the convolution before them."""

    def register(function: Joining) -> Joining:
        JOININGS.update(dict.fromkeys(classes, function))
        return function

    return register


def lower_module(module: nn.Module, name: str, src: str) -> list[FloatRow]:
    """Lower one layer or block that reads tensor `src`; the last row is called `name`.

    Raises:
        InputError: it has no integer form.
    """
    if type(module) not in LOWERINGS:
        raise InputError(f"{name}: no integer form of {type(module).__name__} is known")
    return LOWERINGS[type(module)](module, name, src)


def lower_sequence(modules: Iterable[nn.Module], src: str, prefix: str) -> list[FloatRow]:
    """Lower a sequence of modules that starts at tensor `src`; row names are prefix + position.

    Raises:
        InputError: a module or a setting of it has no integer form.
    """
    rows: list[FloatRow] = []
    for position, module in enumerate(modules):
        name, last = f"{prefix}_{position}", rows[-1].name if rows else src
        if type(module) in JOININGS:
            before = rows.pop() if rows else None
            if not isinstance(before, FloatConv):
                raise InputError(f"{name}: a {type(module).__name__} has to follow a convolution")
            rows.append(JOININGS[type(module)](module, before))
        else:
            rows += lower_module(module, name, last)
    return rows


@lowers(nn.Sequential)
def _sequential(module: nn.Sequential, name: str, src: str) -> list[FloatRow]:
    rows = lower_sequence(module, src, name)
    return [*rows[:-1], replace(rows[-1], name=name)]

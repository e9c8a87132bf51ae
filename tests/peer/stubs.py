"""Stand-ins for what `import compressai` asks for and never uses here: torchvision, torch_geometric, requests."""

import sys
from types import ModuleType
from typing import Any

MODULES = (
    "requests",
    "torchvision",
    "torchvision.transforms",
    "torch_geometric",
    "torch_geometric.data",
    "torch_geometric.data.datapipes",
    "torch_geometric.transforms",
)


class Absent:
    """Base class, function or decorator that CompressAI may name but that nothing here calls for its effect."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return lambda thing: thing


def install() -> None:
    """Register the stand-ins for those modules that are not installed."""
    for name in MODULES:
        if name not in sys.modules:
            module = ModuleType(name)
            module.__getattr__ = lambda attribute: Absent  # type: ignore[method-assign]
            sys.modules[name] = module
            parent, _, leaf = name.rpartition(".")
            if parent:
                setattr(sys.modules[parent], leaf, module)

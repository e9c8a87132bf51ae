"""Engines that compute wrongly on purpose, for tests that it is noticed."""

from __future__ import annotations

from typing import Any

from intcodec.engines.reference import ReferenceEngine


class WrongEngine(ReferenceEngine):
    """A machine on which one graph is off by one in one place."""

    wrong = ""

    def run(self, graph: str, inputs: Any) -> Any:
        out = super().run(graph, inputs)
        if graph == self.wrong:
            first = next(iter(out.values()))
            first[0, 0, 0] ^= 1
        return out

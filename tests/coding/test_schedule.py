"""The schedule: what it may say, and its interpreter against one that goes symbol by symbol."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
from modelfiles import rebuild

from intcodec.base.errors import ModelError
from intcodec.coding.latentcoder import LatentCoder
from intcodec.engines.native import NativeEngine
from intcodec.engines.reference import ReferenceEngine
from intcodec.entropy import rangecoder
from intcodec.modelfile.model import Model
from intcodec.network import description
from intcodec.network.graph import Network
from intcodec.network.schedule import Pass
from intcodec.network.schedule_check import check_schedule

SIZE = (5, 7)


def latents(seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, 4 * 2**tiny.FRACTION, (*SIZE, 12)).astype(np.int32)


class Plain:
    """The passes of tiny's "groups", written out by hand; a symbol at a time."""

    def __init__(self, network: Network, y: np.ndarray) -> None:
        self.network, self.y, self.engine = network, y, ReferenceEngine(network)
        self.symbols = np.zeros(y.shape, np.int64)
        self.hat = np.zeros(y.shape, np.int64)
        self.coded: list[tuple[int, int]] = []  # (CDF row, symbol) in the order of coding

    def run(self) -> Plain:
        z = self.quantise("z", self.engine.run("h_a", {"y": self.y})["z"])
        params = self.engine.run("h_s", {"z_hat": z.astype(np.int16)})["params"][: SIZE[0], : SIZE[1]]
        given = {"params": np.ascontiguousarray(params)}
        self.some("first", given, 0, 4, lambda row, column: (row + column) % 2 == 0)
        self.some("second", {**given, "y_hat": self.decoded(4)}, 0, 4, lambda row, column: (row + column) % 2 == 1)
        self.some("third", {**given, "y_hat": self.decoded(4)}, 4, 12, lambda row, column: True)
        self.hat[..., 4:] = self.engine.run("refine", {**given, "y_hat": self.decoded(12)})["refined"]
        return self

    def decoded(self, channels: int) -> np.ndarray:
        return np.ascontiguousarray(self.hat[..., :channels]).astype(np.int16)

    def quantise(self, name: str, values: np.ndarray) -> np.ndarray:
        latent = self.network.latents[name]
        out = np.empty(values.shape, np.int64)
        for at in np.ndindex(*values.shape):
            _, out[at] = self.symbol(latent, at[2], int(values[at]), 0)
        return out

    def symbol(self, latent: Any, channel: int, value: int, mean: int) -> tuple[int, int]:
        """docs/arithmetic.md, Latents, in Python's integers."""
        mean += int(latent.offset[channel])
        symbol = min(max((value - mean + (1 << latent.fraction >> 1)) >> latent.fraction, -32768), 32767)
        shift = int(latent.shift[channel])
        hat = ((symbol << latent.fraction) + mean + (1 << shift >> 1)) >> shift
        return symbol, min(max(hat, latent.lo), latent.hi)

    def some(self, graph: str, given: dict[str, np.ndarray], first: int, last: int, wanted: Any) -> None:
        out = self.engine.run(graph, given)
        for row, column in np.ndindex(*SIZE):
            for channel in range(first, last) if wanted(row, column) else ():
                at, inner = (row, column, channel), (row, column, channel - first)
                mean = int(out["mean"][inner])
                found = self.symbol(self.network.latents["y"], channel, int(self.y[at]), mean)
                self.symbols[at], self.hat[at] = found
                self.coded.append((int(out["index"][inner]), found[0]))


def test_channel_groups_checkerboard_and_refinement_equal_the_plain_loop() -> None:
    network, y = tiny.network("groups"), latents()
    coder = LatentCoder(network, ReferenceEngine(network))
    coded = coder.encode(y)
    plain = Plain(network, y).run()
    np.testing.assert_array_equal(coded.y_hat, plain.hat)
    rows, symbols = (np.array(column) for column in zip(*plain.coded, strict=True))
    assert coded.sections[1] == rangecoder.encode(symbols.astype(np.int16), rows.astype(np.uint8), network.tables["y"])
    decoded, crc = coder.decode(coded.sections, *SIZE)
    np.testing.assert_array_equal(decoded, plain.hat)
    assert crc == coded.crc


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 5)])
def test_small_pictures(size: tuple[int, int]) -> None:
    """A checkerboard of one position has no odd one."""
    network = tiny.network("groups")
    y = latents()[: size[0], : size[1]]
    coders = [LatentCoder(network, engine) for engine in (ReferenceEngine(network), NativeEngine(network, 1))]
    coded = [coder.encode(y) for coder in coders]
    assert coded[0].sections == coded[1].sections
    np.testing.assert_array_equal(coders[1].decode(coded[0].sections, *size)[0], coded[0].y_hat)


def test_a_model_keeps_its_schedule() -> None:
    network = tiny.network("groups")
    assert description.restore(*description.describe(network)).schedule == network.schedule
    model = Model.build(network, {}, {})
    assert Model.load(model.data).network.schedule == network.schedule
    usual = tiny.network("mean-scale")
    assert "schedule" not in description.describe(usual)[0]
    assert usual.schedule == (Pass("z", 0, 8), Pass("y", 0, 12, "all", ("h_s",)))
    json, tensors = description.describe(usual)
    json["schedule"] = [step.as_json() for step in usual.schedule]
    with pytest.raises(ModelError, match="not the usual one"):
        description.restore(json, tensors)


Z, EVEN, ODD, REST = tiny.network("groups").schedule


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ((Z, EVEN, REST), "not all symbols of latent y are coded"),
        ((Z, EVEN, ODD), "not all symbols of latent y are coded"),
        ((Z, EVEN, ODD, REST, replace(EVEN, graphs=())), "coded twice"),
        ((Z, EVEN, replace(ODD, positions="even"), REST), "coded twice"),
        ((Z, EVEN, replace(ODD, positions="all"), REST), "coded twice"),
        ((Z, replace(EVEN, graphs=("first",)), ODD, REST), "reads 'params', which is not decoded"),
        ((Z, replace(ODD, graphs=("h_s", "second")), replace(EVEN, graphs=("first",)), REST), "reads 'y_hat'"),
        ((EVEN, Z, ODD, REST), "reads 'z_hat'"),
        ((Z, EVEN, ODD, replace(REST, first=5, count=8)), "no such channels"),
        ((Z, EVEN, ODD, replace(REST, first=-1)), "no such channels"),
        ((Z, EVEN, ODD, replace(REST, graphs=("h_s",))), "missing, or runs twice"),
        ((Z, EVEN, ODD, replace(REST, graphs=("nowhere",))), "missing, or runs twice"),
        ((Z, EVEN, ODD, replace(REST, count=7)), "does not give 7 channels"),
        ((Z, EVEN, ODD, replace(REST, refine="third")), "runs twice"),
        ((Z, EVEN, replace(ODD, refine="refine"), replace(REST, refine="")), "reads 'y_hat'"),
        ((Z, EVEN, ODD, replace(REST, positions="wavefront")), "looks at more than one position"),
        ((Z, EVEN, ODD, replace(REST, positions="diagonal")), "positions are unknown"),
        ((Z, EVEN, ODD, replace(REST, latent="w")), "no latent 'w'"),
        ((replace(Z, count=7), EVEN, ODD, REST), "codes a whole latent"),
        ((EVEN, ODD, REST), "reads 'z_hat'"),
        ((Z, EVEN, ODD, REST) * 20, "1 to 64 passes"),
    ],
)
def test_schedules_that_are_refused(schedule: tuple[Pass, ...], message: str) -> None:
    network = replace(tiny.network("groups"), schedule=schedule)
    with pytest.raises(ModelError, match=message):
        check_schedule(network)
    with pytest.raises(ModelError, match=message):
        LatentCoder(network, ReferenceEngine(network))


def test_graphs_that_nobody_runs_are_refused() -> None:
    network = tiny.network("groups")
    more = {**network.graphs, "spare": replace(network.graphs["first"], name="spare")}
    with pytest.raises(ModelError, match="graphs spare"):
        LatentCoder(replace(network, graphs=more), ReferenceEngine(network))


@pytest.mark.parametrize(
    "change",
    [
        {"first": "0"},
        {"first": 2**31},
        {"positions": 1},
        {"graphs": "h_s"},
        {"graphs": [1]},
        {"refine": None},
        {"more": 1},
    ],
)
def test_damaged_descriptions_are_refused(change: dict[str, Any]) -> None:
    json, tensors = description.describe(tiny.network("groups"))
    json["schedule"][1].update(change)
    with pytest.raises(ModelError):
        description.restore(json, tensors)


def test_a_stored_schedule_is_checked_when_a_model_is_used() -> None:
    model = Model.build(tiny.network("groups"), {}, {})
    wrong = Model.load(rebuild(model, replace(model.network, schedule=(Z, EVEN, ODD))))
    with pytest.raises(ModelError, match="not all symbols"):
        LatentCoder(wrong.network, ReferenceEngine(wrong.network))

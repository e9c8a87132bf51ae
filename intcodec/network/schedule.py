"""How latents are coded, as data: passes in order, each over some channels at some positions.

A pass runs graphs whose last one gives the CDF row (`index`) and maybe the mean of every symbol, and then codes those
symbols. Graphs read tensors by name: what graphs before them made; `<latent>_hat`, the first C channels of a latent as
far as it is decoded, 0 elsewhere; in a wavefront pass `neighbours`, the NEIGHBOURS of each position. docs/model.md and
docs/bitstream.md have the rules.

What may live here: the description of a schedule and the schedule of a model that states none. `schedule_check` checks
it against a network, `intcodec.coding.latentcoder` runs it.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

#: Positions of a pass. "even" and "odd" are those where row + column is even or odd; in a wavefront, all positions with
#: equal column + SLOPE * row form one step after another.
POSITIONS: Final = ("all", "even", "odd", "wavefront")
SLOPE: Final = 3
#: Neighbours (dy, dx) of a wavefront pass, in the order of their channels in the tensor `neighbours`.
NEIGHBOURS: Final = tuple((k // 5 - 2, k % 5 - 2) for k in range(12))
MAX_PASSES: Final = 64


@dataclass(frozen=True)
class Pass:
    """One pass over a latent.

    Args:
        latent: name of the latent, such as "y".
        first: first channel of the slice that is coded.
        count: channels of the slice.
        positions: one of POSITIONS.
        graphs: names of the graphs to run, in order; the last gives `index` and maybe `mean`. None: the CDF row is the
            channel, and there is no mean but the latent's offset.
        refine: a graph that is run after the pass and whose output `refined` replaces the slice of the decoded latent;
            or "".
    """

    latent: str
    first: int
    count: int
    positions: str = "all"
    graphs: tuple[str, ...] = ()
    refine: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return JSON values."""
        return {**asdict(self), "graphs": list(self.graphs)}


def usual_schedule(graphs: Container[str], channels: Mapping[str, int]) -> tuple[Pass, ...]:
    """Return the schedule of a model that states none: y alone; z and then y; the same with a context model.

    Args:
        graphs: names of its graphs.
        channels: channels of each latent.
    """
    passes = [Pass("z", 0, channels["z"])] if "z" in channels else []
    if "y" in channels and "context" in graphs:
        passes.append(Pass("y", 0, channels["y"], "wavefront", ("h_s", "context")))
    elif "y" in channels:
        passes.append(Pass("y", 0, channels["y"], "all", ("h_s",) if "z" in channels else ()))
    return tuple(passes)

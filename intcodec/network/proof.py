"""The proof that no accumulator of a network can overflow, from its integers alone.

Uses nothing of the code that chose the shifts: every row states its bound (docs/arithmetic.md, Proof), latents have
theirs here. Sums are Python or int64 integers over int16 magnitudes; the largest possible is
15 * 15 * 2**15 * 2**15 * channels < 2**63 for any channel count below 2**25.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import ACC_LIMIT
from intcodec.network.graph import Graph, Latent, Network
from intcodec.rows.row import below


def prove(network: Network) -> dict[str, int]:
    """Return the worst-case magnitude of every row's largest intermediate, as {"graph/row": bound}.

    The bound of a row holds for every input in its source tensor's range, for every partial sum in any order, and for
    the partial sums of the digit form (docs/arithmetic.md, Proof).

    Raises:
        ModelError: a bound reaches its limit, or two graphs disagree about a tensor that passes between them.
    """
    bounds: dict[str, int] = {}
    for graph in network.graphs.values():
        specs = graph.specs()
        for row in graph.rows:
            where = f"{graph.name}/{row.name}"
            bounds[where] = row.bound(where, *(specs[name] for name in row.inputs))
    for name, latent in network.latents.items():
        bounds[f"latent/{name}"] = latent_bound(latent, network.graphs)
    return bounds


def latent_bound(latent: Latent, graphs: Mapping[str, Graph]) -> int:
    """Return the largest magnitude in the arithmetic of a latent (docs/arithmetic.md, Latents)."""
    local = latent.name.rpartition("_")[2]  # "motion_y" is y of the graphs motion_*
    part = [g for name, g in graphs.items() if name.startswith(latent.name.removesuffix(local))]
    sources = [g.specs()[local] for g in part if local in g.outputs]
    means = [g.specs()["mean"] for g in part if local == "y" and "mean" in g.outputs]
    mean = int(np.abs(latent.offset.astype(np.int64)).max()) + max((m.magnitude for m in means), default=0)
    if not 0 <= latent.fraction <= 10 or latent.shift.dtype != np.uint8 or int(latent.shift.max()) > 25:
        raise ModelError(f"latent {latent.name}: fraction must be in [0, 10] and shift uint8 in [0, 25]")
    encode = max((s.magnitude for s in sources), default=0) + mean + (1 << latent.fraction)
    decode = (32768 << latent.fraction) + mean + (1 << int(latent.shift.max()))
    return below(max(encode, decode), ACC_LIMIT, f"latent {latent.name}")

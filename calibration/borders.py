"""Where to put the borders between CDF rows: what every choice costs on generated pictures, real crops and Kodak.

    python calibration/borders.py [--images 24] [--arch A ...]

Prints, for each model, the change of y's code length against CompressAI's borders (hedge 0, see
`intcodec.quantize.scales`), and the choice that each set would make. Kodak shows what the choice is worth; nothing is
chosen on it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from common import ARCHS, MORE_ARCHS, checkpoint, kodak, read, table
from compare import crops

from intcodec import zoo
from intcodec.entropy import cdf
from intcodec.quantize.calibrate import calibrate
from intcodec.quantize.export import SYNTHETIC_COUNT
from intcodec.quantize.floatgraph import FloatCodec
from intcodec.quantize.lowering.architectures import lower_model
from intcodec.quantize.scales import HEDGES, RowCosts
from intcodec.quantize.synthetic import pictures as generated

SHOWN = (-0.5, 0.25, 0.5, 1.0, 1.5, 2.0)
CROPS = 64


def costs(codec: FloatCodec, pictures: Iterable[np.ndarray]) -> RowCosts:
    """Return what a set's latents cost, after cropping to multiples of 64."""
    assert codec.scale_table is not None
    found = RowCosts(codec.scale_table, cdf.gaussian_tables(codec.scale_table, outliers=cdf.OUTLIERS))
    calibrate(codec, (p[: p.shape[0] // 64 * 64, : p.shape[1] // 64 * 64] for p in pictures), found)
    return found


def percent(found: RowCosts, hedge: float) -> str:
    """Return the change of the code length against hedge 0."""
    return f"{100 * (found.total[HEDGES.index(hedge)] / found.total[HEDGES.index(0.0)] - 1):+.2f} %"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24, choices=range(1, 25), metavar="N", help="how many of Kodak")
    parser.add_argument("--arch", nargs="+", default=[*ARCHS[1:], "mbt2018"], choices=ARCHS[1:] + MORE_ARCHS)
    args = parser.parse_args()
    torch.set_num_threads(2)
    rows = []
    for arch in args.arch:
        print(arch, file=sys.stderr, flush=True)
        codec = lower_model(arch, zoo.load_checkpoint(arch, checkpoint(arch)))
        test = costs(codec, map(read, kodak(args.images)))
        for name, pictures in (("generated", generated(SYNTHETIC_COUNT)), (f"{CROPS} crops", crops(CROPS))):
            found = costs(codec, pictures)
            shown = [percent(found, hedge) for hedge in SHOWN]
            rows.append((arch, name, *shown, f"{found.best():+.3f}", percent(test, found.best())))
        best = f"({test.best():+.3f})"
        rows.append(
            (arch, "Kodak", *(percent(test, hedge) for hedge in SHOWN), best, f"({percent(test, test.best())})")
        )
    print(table(("model", "set", *map(str, SHOWN), "its choice", "on Kodak"), rows))


if __name__ == "__main__":
    main()

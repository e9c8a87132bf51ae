"""Write the generated calibration set as one picture, to look at.

python calibration/show.py [OUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from intcodec.quantize.synthetic import pictures

#: As many as `intcodec.quantize.export.SYNTHETIC_COUNT`, in rows of six.
COUNT, COLUMNS, GAP = 24, 6, 4


def sheet() -> np.ndarray:
    """Return all pictures side by side on white, uint8[H, W, 3]."""
    tiles = np.stack([np.pad(p, ((0, GAP), (0, GAP), (0, 0)), constant_values=255) for p in pictures(COUNT)])
    count, height, width, _ = tiles.shape
    grid = tiles.reshape(count // COLUMNS, COLUMNS, height, width, 3).swapaxes(1, 2)
    return grid.reshape(count // COLUMNS * height, COLUMNS * width, 3)[:-GAP, :-GAP]


def main(path: Path) -> None:
    """Write the sheet and say where."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet()).save(path)
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "out/calibration.png"))

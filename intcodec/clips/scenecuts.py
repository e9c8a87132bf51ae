"""Where a scene begins, so that a key frame can begin there: decided in integers from the source, alike everywhere.

What may live here: comparing a frame with the one before. Nothing of coding.

A frame is made small: luma R + 2 G + B of at most 512 x 512 of its pixels, averaged over a grid of at most 48 x 48
cells. The change of a frame is the mean difference of its cells to those of the frame before. A scene begins where it
is large, and much larger than it was of late: a fast pan changes every frame alike, a cut only one.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from intcodec.pictures.codec import Picture

_PIXELS: Final = 512
_CELLS: Final = 48
#: Least change of a cut, in units of 1/4 of a level: 12 of 255 levels.
LEAST: Final = 48
#: A cut changes a frame by so many times what the frames before it changed.
TIMES: Final = 3


class SceneCuts:
    """Tells for each frame in order whether a scene begins with it; the first frame of all is not one."""

    def __init__(self) -> None:
        self._before: NDArray[np.int64] | None = None
        #: Change of the frames before, cuts included, the last one with half of the weight.
        self._usual: int | None = None

    def begins(self, frame: Picture) -> bool:
        """Return whether a scene begins with the next frame, uint8[H, W, 3]."""
        small, before = _small(frame), self._before
        self._before = small
        if before is None or before.shape != small.shape:
            return False
        change = int(np.abs(small - before).sum()) // small.size
        usual = change if self._usual is None else self._usual  # the second frame of all has nothing to compare with
        usual = change if self._usual is None else self._usual  # the second frame of all has nothing to compare with
        cut = change >= max(LEAST, TIMES * usual)
        self._usual = (usual + change + 1) // 2
        return cut


def _small(frame: Picture) -> NDArray[np.int64]:
    """Return the mean luma, times 4, of each cell of the grid."""
    height, width = frame.shape[:2]
    thin = frame[:: -(-height // _PIXELS), :: -(-width // _PIXELS)].astype(np.int64)
    luma = thin[..., 0] + 2 * thin[..., 1] + thin[..., 2]
    count = np.ones((), np.int64)
    for axis in (0, 1):
        cells = min(luma.shape[axis], _CELLS)
        edges = np.arange(cells + 1) * thin.shape[axis] // cells
        luma = np.add.reduceat(luma, edges[:-1], axis=axis)
        count = np.multiply.outer(count, np.diff(edges))
    return np.asarray(luma // count)

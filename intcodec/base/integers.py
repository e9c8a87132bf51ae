"""Integers of the network in numpy: the type of their arrays, the limit of an accumulator, the storage of a range."""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

IntArray: TypeAlias = NDArray[Any]

#: Accumulators and every other int32 intermediate stay strictly below this magnitude.
ACC_LIMIT: Final = 2**31


def dtype_of(lo: int, hi: int) -> np.dtype[Any]:
    """Return the storage dtype of a tensor with values in [lo, hi]: uint8, int16 or int32."""
    if lo >= 0 and hi <= 255:
        return np.dtype(np.uint8)
    if lo >= -32768 and hi <= 32767:
        return np.dtype(np.int16)
    return np.dtype(np.int32)

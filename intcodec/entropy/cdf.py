"""Integer cdf tables: the normative numbers of entropy coding, and how they are made from float models.

What may live here: CdfTables, which a model stores and the range coder obeys, and the makers that a quantisation
pass runs once. The makers use float64; their integers go into the model file, so that no decoder repeats them.

A row is a cdf over consecutive symbols and one last slot, the escape, for everything else. Every slot costs at
least 1 of the 65536 units, so a slot whose probability is far below a unit costs more by being there than escapes
cost without it: makers trim such slots off both ends of a row (TRIM).
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import ModelError

PRECISION = 16
TOTAL = 1 << PRECISION
SYMBOL_MIN, SYMBOL_MAX = -(1 << 15), (1 << 15) - 1

# End slots below this many units are left to the escape. Between 0.2 and 1 the expected bytes differ by less than
# 0.01 %; the low end is chosen because real latents have heavier tails than the model says.
TRIM = 0.25

#: Real latents have heavier tails than the Gaussian that the network states. One symbol in a hundred from a Gaussian
#: twice as wide describes them better: on training crops it saves 0.06 % (well trained) to 1 % (hardly trained) of y.
OUTLIERS, OUTLIER_SCALE = 0.01, 2.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CdfTables:
    """Hold every row that a bitstream's indexes can name.

    Row r is cdf[starts[r]:starts[r + 1]]: it begins at 0, ends at 65536 and increases strictly; slot s of it is
    the symbol offsets[r] + s, except the last slot, which is the escape.

    Args:
        cdf: uint32[total], all rows one after another.
        starts: int32[rows + 1], where each row begins in cdf; the last entry is total.
        offsets: int32[rows], the symbol of each row's slot 0.

    Raises:
        ModelError: if an array breaks a rule above, or a row's symbols leave int16.

    Invariant: the arrays are checked, contiguous and read-only.
    """

    cdf: NDArray[np.uint32]
    starts: NDArray[np.int32]
    offsets: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, dtype in (("cdf", np.uint32), ("starts", np.int32), ("offsets", np.int32)):
            array = getattr(self, name)
            if not isinstance(array, np.ndarray) or array.dtype != dtype or array.ndim != 1:
                raise ModelError(f"cdf tables: {name} must be a {np.dtype(dtype)} vector")
            own = np.array(array)
            own.setflags(write=False)
            object.__setattr__(self, name, own)
        _check_rows(self.cdf, self.starts, self.offsets)

    @property
    def rows(self) -> int:
        """Count the rows."""
        return len(self.offsets)

    def row(self, index: int) -> NDArray[np.uint32]:
        """Return the cdf of one row, uint32[slots + 1]."""
        return self.cdf[self.starts[index] : self.starts[index + 1]]

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays that a model file stores, by name."""
        return {"cdf": self.cdf, "starts": self.starts, "offsets": self.offsets}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> CdfTables:
        """Make tables from stored arrays; the inverse of to_arrays.

        Raises:
            ModelError: if an array is missing or CdfTables refuses it.
        """
        for name in ("cdf", "starts", "offsets"):
            if name not in arrays:
                raise ModelError(f"cdf tables: {name} is missing")
        return cls(arrays["cdf"], arrays["starts"], arrays["offsets"])

    @classmethod
    def from_rows(cls, rows: Sequence[NDArray[np.uint32]], offsets: Sequence[int]) -> CdfTables:
        """Make tables from one cdf per row."""
        if not rows:
            raise ModelError("cdf tables: no rows")
        starts = np.cumsum([0, *(len(row) for row in rows)])
        return cls(np.concatenate(rows), starts.astype(np.int32), np.array(offsets, np.int32))


def _check_rows(cdf: NDArray[np.uint32], starts: NDArray[np.int32], offsets: NDArray[np.int32]) -> None:
    rows = len(offsets)
    if not 1 <= rows <= 1 << 16:
        raise ModelError(f"cdf tables: {rows} rows, expected 1 to 65536")
    if len(starts) != rows + 1:
        raise ModelError(f"cdf tables: {len(starts)} starts for {rows} rows")
    if starts[0] != 0 or starts[-1] != len(cdf):
        raise ModelError("cdf tables: starts must run from 0 to the length of cdf")
    lengths = np.diff(starts.astype(np.int64))
    if lengths.min() < 3 or lengths.max() > TOTAL + 1:
        raise ModelError("cdf tables: a row needs 2 to 65536 slots, the escape included")
    first, last = starts[:-1], starts[1:] - 1
    if np.any(cdf[first] != 0) or np.any(cdf[last] != TOTAL):
        raise ModelError("cdf tables: a row must begin at 0 and end at 65536")
    rising = np.diff(cdf.astype(np.int64)) > 0
    rising[last[:-1]] = True  # from the end of a row to the start of the next
    if not rising.all():
        raise ModelError("cdf tables: a row must increase strictly")
    tops = offsets.astype(np.int64) + lengths - 3
    if offsets.min() < SYMBOL_MIN or tops.max() > SYMBOL_MAX:
        raise ModelError("cdf tables: a row's symbols must lie in int16")


def quantize_pmf(pmf: Floats, tail_mass: float) -> NDArray[np.uint32]:
    """Round probabilities to a cdf of total 65536 that minimises the expected code length.

    The minimum is exact: code length is convex and separable in the frequencies, so handing out units one by one
    to whichever slot gains most, p log((f + 1) / f), ends at the optimum. It starts from a lower bound of the
    optimum, p (65536 - slots) - 1/2, which leaves fewer than about two units a slot to hand out. Ties go to the
    first slot.

    Args:
        pmf: float64[slots - 1], probabilities of a row's symbols, in any common unit.
        tail_mass: what the escape, the last slot, stands for, in the same unit.

    Returns:
        uint32[slots + 1], strictly increasing from 0 to 65536.

    Raises:
        ModelError: if there are no probabilities, too many, or some are negative or not finite, or all are zero.
    """
    p = np.append(np.asarray(pmf, np.float64), tail_mass)
    if not 2 <= len(p) <= TOTAL:
        raise ModelError(f"cdf tables: {len(p)} slots, expected 2 to 65536")
    if not np.all(np.isfinite(p)) or p.min() < 0 or p.sum() <= 0:
        raise ModelError("cdf tables: probabilities must be finite, not negative, and not all zero")
    p = p / p.sum()
    freq = np.maximum(1, np.floor(p * (TOTAL - len(p)) - 0.5)).astype(np.int64)
    heap = [(-q * math.log1p(1 / f), s) for s, (q, f) in enumerate(zip(p.tolist(), freq.tolist(), strict=True))]
    heapq.heapify(heap)
    for _ in range(TOTAL - int(freq.sum())):
        s = heap[0][1]
        freq[s] += 1
        heapq.heapreplace(heap, (-float(p[s]) * math.log1p(1 / int(freq[s])), s))
    return np.concatenate(([0], np.cumsum(freq))).astype(np.uint32)


def _trimmed_row(pmf: Floats, first: int, below: float, above: float) -> tuple[NDArray[np.uint32], int]:
    """Quantise a row after moving thin slots at both ends to the escape.

    Args:
        pmf: float64[n], probabilities of the symbols first, first + 1, ...
        first: the symbol of pmf[0].
        below: the probability of all smaller symbols.
        above: the probability of all larger symbols.

    Returns:
        The cdf and the symbol of its slot 0.
    """
    pmf = np.maximum(pmf, 0.0)
    kept = np.flatnonzero(pmf >= TRIM / TOTAL)
    peak = int(np.argmax(pmf))
    low, high = (int(kept[0]), int(kept[-1]) + 1) if len(kept) else (peak, peak + 1)
    low = max(low, SYMBOL_MIN - first)
    high = min(high, SYMBOL_MAX + 1 - first)
    if low >= high:
        raise ModelError("cdf tables: a row's symbols must lie in int16")
    tail = max(0.0, below) + max(0.0, above) + float(pmf[:low].sum() + pmf[high:].sum())
    return quantize_pmf(pmf[low:high], tail), first + low


def default_scale_table() -> Floats:
    """Return 64 scales, log-spaced from 0.11 to 256: the table that CompressAI's Gaussian models are trained for."""
    return np.exp(np.linspace(math.log(0.11), math.log(256.0), 64))


def _upper_tail(x: float) -> float:
    """Return the probability of a standard Gaussian above x, accurate relative to itself."""
    return 0.5 * math.erfc(x * math.sqrt(0.5))


def _half_width(scale: float, tail_mass: float) -> int:
    """Return the least w whose two tails beyond w + 1/2 hold at most tail_mass."""
    low, high = 0, SYMBOL_MAX
    while low < high:
        middle = (low + high) // 2
        if 2 * _upper_tail((middle + 0.5) / scale) <= tail_mass:
            high = middle
        else:
            low = middle + 1
    return low


def gaussian_tables(scale_table: Floats, tail_mass: float = 1e-9, outliers: float = 0.0) -> CdfTables:
    """Tabulate zero-mean Gaussians, each integrated over [s - 1/2, s + 1/2] for every symbol s.

    Args:
        scale_table: float64[rows], the standard deviations, > 0.
        tail_mass: a row holds no symbol beyond the range that leaves out this probability, in (0, 1).
        outliers: the share of symbols that come from a Gaussian OUTLIER_SCALE times as wide, in [0, 1).

    Returns:
        One row a scale.

    Raises:
        ModelError: if a scale, tail_mass or outliers is out of range.

    Source: Balle et al. 2018, "Variational image compression with a scale hyperprior", section 3.
    """
    scales = [float(scale) for scale in scale_table]
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ModelError("cdf tables: scales must be positive and finite")
    if not 0 < tail_mass < 1 or not 0 <= outliers < 1:
        raise ModelError("cdf tables: tail_mass must lie in (0, 1), outliers in [0, 1)")
    rows, offsets = [], []
    for scale in scales:
        width = _half_width(scale * (OUTLIER_SCALE if outliers else 1), tail_mass)
        shares = ((1 - outliers, scale), (outliers, OUTLIER_SCALE * scale))
        edges = np.array([sum(q * _upper_tail((s - 0.5) / x) for q, x in shares) for s in range(1, width + 2)])
        side = edges[:-1] - edges[1:]
        middle = sum(q * math.erf(0.5 / x * math.sqrt(0.5)) for q, x in shares)
        pmf = np.concatenate((side[::-1], [middle], side))
        cdf, offset = _trimmed_row(pmf, -width, float(edges[-1]), float(edges[-1]))
        rows.append(cdf)
        offsets.append(offset)
    return CdfTables.from_rows(rows, offsets)


def _softplus(x: Floats) -> Floats:
    return np.logaddexp(0.0, x)


def _sigmoid(x: Floats) -> Floats:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def factorized_tables(
    matrices: Sequence[NDArray[Any]],
    biases: Sequence[NDArray[Any]],
    factors: Sequence[NDArray[Any]],
    quantiles: NDArray[Any],
) -> CdfTables:
    """Tabulate a fully factorised density, one row a channel; symbols are relative to the channel's median.

    The cumulative of a channel is sigmoid(f_K o ... o f_1), where f_k(x) = g_k(softplus(matrix) x + bias) and
    g_k(x) = x + tanh(factor) tanh(x), except the last, which is the identity.

    Args:
        matrices: raw parameters float[C, r_k, r_(k-1)], one a stage.
        biases: float[C, r_k, 1], one a stage.
        factors: raw parameters float[C, r_k, 1], one a stage but the last.
        quantiles: float[C, 1, 3]: lower end, median, upper end of each channel.

    Raises:
        ModelError: if shapes disagree, or a quantile is not finite or out of order.

    Source: Balle et al. 2018, "Variational image compression with a scale hyperprior", appendix 6.1.
    """
    ends = np.asarray(quantiles, np.float64)
    channels = len(ends)
    widths = [1, *(np.shape(b)[1] if np.ndim(b) == 3 else 0 for b in biases)]
    stages = list(itertools.pairwise(widths))
    if (
        ends.shape != (channels, 1, 3)
        or widths[-1] != 1
        or [np.shape(m) for m in matrices] != [(channels, out, into) for into, out in stages]
        or [np.shape(b) for b in biases] != [(channels, out, 1) for _, out in stages]
        or [np.shape(f) for f in factors] != [(channels, out, 1) for _, out in stages[:-1]]
    ):
        raise ModelError("cdf tables: the shapes of the factorised density disagree")
    if not np.all(np.isfinite(ends)) or np.any(np.diff(ends, axis=2) < 0):
        raise ModelError("cdf tables: quantiles must be finite and in order")
    if not all(np.all(np.isfinite(a)) for a in (*matrices, *biases, *factors)):
        raise ModelError("cdf tables: the factorised density is not finite")
    slopes = [_softplus(np.asarray(m, np.float64)) for m in matrices]
    shifts = [np.asarray(b, np.float64) for b in biases]
    bends = [np.tanh(np.asarray(f, np.float64)) for f in factors]

    rows, offsets = [], []
    for c in range(channels):
        lower, median, upper = (float(x) for x in ends[c, 0])
        first = -min(math.ceil(median - lower), -SYMBOL_MIN)
        last = min(math.ceil(upper - median), SYMBOL_MAX)
        logits = (median + np.arange(first, last + 2) - 0.5)[None, :]
        for k, (slope, shift) in enumerate(zip(slopes, shifts, strict=True)):
            logits = slope[c] @ logits + shift[c]
            if k < len(bends):
                logits = logits + bends[k][c] * np.tanh(logits)
        # A difference of sigmoids keeps its digits when both are taken on the side where they are small.
        below, above = _sigmoid(logits[0]), _sigmoid(-logits[0])
        pmf = np.where(logits[0, :-1] > 0, above[:-1] - above[1:], below[1:] - below[:-1])
        cdf, offset = _trimmed_row(pmf, first, float(below[0]), float(above[-1]))
        rows.append(cdf)
        offsets.append(offset)
    return CdfTables.from_rows(rows, offsets)

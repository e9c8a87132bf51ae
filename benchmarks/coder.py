"""Time the range coder beside constriction's, in the same process and on the same symbols.

    python benchmarks/coder.py [symbols]

Columns are the best of several runs in ns a symbol. Ratios above 1 say how much faster intcodec is.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import constriction
import numpy as np

from intcodec.entropy.cdf import CdfTables, default_scale_table, gaussian_tables, quantize_pmf
from intcodec.entropy.rangecoder import Decoder, Encoder, decode, encode, lanes_for

ROUNDS = 12
CENTRE = 26  # the row of the single-model comparison: scale 2.7
stream = constriction.stream


def best(function: Callable[[], Any], count: int) -> tuple[float, Any]:
    """Return the least ns a symbol over several runs, and the last result."""
    least, result = math.inf, None
    for _ in range(ROUNDS):
        start = time.perf_counter()
        result = function()
        least = min(least, time.perf_counter() - start)
    return least / count * 1e9, result


def ours(symbols: Any, indexes: Any, tables: CdfTables, lanes: int) -> tuple[float, float, int]:
    """Time encode and decode with a given number of lanes."""

    def put() -> bytes:
        encoder = Encoder(tables, lanes)
        encoder.encode(symbols, indexes)
        return encoder.finish()

    def get(data: bytes) -> Any:
        decoder = Decoder(data, tables, lanes)
        decoded = decoder.decode(indexes)
        decoder.finish()
        return decoded

    encoding, data = best(put, symbols.size)
    decoding, decoded = best(lambda: get(data), symbols.size)
    assert np.array_equal(decoded, symbols)
    return encoding, decoding, len(data)


def theirs(symbols: Any, model: Any, *parameters: Any) -> tuple[float, float, int]:
    """Time constriction's range coder with one model, or a model family and its parameters a symbol."""
    wide = symbols.astype(np.int32)

    def put() -> Any:
        coder = stream.queue.RangeEncoder()
        coder.encode(wide, model, *parameters)
        return coder.get_compressed()

    def get(words: Any) -> Any:
        coder = stream.queue.RangeDecoder(words)
        return coder.decode(model, *(parameters or (wide.size,)))

    encoding, words = best(put, symbols.size)
    decoding, decoded = best(lambda: get(words), symbols.size)
    assert np.array_equal(decoded, wide)
    return encoding, decoding, words.size * 4


def show(name: str, result: tuple[float, float, int], base: tuple[float, float, int] | None = None) -> None:
    ratios = "" if base is None else f"{result[0] / base[0]:9.1f}x {result[1] / base[1]:7.1f}x"
    print(f"{name:44} {result[0]:8.2f} {result[1]:8.2f} {result[2]:9d} {ratios}")


def ideal_bytes(symbols: Any, indexes: Any, tables: CdfTables) -> float:
    """Return the code length of the tables, escapes included."""
    slots = np.diff(tables.starts)[indexes] - 1
    slot = symbols.astype(np.int64) - tables.offsets[indexes]
    escaped = (slot < 0) | (slot >= slots - 1)
    at = tables.starts[indexes] + np.where(escaped, slots - 1, slot)
    bits = 16 - np.log2(np.diff(tables.cdf.astype(np.int64))[at])
    order = np.maximum(0, np.floor(np.log2(slots)).astype(int) - 4)[escaped]
    excess = np.where(slot < 0, -1 - slot, slot - slots + 1)[escaped]
    return float(bits.sum() + (2 * np.floor(np.log2(excess + 2.0**order)) + 2 - order).sum()) / 8


def main(count: int) -> None:
    rng = np.random.default_rng(0)
    scales = default_scale_table()
    tables = gaussian_tables(scales)
    print(f"{count} symbols, best of {ROUNDS}; ns a symbol")
    print(f"{'':44} {'encode':>8} {'decode':>8} {'bytes':>9}    slower by")

    indexes = np.clip(rng.normal(22, 12, count), 0, 63).astype(np.uint8)
    symbols = np.rint(rng.normal(0, 1, count) * scales[indexes]).astype(np.int16)
    print("64 Gaussian rows, mixed")
    mixed = {lanes: ours(symbols, indexes, tables, lanes) for lanes in (1, 2, 4)}
    for lanes, result in mixed.items():
        show(f"  intcodec, {lanes} lanes", result)
    family = stream.model.QuantizedGaussian(int(symbols.min()) - 1, int(symbols.max()) + 1)
    gaussian = theirs(symbols, family, np.zeros(count), scales[indexes])
    show("  constriction, QuantizedGaussian arrays", gaussian, mixed[4])
    exact = ideal_bytes(symbols, indexes, tables)
    print(f"  ideal {exact:.1f} bytes; intcodec +{mixed[4][2] - exact:.1f} bytes ({mixed[4][2] / exact - 1:+.4%})")

    print("31 values, 64 rows (a tenth of the symbols)")
    pmfs = np.diff([[0.5 * math.erfc(-(s - 0.5) / c / math.sqrt(2)) for s in range(-15, 17)] for c in scales], axis=1)
    pmfs = (pmfs + 1e-9) / (pmfs + 1e-9).sum(axis=1, keepdims=True)
    small = CdfTables.from_rows([quantize_pmf(pmf, 0.0) for pmf in pmfs], [-15] * 64)
    few = indexes[: count // 10]
    clipped = np.clip(symbols[: count // 10], -15, 15)
    clipped_ours = ours(clipped, few, small, 4)
    show("  intcodec, 4 lanes", clipped_ours)
    model = stream.model.Categorical(perfect=False)
    show("  constriction, Categorical arrays", theirs(clipped + 15, model, pmfs[few]), clipped_ours)

    print("one row for every symbol")
    same = np.full(count, CENTRE, np.uint8)
    alike = np.clip(np.rint(rng.normal(0, scales[CENTRE], count)), -15, 15).astype(np.int16)
    single = ours(alike, same, small, 4)
    show("  intcodec, 4 lanes", single)
    model = stream.model.Categorical(pmfs[CENTRE], perfect=False)
    show("  constriction, one Categorical", theirs(alike + 15, model), single)
    model = stream.model.QuantizedGaussian(-100, 100, 0.0, float(scales[CENTRE]))
    show("  constriction, one QuantizedGaussian", theirs(alike, model), single)

    data = encode(symbols, indexes, tables)
    assert np.array_equal(decode(data, indexes, tables), symbols)
    print(f"one-shot encode uses {lanes_for(count)} lanes: {len(data)} bytes")
    print("\nshort sequences: lanes against bytes")
    for n in (1024, 4096, 16384, 65536):
        one, four = (ours(symbols[:n], indexes[:n], tables, lanes) for lanes in (1, 4))
        show(f"  {n}, 1 lane", one)
        show(f"  {n}, 4 lanes (+{four[2] - one[2]} bytes)", four)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 300_000)

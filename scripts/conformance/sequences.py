"""Sequences for the range coder alone: tables, rows, symbols and bytes that an implementer can test by themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from intcodec.entropy.cdf import CdfTables, gaussian_tables
from intcodec.entropy.rangecoder import Encoder

Json = dict[str, Any]


def cases() -> list[Json]:
    """Return the cases, valid ones first."""
    rng = np.random.default_rng(3)
    two = _tables([[0, 32768, 65536], [0, 1, 65535, 65536]], [0, -1])
    gauss = gaussian_tables(np.array([0.11, 0.7, 3.0, 20.0]))
    rows = rng.integers(0, 4, 400)
    symbols = np.rint(rng.normal(0, np.array([0.11, 0.7, 3.0, 20.0])[rows])).astype(int)
    wild = rng.integers(-32768, 32768, 60)
    made = [
        _case("one", "a single symbol", ["normal"], two, [0], [0]),
        _case("none", "no symbols: no bytes", ["normal"], two, [], []),
        _case("rare", "slots of frequency 1 and 65534", ["normal"], two, [1] * 40, [0] * 39 + [-1]),
        _case("escapes", "symbols above and below their row", ["escape"], two, [0, 1, 0, 1], [1, -2, 300, -32768]),
        _case("ends", "the ends of int16", ["escape"], gauss, [0, 3, 0, 3], [-32768, 32767, 32767, -32768]),
        _case("wild", "uniform int16 symbols", ["escape"], gauss, [0, 1, 2, 3] * 15, wild),
        _case("gaussian", "400 symbols, each with a row of its own", ["normal"], gauss, rows, symbols),
        *(_case(f"lanes-{k}", f"{k} lanes", ["normal"], gauss, rows, symbols, k) for k in (2, 3, 4)),
        _case("empty-lanes", "4 lanes for 2 symbols: two lanes are empty", ["normal"], gauss, [1, 2], [0, 5], 4),
        _case("certain", "3000 almost certain symbols in a few bytes", ["normal"], gauss, [0] * 3000, [0] * 3000),
    ]  # fmt: skip
    return made + _invalid(made[6], made[9])


def _invalid(long: Json, lanes: Json) -> list[Json]:
    """Return damaged forms of a case with one lane and of one with four."""
    data, four = bytes.fromhex(long["bytes"]), bytes.fromhex(lanes["bytes"])
    nibble = bytes([data[0] ^ 0x80]) + data[1:]
    return [
        _bad(long, "cut", "the last 5 bytes are missing", data[:-5]),
        _bad(long, "empty", "all bytes are missing", b""),
        _bad(long, "trailing", "a zero byte too many: not what an encoder flushes", data + b"\0"),
        _bad(long, "flipped", "the first bit is flipped", nibble),
        _bad(long, "ones", "all bits set", b"\xff" * len(data)),
        _bad(lanes, "lane-length", "a lane length beyond the payload", b"\xff\xff\x03" + four[1:]),
        _bad(lanes, "lane-varint", "a lane length not in its shortest form", bytes([four[0] | 0x80, 0]) + four[1:]),
        _bad(lanes, "lanes-cut", "ends inside the lane lengths", four[:1]),
    ]


def _tables(cdf: list[list[int]], offsets: list[int]) -> CdfTables:
    flat = np.concatenate([np.array(row, np.uint32) for row in cdf])
    return CdfTables(flat, np.cumsum([0, *map(len, cdf)]).astype(np.int32), np.array(offsets, np.int32))


def _case(
    name: str, comment: str, flags: list[str], tables: CdfTables, rows: Any, symbols: Any, lanes: int = 1
) -> Json:
    encoder = Encoder(tables, lanes)
    encoder.encode(np.array(symbols, np.int16), np.array(rows, np.uint16))
    return {
        "id": f"rangecoder/{name}",
        "comment": comment,
        "flags": flags,
        "result": "valid",
        "lanes": lanes,
        "tables": {"cdf": [tables.row(r).tolist() for r in range(tables.rows)], "offsets": tables.offsets.tolist()},
        "rows": np.array(rows, int).tolist(),
        "symbols": np.array(symbols, int).tolist(),
        "bytes": encoder.finish().hex(),
    }


def _bad(good: Json, name: str, comment: str, data: bytes) -> Json:
    case = {k: v for k, v in good.items() if k != "symbols"}
    more = {"id": f"rangecoder/bad-{name}", "comment": comment, "flags": ["hostile"], "result": "invalid"}
    return {**case, **more, "error": "BitstreamError", "bytes": data.hex()}

"""The safetensors layout, read and written: named little-endian arrays behind a JSON header.

    u64 n | n bytes of JSON | data
    JSON: {"__metadata__": {text: text}, name: {"dtype": .., "shape": [..], "data_offsets": [begin, end]}, ..}

What may live here: this layout. Stricter than the format asks: ranges in the order of the data, without gaps or
overlaps, to the last byte, and integer types only. Written files are deterministic: wider elements first, then by name.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from intcodec.base.errors import ModelError
from intcodec.base.integers import IntArray

MAX_HEADER = 8 << 20
MAX_TENSORS = 1 << 14
#: Levels of JSON; descriptions have seven.
MAX_DEPTH = 32
_DTYPES = {"I8": "i1", "U8": "u1", "I16": "<i2", "I32": "<i4", "U32": "<u4"}
_NAMES = {np.dtype(v): k for k, v in _DTYPES.items()}


def canonical(value: Any) -> str:
    """Return JSON with sorted keys, no spaces, ASCII only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def parse_json(data: bytes | str, what: str) -> Any:
    """Parse JSON strictly: no duplicate keys, no NaN, not too deep.

    Raises:
        ModelError: it is not such JSON.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(items)
        if len(out) != len(items):
            raise ValueError("duplicate key")
        return out

    def refuse(text: str) -> Any:
        raise ValueError(f"{text} is no JSON number")

    try:
        text = data if isinstance(data, str) else data.decode("utf-8")
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=refuse)
        _check_depth(value)
        return value
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{what}: not valid JSON ({str(error)[:80]})") from error


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        inside = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, (dict, list)))
        level = [item for items in inside for item in items]
        if not level:
            return
    raise ValueError("nested too deeply")


def write(tensors: Mapping[str, IntArray], metadata: Mapping[str, str]) -> bytes:
    """Return the bytes of a file."""
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    chunks, position = [], 0
    for name in order:
        array = np.ascontiguousarray(tensors[name], tensors[name].dtype.newbyteorder("<"))
        data = array.tobytes()
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [position, position + len(data)],
        }
        chunks.append(data)
        position += len(data)
    text = canonical(header).encode("ascii")
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *chunks])


def read(data: bytes, what: str) -> tuple[dict[str, IntArray], dict[str, str]]:
    """Return the arrays (read-only, in native byte order) and the metadata of a file.

    Raises:
        ModelError: any byte of the file breaks the layout.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise ModelError(f"{what}: truncated, or its header is too long")
    header = parse_json(data[8 : 8 + size], f"{what} header")
    if not isinstance(header, dict) or len(header) > MAX_TENSORS:
        raise ModelError(f"{what}: bad header")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ModelError(f"{what}: bad metadata")
    entries = sorted((_entry(name, value, what) for name, value in header.items()), key=lambda entry: entry[3])
    tensors, position, body = {}, 0, memoryview(data)[8 + size :]
    for name, dtype, shape, begin, end in entries:
        if begin != position or end > len(body):
            raise ModelError(f"{what}: tensor {name[:80]!r} leaves a gap, overlaps another or is truncated")
        array = np.frombuffer(body[begin:end], dtype).reshape(shape)
        tensors[name] = array if sys.byteorder == "little" else array.astype(dtype.newbyteorder("="))
        tensors[name].setflags(write=False)
        position = end
    if position != len(body):
        raise ModelError(f"{what}: {len(body) - position} bytes belong to no tensor")
    return tensors, metadata


def _entry(name: str, value: Any, what: str) -> tuple[str, np.dtype[Any], tuple[int, ...], int, int]:
    where = f"{what}: tensor {name[:80]!r}"
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise ModelError(f"{where}: expected dtype, shape and data_offsets")
    shape, offsets = value["shape"], value["data_offsets"]
    if not isinstance(value["dtype"], str) or value["dtype"] not in _DTYPES:
        raise ModelError(f"{where}: unsupported dtype")
    if not _naturals(shape) or len(shape) > 8 or not _naturals(offsets) or len(offsets) != 2:
        raise ModelError(f"{where}: bad shape or offsets")
    dtype = np.dtype(_DTYPES[value["dtype"]])
    if math.prod(shape) == 0 or math.prod(shape) * dtype.itemsize != offsets[1] - offsets[0]:
        raise ModelError(f"{where}: shape and offsets disagree")
    return name, dtype, tuple(shape), offsets[0], offsets[1]


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**40 for v in value)

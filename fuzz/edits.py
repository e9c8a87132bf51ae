"""Edits of a network's description and tensors that a fuzzer's bytes choose: the grammar of hostile models.

What may live here: changes that keep JSON and arrays well-formed, so that every one reaches the checks behind the
parsers. No judgement of what is valid.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable
from typing import Any

import numpy as np

NUMBERS = (0, 1, 2, 3, 4, 5, 7, 10, 11, 14, 15, 16, 25, 26, 30, 31, 255, 256, 2047, 32767, 32768, 65535, 65536, 2**14)
NUMBERS += (2**14 + 1, 2**20, 2**24, 2**26, 2**30, 2**31 - 2, 2**31 - 1, 2**31, 2**40)
DTYPES = (np.int8, np.uint8, np.int16, np.int32, np.uint32)

Json = dict[str, Any]
Arrays = dict[str, Any]


class Source:
    """Numbers from bytes; zeros when they are used up."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def empty(self) -> bool:
        """Whether all bytes are used."""
        return self._at >= len(self._data)

    def number(self, bound: int) -> int:
        """Return a number below `bound` from one byte, or two if it is larger than 256."""
        size = 1 if bound <= 256 else 2
        value = int.from_bytes(self._data[self._at : self._at + size], "big")
        self._at += size
        return value % bound

    def integer(self) -> int:
        """Return one of the numbers at which something ends, or its negative."""
        value = NUMBERS[self.number(len(NUMBERS))]
        return -value if self.number(4) == 3 else value


def edit(source: Source, json: Json, arrays: Arrays) -> tuple[Json, Arrays]:
    """Apply one to eight edits; one whose place an earlier one has destroyed is left out."""
    for _ in range(8):
        with contextlib.suppress(TypeError, KeyError, AttributeError, IndexError, ValueError, ZeroDivisionError):
            EDITS[source.number(len(EDITS))](source, json, arrays)
        if source.empty:
            break
    return json, arrays


def _graph(source: Source, json: Json) -> Json:
    graph: Json = json["graphs"][source.number(len(json["graphs"]))]
    return graph


def _row(source: Source, graph: Json) -> Json:
    row: Json = graph["rows"][source.number(len(graph["rows"]))]
    return row


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [p for k, v in items for p in [(*path, k), *_paths(v, (*path, k))]]


def _any_value(source: Source, json: Json, arrays: Arrays) -> None:
    """Put something else in any place of the description."""
    paths = _paths(json)
    path = paths[source.number(len(paths))]
    target: Any = json
    for key in path[:-1]:
        target = target[key]
    values = (source.integer(), None, True, [], {}, "x", 1.5, copy.deepcopy(json["graphs"]))
    target[path[-1]] = values[source.number(len(values))]


def _row_number(source: Source, json: Json, arrays: Arrays) -> None:
    """Change a number of a row, or one side of its padding."""
    row = _row(source, _graph(source, json))
    fields = [k for k, v in row.items() if isinstance(v, (int, list))]
    field = fields[source.number(len(fields))]
    if isinstance(row[field], list):
        row[field][source.number(len(row[field]))] = source.integer()
    else:
        row[field] = source.integer()


def _wiring(source: Source, json: Json, arrays: Arrays) -> None:
    """Let a row read, or a graph deliver, another tensor."""
    graph = _graph(source, json)
    names = [r["name"] for r in graph["rows"]] + ["y", "z", "x", "y_hat", "z_hat", "none"]
    name = names[source.number(len(names))]
    row = _row(source, graph)
    if source.number(4) == 0:
        graph["outputs"].append(name)
    else:
        row["other" if "other" in row and source.number(2) else "input"] = name


def _drop_row(source: Source, json: Json, arrays: Arrays) -> None:
    rows = _graph(source, json)["rows"]
    del rows[source.number(len(rows))]


def _insert_conv(source: Source, json: Json, arrays: Arrays) -> None:
    """Put convolutions of few weights between a row and its reader: chains that blow sizes up or down."""
    graph = _graph(source, json)
    rows, at = graph["rows"], source.number(len(graph["rows"]))
    reader = rows[at]
    src = reader["input"]
    for i in range(source.number(20)):
        name, up = f"extra{len(rows)}_{i}", 1 + source.number(2)
        channels = 2 if source.number(2) else 3
        out = channels * up * up
        arrays[f"{graph['name']}/{name}/weight"] = np.ones((out, 1, 1, channels), np.int16)
        arrays[f"{graph['name']}/{name}/bias"] = np.zeros(out, np.int32)
        arrays[f"{graph['name']}/{name}/shift"] = np.full(out, source.number(31), np.uint8)
        conv = {"type": "conv", "name": name, "input": src, "lo": -100, "hi": 2047, "stride": 1 + source.number(2)}
        rows.insert(at + i, {**conv, "pad": [0, 0, 0, source.number(15)], "upsample": up, "slope": 0})
        src = name
    reader["input"] = src


def _array(source: Source, arrays: Arrays) -> str:
    return sorted(arrays)[source.number(len(arrays))]


def _values(source: Source, json: Json, arrays: Arrays) -> None:
    """Set some values of a tensor."""
    name = _array(source, arrays)
    array, value = np.array(arrays[name]), source.integer()
    limits = np.iinfo(array.dtype)
    flat, step = array.reshape(-1), 1 + source.number(40)
    flat[source.number(flat.size) :: step] = min(max(value, limits.min), limits.max)
    arrays[name] = array


def _kind(source: Source, json: Json, arrays: Arrays) -> None:
    name = _array(source, arrays)
    arrays[name] = np.array(arrays[name]).astype(DTYPES[source.number(len(DTYPES))])


def _shape(source: Source, json: Json, arrays: Arrays) -> None:
    """Cut, repeat or turn a tensor along an axis, or drop or rename it."""
    name = _array(source, arrays)
    array, how = np.array(arrays[name]), source.number(6)
    axis = source.number(array.ndim)
    if how == 0 and array.size < 2**17:
        arrays[name] = np.repeat(array, 1 + source.number(5), axis)
    elif how == 1:
        arrays[name] = np.take(array, range(1 + source.number(array.shape[axis])), axis)
    elif how == 2:
        arrays[name] = np.ascontiguousarray(np.swapaxes(array, 0, axis))
    elif how == 3:
        arrays[name] = array.reshape(-1)
    elif how == 4:
        arrays[f"{name}x"] = array
    else:
        del arrays[name]


def _channels(source: Source, json: Json, arrays: Arrays) -> None:
    """Give a graph's input another number of channels, and all that reads it too."""
    graph = _graph(source, json)
    tensor, count = graph["inputs"][0], 1 + source.number(200)
    tensor["channels"] = count
    for row in graph["rows"]:
        name = f"{graph['name']}/{row['name']}/weight"
        if name in arrays and row["input"] == tensor["name"]:
            arrays[name] = np.resize(arrays[name], (*arrays[name].shape[:3], count))


EDITS: tuple[Callable[[Source, Json, Arrays], None], ...] = (
    _row_number,
    _any_value,
    _wiring,
    _drop_row,
    _insert_conv,
    _values,
    _kind,
    _shape,
    _channels,
    _row_number,
    _values,
)

"""The checked wrapper over the compiled range coder.

What may live here: argument checks, the head of lane lengths, and the step from the core's status to an error. The
arithmetic is in _ext/rangecoder_core.h; the format is normative in docs/rangecoder.md.

Symbol i of a sequence goes to lane i mod K, also across calls:

    payload = length[0] ... length[K - 2]  lane[0] ... lane[K - 1]      lengths are LEB128; the last one is implied
"""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

import intcodec._rangecoder as _core
from intcodec.base.errors import BitstreamError, InputError, ModelError
from intcodec.entropy.cdf import SYMBOL_MAX, SYMBOL_MIN, CdfTables

MAX_LANES: int = _core.MAX_LANES
LANES_FROM = 1 << 16

_REASONS = {
    _core.PAST_END: "the range-coded data ends too early",
    _core.BAD_CODE: "the range-coded data holds a code that no symbol has",
    _core.BAD_ESCAPE: "the range-coded data holds a value outside int16",
    _core.NOT_CANONICAL: "the range-coded data does not end where its symbols do",
    _core.BAD_HEADER: "the lane lengths of the range-coded data are malformed",
}

_prepared: WeakKeyDictionary[CdfTables, Any] = WeakKeyDictionary()


def lanes_for(count: int) -> int:
    """Return the number of lanes of a sequence of count symbols: 1 below 65536, else 4.

    Four lanes cost about 10 bytes more than one and save about 9 ns a symbol: below 65536 symbols the bytes weigh
    more than the half millisecond.
    """
    return 1 if count < LANES_FROM else 4


def _check(status: int) -> None:
    if status == _core.BAD_INDEX:
        raise InputError("range coder: an index names no row of the tables")
    if status:
        raise BitstreamError(_REASONS.get(status, f"the range coder failed with status {status}"))


def _tables(tables: CdfTables) -> Any:
    """Return the tables in the core's layout, derived once for each CdfTables object."""
    found = _prepared.get(tables)
    if found is None:
        try:
            found = _core.Tables(tables.cdf, tables.starts, tables.offsets)
        except ValueError as error:  # pragma: no cover - CdfTables refuses such rows first
            raise ModelError(str(error)) from None
        _prepared[tables] = found
    return found


def _integers(name: str, values: NDArray[Any], dtype: type, low: int, high: int) -> NDArray[Any]:
    """Return values flat and contiguous as dtype; refuse what does not fit."""
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise InputError(f"range coder: {name} must be integers, not {array.dtype}")
    limits = np.iinfo(array.dtype)
    if array.size and (limits.min < low or limits.max > high) and (array.min() < low or array.max() > high):
        raise InputError(f"range coder: {name} must lie in [{low}, {high}]")
    return np.ascontiguousarray(array, dtype=dtype).reshape(-1)


def _indexes(indexes: NDArray[Any]) -> NDArray[np.uint16]:
    """Return a private copy, which no other thread changes between the core's check and its use."""
    rows = _integers("indexes", indexes, np.uint16, 0, 65535)
    return rows.copy() if np.may_share_memory(rows, np.asarray(indexes)) else rows


def _check_lanes(lanes: int) -> None:
    if not 1 <= lanes <= MAX_LANES:
        raise InputError(f"range coder: lanes must lie in [1, {MAX_LANES}]")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


class Encoder:
    """Encode a sequence of symbols that arrives over several calls.

    Args:
        tables: the rows that indexes name.
        lanes: K, in [1, 4]. A format that fixes the whole sequence's length uses lanes_for.

    Example:
        >>> import numpy as np
        >>> from intcodec.entropy.cdf import gaussian_tables
        >>> tables = gaussian_tables(np.array([0.5, 4.0]))
        >>> encoder = Encoder(tables)
        >>> encoder.encode(np.array([0, -3], np.int16), np.array([0, 1], np.uint8))
        >>> encoder.finish().hex()
        '4a'
    """

    def __init__(self, tables: CdfTables, lanes: int = 1) -> None:
        _check_lanes(lanes)
        self._core = _core.Encoder(_tables(tables), lanes)
        self._finished = False

    def encode(self, symbols: NDArray[np.int16], indexes: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
        """Append symbols.

        Args:
            symbols: int16[any shape], taken in C order.
            indexes: uint8 or uint16[same shape], the row of each symbol.

        Raises:
            InputError: if shapes differ, a symbol leaves int16, an index names no row, or finish was called.
        """
        if self._finished:
            raise InputError("range coder: encode after finish")
        if np.shape(symbols) != np.shape(indexes):
            raise InputError(f"range coder: {np.shape(symbols)} symbols but {np.shape(indexes)} indexes")
        _check(self._core.encode(_integers("symbols", symbols, np.int16, SYMBOL_MIN, SYMBOL_MAX), _indexes(indexes)))

    def finish(self) -> bytes:
        """Flush every lane and return the payload; nothing can be encoded after it."""
        if self._finished:
            raise InputError("range coder: finish called twice")
        self._finished = True
        lanes: list[bytes] = self._core.finish()
        return b"".join([*(_varint(len(lane)) for lane in lanes[:-1]), *lanes])


class Decoder:
    """Decode a payload over several calls; the payload is copied.

    Args:
        data: what Encoder.finish returned.
        tables: the rows that indexes name.
        lanes: K of the encoder.

    Raises:
        BitstreamError: if the lane lengths are malformed.

    Invariant: after a BitstreamError every later call raises it again.
    """

    def __init__(self, data: bytes | bytearray | memoryview, tables: CdfTables, lanes: int = 1) -> None:
        _check_lanes(lanes)
        self._core = _core.Decoder(bytes(data), _tables(tables), lanes)
        _check(self._core.status)

    def decode(self, indexes: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.int16]:
        """Decode the next symbols.

        Args:
            indexes: uint8 or uint16[any shape], the row of each symbol.

        Returns:
            int16[same shape].

        Raises:
            BitstreamError: if the payload does not hold such symbols.
            InputError: if an index names no row.
        """
        rows = _indexes(indexes)
        symbols = np.empty(rows.shape, np.int16)
        _check(self._core.decode(rows, symbols))
        return symbols.reshape(np.shape(indexes))

    def finish(self) -> None:
        """Check that the symbols decoded so far are the whole payload, in the one form an encoder writes.

        Raises:
            BitstreamError: if bytes are left over, missing, or not what an encoder flushes.
        """
        _check(self._core.finish())


def encode(symbols: NDArray[np.int16], indexes: NDArray[np.uint8] | NDArray[np.uint16], tables: CdfTables) -> bytes:
    """Encode symbols, int16[any shape], with lanes_for(size) lanes; see Encoder.encode."""
    encoder = Encoder(tables, lanes_for(np.size(indexes)))
    encoder.encode(symbols, indexes)
    return encoder.finish()


def decode(
    data: bytes | bytearray | memoryview, indexes: NDArray[np.uint8] | NDArray[np.uint16], tables: CdfTables
) -> NDArray[np.int16]:
    """Decode what encode returned for the same indexes and tables, and check that nothing is left over."""
    decoder = Decoder(data, tables, lanes_for(np.size(indexes)))
    symbols = decoder.decode(indexes)
    decoder.finish()
    return symbols

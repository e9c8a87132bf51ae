"""Fuzz target: the container of clips. Run by fuzz/drive.py.

The first byte of an input says whether checksums are compared, the rest is a clip; without them mutations reach what
lies behind. Read as a pipe and as a file, with its index, and after a seek to each key frame. What must hold:

    only IntCodecErrors of one line; a clip that is whole is read the same either way, and its index is found
"""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

from common import ROOT

from intcodec.base.errors import IntCodecError
from intcodec.clips.bytesource import ByteSource
from intcodec.clips.container import ChunkReader

__all__ = ["ROOT", "one_input"]

MOST_FRAMES = 1000


class Pipe:
    """Bytes that cannot be sought in."""

    def __init__(self, data: bytes) -> None:
        self._file = io.BytesIO(data)

    def read(self, size: int = -1, /) -> bytes:
        """Return at most `size` bytes."""
        return self._file.read(size)


def frames(reader: ChunkReader) -> list[Any] | None:
    """Return all frames; None if the clip is not whole."""
    found = []
    try:
        while (frame := reader.read()) is not None and len(found) < MOST_FRAMES:
            found.append(frame)
    except IntCodecError as error:
        if "\n" in str(error) or len(str(error)) > 400:
            raise AssertionError("an error of more than one short line") from error
        return None
    return found


def read(data: bytes) -> None:
    """Read a clip in every way."""
    try:
        piped, reader = ChunkReader(Pipe(data)), ChunkReader(io.BytesIO(data))
    except IntCodecError:
        return
    whole, index = frames(piped), reader.load_index()
    if frames(reader) != whole:
        raise AssertionError("a file is not read as a pipe is")
    if whole is not None and index is None:
        raise AssertionError("a whole clip without an index")
    for number, offset in zip(index.keys, index.offsets, strict=True) if index else ():
        reader.seek(number, offset)
        frames(reader)
    reader.count()


def one_input(data: bytes) -> None:
    """Read one input."""
    if data and data[0] & 1:

        def skip(source: ByteSource, what: str) -> None:
            source.integer(4, what)

        def integer(source: ByteSource, count: int, what: str) -> int:
            before, value = source.crc, int.from_bytes(source.take(count, what), "little")
            return before & 0xFFFF if count == 2 else value  # the only such field is a checksum

        with mock.patch.multiple(ByteSource, check_crc=skip, integer=integer):
            read(data[1:])
    else:
        read(data[1:])

"""The bytes of a clip in order, from a file or a pipe.

What may live here: reading integers, sections and checksums. What they mean is in intcodec.clips.container.
"""

from __future__ import annotations

import io
from typing import BinaryIO, cast
from zlib import crc32

from intcodec.base.errors import BitstreamError
from intcodec.base.files import Readable, read_exactly


class ByteSource:
    """Counts the bytes of a clip, sums them up, and raises BitstreamError where they end too early.

    `what` is the name of the part that is being read, for messages.

    Invariant: `crc` is the CRC-32 of everything read since `start_crc`, continued from its `value`.
    """

    def __init__(self, file: Readable) -> None:
        self._file = file
        self.at = 0
        self.crc = 0
        self.seekable = isinstance(file, io.IOBase) and file.seekable()
        self._base = cast(BinaryIO, file).tell() if self.seekable else 0

    def take(self, count: int, what: str) -> bytes:
        """Return exactly `count` bytes."""
        data = read_exactly(self._file, count)
        self.at += len(data)
        if len(data) < count:
            raise BitstreamError(f"truncated clip: it ends at byte {self.at}, inside its {what}")
        self.crc = crc32(data, self.crc)
        return data

    def more(self) -> bool:
        """Return whether bytes are left; takes one of them."""
        return bool(read_exactly(self._file, 1))

    def start_crc(self, data: bytes, value: int) -> None:
        """Let the sum go on from `value` with `data`."""
        self.crc = crc32(data, value)

    def start_chunk(self, what: str, value: int) -> int:
        """Return a chunk's first byte, with which its checksum starts.

        Where the file can seek, it is taken from `at`, wherever another reader of the file has left it.
        """
        if self.seekable:
            self.seek(self.at)
        data = read_exactly(self._file, 1)
        if not data:
            raise BitstreamError(f"truncated clip: it ends at byte {self.at}, before its {what} or its end")
        self.at += 1
        self.start_crc(data, value)
        return data[0]

    def integer(self, count: int, what: str) -> int:
        """Return a little-endian integer of `count` bytes."""
        return int.from_bytes(self.take(count, what), "little")

    def varint(self, limit: int, what: str) -> int:
        """Read an unsigned LEB128 integer in [0, limit], in its shortest form."""
        value = shift = 0
        while True:
            byte = self.take(1, what)[0]
            value |= (byte & 0x7F) << shift
            if value > limit or (byte == 0 and shift) or shift > 56:
                raise BitstreamError(f"damaged clip: an impossible number ends at byte {self.at}, in its {what}")
            if byte < 0x80:
                return value
            shift += 7

    def check_crc(self, what: str) -> None:
        """Compare the sum with the checksum that follows."""
        expected = self.crc
        if self.integer(4, what) != expected:
            raise BitstreamError(f"damaged clip: the checksum of its {what} does not match")

    def seek(self, offset: int) -> None:
        """Continue `offset` bytes from where the clip began."""
        cast(BinaryIO, self._file).seek(self._base + offset)
        self.at = offset

    def seek_end(self) -> int:
        """Go to the end and return the size of the clip in bytes."""
        return cast(BinaryIO, self._file).seek(0, io.SEEK_END) - self._base

"""Bytes of a clip: docs/video.md, written and read. Knows no model, no engine and no pixels.

What may live here: the layout, its integers, its checksums and its limits. Writer and reader work on pipes: the writer
never seeks, and the reader seeks only when it is asked to. Nothing is allocated beyond the bytes that arrive.

    intcodec.clips.header                                                                           header
    kind | duration? | section lengths | latents crc 4 | pixels crc 4 | check 2 | sections | crc 4  a frame, repeated
    'E' | frames | key frames | (frame, offset) of each | crc 4                                    the end, an index
    offset of the end 8 | magic 4                                                                  trailer

A chunk's checksums begin with the header's checksum and the frame's number, so that no chunk fits another place.
"""

from __future__ import annotations

import contextlib
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import Final, Protocol
from zlib import crc32

from intcodec.base.errors import BitstreamError
from intcodec.base.files import Readable
from intcodec.clips.bytesource import ByteSource
from intcodec.clips.framecodec import CodedFrame
from intcodec.clips.header import MAX_NUMBER, ClipHeader, header_bytes, read_header
from intcodec.coding.bitstream import MAX_SECTION, write_varint

TRAILER_MAGIC: Final = b"VNI\x89"
TRAILER_BYTES: Final = 12
MAX_FRAMES: Final = 2**35 - 1
_KEY: Final = 0x4B
_INTER: Final = 0x50
_END: Final = 0x45
_SECTIONS: Final = {_KEY: 2, _INTER: 4}
#: Set in a frame's kind where its duration follows: "k" and "p".
_TIMED: Final = 0x20
#: Stands for the frame's number in the checksum of the end.
_NO_NUMBER: Final = 2**64 - 1


class Writable(Protocol):
    """What the writer needs: a file or a pipe."""

    def write(self, data: bytes, /) -> object:
        """Write all of `data`."""
        ...


@dataclass
class Index:
    """Where the key frames are.

    Invariant: both arrays have the same length and ascend; the first frame is 0.
    """

    frames: int = 0  # number of frames in the clip
    keys: array[int] = field(default_factory=lambda: array("Q"))  # numbers of the key frames
    offsets: array[int] = field(default_factory=lambda: array("Q"))  # of their chunks, from the beginning of the clip

    def add(self, number: int, offset: int) -> None:
        """Append a key frame."""
        self.keys.append(number)
        self.offsets.append(offset)

    def before(self, number: int) -> tuple[int, int]:
        """Return number and offset of the last key frame that is not after frame `number`, which is 0 or more."""
        k = bisect_right(self.keys, number) - 1
        return self.keys[k], self.offsets[k]


def frame_limit(width: int, height: int) -> int:
    """Return how many bytes the sections of one frame may have together.

    64 bytes per pixel of the frame extended to multiples of 128, and 65536 more: no frame codec comes near.
    """
    return 64 * (-(-width // 128) * 128) * (-(-height // 128) * 128) + 65536


class ChunkWriter:
    """Write a clip's header, then its frames in order, then its end."""

    def __init__(self, file: Writable, header: ClipHeader) -> None:
        """Write the header.

        Raises:
            ValueError: a field is outside its range; a defect in the caller.
        """
        self._file = file
        self._limit = frame_limit(header.width, header.height)
        self._timed = header.timescale > 0
        self._index = Index()
        data = header_bytes(header)
        self._seed = data[-4:]
        self.bytes_written = len(data)
        file.write(data)

    @property
    def frames(self) -> int:
        """Number of frames written."""
        return self._index.frames

    def write(self, frame: CodedFrame, ticks: int = 0) -> None:
        """Append a frame.

        Args:
            frame: the frame.
            ticks: how long it is shown, in units of 1 / timescale of the header; 0: as long as the rate says.

        Raises:
            ValueError: it has another number of sections than its kind, is larger than `frame_limit`, or is the first
                and no key frame, or the clip has no timescale; a defect in the caller.
        """
        kind = _KEY if frame.key else _INTER
        if len(frame.sections) != _SECTIONS[kind] or sum(map(len, frame.sections)) > self._limit:
            raise ValueError(f"cannot write a frame of sections {[len(s) for s in frame.sections]}")
        if not (frame.key or self.frames):
            raise ValueError("the first frame must be a key frame")
        if ticks and not (self._timed and 1 <= ticks <= MAX_NUMBER):
            raise ValueError(f"cannot write a frame of {ticks} ticks")
        if frame.key:
            self._index.add(self.frames, self.bytes_written)
        out = bytearray((kind | _TIMED,)) + write_varint(ticks) if ticks else bytearray((kind,))
        for section in frame.sections:
            out += write_varint(len(section))
        out += frame.latents_crc.to_bytes(4, "little") + frame.pixels_crc.to_bytes(4, "little")
        crc = crc32(out, _first_crc(self._seed, self.frames))
        check = (crc & 0xFFFF).to_bytes(2, "little")
        out += check
        crc = crc32(check, crc)
        for section in frame.sections:
            out += section
            crc = crc32(section, crc)
        self._append(out, crc)
        self._index.frames += 1

    def close(self) -> None:
        """Write the index and the trailer; does not close the file.

        Raises:
            ValueError: no frame was written; a defect in the caller.
        """
        if not self.frames:
            raise ValueError("a clip has at least one frame")
        out = bytearray((_END,)) + write_varint(self.frames) + write_varint(len(self._index.keys))
        last_key, last_offset = 0, 0
        for key, offset in zip(self._index.keys, self._index.offsets, strict=True):
            out += write_varint(key - last_key) + write_varint(offset - last_offset)
            last_key, last_offset = key, offset
        trailer = self.bytes_written.to_bytes(8, "little") + TRAILER_MAGIC
        self._append(out, crc32(out, _first_crc(self._seed, _NO_NUMBER)))
        self._file.write(trailer)
        self.bytes_written += len(trailer)

    def _append(self, out: bytearray, crc: int) -> None:
        out += crc.to_bytes(4, "little")
        self._file.write(bytes(out))
        self.bytes_written += len(out)


class ChunkReader:
    """Read a clip chunk by chunk, from a file or a pipe.

    Invariant: `number` is the number of the frame that `read` returns next; `ticks` is the duration of the one that it
    returned last, 0 where that is the rate's.
    """

    def __init__(self, file: Readable) -> None:
        """Read the header.

        Raises:
            BitstreamError: it is no clip, of another version, truncated or damaged.
            InputError: the system refuses to read.
        """
        self._bytes = ByteSource(file)
        self.header, self._seed = read_header(self._bytes)
        self._start = self._bytes.at
        self._limit = frame_limit(self.header.width, self.header.height)
        self.number = 0
        self.ticks = 0
        self.payload_bytes = 0  # of the sections that were read
        self._seen: Index | None = Index()  # None after a seek

    def again(self) -> ChunkReader:
        """Return a reader of the same seekable clip, from its first frame, with a position of its own."""
        other = copy(self)
        other._bytes = copy(self._bytes)
        other.seek(*self.first)
        return other

    @property
    def seekable(self) -> bool:
        """Whether `seek`, `again` and `load_index` can be used."""
        return self._bytes.seekable

    @property
    def at(self) -> int:
        """Bytes from the beginning of the clip to the next chunk."""
        return self._bytes.at

    def read(self) -> CodedFrame | None:
        """Return the next frame, or None after the last one of a clip that is whole.

        Raises:
            BitstreamError: the clip ends without its end, is damaged here, or goes on after its end.
            InputError: the system refuses to read.
        """
        begin = self.at
        kind = self._bytes.start_chunk(f"frame {self.number}", _first_crc(self._seed, self.number))
        if kind == _END:
            self._read_end(begin)
            return None
        timed, kind = kind & _TIMED, kind & ~_TIMED
        if kind not in _SECTIONS or (kind == _INTER and self.number == 0) or (timed and not self.header.timescale):
            raise BitstreamError(f"damaged clip: no frame {self.number} begins at byte {begin}")
        frame = self._read_frame(kind, bool(timed))
        if self._seen is not None:
            self._seen.frames += 1
            if frame.key:
                self._seen.add(self.number, begin)
        self.number += 1
        self.payload_bytes += sum(map(len, frame.sections))
        return frame

    def seek(self, number: int, offset: int) -> None:
        """Continue with the key frame `number`, whose chunk is `offset` bytes from the beginning of the clip.

        A wrong offset is found out by `read`. The file must be seekable.
        """
        self._bytes.seek(offset)
        self.number = number
        self._seen = Index() if number == 0 and offset == self._start else None

    @property
    def first(self) -> tuple[int, int]:
        """Number and offset of the first frame, for `seek`."""
        return 0, self._start

    def scan(self, number: int) -> Iterator[tuple[int, int]]:
        """Yield number and offset of the key frames up to frame `number`, as far as a seekable clip is whole."""
        self.seek(*self.first)
        with contextlib.suppress(BitstreamError):
            while self.number <= number:
                begin, frame = self.at, self.read()
                if frame is None:
                    return
                if frame.key:
                    yield self.number - 1, begin

    def count(self) -> tuple[int, int]:
        """Return how many frames, and key frames among them, a seekable clip has before it ends or is damaged."""
        keys = sum(1 for _ in self.scan(MAX_FRAMES))
        return self.number, keys

    def load_index(self) -> Index | None:
        """Return the index at the end of a seekable file, or None if it is missing or damaged; then the position is
        that of the first frame.
        """
        try:
            size = self._bytes.seek_end()
            self._bytes.seek(max(self._start, size - TRAILER_BYTES))
            at = _read_trailer(self._bytes)
            if not self._start < at < size:
                return None
            self._bytes.seek(at)
            if self._bytes.start_chunk("index", _first_crc(self._seed, _NO_NUMBER)) != _END:
                return None
            index = self._read_index(at)
            return index if self._bytes.at == size - TRAILER_BYTES else None
        except BitstreamError:
            return None
        finally:
            self.seek(0, self._start)

    def _read_frame(self, kind: int, timed: bool) -> CodedFrame:
        source, what = self._bytes, f"frame {self.number}"
        ticks = source.varint(MAX_NUMBER, what) if timed else 0
        if timed and not ticks:
            raise BitstreamError(f"damaged clip: {what} lasts no time")
        lengths, room = [], self._limit
        for _ in range(_SECTIONS[kind]):
            lengths.append(source.varint(min(room, MAX_SECTION), what))
            room -= lengths[-1]
        latents_crc, pixels_crc = source.integer(4, what), source.integer(4, what)
        expected = source.crc & 0xFFFF
        if source.integer(2, what) != expected:
            raise BitstreamError(f"damaged clip: the beginning of {what} does not match its checksum")
        sections = tuple(source.take(length, what) for length in lengths)
        source.check_crc(what)
        self.ticks = ticks
        return CodedFrame(kind == _KEY, sections, latents_crc, pixels_crc)

    def _read_end(self, begin: int) -> None:
        self._bytes.start_crc(bytes((_END,)), _first_crc(self._seed, _NO_NUMBER))
        index = self._read_index(begin)
        if index.frames != self.number or (self._seen is not None and index != self._seen):
            raise BitstreamError(f"damaged clip: the index does not describe its {self.number} frames")
        if _read_trailer(self._bytes) != begin:
            raise BitstreamError("damaged clip: its trailer does not name its end")
        if self._bytes.more():
            raise BitstreamError(f"damaged clip: bytes after its end at byte {self.at}")

    def _read_index(self, end: int) -> Index:
        """Read what follows the first byte of the end, which is `end` bytes from the beginning of the clip."""
        source, what = self._bytes, "index"
        index = Index(source.varint(MAX_FRAMES, what))
        count = source.varint(index.frames, what)
        key, offset = 0, 0
        for n in range(count):
            key_step, offset_step = source.varint(index.frames - 1 - key, what), source.varint(end - offset, what)
            key, offset = key + key_step, offset + offset_step
            if (key_step > 0) != (n > 0) or (n == 0 and offset != self._start) or offset_step == 0:
                raise BitstreamError("damaged clip: the index is not in order")
            index.add(key, offset)
        source.check_crc(what)
        if not count:
            raise BitstreamError("damaged clip: the index names no key frame")
        return index


def _first_crc(seed: bytes, number: int) -> int:
    """Return the checksum that a chunk's goes on from."""
    return crc32(seed + number.to_bytes(8, "little"))


def _read_trailer(source: ByteSource) -> int:
    """Return the offset of the end."""
    at = source.integer(8, "trailer")
    if source.take(4, "trailer") != TRAILER_MAGIC:
        raise BitstreamError("damaged clip: its trailer is not one")
    return at

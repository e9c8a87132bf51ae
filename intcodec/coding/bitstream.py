"""Bytes of a compressed picture: docs/bitstream.md, written and parsed. Knows no model, no engine and no pixels.

What may live here: the layout, its integers and its section checksums. Nothing here allocates more than the bytes it
was given, whatever those bytes claim.

    magic 4 | version 1 | flags 1 | model id 8 | width | height | section lengths | latents crc 4 | pixels crc 4 |
    section 0 | crc 4 | section 1 | crc 4 | ...            section 0's crc covers everything before it as well
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias
from zlib import crc32

from intcodec.base.errors import BitstreamError
from intcodec.modelfile.container import MODEL_ID_BYTES

Buffer: TypeAlias = bytes | bytearray | memoryview

MAGIC: Final = b"\x89INT"
VERSION: Final = 1
#: Largest width and height: what a varint of four bytes holds.
MAX_SIDE: Final = 2**28 - 1
#: Largest length of a section: what a varint of five bytes holds.
MAX_SECTION: Final = 2**35 - 1
MAX_SECTIONS: Final = 4
#: Bytes before the width: enough to know the model.
HEAD_BYTES: Final = 6 + MODEL_ID_BYTES

_SECTIONS_MASK: Final = 0x03
_PIXELS_FLAG: Final = 0x04


@dataclass(frozen=True)
class Bitstream:
    """One compressed picture, taken apart.

    Invariant: 1 <= width, height <= MAX_SIDE; 1 to MAX_SECTIONS sections; checksums are CRC-32 values.
    """

    model_id: bytes  # the first MODEL_ID_BYTES bytes of the model's SHA-256
    width: int
    height: int
    sections: tuple[Buffer, ...]  # z then y, or y alone
    latents_crc: int  # of the symbols, int16 little-endian, z then y
    pixels_crc: int | None  # of the decoded picture, uint8 [height, width, 3]; None: not recorded

    @property
    def payload_bytes(self) -> int:
        """Total length of the sections in bytes."""
        return sum(len(s) for s in self.sections)


def write_varint(value: int) -> bytes:
    """Return `value` as an unsigned LEB128 integer in its shortest form.

    Args:
        value: 0 or more.
    """
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: memoryview, at: int, limit: int, what: str) -> tuple[int, int]:
    """Read an unsigned LEB128 integer of at most five bytes.

    Args:
        data: the file.
        at: offset of the integer's first byte.
        limit: the largest value allowed.
        what: the field's name, for the message.

    Returns:
        The value, in [0, limit], and the offset of the byte after it.

    Raises:
        BitstreamError: the file ends inside it, it is not in its shortest form, or it exceeds `limit`.
    """
    value = 0
    for n in range(5):
        if at + n >= len(data):
            raise BitstreamError(f"truncated file: it ends at byte {len(data)}, inside the {what}")
        byte = data[at + n]
        value |= (byte & 0x7F) << (7 * n)
        if byte < 0x80:
            if byte == 0 and n:
                raise BitstreamError(f"damaged file: {what} at byte {at} is not in its shortest form")
            if value > limit:
                raise BitstreamError(f"damaged file: {what} {value} at byte {at} exceeds {limit}")
            return value, at + n + 1
    raise BitstreamError(f"damaged file: {what} at byte {at} is longer than 5 bytes")


def serialize(stream: Bitstream) -> bytes:
    """Return the file's bytes.

    Raises:
        ValueError: a field is outside its range; a defect in the caller.
    """
    count = len(stream.sections)
    if not (1 <= stream.width <= MAX_SIDE and 1 <= stream.height <= MAX_SIDE and 1 <= count <= MAX_SECTIONS):
        raise ValueError(f"cannot write {stream.width}x{stream.height} in {count} sections")
    if len(stream.model_id) != MODEL_ID_BYTES or any(len(s) > MAX_SECTION for s in stream.sections):
        raise ValueError("bad model id or section")
    flags = count - 1 | (0 if stream.pixels_crc is None else _PIXELS_FLAG)
    out = bytearray(MAGIC + bytes((VERSION, flags)) + stream.model_id)
    for value in (stream.width, stream.height, *map(len, stream.sections)):
        out += write_varint(value)
    out += stream.latents_crc.to_bytes(4, "little")
    if stream.pixels_crc is not None:
        out += stream.pixels_crc.to_bytes(4, "little")
    crc = crc32(out)
    for section in stream.sections:
        out += section
        out += crc32(section, crc).to_bytes(4, "little")
        crc = 0
    return bytes(out)


def parse(data: Buffer) -> Bitstream:
    """Take a file apart and check everything that can be checked without a model.

    Args:
        data: the whole file.

    Returns:
        Its fields; the sections are views into `data`.

    Raises:
        BitstreamError: it is no intcodec file, of another version, truncated, damaged, or has trailing bytes.
    """
    view = memoryview(data).cast("B")
    flags = _check_start(view)
    width, at = read_varint(view, HEAD_BYTES, MAX_SIDE, "width")
    height, at = read_varint(view, at, MAX_SIDE, "height")
    if not width or not height:
        raise BitstreamError(f"damaged file: a picture of {width}x{height} pixels has nothing to decode")
    lengths = []
    for k in range((flags & _SECTIONS_MASK) + 1):
        length, at = read_varint(view, at, MAX_SECTION, f"length of section {k}")
        lengths.append(length)
    latents_crc, at = _read_crc(view, at, "checksum of the latents")
    pixels_crc = None
    if flags & _PIXELS_FLAG:
        pixels_crc, at = _read_crc(view, at, "checksum of the pixels")
    return Bitstream(model_of(view), width, height, _read_sections(view, at, lengths), latents_crc, pixels_crc)


def model_of(data: Buffer) -> bytes:
    """Return the start of the id of the model that a file names in its first HEAD_BYTES bytes; nothing is checked."""
    return bytes(data[6:HEAD_BYTES])


def _check_start(view: memoryview) -> int:
    head = bytes(view[: len(MAGIC)])
    if not head or head != MAGIC[: len(head)]:
        raise BitstreamError("not an intcodec file" if len(view) else "the file is empty")
    if len(view) < HEAD_BYTES:
        raise BitstreamError(f"truncated file: it ends at byte {len(view)}, inside the header")
    if view[4] != VERSION:
        raise BitstreamError(f"bitstream version {view[4]} is not supported; this intcodec reads version {VERSION}")
    flags = view[5]
    if flags & ~(_SECTIONS_MASK | _PIXELS_FLAG):
        raise BitstreamError(f"damaged file: reserved bits are set in flags {flags:#04x} at byte 5")
    return flags


def _read_crc(view: memoryview, at: int, what: str) -> tuple[int, int]:
    if at + 4 > len(view):
        raise BitstreamError(f"truncated file: it ends at byte {len(view)}, inside the {what}")
    return int.from_bytes(view[at : at + 4], "little"), at + 4


def _read_sections(view: memoryview, at: int, lengths: list[int]) -> tuple[memoryview, ...]:
    need = at + sum(lengths) + 4 * len(lengths)
    if need > len(view):
        raise BitstreamError(f"truncated file: it has {len(view)} bytes of {need}")
    if need < len(view):
        raise BitstreamError(f"damaged file: {len(view) - need} bytes after its end at byte {need}")
    sections = []
    covered = 0  # section 0's checksum covers the header too
    for k, length in enumerate(lengths):
        end = at + length
        stored, after = _read_crc(view, end, f"checksum of section {k}")
        if crc32(view[covered:end]) != stored:
            where = "the header or section 0" if k == 0 else f"section {k}"
            raise BitstreamError(f"damaged file: the checksum of {where} does not match")
        sections.append(view[at:end])
        at = covered = after
    return tuple(sections)

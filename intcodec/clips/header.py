"""The header of a clip: docs/video.md. What holds for all frames, as bytes.

What may live here: the header's fields, their limits and their checksum. What colour means is in intcodec.clips.colour.

    magic 4 | version 1 | colour 1 | model id 8 | width | height | rate | aspect | extension? | crc 4
    extension: primaries 1 | transfer 1 | timescale
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Final
from zlib import crc32

from intcodec.base.errors import BitstreamError
from intcodec.clips.bytesource import ByteSource
from intcodec.coding.bitstream import MAX_SIDE, write_varint
from intcodec.modelfile.container import MODEL_ID_BYTES

MAGIC: Final = b"\x89INV"
VERSION: Final = 1
#: Largest numerator and denominator of the frame rate and of a pixel's aspect, timescale and duration.
MAX_NUMBER: Final = 2**31 - 1
#: Largest value of the colour byte without its top bit, which says that the extension follows the aspect.
MAX_COLOUR: Final = 63
_EXTENDED: Final = 128
#: What H.273 has for primaries and a transfer that nobody names.
UNSPECIFIED: Final = 2


@dataclass(frozen=True)
class ClipHeader:
    """What holds for all frames of a clip.

    Invariant: 1 <= width, height <= MAX_SIDE; rate > 0; aspect is in lowest terms, or (0, 0).
    """

    model_id: bytes  # the first MODEL_ID_BYTES bytes of the model's SHA-256
    width: int
    height: int
    rate: Fraction  # frames per second
    aspect: tuple[int, int] = (0, 0)  # width to height of a pixel; (0, 0): not known
    colour: int = 0  # what the frames were before they became RGB; changes no decoded pixel
    primaries: int = UNSPECIFIED  # code points of H.273
    transfer: int = UNSPECIFIED
    timescale: int = 0  # ticks per second of the frames' own durations; 0: all last as long as the rate says

    @property
    def extended(self) -> bool:
        """Whether the extension is written."""
        return (self.primaries, self.transfer, self.timescale) != (UNSPECIFIED, UNSPECIFIED, 0)


def header_bytes(header: ClipHeader) -> bytes:
    """Return a header with its checksum.

    Raises:
        ValueError: a field is outside its range; a defect in the caller.
    """
    rate, aspect = header.rate, header.aspect
    if not (1 <= header.width <= MAX_SIDE and 1 <= header.height <= MAX_SIDE):
        raise ValueError(f"cannot write frames of {header.width}x{header.height}")
    if len(header.model_id) != MODEL_ID_BYTES or not 0 <= header.colour <= MAX_COLOUR:
        raise ValueError("bad model id or colour")
    if not (1 <= rate.numerator <= MAX_NUMBER and rate.denominator <= MAX_NUMBER):
        raise ValueError(f"cannot write a rate of {rate} frames per second")
    if not _is_aspect(*aspect):
        raise ValueError(f"cannot write a pixel aspect of {aspect}")
    if not (0 <= header.timescale <= MAX_NUMBER and 0 <= min(header.primaries, header.transfer) < 256):
        raise ValueError("bad timescale, primaries or transfer")
    colour = header.colour | (_EXTENDED if header.extended else 0)
    out = bytearray(MAGIC + bytes((VERSION, colour)) + header.model_id)
    for value in (header.width, header.height, rate.numerator, rate.denominator, *aspect):
        out += write_varint(value)
    if header.extended:
        out += bytes((header.primaries, header.transfer)) + write_varint(header.timescale)
    return bytes(out + crc32(out).to_bytes(4, "little"))


def read_header(source: ByteSource) -> tuple[ClipHeader, bytes]:
    """Return the header and its checksum's bytes.

    Raises:
        BitstreamError: it is no clip, of another version, truncated or damaged.
        InputError: the system refuses to read.
    """
    what = "header"
    if source.take(len(MAGIC), what) != MAGIC:
        raise BitstreamError("not an intcodec clip")
    source.start_crc(MAGIC, 0)
    version = source.integer(1, what)
    if version != VERSION:
        raise BitstreamError(f"clip version {version} is not supported; this intcodec reads version {VERSION}")
    colour = source.integer(1, what)
    model_id = source.take(MODEL_ID_BYTES, what)
    width, height = source.varint(MAX_SIDE, what), source.varint(MAX_SIDE, what)
    rate = source.varint(MAX_NUMBER, what), source.varint(MAX_NUMBER, what)
    aspect = source.varint(MAX_NUMBER, what), source.varint(MAX_NUMBER, what)
    extension = (UNSPECIFIED, UNSPECIFIED, 0)
    if colour & _EXTENDED:
        extension = source.integer(1, what), source.integer(1, what), source.varint(MAX_NUMBER, what)
    seed = source.crc.to_bytes(4, "little")
    source.check_crc(what)
    sensible = width and height and all(rate) and gcd(*rate) == 1 and _is_aspect(*aspect)
    if not sensible or colour & ~_EXTENDED > MAX_COLOUR:
        raise BitstreamError("damaged clip: its header makes no sense")
    header = ClipHeader(model_id, width, height, Fraction(*rate), aspect, colour & ~_EXTENDED, *extension)
    if header.extended != (colour >= _EXTENDED):
        raise BitstreamError("damaged clip: its header is extended for nothing")
    return header, seed


def _is_aspect(width: int, height: int) -> bool:
    if (width, height) == (0, 0):
        return True
    return 1 <= min(width, height) <= max(width, height) <= MAX_NUMBER and gcd(width, height) == 1

"""YUV4MPEG2 (.y4m): uncompressed YUV with a line of text before the clip and before each frame.

What may live here: the text, the planes' layout, and reading and writing them one frame at a time. Planes go in and out
as they are; RGB is a conversion (intcodec.clips.colour).

Source: the manual page yuv4mpeg(5) of mjpegtools; tags as ffmpeg writes them, and lines as it reads them: tabs for
spaces, CR LF, a rate without a colon, XYSCSS where there is no C.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any, BinaryIO, Final

import numpy as np

from intcodec.base.errors import BitstreamError, InputError, LimitError
from intcodec.base.files import Readable, read_exactly
from intcodec.clips.alpha import flatten
from intcodec.clips.colour import Chroma, Colour, Matrix, Picture, Planes, from_rgb, plane_shapes, to_rgb
from intcodec.clips.frames import DEFAULT_RATE, ColourChoice, FrameFormat, Sink, Source
from intcodec.coding.bitstream import MAX_SIDE

MAGIC: Final = b"YUV4MPEG2"
_FRAME: Final = b"FRAME"
#: Longest line that is read, in bytes.
MAX_LINE: Final = 4096
#: The C tag without its depth.
_CHROMAS: Final = {
    "420": Chroma.C420_CENTRE,
    "420jpeg": Chroma.C420_CENTRE,
    "420mpeg2": Chroma.C420_LEFT,
    "420paldv": Chroma.C420_TOP_LEFT,
    "422": Chroma.C422,
    "444": Chroma.C444,
    "411": Chroma.C411,
    "mono": Chroma.MONO,
}
_TAGS: Final = {
    Chroma.C420_CENTRE: "420jpeg",
    Chroma.C420_LEFT: "420mpeg2",
    Chroma.C420_TOP_LEFT: "420paldv",
    Chroma.C422: "422",
    Chroma.C444: "444",
    Chroma.C411: "411",
    Chroma.MONO: "mono",
}


@dataclass(frozen=True)
class Header:
    """The first line.

    Invariant: 1 <= width, height <= MAX_SIDE; 8 <= depth <= 16.
    """

    width: int
    height: int
    rate: tuple[int, int] = (0, 0)  # frames per second; (0, 0): not stated
    aspect: tuple[int, int] = (0, 0)  # width to height of a pixel; (0, 0): not stated
    interlace: str = "p"  # p, t, b or m; ?: not stated
    chroma: Chroma = Chroma.C420_CENTRE
    depth: int = 8  # bits of a sample; above 8 two bytes each, little-endian
    extra: tuple[str, ...] = ()  # the X tags without their X
    alpha: bool = False  # a fourth plane

    @property
    def full(self) -> bool | None:
        """Whether samples have the full range, as ffmpeg states it in an X tag; None: not stated."""
        for tag in self.extra:
            if tag.startswith("COLORRANGE="):
                return tag == "COLORRANGE=FULL"
        return None

    def to_line(self) -> bytes:
        """Return the first line, with its end."""
        tag = _TAGS[self.chroma] + ("alpha" if self.alpha else "")
        if self.depth > 8:  # a deep tag does not name the place of chroma
            tag = f"mono{self.depth}" if self.chroma is Chroma.MONO else f"{tag[:3]}p{self.depth}"
        fields = [f"W{self.width}", f"H{self.height}", "F{}:{}".format(*self.rate), f"I{self.interlace}"]
        fields += ["A{}:{}".format(*self.aspect), f"C{tag}", *(f"X{tag}" for tag in self.extra)]
        return b" ".join([MAGIC, *(f.encode("latin-1") for f in fields)]) + b"\n"


def read_header(file: Readable) -> Header:
    """Read the first line.

    Raises:
        InputError: it is not a y4m file, or one of a kind that is not read.
    """
    line = _read_line(file, "header")
    if not _begins(line, MAGIC):
        raise InputError("not a y4m file")
    tags: dict[str, str] = {}
    extra = []
    for part in re.split("[ \t]", line.decode("latin-1"))[1:]:
        if part[:1] == "X":
            extra.append(part[1:])
        elif part:
            tags[part[0]] = part[1:]
    width, height = _number(tags.get("W", ""), "width"), _number(tags.get("H", ""), "height")
    interlace = tags.get("I", "?")
    if interlace not in ("p", "t", "b", "m", "?"):
        raise InputError(f"damaged y4m file: its interlacing is {interlace!r}")
    other = next((tag[6:].lower() for tag in extra if tag.startswith("YSCSS=")), "420")
    chroma, depth, alpha = _parse_chroma(tags.get("C", other))
    rate, aspect = _ratio(tags.get("F", "0:0"), "rate"), _ratio(tags.get("A", "0:0"), "aspect")
    return Header(width, height, rate, aspect, interlace, chroma, depth, tuple(extra), alpha)


def read_frames(file: Readable, header: Header) -> Iterator[Planes]:
    """Yield each frame's planes, uint8 or, above 8 bits, uint16, of the shapes of `plane_shapes`; then alpha, if any.

    Raises:
        BitstreamError: the file ends inside a frame, or something else stands where a frame should begin.
    """
    shapes = plane_shapes(header.height, header.width, header.chroma)
    shapes += shapes[:1] if header.alpha else []
    dtype = np.dtype(np.uint8 if header.depth == 8 else "<u2")
    sizes = [height * width * dtype.itemsize for height, width in shapes]
    number = 0
    while True:
        first = read_exactly(file, len(_FRAME))
        if not first:
            return
        if not _FRAME.startswith(first):
            raise BitstreamError(f"damaged y4m file: frame {number} should begin with FRAME, and there is {first!r}")
        try:
            line = first + _read_line(file, f"frame {number}")
        except InputError as error:
            raise BitstreamError(str(error)) from None
        if not _begins(line, _FRAME):
            raise BitstreamError(f"damaged y4m file: frame {number} should begin with FRAME, and there is {line[:9]!r}")
        data = read_exactly(file, sum(sizes))
        if len(data) < sum(sizes):
            raise BitstreamError(f"truncated y4m file: it ends inside frame {number}, after {number} whole frames")
        planes: list[Picture] = []
        at = 0
        for shape, size in zip(shapes, sizes, strict=True):
            plane: Any = np.frombuffer(data, dtype, shape[0] * shape[1], at)
            planes.append(plane.reshape(shape))
            at += size
        yield tuple(planes)
        number += 1


def write_frame(file: BinaryIO, planes: Planes) -> None:
    """Append a frame of 8-bit planes."""
    file.write(b"".join([_FRAME, b"\n", *(p.tobytes() for p in planes)]))


def open_y4m(
    file: Readable, max_pixels: int, choice: ColourChoice, background: tuple[int, int, int] | None = None
) -> Source:
    """Return a y4m file's frames as RGB.

    Args:
        file: a file or a pipe.
        max_pixels: the largest width * height.
        choice: what the user says about its colour.
        background: the colour behind transparent pixels.

    Raises:
        InputError: it is not a y4m file that is read.
        LimitError: frames have more than `max_pixels` pixels.
    """
    header = read_header(file)
    if header.width * header.height > max_pixels:
        raise LimitError(f"frames of {header.width}x{header.height} pixels exceed the limit of {max_pixels} pixels")
    notes = []
    rate = Fraction(*header.rate) if all(header.rate) else DEFAULT_RATE
    if not all(header.rate):
        notes.append(f"the file states no frame rate: {DEFAULT_RATE} per second is assumed")
    if header.depth > 8:
        notes.append(f"{header.depth}-bit samples are reduced to 8 bits")
        if header.chroma is Chroma.C420_LEFT:
            notes.append("the file does not say where its chroma lies: on the left column is assumed")
    if header.interlace in ("t", "b", "m"):
        notes.append("interlaced frames are coded as they are, both fields in one picture")
    colour = choice.apply(header.width, header.height, header.chroma, None, header.full)
    if header.chroma is not Chroma.MONO and choice.matrix is None:
        notes.append(f"the file does not name its colour matrix: {colour.matrix.name} is assumed")
    made = FrameFormat(header.width, header.height, rate, lowest(header.aspect), colour)
    return Source(made, _pictures(file, header, colour, background), None, notes)


def _pictures(
    file: Readable, header: Header, colour: Colour, background: tuple[int, int, int] | None
) -> Iterator[tuple[Picture, int]]:
    for number, planes in enumerate(read_frames(file, header)):
        reduced = reduce_depth(planes, header.depth)
        picture = to_rgb(reduced[:3], colour)
        yield flatten(picture, reduced[3], background, f"frame {number}") if header.alpha else picture, 0


def y4m_sink(file: BinaryIO, made: FrameFormat) -> Sink:
    """Write the first line and return what appends a frame.

    Args:
        file: a file or a pipe.
        made: what to write; colour RGB is written as 4:4:4 of the usual matrix.
    """
    colour = yuv_colour(made)
    extra = ("COLORRANGE=FULL" if colour.full else "COLORRANGE=LIMITED",)
    rate = made.rate.numerator, made.rate.denominator
    file.write(Header(made.width, made.height, rate, made.aspect, "p", colour.chroma, 8, extra).to_line())
    return lambda picture, ticks=0: write_frame(file, from_rgb(picture, colour))


def yuv_colour(made: FrameFormat) -> Colour:
    """Return the colour to write frames in: the format's own, or the usual one for RGB."""
    if made.colour.matrix is not Matrix.RGB:
        return made.colour.kept()
    return ColourChoice().apply(made.width, made.height, made.colour.chroma, None, None)


def reduce_depth(planes: Planes, depth: int) -> Planes:
    """Return samples of `depth` bits as 8 bits: v / 2^(depth - 8) to nearest, ties up, at most 255."""
    if depth == 8:
        return planes
    half = 1 << (depth - 9)
    return tuple(np.minimum((p.astype(np.uint32) + half) >> (depth - 8), 255).astype(np.uint8) for p in planes)


def _read_line(file: Readable, what: str) -> bytes:
    """Read up to the end of a line, without it."""
    line = bytearray()
    while len(line) < MAX_LINE:
        byte = read_exactly(file, 1)
        if not byte:
            raise InputError(f"truncated y4m file: it ends inside the line of its {what}")
        if byte == b"\n":
            return bytes(line).rstrip(b"\r")
        line += byte
    raise InputError(f"damaged y4m file: the line of its {what} has no end")


def _begins(line: bytes, word: bytes) -> bool:
    """Return whether the first word of a line is this one."""
    return re.split(rb"[ \t]", line)[0] == word


def _parse_chroma(tag: str) -> tuple[Chroma, int, bool]:
    """Return chroma, bits of a sample, and whether there is an alpha channel, of a C tag or XYSCSS in small letters."""
    if tag == "444alpha":
        return Chroma.C444, 8, True
    base, depth = tag, 8
    if deep := re.fullmatch(r"(4[0-9]{2})p([0-9]{1,2})|(mono)([0-9]{1,2})", tag):
        base, depth = deep[1] or deep[3], int(deep[2] or deep[4])
    if base not in _CHROMAS or not 8 <= depth <= 16:
        raise InputError(f"y4m files of kind C{tag[:30]!r} are not read: write them with ffmpeg -pix_fmt yuv444p")
    # A deep tag cannot name the place of chroma; of what is deep, nearly all has it on the left column.
    return Chroma.C420_LEFT if depth > 8 and base == "420" else _CHROMAS[base], depth, False


def _number(text: str, what: str) -> int:
    value = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if not 1 <= value <= MAX_SIDE:
        raise InputError(f"damaged y4m file: its {what} is {text[:20]!r}")
    return value


def _ratio(text: str, what: str) -> tuple[int, int]:
    """Parse N:D, or N alone for N:1. Anything with a 0 in it is (0, 0), not stated."""
    if not re.fullmatch(r"[0-9]{1,10}(:[0-9]{1,10})?", text, re.ASCII):
        raise InputError(f"damaged y4m file: its {what} is {text[:30]!r}")
    first, second = map(int, (text if ":" in text else f"{text}:1").split(":"))
    if max(first, second) >= 2**31:
        raise InputError(f"damaged y4m file: its {what} is {text!r}")
    return (first, second) if first and second else (0, 0)


def lowest(ratio: tuple[int, int]) -> tuple[int, int]:
    """Return a ratio in lowest terms; (0, 0) stays."""
    divisor = gcd(*ratio) or 1
    return ratio[0] // divisor, ratio[1] // divisor

"""Pixel formats of ffmpeg's frames: every one that is read, as planes of numbers, without a change of any number.

What may live here: which planes and how many bits a format has, and taking them out of a frame. ffmpeg only moves
samples to other places here (packed to planar, other byte order); what they mean is in intcodec.clips.colour.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import InputError
from intcodec.clips.colour import Chroma, Picture, Planes

#: Chroma by its size under 64x64 samples of luma: width, height.
_CHROMAS: Final = {
    (64, 64): ("444", Chroma.C444),
    (32, 32): ("420", Chroma.C420_LEFT),
    (32, 64): ("422", Chroma.C422),
    (64, 32): ("440", Chroma.C440),
    (16, 64): ("411", Chroma.C411),
    (16, 16): ("410", Chroma.C410),
}
#: Formats whose planes are taken as they are.
_PLANAR: Final = re.compile(r"(yuv[ja]?4\d\dp|gbra?p)((9|10|12|14|16)le)?|gray((9|10|12|14|16)le)?")
#: Luma, then Cb and Cr side by side, each in the upper bits of 16: ffmpeg's own conversion fails for odd widths.
_SEMIPLANAR: Final = re.compile(r"p[024]1[026](le|be)")
_UNREAD: Final = re.compile(r"bayer|xyz|f(16|32)|gray32|gbrap32|rgb96|rgba128")


@dataclass(frozen=True)
class Layout:
    """How a pixel format holds its samples."""

    name: str  # ffmpeg's
    target: str  # the format that the planes are taken from: the same samples
    rgb: bool
    chroma: Chroma  # of YUV; MONO for grey
    depth: int  # bits of a sample
    alpha: bool

    @property
    def full(self) -> bool:
        """Whether the format's name says that luma has the full range."""
        return self.name.startswith("yuvj")


def layout(form: Any) -> Layout:
    """Return how a pixel format (PyAV's VideoFormat) holds its samples.

    Raises:
        InputError: it is not read.
    """
    name = str(form.name)
    parts = list(form.components)
    if not parts or _UNREAD.search(name):
        raise InputError(f"pixel format {name} is not read: convert the file with ffmpeg -pix_fmt yuv444p")
    alpha = name == "pal8" or any(part.is_alpha for part in parts)
    depth = int(parts[0].bits)
    if form.is_rgb or name == "pal8":
        depth = 8 if depth <= 8 else depth
        target = ("rgba" if alpha else "rgb24") if depth == 8 else f"{'gbrap' if alpha else 'gbrp'}{depth}le"
        return Layout(name, target, True, Chroma.C444, depth, alpha)
    if len(parts) < 3:
        target = "ya8" if alpha and depth == 8 else "ya16le" if alpha else "gray" if depth <= 8 else f"gray{depth}le"
        return Layout(name, target, False, Chroma.MONO, max(depth, 8), alpha)
    digits, chroma = _CHROMAS[form.chroma_width(64), form.chroma_height(64)]
    target = f"yuv{'a' if alpha else ''}{digits}p{f'{depth}le' if depth > 8 else ''}"
    if _PLANAR.fullmatch(name) or _SEMIPLANAR.fullmatch(name):
        target = name
    return Layout(name, target, False, chroma, depth, alpha)


def samples(frame: Any, made: Layout) -> tuple[Planes, Picture | None]:
    """Return a frame's planes, and its alpha channel: Y, Cb, Cr or Y alone or R, G, B, uint8 or, above 8 bits, uint16.

    Raises:
        InputError: ffmpeg cannot move the samples to planes.
    """
    if _SEMIPLANAR.fullmatch(made.target):
        return _semiplanar(frame, made), None
    if frame.format.name != made.target:
        try:
            frame = frame.reformat(format=made.target, threads=1)  # several change samples, now and then
        except (OSError, ValueError) as error:
            raise InputError(f"pixel format {made.name} is not read: convert the file with ffmpeg") from error
    dtype = "u1" if made.depth == 8 else "<u2"
    if made.target in ("rgb24", "rgba", "ya8", "ya16le"):
        channels = {"rgb24": 3, "rgba": 4}.get(made.target, 2)
        packed = _rows(frame.planes[0], dtype, frame.width * channels)
        planes = [np.ascontiguousarray(packed[:, k::channels]) for k in range(channels)]
    else:
        planes = [_rows(plane, dtype, plane.width) for plane in frame.planes]
        if made.rgb:
            planes[:3] = planes[2], planes[0], planes[1]  # they come as G, B, R
    count = 1 if made.chroma is Chroma.MONO else 3
    return tuple(planes[:count]), planes[count] if made.alpha else None


def to_eight(plane: Picture, depth: int) -> Picture:
    """Return samples of RGB or alpha, 0 to 2^depth - 1, as 0 to 255: rounded to nearest."""
    if depth == 8:
        return plane
    top = (1 << depth) - 1
    return ((plane.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)


def _rows(plane: Any, dtype: str, width: int) -> NDArray[Any]:
    """Return a plane without what pads its rows."""
    size = np.dtype(dtype).itemsize
    rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // size)
    return np.ascontiguousarray(rows[:, :width])


def _semiplanar(frame: Any, made: Layout) -> Planes:
    dtype, shift = "<u2" if made.name.endswith("le") else ">u2", 16 - made.depth
    luma = _rows(frame.planes[0], dtype, frame.width)
    chroma = _rows(frame.planes[1], dtype, 2 * frame.planes[1].width)
    return tuple((p >> shift).astype(np.uint16) for p in (luma, chroma[:, ::2], chroma[:, 1::2]))

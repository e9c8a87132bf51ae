"""Frames into video files through PyAV: FFV1 in Matroska, which loses nothing, or H.264, a lossy copy to look at.

What may live here: encoders, their options and limits, and what is written about colour, aspect and time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av
import numpy as np

from intcodec.base.errors import InputError
from intcodec.clips.colour import Chroma, Colour, Matrix, Picture, Planes, from_rgb
from intcodec.clips.frames import FrameFormat, Sink
from intcodec.clips.h273 import NUMBERS
from intcodec.clips.videofiles import errors
from intcodec.clips.y4m import yuv_colour

#: What is written, by the ending: muxer, encoder, its options; None: FFV1, which loses nothing.
WRITES: Final[dict[str, tuple[str, dict[str, str] | None]]] = {
    ".mp4": ("mp4", {"crf": "16", "preset": "medium"}),
    ".mov": ("mov", {"crf": "16", "preset": "medium"}),
    ".mkv": ("matroska", None),
}
#: Longest side of a frame: x264's, and FFV1's as ffmpeg has it.
_SIDES: Final = {".mp4": 16384, ".mov": 16384, ".mkv": 32767}
_LIMITED: Final = 1
_FULL: Final = 2


@contextlib.contextmanager
def video_sink(file: BinaryIO, made: FrameFormat, ending: str) -> Iterator[Sink]:
    """Write frames into a video file.

    Args:
        file: an open file that can seek.
        made: size, rate, aspect, colour and timescale; frames are RGB.
        ending: one of WRITES.

    Raises:
        InputError: frames are too large for the encoder, or ffmpeg refuses.
    """
    muxer, options = WRITES[ending]
    if max(made.width, made.height) > _SIDES[ending]:
        what = "FFV1 in ffmpeg" if options is None else "H.264 in ffmpeg"
        raise InputError(
            f"{what} holds frames up to {_SIDES[ending]} a side, not {made.width}x{made.height}: write .y4m or a folder"
        )
    with errors(), av.open(file, "w", format=muxer) as container:
        writer = _Writer(container, made, options)
        yield writer.write
        writer.close()


class _Writer:
    """An encoder, and the time of the next frame."""

    def __init__(self, container: Any, made: FrameFormat, options: dict[str, str] | None) -> None:
        self._container, self._made = container, made
        self._lossless = options is None
        self._stream: Any = container.add_stream("libx264" if options else "ffv1", rate=made.rate, options=options)
        self._stream.width, self._stream.height = made.width, made.height
        chroma = Chroma.C444 if made.width % 2 or made.height % 2 else Chroma.C420_LEFT
        usual = yuv_colour(made)
        self._colour = Colour(Matrix.RGB if options is None else usual.matrix, options is None, chroma)
        self._stream.pix_fmt = "bgr0" if options is None else "yuv420p" if chroma is Chroma.C420_LEFT else "yuv444p"
        if all(made.aspect):
            self._stream.sample_aspect_ratio = Fraction(*made.aspect)
        context = self._stream.codec_context
        context.colorspace, context.color_range = NUMBERS[self._colour.matrix], _FULL if self._lossless else _LIMITED
        context.color_primaries, context.color_trc = made.colour.primaries, made.colour.transfer
        self._base = Fraction(1, made.timescale) if made.timescale else 1 / made.rate
        context.time_base = self._base
        self._now = Fraction(0)

    def write(self, picture: Picture, ticks: int = 0) -> None:
        """Append a frame."""
        made = self._made
        if self._lossless:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0", threads=1)
        else:
            frame = _filled(from_rgb(picture, self._colour), self._stream.pix_fmt)
            frame.colorspace, frame.color_range = NUMBERS[self._colour.matrix], _LIMITED
        frame.color_primaries, frame.color_trc = made.colour.primaries, made.colour.transfer
        length = Fraction(ticks, made.timescale) if ticks else 1 / made.rate
        frame.pts, frame.time_base = round(self._now / self._base), self._base
        self._now += length
        frame.duration = round(self._now / self._base) - frame.pts
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what the encoder still holds."""
        self._container.mux(self._stream.encode(None))


def _filled(planes: Planes, name: str) -> Any:
    """Return a frame of pixel format `name` that holds the planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, name)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.zeros((target.height, target.line_size), np.uint8)
        rows[:, : plane.shape[1]] = plane
        target.update(rows.tobytes())
    return frame

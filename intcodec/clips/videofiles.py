"""Video files (mp4, mkv, webm, ...) through PyAV, which brings ffmpeg's libraries. Needs `intcodec[video]`.

What may live here: the only importer of `av`. YUV goes through our own integer conversion, so that the same file gives
the same frames on every machine as far as its decoder does; a pixel format that we do not know goes through ffmpeg's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, BinaryIO, Final

import av
import numpy as np

from intcodec.base.errors import InputError, LimitError
from intcodec.base.files import Readable
from intcodec.clips.colour import Chroma, Colour, Matrix, Picture, Planes, from_rgb, to_rgb
from intcodec.clips.frames import DEFAULT_RATE, ColourChoice, FrameFormat, Sink, Source
from intcodec.clips.y4m import lowest, reduce_depth, yuv_colour

#: Demuxers that read one file and nothing that it points to.
_DEMUXERS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,gif,asf,h264,hevc,obu,av1,ivf,mjpeg,nut,mxf,dv"
#: YUV formats that are converted here: chroma, and bits of a sample.
_YUV: Final = {
    **{f"{start}{name}{end}": (chroma, depth)
       for name, chroma in (("420p", Chroma.C420_LEFT), ("422p", Chroma.C422), ("444p", Chroma.C444),
                            ("411p", Chroma.C411))
       for start, end, depth in (("yuv", "", 8), ("yuvj", "", 8), ("yuv", "10le", 10), ("yuv", "12le", 12))},
    "gray": (Chroma.MONO, 8),
}  # fmt: skip
_MATRICES: Final = {1: Matrix.BT709, 4: Matrix.BT601, 5: Matrix.BT601, 6: Matrix.BT601, 9: Matrix.BT2020}
_NUMBERS: Final = {Matrix.BT709: 1, Matrix.BT601: 5, Matrix.BT2020: 9}
#: ffmpeg's numbers of the limited and the full range.
_LIMITED, _FULL = 1, 2
#: What is written, by the ending: muxer, encoder, its options; None: FFV1, which loses nothing.
WRITES: Final[dict[str, tuple[str, dict[str, str] | None]]] = {
    ".mp4": ("mp4", {"crf": "16", "preset": "medium"}),
    ".mov": ("mov", {"crf": "16", "preset": "medium"}),
    ".mkv": ("matroska", None),
}


@contextlib.contextmanager
def open_video(file: Readable, max_pixels: int, choice: ColourChoice) -> Iterator[Source]:
    """Open a video file's first video stream as RGB frames.

    Args:
        file: a file or a pipe; some files can only be read where seeking is possible.
        max_pixels: the largest width * height.
        choice: what the user says about its colour.

    Raises:
        InputError: it is no video file that ffmpeg reads, or has no video.
        LimitError: frames have more than `max_pixels` pixels.
    """
    with contextlib.ExitStack() as stack:
        with _errors(OSError):
            options = {"format_whitelist": _DEMUXERS}
            container = stack.enter_context(av.open(file, "r", container_options=options))
            source = _source(container, max_pixels, choice)
        yield source


def _source(container: Any, max_pixels: int, choice: ColourChoice) -> Source:
    if not container.streams.video:
        raise InputError("the file has no video")
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    if stream.codec_context.width * stream.codec_context.height > max_pixels:
        raise LimitError(_too_large(stream.codec_context.width, stream.codec_context.height, max_pixels))
    decoded = iter(container.decode(stream))
    first = next(decoded, None)
    if first is None:
        raise InputError("the file has no frame")
    colour, notes = _colour(first, choice)
    turns = round(first.rotation / 90) % 4
    width, height = (first.height, first.width) if turns % 2 else (first.width, first.height)
    if width * height > max_pixels:
        raise LimitError(_too_large(width, height, max_pixels))
    rate = stream.average_rate or stream.guessed_rate
    if not rate or not 0 < max(rate.numerator, rate.denominator) < 2**31:
        notes.append(f"the file states no frame rate: {DEFAULT_RATE} per second is assumed")
        rate = DEFAULT_RATE
    if len(container.streams.video) > 1 or len(container.streams) > 1:
        notes.append("only the first video stream is kept: no sound, no subtitles")
    if turns:
        notes.append(f"frames are turned by {90 * turns} degrees, as the file asks for")
    ratio = stream.sample_aspect_ratio or Fraction(0)
    aspect = lowest((ratio.numerator, ratio.denominator)) if 0 < ratio < 2**15 else (0, 0)
    made = FrameFormat(width, height, Fraction(rate), aspect[::-1] if turns % 2 else aspect, colour)
    return Source(made, _frames(first, decoded, colour, turns), stream.frames or None, notes)


def _frames(first: Any, rest: Iterator[Any], colour: Colour, turns: int) -> Iterator[Picture]:
    size = first.width, first.height
    frame = first
    while frame is not None:
        if (frame.width, frame.height) != size:
            raise InputError(f"frames change from {size[0]}x{size[1]} to {frame.width}x{frame.height}")
        with _errors(OSError):
            picture = _picture(frame, colour)
        yield np.ascontiguousarray(np.rot90(picture, turns)) if turns else picture
        with _errors(OSError):
            frame = next(rest, None)


def _colour(frame: Any, choice: ColourChoice) -> tuple[Colour, list[str]]:
    """Return what a frame's samples mean, and notes about what had to be assumed."""
    name, notes = frame.format.name, []
    if name not in _YUV:
        if not frame.format.is_rgb:
            notes.append(f"pixel format {name} is converted by ffmpeg")
        return Colour(), notes
    chroma, depth = _YUV[name]
    matrix = _MATRICES.get(int(frame.colorspace))
    said = int(frame.color_range)
    implied = name.startswith("yuvj") or (name == "gray" and said != _LIMITED)  # grey is full range, as in ffmpeg
    full = True if implied or said == _FULL else None
    if depth > 8:
        notes.append(f"{depth}-bit samples are reduced to 8 bits")
    if frame.interlaced_frame:
        notes.append("interlaced frames are coded as they are, both fields in one picture")
    colour = choice.apply(frame.width, frame.height, chroma, matrix, full)
    if matrix is None and choice.matrix is None and chroma is not Chroma.MONO:
        notes.append(f"the file does not name its colour matrix: {colour.matrix.name} is assumed")
    return colour, notes


def _picture(frame: Any, colour: Colour) -> Picture:
    """Return a frame as uint8[H, W, 3]."""
    if colour.matrix is Matrix.RGB:
        return np.ascontiguousarray(frame.reformat(format="rgb24").to_ndarray())
    if frame.format.name not in _YUV:
        raise InputError(f"frames change to pixel format {frame.format.name}")
    depth = _YUV[frame.format.name][1]
    return to_rgb(reduce_depth(_planes(frame, depth), depth), colour)


def _planes(frame: Any, depth: int) -> Planes:
    dtype = np.dtype(np.uint8 if depth == 8 else "<u2")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // dtype.itemsize)
        planes.append(np.ascontiguousarray(rows[:, : plane.width]))
    return tuple(planes)


@contextlib.contextmanager
def video_sink(file: BinaryIO, made: FrameFormat, ending: str) -> Iterator[Sink]:
    """Write frames into a video file.

    Args:
        file: an open file that can seek.
        made: size, rate and aspect; frames are RGB.
        ending: one of WRITES: .mkv is lossless (FFV1), the others are H.264, a lossy copy to look at.

    Raises:
        InputError: ffmpeg refuses.
    """
    muxer, options = WRITES[ending]
    with _errors(), av.open(file, "w", format=muxer) as container:
        stream: Any = container.add_stream("ffv1" if options is None else "libx264", rate=made.rate, options=options)
        stream.width, stream.height = made.width, made.height
        chroma = Chroma.C444 if made.width % 2 or made.height % 2 else Chroma.C420_LEFT
        colour = Colour(yuv_colour(made).matrix, False, chroma)
        stream.pix_fmt = "bgr0" if options is None else "yuv420p" if chroma is Chroma.C420_LEFT else "yuv444p"
        if all(made.aspect):
            stream.codec_context.sample_aspect_ratio = Fraction(*made.aspect)
        if options is not None:
            stream.codec_context.colorspace, stream.codec_context.color_range = _NUMBERS[colour.matrix], _LIMITED
        count = 0

        def sink(picture: Picture) -> None:
            nonlocal count
            if options is None:
                frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format="bgr0")
            else:
                frame = _filled(from_rgb(picture, colour), stream.pix_fmt)
                frame.colorspace, frame.color_range = _NUMBERS[colour.matrix], _LIMITED
            frame.pts, frame.time_base = count, 1 / made.rate
            count += 1
            container.mux(stream.encode(frame))

        yield sink
        container.mux(stream.encode(None))


def _filled(planes: Planes, name: str) -> Any:
    """Return a frame of pixel format `name` that holds the planes."""
    height, width = planes[0].shape
    frame = av.VideoFrame(width, height, name)
    for target, plane in zip(frame.planes, planes, strict=True):
        rows = np.zeros((target.height, target.line_size), np.uint8)
        rows[:, : plane.shape[1]] = plane
        target.update(rows.tobytes())
    return frame


@contextlib.contextmanager
def _errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn ffmpeg's errors, and those of `kinds`, into ours."""
    caught: tuple[type[Exception], ...] = (av.FFmpegError, *kinds)
    try:
        yield
    except caught as error:
        raise InputError(f"ffmpeg: {' '.join(str(error).split())[:200]}") from error


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"frames of {width}x{height} pixels exceed the limit of {max_pixels} pixels"

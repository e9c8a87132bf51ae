"""Video files (mp4, mkv, webm, ...) through PyAV, which brings ffmpeg's libraries. Needs `intcodec[video]`.

What may live here: which stream is read, what its frames mean (colour, orientation, durations), and frames to RGB by
our own integer conversion, so that the same file gives the same frames on every machine as far as its decoder does.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import av
import av.logging
import numpy as np
from av.stream import Disposition

from intcodec.base.errors import InputError, LimitError
from intcodec.base.files import Readable
from intcodec.clips.alpha import flatten
from intcodec.clips.clock import Clock
from intcodec.clips.colour import Chroma, Colour, Picture, to_rgb
from intcodec.clips.frames import DEFAULT_RATE, ColourChoice, FrameFormat, Source
from intcodec.clips.h273 import MATRICES, matrix_name, unusual
from intcodec.clips.header import MAX_NUMBER
from intcodec.clips.pixelformats import Layout, layout, samples, to_eight
from intcodec.clips.videodecode import WholeFrames
from intcodec.clips.y4m import lowest, reduce_depth

#: Demuxers that read one file and nothing that it points to.
_DEMUXERS: Final = "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,ogg,gif,asf,h264,hevc,obu,av1,ivf,mjpeg,nut,mxf,dv"
#: ffmpeg's numbers of the limited and the full range.
_LIMITED, _FULL = 1, 2
#: Places of chroma in ffmpeg's words, for 4:2:0.
_SITES: Final = {
    "left": Chroma.C420_LEFT,
    "center": Chroma.C420_CENTRE,
    "topleft": Chroma.C420_TOP_LEFT,
    "top": Chroma.C420_TOP,
}


@contextlib.contextmanager
def open_video(
    file: Readable, max_pixels: int, choice: ColourChoice, background: tuple[int, int, int] | None = None
) -> Iterator[Source]:
    """Open a video file's default video stream as RGB frames.

    Args:
        file: a file or a pipe; some files can only be read where seeking is possible.
        max_pixels: the largest width * height.
        choice: what the user says about its colour.
        background: the colour behind transparent pixels.

    Raises:
        InputError: it is no video file that ffmpeg reads, or has no video.
        BitstreamError: it is damaged before its first frame ends.
        LimitError: frames have more than `max_pixels` pixels.
    """
    with contextlib.ExitStack() as stack:
        with errors(OSError):
            options = {"format_whitelist": _DEMUXERS}
            container = stack.enter_context(av.open(file, "r", container_options=options))
        yield _Video(container, max_pixels, choice, background).source()


class _Video:
    """One stream of a file: what it means is decided by its first frame."""

    def __init__(self, container: Any, max_pixels: int, choice: ColourChoice, background: Any) -> None:
        self.notes: list[str] = []
        self._choice, self._background = choice, background
        self._stream = stream = _chosen(container, self.notes)
        coded = stream.codec_context
        if coded.width * coded.height > max_pixels:
            raise LimitError(_too_large(coded.width, coded.height, max_pixels))
        self._site = _site(container, stream)
        self._whole = WholeFrames(container, stream, _alpha_decoder(stream))
        with errors(OSError):
            self._frames = iter(self._whole)
            first = next(self._frames, None)
        if first is None:
            raise InputError("the file has no frame")
        self._first = first
        if self._whole.leading:
            self.notes.append(f"{self._whole.leading} frames before the first key frame are left out")
        self._layout = layout(first.format)
        self._colour = self._meaning(first)
        self._turn = _Turn(first)
        if self._turn.note:
            self.notes.append(self._turn.note)
        width, height = (first.height, first.width) if self._turn.across else (first.width, first.height)
        if width * height > max_pixels:
            raise LimitError(_too_large(width, height, max_pixels))
        self._size = width, height

    def source(self) -> Source:
        """Return the stream's frames and what holds for all of them."""
        stream = self._stream
        rate = stream.average_rate or stream.guessed_rate
        if not rate or not 0 < max(rate.numerator, rate.denominator) <= MAX_NUMBER:
            self.notes.append(f"the file states no frame rate: {DEFAULT_RATE} per second is assumed")
            rate = DEFAULT_RATE
        base = Fraction(stream.time_base or 0)
        timescale = base.denominator if base and base.denominator <= MAX_NUMBER else 0
        ratio = stream.sample_aspect_ratio or Fraction(0)
        aspect = lowest((ratio.numerator, ratio.denominator)) if 0 < ratio < 2**15 else (0, 0)
        aspect = aspect[::-1] if self._turn.across else aspect
        made = FrameFormat(*self._size, Fraction(rate), aspect, self._colour.kept(), timescale)
        return Source(made, self._timed(made), stream.frames or None, self.notes)

    def _timed(self, made: FrameFormat) -> Iterator[tuple[Picture, int]]:
        clock = Clock(made.rate, made.timescale, Fraction(self._stream.time_base or 0))
        held: Picture | None = None
        frame, number = self._first, 0
        while frame is not None:
            picture = self._picture(frame, number)
            if held is not None:
                yield held, clock.until(frame.pts)
            else:
                clock.start(frame.pts)
            held, last, number = picture, frame, number + 1
            try:
                frame = next(self._frames, None)
            except Exception:
                yield held, 0  # the last whole frame, before the error is told
                raise
        assert held is not None
        yield held, clock.last(last.duration)

    def _picture(self, frame: Any, number: int) -> Picture:
        """Return a frame as uint8[H, W, 3], upright."""
        first = self._first
        if (frame.width, frame.height, frame.format.name) != (first.width, first.height, first.format.name):
            now = f"{frame.width}x{frame.height} {frame.format.name}"
            raise InputError(
                f"frame {number} is {now}, and those before {first.width}x{first.height} {first.format.name}"
            )
        with errors(OSError):
            planes, alpha = samples(frame, self._layout)
        if self._layout.rgb:
            picture = np.stack([to_eight(p, self._layout.depth) for p in planes], axis=-1)
        else:
            picture = to_rgb(reduce_depth(planes, self._layout.depth), self._colour)
        if alpha is not None:
            picture = flatten(picture, to_eight(alpha, self._layout.depth), self._background, f"frame {number}")
        return self._turn.applied(picture)

    def _meaning(self, frame: Any) -> Colour:
        """Return what the samples of frames mean; notes say what had to be assumed."""
        made, choice, notes = self._layout, self._choice, self.notes
        facts = int(frame.color_primaries), int(frame.color_trc)
        if made.depth > 8:
            notes.append(f"{made.depth}-bit samples are reduced to 8 bits")
        if frame.interlaced_frame:
            notes.append("interlaced frames are coded as they are, both fields in one picture")
        if names := unusual(*facts):
            notes.append(f"{names}: samples are coded as they are, not as sRGB, and the clip says so")
        if made.rgb:
            choice.refuse("the frames are RGB")
            return Colour(primaries=facts[0], transfer=facts[1])
        said, matrix = int(frame.colorspace), MATRICES.get(int(frame.colorspace))
        if matrix is None and choice.matrix is None and said not in (0, 2) and made.chroma is not Chroma.MONO:
            raise InputError(f"the colour matrix {matrix_name(said)} is not read; name one to read it by with --matrix")
        chroma = _chroma(made, self._site, notes)
        grey = made.chroma is Chroma.MONO and int(frame.color_range) != _LIMITED  # full range, as in ffmpeg
        full = True if made.full or grey or int(frame.color_range) == _FULL else None
        colour = choice.apply(frame.width, frame.height, chroma, matrix, full)
        if matrix is None and choice.matrix is None and chroma is not Chroma.MONO:
            notes.append(f"the file does not name its colour matrix: {colour.matrix.name} is assumed")
        return replace(colour, primaries=facts[0], transfer=facts[1])


def _chosen(container: Any, notes: list[str]) -> Any:
    """Return the stream to read: the default one, else the first; a cover picture is none."""
    pictures = [s for s in container.streams.video if s.disposition & Disposition.attached_pic]
    videos = [s for s in container.streams.video if s not in pictures]
    if not videos:
        raise InputError("the file has no video" + (", only a cover picture" if pictures else ""))
    default = [s for s in videos if s.disposition & Disposition.default]
    stream = (default or videos)[0]
    if len(videos) > 1:
        which = "the default one" if default else "the first"
        notes.append(f"of {len(videos)} video streams number {videos.index(stream) + 1}, {which}, is read")
    if len(container.streams) > len(videos) + len(pictures):
        notes.append("only the video is kept: no sound, no subtitles")
    return stream


def _alpha_decoder(stream: Any) -> Any:
    """Return a decoder that gives the alpha channel, where the stream's own one would drop it; else None."""
    library = {"vp8": "libvpx", "vp9": "libvpx-vp9"}.get(stream.codec_context.name)
    tags = {key.lower(): value for key, value in stream.metadata.items()}
    if library is None or tags.get("alpha_mode") != "1":
        return None
    try:
        return av.CodecContext.create(library, "r")
    except (av.FFmpegError, ValueError) as error:
        raise InputError(f"the video has an alpha channel, and this PyAV has no {library} to read it") from error


def _site(container: Any, stream: Any) -> Chroma | None:
    """Return where the file or its codec says that chroma of 4:2:0 lies, which PyAV has only in ffmpeg's words."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    av.logging.set_libav_level(av.logging.VERBOSE)  # below it, the place of chroma is left out
    try:
        with av.logging.Capture():
            lines = container.dumps_format().splitlines()
    finally:
        av.logging.set_libav_level(av.logging.INFO)  # ffmpeg's default
        av.logging.set_level(before)
    for line in lines:
        head, _, rest = line.strip().partition(": Video: ")
        if head.startswith(f"Stream #0:{stream.index}") and head[len(f"Stream #0:{stream.index}") :][:1] in (
            "",
            "[",
            "(",
        ):
            words = (
                rest.partition("(" if "420" not in rest else "420")[2].partition("(")[2].partition(")")[0].split(", ")
            )
            return next((_SITES[word] for word in words if word in _SITES), None)
    return None


def _chroma(made: Layout, site: Chroma | None, notes: list[str]) -> Chroma:
    """Return size and place of the chroma samples.

    4:2:0 whose place nobody names is read as ffmpeg writes it to y4m, so that a file and its pipe are alike: between
    columns; y4m cannot name it for more than 8 bits, where all that is usual is the left column.
    """
    if made.chroma is not Chroma.C420_LEFT:
        return made.chroma
    if site is not None and made.depth == 8:
        return site
    if site is None:
        place = "on the left column" if made.depth > 8 else "between columns"
        notes.append(f"the file does not say where its chroma lies: {place} is assumed")
    return site or (Chroma.C420_LEFT if made.depth > 8 else Chroma.C420_CENTRE)


class _Turn:
    """The display matrix as one of eight: rows and columns exchanged or not, then mirrored either way or not.

    Source: ISO/IEC 14496-12, the matrix of a track: x' = a x + c y, y' = b x + d y, in 16.16 fixed point.
    """

    def __init__(self, frame: Any) -> None:
        data = frame.side_data.get("DISPLAYMATRIX")
        a, b, _, c, d = struct.unpack("=9i", bytes(data))[:5] if data is not None else (1, 0, 0, 0, 1)
        self.across = abs(b) + abs(c) > abs(a) + abs(d)
        x, y = (c, b) if self.across else (a, d)
        self._flip_x, self._flip_y = x < 0, y < 0
        self.note = ""
        if self.across or self._flip_x or self._flip_y:
            mirrored = self.across != (self._flip_x != self._flip_y)
            self.note = f"frames are {'mirrored' if mirrored else 'turned'}, as the file asks for"
        if min(abs(a) + abs(d), abs(b) + abs(c)) > 0:
            self.note = "the file asks for frames turned by another angle: the nearest right angle is taken"

    def applied(self, picture: Picture) -> Picture:
        """Return a picture as it is to be shown."""
        shown = picture.transpose(1, 0, 2) if self.across else picture
        shown = shown[:, ::-1] if self._flip_x else shown
        return np.ascontiguousarray(shown[::-1] if self._flip_y else shown)


@contextlib.contextmanager
def errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn ffmpeg's errors, and those of `kinds`, into ours."""
    caught: tuple[type[Exception], ...] = (av.FFmpegError, *kinds)
    try:
        yield
    except caught as error:
        raise InputError(f"ffmpeg: {' '.join(str(error).split())[:200]}") from error


def _too_large(width: int, height: int, max_pixels: int) -> str:
    return f"frames of {width}x{height} pixels exceed the limit of {max_pixels} pixels"

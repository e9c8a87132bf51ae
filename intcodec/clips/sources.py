"""Clips outside by their names: y4m, a folder of pictures, or a video file.

What may live here: telling the three apart. PyAV is imported only for a video file.
"""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import ModuleType
from typing import Any

from intcodec.base import files
from intcodec.base.errors import BitstreamError, InputError, LimitError
from intcodec.clips.folders import folder_sink, open_folder
from intcodec.clips.frames import ColourChoice, FrameFormat, Sink, Source
from intcodec.clips.header import MAGIC as CLIP
from intcodec.clips.y4m import MAGIC, open_y4m, y4m_sink
from intcodec.pictures.images import Picture, parse_colour

#: Endings of files that are written through PyAV.
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv")
_PNG = b"\x89PNG\r\n\x1a\n"


@contextlib.contextmanager
def open_source(
    path: str,
    max_pixels: int,
    choice: ColourChoice,
    rate: Fraction | None = None,
    background: str | None = None,
) -> Iterator[Source]:
    """Open a clip: a folder of pictures, a y4m file, or else a video file; "-" is standard input.

    Args:
        path: its name.
        max_pixels: the largest width * height of a frame.
        choice: what the user says about its colour.
        rate: frames per second in place of what the file says.
        background: the colour behind transparent pixels, as `images.read_picture` takes it.

    Raises:
        InputError: it cannot be read, or PyAV is needed and not installed.
        LimitError: frames are too large.
    """
    if path != "-" and os.path.isdir(path):
        choice.refuse("pictures are RGB")
        yield open_folder(path, max_pixels, rate, background)
        return
    fill = None if background is None else parse_colour(background)
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(files.open_input(path))
        with _named(path):
            source = _opened(file, stack, max_pixels, choice, fill)
        source.timed = _named_frames(path, source.timed)
        if rate is not None:
            source.format = replace(source.format, rate=rate, timescale=0)
            source.timed = ((picture, 0) for picture, _ in source.timed)
        yield source


def _opened(file: files.Input, stack: contextlib.ExitStack, max_pixels: int, choice: ColourChoice, fill: Any) -> Source:
    head = file.peek(16)
    if not head:
        raise InputError("the file is empty")
    if head.startswith(MAGIC):
        return open_y4m(file, max_pixels, choice, fill)
    if head.startswith(CLIP):
        raise InputError("the file is an intcodec clip already: decode it")
    if head.startswith(_PNG):
        raise InputError("a PNG picture is no video: if it moves, make a folder with ffmpeg -i FILE FOLDER/%06d.png")
    videofiles = _pyav("videofiles")
    source: Source = stack.enter_context(videofiles.open_video(file.rewound(), max_pixels, choice, fill))
    return source


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Let errors name the file."""
    try:
        yield
    except (InputError, BitstreamError, LimitError) as error:
        if path in str(error):
            raise
        raise type(error)(f"{'standard input' if path == '-' else path}: {error}") from error


def _named_frames(path: str, frames: Iterator[tuple[Picture, int]]) -> Iterator[tuple[Picture, int]]:
    while True:
        with _named(path):
            frame = next(frames, None)
        if frame is None:
            return
        yield frame


@contextlib.contextmanager
def open_sink(path: str, made: FrameFormat) -> Iterator[Sink]:
    """Write frames to what a name stands for; it appears when it is complete.

    Args:
        path: a name that ends in .y4m, .mp4, .mov or .mkv; "-" for y4m on standard output; else a folder of PNG files.
        made: what the frames are.

    Raises:
        InputError: it cannot be written, or PyAV is needed and not installed.
    """
    ending = check_sink(path)
    if ending == "":
        with folder_sink(path) as sink:
            yield sink
    elif ending == ".y4m":
        with files.atomic_output(path) as file:
            yield y4m_sink(file, made)
    else:
        writer = _pyav("videowriter")
        with files.atomic_output(path) as file, _named(path), writer.video_sink(file, made, ending) as sink:
            yield sink


def check_sink(path: str) -> str:
    """Return the ending that decides what is written: ".y4m", one of VIDEO_ENDINGS, or "" for a folder.

    Raises:
        InputError: the name has another ending.
    """
    ending = os.path.splitext(path)[1].lower()
    if path == "-" or ending == ".y4m":
        return ".y4m"
    if path.endswith(("/", os.sep)) or ending == "" or os.path.isdir(path):
        return ""
    if ending not in VIDEO_ENDINGS:
        known = ", ".join((".y4m", *VIDEO_ENDINGS))
        raise InputError(f"{path}: cannot tell the kind of clip from its name; end it in {known}, or / for a folder")
    return ending


def _pyav(name: str) -> ModuleType:
    """Import one of the modules that need PyAV."""
    try:
        return importlib.import_module(f"intcodec.clips.{name}")
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "av":
            raise
        raise InputError('video files need PyAV: pip install "intcodec[video]"; y4m and folders do not') from error

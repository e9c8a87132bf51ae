"""Clips outside by their names: y4m, a folder of pictures, or a video file.

What may live here: telling the three apart. PyAV is imported only for a video file.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from types import ModuleType

from intcodec.base import files
from intcodec.base.errors import InputError
from intcodec.clips.folders import folder_sink, open_folder
from intcodec.clips.frames import ColourChoice, FrameFormat, Sink, Source
from intcodec.clips.y4m import MAGIC, open_y4m, y4m_sink

#: Endings of files that are written through PyAV.
VIDEO_ENDINGS = (".mp4", ".mov", ".mkv")


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
        background: the colour behind transparent pixels of a folder's pictures, as `images.read_picture` takes it.

    Raises:
        InputError: it cannot be read, or PyAV is needed and not installed.
        LimitError: frames are too large.
    """
    if path != "-" and os.path.isdir(path):
        yield open_folder(path, max_pixels, rate, background)
        return
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(files.open_input(path))
        if file.starts_with(MAGIC):
            source = open_y4m(file, max_pixels, choice)
        else:
            source = stack.enter_context(_videofiles().open_video(file.rewound(), max_pixels, choice))
        yield source if rate is None else replace(source, format=replace(source.format, rate=rate))


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
        videofiles = _videofiles()
        with files.atomic_output(path) as file, videofiles.video_sink(file, made, ending) as sink:
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


def _videofiles() -> ModuleType:
    try:
        from intcodec.clips import videofiles
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "av":
            raise
        raise InputError('video files need PyAV: pip install "intcodec[video]"; y4m and folders do not') from error
    return videofiles

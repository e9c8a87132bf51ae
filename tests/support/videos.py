"""Video files made by ffmpeg's libraries, and what we read of them; importing it skips a test module without PyAV.

moving(count)                       pictures of a window that moves
frames_of(pictures, pixels)         them as PyAV's frames of a pixel format
written(path, codec, frames, ...)   a file of them
read(path, ...)                     what we read: source and frames
whole_frames(path)                  the frames before the damage, and the error's words
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from intcodec.base.errors import BitstreamError
from intcodec.clips import sources
from intcodec.clips.colour import Picture
from intcodec.clips.frames import ColourChoice, Source

av = pytest.importorskip("av")

LIMIT = 2**21
CHOICE = ColourChoice()


def moving(count: int, height: int = 48, width: int = 64) -> list[Picture]:
    large = tiny.picture(height, width + 3 * count)
    return [np.ascontiguousarray(large[:, 3 * k : 3 * k + width]) for k in range(count)]


def frames_of(pictures: Sequence[Picture], pixels: str, times: Sequence[int] | None = None) -> Iterator[Any]:
    for k, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixels, threads=1)
        frame.pts = k if times is None else times[k]
        yield frame


def written(
    path: Path, codec: str, frames: Any, pixels: str, size: tuple[int, int] = (48, 64), rate: int = 25,
    options: dict[str, str] | None = None, container: dict[str, str] | None = None,
    change: Callable[[Any], None] = lambda stream: None,
) -> bytes:  # fmt: skip
    with av.open(str(path), "w", options=container or {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options or {})
        stream.height, stream.width, stream.pix_fmt = *size, pixels
        change(stream)
        for frame in frames:
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path.read_bytes()


def read(path: Path, choice: ColourChoice = CHOICE, background: str | None = None) -> tuple[Source, list[Picture]]:
    with sources.open_source(str(path), LIMIT, choice, None, background) as source:
        return source, list(source.frames)


def whole_frames(path: Path) -> tuple[list[Picture], str]:
    """The frames before the damage, and the error's words."""
    found: list[Picture] = []
    with sources.open_source(str(path), LIMIT, CHOICE) as source:
        frames = source.frames
        try:
            while (frame := next(frames, None)) is not None:
                found.append(frame)
        except BitstreamError as error:
            return found, str(error)
    return found, ""

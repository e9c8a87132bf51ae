"""Folders of pictures as clips: one file for each frame, in the order of their names.

What may live here: names and their order. What a picture file means is in intcodec.pictures.images.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from intcodec.base.errors import InputError
from intcodec.base.files import atomic_folder
from intcodec.clips.frames import DEFAULT_RATE, FrameFormat, Sink, Source
from intcodec.pictures.images import Picture, read_picture, write_picture

#: Endings of the files that are frames; others in the folder are left alone.
ENDINGS = (".png", ".ppm", ".bmp", ".tif", ".tiff", ".webp", ".jpg", ".jpeg")


def open_folder(path: str, max_pixels: int, rate: Fraction | None = None, background: str | None = None) -> Source:
    """Return a folder's pictures as frames, in the order of their names, numbers in them compared as numbers.

    Raises:
        InputError: it cannot be read, or holds no picture.
        LimitError: the first picture has more than `max_pixels` pixels.
    """
    paths = frame_paths(Path(path))
    if not paths:
        raise InputError(f"{path} holds no pictures ({', '.join(ENDINGS)})")
    first = read_picture(paths[0], max_pixels, background)
    height, width, _ = first.picture.shape
    notes = [f"{paths[0].name}: {note}" for note in first.notes]
    if rate is None:
        notes.append(f"a folder has no frame rate: {DEFAULT_RATE} per second is assumed")
    return Source(
        FrameFormat(width, height, rate or DEFAULT_RATE), _frames(paths, max_pixels, background), len(paths), notes
    )


def frame_paths(folder: Path) -> list[Path]:
    """Return the files of a folder that are frames, in their order.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sorted((p for p in folder.iterdir() if p.suffix.lower() in ENDINGS), key=_order)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error


def _frames(paths: list[Path], max_pixels: int, background: str | None) -> Iterator[Picture]:
    for path in paths:
        yield read_picture(path, max_pixels, background).picture


def _order(path: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", path.name)
    return [(int(p), "") if p.isascii() and p.isdigit() else (-1, p) for p in parts], path.name


@contextlib.contextmanager
def folder_sink(path: str) -> Iterator[Sink]:
    """Write frames as 000000.png, 000001.png, ... into a folder that appears when it is complete.

    Raises:
        InputError: the folder exists and is not empty, or cannot be written.
    """
    with atomic_folder(path) as folder:
        count = 0

        def sink(picture: Picture) -> None:
            nonlocal count
            target = folder / f"{count:06d}.png"
            with open(target, "wb") as file:
                write_picture(file, picture, target.name)
            count += 1

        yield sink

"""Folders of pictures as clips: one file for each frame, in the order of their names.

What may live here: names and their order. What a picture file means is in intcodec.pictures.images.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from intcodec.base.errors import BitstreamError, InputError, LimitError
from intcodec.base.files import atomic_folder
from intcodec.clips.frames import DEFAULT_RATE, FrameFormat, Sink, Source
from intcodec.pictures.images import Loaded, Picture, read_picture, write_picture

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
    first = _read(paths[0], max_pixels, background)
    height, width, _ = first.picture.shape
    notes = [f"{paths[0].name}: {note}" for note in first.notes] + _gaps(paths)
    if rate is None:
        notes.append(f"a folder has no frame rate: {DEFAULT_RATE} per second is assumed")
    made = FrameFormat(width, height, rate or DEFAULT_RATE)
    return Source(made, _frames(paths, first, max_pixels, background, notes), len(paths), notes)


def frame_paths(folder: Path) -> list[Path]:
    """Return the files of a folder that are frames, in their order; hidden files (.name) and folders are not.

    Raises:
        InputError: it cannot be read.
    """
    try:
        found = (p for p in folder.iterdir() if p.suffix.lower() in ENDINGS and p.name[0] != "." and p.is_file())
        return sorted(found, key=_order)
    except OSError as error:
        raise InputError(f"cannot read {folder}: {error.strerror or error}") from error


def _frames(
    paths: list[Path], first: Loaded, max_pixels: int, background: str | None, notes: list[str]
) -> Iterator[tuple[Picture, int]]:
    said = set(first.notes)
    yield first.picture, 0
    for number, path in enumerate(paths[1:], 1):
        try:
            loaded = _read(path, max_pixels, background)
        except InputError as error:
            if background is None and _readable(path, max_pixels):  # transparent: not damage, but a missing option
                raise
            raise BitstreamError(f"{error}: {number} of {len(paths)} frames come before it") from error
        size, wanted = loaded.picture.shape[1::-1], first.picture.shape[1::-1]
        if size != wanted:
            text = "{} is {}x{}, and the frames before are {}x{}: a clip has one size"
            raise InputError(text.format(path, *size, *wanted))
        notes.extend(f"{path.name}: {note}" for note in loaded.notes if note not in said)
        said.update(loaded.notes)
        yield loaded.picture, 0


def _read(path: Path, max_pixels: int, background: str | None) -> Loaded:
    """Read a picture; errors name it."""
    try:
        return read_picture(path, max_pixels, background)
    except (InputError, LimitError) as error:
        raise type(error)(f"{path}: {error}") from error


def _readable(path: Path, max_pixels: int) -> bool:
    """Return whether a picture can be read over a background."""
    try:
        read_picture(path, max_pixels, "black")
        return True
    except InputError:
        return False


def _gaps(paths: list[Path]) -> list[str]:
    """Return a note if the names are alike but for a number, and numbers are missing."""
    parts = [re.split(r"([0-9]+)(?=[^0-9]*$)", path.stem) for path in paths]
    if any(len(part) != 3 for part in parts) or len({part[0] for part in parts}) > 1:
        return []
    numbers = [int(part[1]) for part in parts]
    gaps = [k for k in range(1, len(numbers)) if numbers[k] > numbers[k - 1] + 1]
    if not gaps:
        return []
    missing = numbers[-1] - numbers[0] + 1 - len(set(numbers))
    before, after = paths[gaps[0] - 1].name, paths[gaps[0]].name
    return [f"{missing} numbers are missing, the first between {before} and {after}: the frames follow each other"]


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

        def sink(picture: Picture, ticks: int = 0) -> None:
            nonlocal count
            target = folder / f"{count:06d}.png"
            with open(target, "wb") as file:
                write_picture(file, picture, target.name)
            count += 1

        yield sink

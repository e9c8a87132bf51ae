"""Random crops of pictures in a folder or a ZIP archive.

What may live here: which pictures there are, which are held out, and what a batch of step k is. A batch depends on the
seed and the step alone, so that a run that was killed goes on with exactly what it would have seen.
"""

from __future__ import annotations

import itertools
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from intcodec.base.errors import InputError, IntCodecError
from intcodec.pictures.images import read_picture

Picture = NDArray[np.uint8]

ENDINGS: Final = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".tif", ".tiff")
MAX_PIXELS: Final = 2**28
#: Pictures that one crop may find too small or broken before training gives up.
TRIES: Final = 50
#: At most this part of the pictures is held out.
_HELD_OUT: Final = 0.1
_SPLIT_SEED: Final = 2018


class Pictures:
    """The pictures of a folder or archive by name, read when asked for.

    Raises:
        InputError: the path is neither, or holds fewer than two pictures.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive: zipfile.ZipFile | None = None
        if path.is_dir():
            self.names = sorted(str(p.relative_to(path)) for p in path.rglob("*") if _is_picture(p.name))
        elif path.is_file():
            self.names = sorted(name for name in self._open().namelist() if _is_picture(name))
            self.close()
        else:
            raise InputError(f"{path}: no such folder or archive")
        if len(self.names) < 2:
            raise InputError(f"{path}: {len(self.names)} pictures; training needs at least two, one is held out")

    def read(self, name: str) -> Picture:
        """Return a picture, uint8[H, W, 3].

        Raises:
            InputError: it cannot be read.
        """
        if self.path.is_dir():
            return read_picture(self.path / name, MAX_PIXELS, "white").picture
        archive = self._open()
        try:
            content = archive.read(name)
        except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError) as error:
            raise InputError(f"cannot be read from the archive: {error}") from error
        return read_picture(content, MAX_PIXELS, "white").picture

    def close(self) -> None:
        """Close the archive; it opens again when needed, in each process by itself."""
        if self._archive is not None:
            self._archive.close()
            self._archive = None

    def split(self, count: int) -> tuple[list[str], list[str]]:
        """Return the names to train on and the names held out: `count`, but at most a tenth and at least one."""
        return split_names(self.names, count)

    def _open(self) -> zipfile.ZipFile:
        if self._archive is None:
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (OSError, zipfile.BadZipFile) as error:
                raise InputError(f"{self.path}: neither a folder nor a ZIP archive ({error})") from error
        return self._archive


def split_names(names: list[str], count: int) -> tuple[list[str], list[str]]:
    """Return the names to train on and those held out: `count` at random, but at most a tenth and at least one."""
    held = max(1, min(count, int(len(names) * _HELD_OUT)))
    order = np.random.default_rng(_SPLIT_SEED).permutation(len(names))
    out = {names[k] for k in order[:held]}
    return [name for name in names if name not in out], sorted(out)


class Batches(Dataset[Tensor]):
    """Item k is step k's batch, uint8[B, 3, crop, crop]: random pictures at random places, half of them mirrored."""

    def __init__(self, pictures: Pictures, names: list[str], batch_size: int, crop: int, seed: int) -> None:
        self._pictures, self._names = pictures, names
        self._batch_size, self._crop, self._seed = batch_size, crop, seed
        self._bad: set[str] = set()

    def __getitem__(self, step: int) -> Tensor:
        """Return the batch of a step.

        Raises:
            InputError: too many pictures in a row are broken or smaller than a crop.
        """
        rng = np.random.default_rng([self._seed, step])
        return torch.from_numpy(np.stack([self._one(rng) for _ in range(self._batch_size)]))

    def _one(self, rng: np.random.Generator) -> Picture:
        for _ in range(TRIES):
            name = self._names[int(rng.integers(len(self._names)))]
            u, v, flip = rng.random(3)  # drawn in any case, so that a broken picture moves no other draw
            picture = self._read(name)
            if picture is not None:
                height, width = picture.shape[0] - self._crop + 1, picture.shape[1] - self._crop + 1
                crop = _cut(picture, int(u * height), int(v * width), self._crop)
                return np.ascontiguousarray(crop[:, :, ::-1] if flip < 0.5 else crop)
        size = f"{self._crop}x{self._crop}"
        raise InputError(f"{self._pictures.path}: {TRIES} pictures in a row are broken or smaller than {size}")

    def _read(self, name: str) -> Picture | None:
        try:
            picture = self._pictures.read(name)
            reason = (
                f"{picture.shape[1]}x{picture.shape[0]} is too small" if min(picture.shape[:2]) < self._crop else ""
            )
        except IntCodecError as error:
            picture, reason = None, str(error)
        if reason and name not in self._bad:
            print(f"intcodec: note: {name}: {reason}; left out", file=sys.stderr, flush=True)
            self._bad.add(name)
        return None if reason else picture


def batches(source: Dataset[Tensor], start: int, workers: int, pin: bool) -> Iterator[Tensor]:
    """Yield the batches of steps start, start + 1, ... without end, read ahead by `workers` processes."""
    steps = itertools.count(start)
    if workers == 0:
        return (source[step] for step in steps)
    return iter(DataLoader(source, None, sampler=steps, num_workers=workers, prefetch_factor=4, pin_memory=pin))


def held_out_crops(pictures: Pictures, names: list[str], crop: int) -> Tensor:
    """Return the middles of the held-out pictures, uint8[n, 3, crop, crop]; broken and small ones are left out.

    Raises:
        InputError: none is left.
    """
    crops = []
    for name in names:
        try:
            picture = pictures.read(name)
        except IntCodecError:
            continue
        top, left = ((side - crop) // 2 for side in picture.shape[:2])
        if top >= 0 and left >= 0:
            crops.append(_cut(picture, top, left, crop))
    if not crops:
        raise InputError(f"{pictures.path}: no held-out picture of at least {crop}x{crop}; add pictures")
    return torch.from_numpy(np.stack(crops))


def _cut(picture: Picture, top: int, left: int, crop: int) -> Picture:
    return picture[top : top + crop, left : left + crop].transpose(2, 0, 1)


def _is_picture(name: str) -> bool:
    return name.lower().endswith(ENDINGS) and not Path(name).name.startswith(".")

"""Random clips for a video model: pieces of the frames in folders, and still pictures set in motion.

What may live here: which clips there are, which are held out, how a still picture moves, and what a batch of step k is.
Like the batches of `intcodec.train.data`, it depends on the seed and the step alone.
"""

from __future__ import annotations

import bisect
import itertools
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor
from torch.utils.data import Dataset

from intcodec.base.errors import InputError, IntCodecError
from intcodec.clips.folders import frame_paths
from intcodec.pictures.images import Picture, read_picture
from intcodec.train.data import MAX_PIXELS, TRIES, Pictures, split_names

#: Pixels a frame by which a still picture or an object before it moves: still, slow or fast, standard deviation.
_SPEEDS: Final = (0.0, 1.0, 4.0)
#: Standard deviation of zoom and of rotation in radians, a frame.
_ZOOM, _TURN = 0.01, 0.01
#: Part of the moving pictures with an object before them.
_OBJECTS: Final = 0.5

Point = NDArray[np.float64]


class Clips:
    """The folders below a folder that hold at least `length` pictures each, their frames, read when asked for.

    Raises:
        InputError: it is no folder, or holds no such folder.
    """

    def __init__(self, path: Path, length: int) -> None:
        self.path, self.length = path, length
        if not path.is_dir():
            raise InputError(f"{path}: no such folder; a video model is trained on a folder of folders of frames")
        folders = sorted(p for p in (path, *path.rglob("*")) if p.is_dir())
        frames = {str(p.relative_to(path)): frame_paths(p) for p in folders}
        self.frames = {name: paths for name, paths in frames.items() if len(paths) >= length}
        if not self.frames:
            raise InputError(f"{path}: no folder in it holds {length} frames; give clips as folders of pictures")

    def read(self, name: str, start: int, backward: bool = False) -> list[Picture]:
        """Return `length` frames of a clip from number `start` on, uint8[H, W, 3] each, in either order of time.

        Raises:
            InputError: one cannot be read, or they differ in size.
        """
        paths = self.frames[name][start : start + self.length]
        pictures = [read_picture(path, MAX_PIXELS, "white").picture for path in paths]
        if len({picture.shape for picture in pictures}) != 1:
            raise InputError(f"{paths[0].parent}: frames of different sizes")
        return pictures[::-1] if backward else pictures


class ClipBatches(Dataset[Tensor]):
    """Item k is step k's batch, uint8[B, T, 3, crop, crop]: random pieces of clips, half of them mirrored.

    Args:
        clips: the clips to take pieces of, every run of T frames as often as every other.
        names: those of them to train on.
        stills: pictures that are set in motion for half of a batch, with the names to use; None takes clips only.
        batch_size: pieces a batch.
        crop: side of a piece.
        seed: of all choices.
    """

    def __init__(
        self,
        clips: Clips,
        names: list[str],
        stills: tuple[Pictures, list[str]] | None,
        batch_size: int,
        crop: int,
        seed: int,
    ) -> None:
        self._clips, self._names, self._stills = clips, names, stills
        self._batch_size, self._crop, self._seed = batch_size, crop, seed
        self._ends = list(itertools.accumulate(len(clips.frames[name]) - clips.length + 1 for name in names))

    def __getitem__(self, step: int) -> Tensor:
        """Return the batch of a step.

        Raises:
            InputError: too many clips in a row are broken or smaller than a crop.
        """
        rng = np.random.default_rng([self._seed, step])
        return torch.from_numpy(np.stack([self._one(rng, k % 2 == 1) for k in range(self._batch_size)]))

    def _one(self, rng: np.random.Generator, still: bool) -> Picture:
        piece = self._moving(rng) if still and self._stills else self._real(rng)
        return np.ascontiguousarray(piece[..., ::-1] if rng.random() < 0.5 else piece)

    def _real(self, rng: np.random.Generator) -> Picture:
        problem = ""
        for _ in range(TRIES):
            at = int(rng.integers(self._ends[-1]))
            index = bisect.bisect_right(self._ends, at)
            backward, u, v = bool(rng.random() < 0.5), *rng.random(2)
            start = at - (self._ends[index - 1] if index else 0)
            try:
                frames = self._clips.read(self._names[index], start, backward)
                return _piece(frames, u, v, self._crop)
            except IntCodecError as error:
                problem = str(error)
        raise InputError(f"{self._clips.path}: {TRIES} clips in a row are of no use; the last: {problem}")

    def _moving(self, rng: np.random.Generator) -> Picture:
        assert self._stills is not None
        pictures, names = self._stills
        problem = ""
        for _ in range(TRIES):
            behind, before = (names[int(k)] for k in rng.integers(len(names), size=2))
            own = int(rng.integers(2**63))
            try:
                return moving(pictures.read(behind), pictures.read(before), self._clips.length, self._crop, own)
            except IntCodecError as error:
                problem = str(error)
        raise InputError(f"{pictures.path}: {TRIES} pictures in a row are of no use; the last: {problem}")


def moving(behind: Picture, before: Picture, length: int, crop: int, seed: int) -> Picture:
    """Set a picture in motion, half the time with an ellipse of another one moving before it.

    Args:
        behind: uint8[H, W, 3]; reflected where the motion leaves it.
        before: uint8[H, W, 3], what the ellipse shows.
        length: frames.
        crop: side of a frame.
        seed: of the motions: shift, zoom and rotation, each the same from frame to frame.

    Returns:
        uint8[length, 3, crop, crop].
    """
    rng = np.random.default_rng(seed)
    ground = _Moving(rng, behind, crop, length, np.array([0.5, 0.5]))
    thing = None
    if rng.random() < _OBJECTS:
        thing = _Moving(rng, before, crop, length, rng.uniform(0.25, 0.75, 2))
    frames = []
    for t in range(length):
        frame = ground.at(t)
        if thing is not None:
            frame = Image.composite(thing.at(t), frame, thing.shape_at(t))
        frames.append(np.asarray(frame).transpose(2, 0, 1))
    return np.stack(frames)


class _Moving:
    """A picture under a steady motion, seen through a window [crop, crop], and an ellipse in it that moves with it.

    `place` is where in the window the ellipse's middle begins, (right, down) from 0 to 1.
    """

    def __init__(self, rng: np.random.Generator, picture: Picture, crop: int, length: int, place: Point) -> None:
        self._crop = crop
        # a zoomed window's half diagonal, a quarter of a crop off the middle, half a crop of motion: 1.5 crops at most
        margin = [(max(0, (3 * crop - side + 1) // 2),) * 2 for side in picture.shape[:2]]
        image = Image.fromarray(np.pad(picture, (*margin, (0, 0)), mode="symmetric"))
        self._centre = np.array(image.size) / 2 + rng.uniform(-1, 1, 2) * crop / 4
        most = crop / 2 / length
        self._speed = rng.normal(0, rng.choice(_SPEEDS), 2).clip(-most, most)
        self._zoom, self._turn = rng.normal(0, (_ZOOM, _TURN))
        reach = rng.uniform(0.1, 0.45, 2) * crop
        self._shape = Image.new("L", image.size)
        ImageDraw.Draw(self._shape).ellipse((*(self._centre - reach), *(self._centre + reach)), fill=255)
        self._image, self._seen = image, crop * place

    def at(self, t: int) -> Image.Image:
        """Return what the window sees at a time."""
        return self._moved(self._image, t)

    def shape_at(self, t: int) -> Image.Image:
        """Return where the window sees the ellipse at a time, 255 inside and 0 outside."""
        return self._moved(self._shape, t)

    def _moved(self, image: Image.Image, t: int) -> Image.Image:
        scale, angle = np.exp(self._zoom * t), self._turn * t
        matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rest = self._centre - matrix @ (self._seen + self._speed * t)
        affine = (*matrix[0], rest[0], *matrix[1], rest[1])
        return image.transform((self._crop,) * 2, Image.Transform.AFFINE, affine, Image.Resampling.BICUBIC)


def split_clips(clips: Clips, count: int) -> tuple[list[str], list[str]]:
    """Return the clips to train on and those held out: `count`, but at most a tenth and at least one.

    Raises:
        InputError: there are fewer than two.
    """
    if len(clips.frames) < 2:
        raise InputError(f"{clips.path}: one clip; training needs at least two, one is held out")
    return split_names(list(clips.frames), count)


def held_out_clips(clips: Clips, names: list[str], crop: int) -> Tensor:
    """Return the middles of the held-out clips' first frames, uint8[n, T, 3, crop, crop]; broken, small: left out.

    Raises:
        InputError: none is left.
    """
    pieces = []
    for name in names:
        try:
            pieces.append(_piece(clips.read(name, 0), 0.5, 0.5, crop))
        except IntCodecError:
            continue
    if not pieces:
        raise InputError(f"{clips.path}: no held-out clip of at least {crop}x{crop}; add clips")
    return torch.from_numpy(np.stack(pieces))


def _piece(frames: list[Picture], u: float, v: float, crop: int) -> Picture:
    """Return uint8[T, 3, crop, crop] at a place, 0 is top or left and 1 is bottom or right."""
    height, width = frames[0].shape[:2]
    if min(height, width) < crop:
        raise InputError(f"frames of {width}x{height} are smaller than {crop}x{crop}")
    top, left = int(u * (height - crop + 1)), int(v * (width - crop + 1))
    return np.stack([f[top : top + crop, left : left + crop].transpose(2, 0, 1) for f in frames])

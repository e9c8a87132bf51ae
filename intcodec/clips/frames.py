"""What a sequence of frames is, whatever it was read from or is written to.

What may live here: types that sources and sinks share. A source reads one frame at a time; a sink is a function that
takes the next frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Protocol

from intcodec.base.errors import InputError
from intcodec.clips.colour import Chroma, Colour, Matrix, Picture


class Sink(Protocol):
    """Takes the next frame."""

    def __call__(self, picture: Picture, ticks: int = 0) -> None:
        """Write uint8[H, W, 3], shown for `ticks` / `timescale` seconds, or as long as the rate says."""
        ...


#: Frames per second of sources that do not say.
DEFAULT_RATE = Fraction(25)
_MAX_RATIO = 2**31 - 1


@dataclass(frozen=True)
class FrameFormat:
    """What holds for all frames of a sequence."""

    width: int
    height: int
    rate: Fraction = DEFAULT_RATE  # frames per second
    aspect: tuple[int, int] = (0, 0)  # width to height of a pixel in lowest terms; (0, 0): not known
    colour: Colour = field(default_factory=Colour)  # of the file; frames are RGB
    timescale: int = 0  # ticks per second of the frames' own durations; 0: all last as long as the rate says


@dataclass(frozen=True)
class ColourChoice:
    """What the user says about colour; None leaves it to the source."""

    matrix: Matrix | None = None
    full: bool | None = None

    def apply(self, width: int, height: int, chroma: Chroma, matrix: Matrix | None, full: bool | None) -> Colour:
        """Return the colour of a source of which `matrix` and `full` are known or None.

        A matrix that nobody names is BT.709 for frames above 1024x576, else BT.601; a range nobody names is limited.
        """
        usual = Matrix.BT709 if width > 1024 or height > 576 else Matrix.BT601
        chosen = self.full if self.full is not None else full
        return Colour(self.matrix or matrix or usual, bool(chosen), chroma)

    def refuse(self, why: str) -> None:
        """Refuse a choice for frames that are RGB.

        Raises:
            InputError: there is one.
        """
        if self.matrix is not None or self.full is not None:
            raise InputError(f"--matrix and --range are for YUV, and {why}: leave them out")


@dataclass
class Source:
    """Frames to read once, in order.

    `timed` gives frames uint8[H, W, 3] with their durations in units of 1 / `timescale`, 0 for the rate's. It raises
    BitstreamError where the source is damaged or cut off, after the whole frames before.
    """

    format: FrameFormat
    timed: Iterator[tuple[Picture, int]]
    count: int | None = None  # number of frames, where it is known
    notes: list[str] = field(default_factory=list)  # one line for each thing about the source that does not survive

    @property
    def frames(self) -> Iterator[Picture]:
        """Return the frames without their durations."""
        return (picture for picture, _ in self.timed)


def parse_rate(text: str) -> Fraction:
    """Return a frame rate written as 25, 29.97 or 30000/1001.

    Raises:
        InputError: it is not one, or needs integers above 2^31 - 1.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{text!r} is not a frame rate; write 25 or 30000/1001") from error
    if not (rate > 0 and max(rate.numerator, rate.denominator) <= _MAX_RATIO):
        raise InputError(f"{text!r} is not a frame rate; it must be positive, of integers up to 2^31 - 1")
    return rate


def parse_range(text: str) -> tuple[int, int | None]:
    """Return a range A:B of frames, A included, B not; A: goes on to the end.

    Raises:
        InputError: it is not one.
    """
    first, colon, last = text.partition(":")
    numbers = all(part == "" or (part.isascii() and part.isdigit() and len(part) < 12) for part in (first, last))
    begin, end = (int(first or 0), int(last) if last else None) if numbers else (0, 0)
    if not colon or (end is not None and end <= begin):
        raise InputError(f"{text!r} is not a range of frames; write A:B for the frames A to B - 1")
    return begin, end

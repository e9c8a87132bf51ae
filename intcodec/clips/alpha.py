"""Transparent frames: a clip has no alpha channel.

What may live here: the one rule for folders and video files. An alpha channel that is opaque everywhere is dropped;
another needs a colour to be put behind it.
"""

from __future__ import annotations

import numpy as np

from intcodec.base.errors import InputError
from intcodec.clips.colour import Picture


def flatten(picture: Picture, alpha: Picture, background: tuple[int, int, int] | None, what: str) -> Picture:
    """Return a frame over a background: (a * pixel + (255 - a) * background) / 255, rounded to nearest.

    Args:
        picture: uint8[H, W, 3].
        alpha: uint8[H, W], 0 transparent.
        background: its colour; None: transparent pixels are refused.
        what: the frame's name, for the message.

    Raises:
        InputError: a pixel is transparent and there is no background.
    """
    if alpha.min() == 255:
        return picture
    if background is None:
        raise InputError(f"{what} has transparent pixels, and clips have none: give --background COLOR")
    a = alpha.astype(np.uint32)[..., None]
    return ((picture * a + np.array(background, np.uint32) * (255 - a) + 127) // 255).astype(np.uint8)

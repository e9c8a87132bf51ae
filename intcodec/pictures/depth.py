"""Samples of more than 8 bits: how many a file has, and 8 bits of them.

What may live here: what a file says about the depth of its samples. What is lost is said in one note.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from intcodec.base.errors import InputError

#: Pillow's modes of grey samples of up to 16 bits, and of 32.
SIXTEEN: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_SUBFILE_TYPE, _BITS, _PHOTOMETRIC = 254, 258, 262
_WHITE_IS_ZERO: Final = 0


def is_sixteen(image: Image.Image) -> bool:
    """Return whether Pillow reads 16-bit colour samples and keeps their upper 8 bits."""
    return any(";16" in str(tile[3]) for tile in getattr(image, "tile", []))


def notes(image: Image.Image, data: bytes) -> list[str]:
    """Return what reading will lose, as far as the file's header tells; to be called before the pixels are loaded.

    Raises:
        InputError: the first picture in the file is a small copy of another.
    """
    if image.format == "TIFF" and _tag(image, _SUBFILE_TYPE, 0) & 1:
        raise InputError(
            "its first picture is a small copy (a thumbnail); camera raw files are not read, convert it to PNG"
        )
    found = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        found.append(f"only the first of {frames} frames is read")
    if image.mode in SIXTEEN:
        return found  # `to_eight` says so
    if is_sixteen(image):
        found.append("16-bit picture: only the upper 8 bits of each sample are kept")
    elif (bits := _bits(image, data)) > 8:
        found.append(f"{bits}-bit picture reduced to 8 bits")
    return found


def _bits(image: Image.Image, data: bytes) -> int:
    """Return the bits of a sample that Pillow reduced, as the file's header states them; 8 where it does not tell."""
    if image.format == "PPM":
        raw = next(iter(getattr(image, "tile", [])), (0, 0, 0, ()))[3]
        return int(raw[1]).bit_length() if isinstance(raw, tuple) and len(raw) > 1 and isinstance(raw[1], int) else 8
    if image.format == "JPEG2000" and (at := data.find(b"\xff\x51")) >= 0:
        return (data[at + 40] & 0x7F) + 1 if at + 40 < len(data) else 8
    if image.format == "AVIF" and (at := data.find(b"av1C")) >= 0 and at + 6 < len(data):
        return 8 if not data[at + 6] & 0x40 else 12 if data[at + 6] & 0x20 else 10
    return 8


def to_eight(image: Image.Image, notes: list[str]) -> tuple[Image.Image, Image.Image | None]:
    """Return mode L, v * 255 / (2**bits - 1) rounded to nearest, and the alpha channel of a colour key, or None.

    Raises:
        InputError: the samples have more than 16 bits.
    """
    values = np.asarray(image).astype(np.int64)
    bits = _tag(image, _BITS, 16) if image.format == "TIFF" else 16
    top = (1 << bits) - 1
    if (values.size and (int(values.min()) < 0 or int(values.max()) > 65535)) or not 8 < bits <= 16:
        raise InputError("32-bit grey pixels are not read; convert the picture to 8-bit RGB first")
    if image.format == "TIFF" and _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO:
        values = top - values
    notes.append(f"{bits}-bit picture reduced to 8 bits")
    grey = Image.fromarray(((values.clip(0, top) * 255 + top // 2) // top).astype(np.uint8))
    key = image.info.get("transparency")
    alpha = Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)) if isinstance(key, int) else None
    return grey, alpha


def _tag(image: Image.Image, number: int, default: int) -> int:
    """Return an integer tag of a TIFF file, of several samples the first."""
    value = getattr(image, "tag_v2", {}).get(number, default)
    first = value[0] if isinstance(value, tuple) and value else value
    return first if isinstance(first, int) else default

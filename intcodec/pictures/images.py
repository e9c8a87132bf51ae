"""Picture files to uint8[H, W, 3] sRGB and back, through Pillow.

What may live here: what a picture file means. The only importer of Pillow. Reading never guesses about a picture's
meaning in silence: what is changed beyond its storage comes back as a note, what is ambiguous is an error. Parts of
Pillow that only some pictures need are imported where they are: decoding starts sooner without them.
"""

from __future__ import annotations

import contextlib
import io
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from intcodec.base.errors import InputError, LimitError

Picture = NDArray[np.uint8]

#: Formats that are read. Others that Pillow knows start programs (EPS) or hold no photographs.
READS: Final = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "MPO", "PCX", "PNG", "PPM", "QOI", "TGA", "TIFF", "WEBP")
#: File name endings that are written, with Pillow's format and options. All are lossless.
WRITES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    ".png": ("PNG", {"compress_level": 4}),
    ".ppm": ("PPM", {}),
    ".bmp": ("BMP", {}),
    ".tif": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".tiff": ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ".webp": ("WEBP", {"lossless": True}),
}
_LOSSY: Final = (".jpg", ".jpeg", ".jpe", ".jfif", ".avif", ".heic", ".jp2", ".jxl", ".gif")
_SIXTEEN: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_ALPHA: Final = ("LA", "La", "PA", "RGBA", "RGBa")
_STRIP: Final = 2**22  # values copied out of Pillow at a time


@dataclass
class Loaded:
    """A picture and one line for each thing about the file that did not survive."""

    picture: Picture  # uint8[H, W, 3], C-contiguous
    notes: list[str] = field(default_factory=list)


def read_picture(source: str | os.PathLike[str] | bytes, max_pixels: int, background: str | None = None) -> Loaded:
    """Read a picture file.

    Grey becomes three equal channels, a palette its colours, CMYK and every embedded colour profile sRGB; an EXIF
    orientation is applied; an alpha channel that is opaque everywhere is dropped.

    Args:
        source: a path, or a file's bytes.
        max_pixels: the largest width * height.
        background: a colour ("white", "#rrggbb") to put behind transparent pixels.

    Returns:
        The picture and notes about what was lost.

    Raises:
        InputError: it cannot be read, is damaged, of an unknown kind, or transparent without a background.
        LimitError: it has more than `max_pixels` pixels; they were not decoded.
    """
    fill = parse_colour(background) if background is not None else None
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with _errors(), _pillow_limit(max_pixels), Image.open(file) as image:
            if image.format not in READS:
                raise InputError(f"{image.format} files are not read; convert it to PNG first")
            if image.width * image.height > max_pixels:
                raise LimitError(_too_large(image.size, max_pixels))
            notes = _notes(image)
            image.load()
            return Loaded(_to_array(_to_rgb(image, fill, notes)), notes)
    except Image.DecompressionBombError as error:
        raise LimitError(f"the picture exceeds the limit of {max_pixels} pixels") from error


def check_output(path: str) -> None:
    """Refuse a picture's file name whose ending names no lossless format that is written; "-" is PNG.

    Raises:
        InputError: the ending is unknown or lossy.
    """
    ending = os.path.splitext(path)[1].lower()
    if path == "-" or ending in WRITES:
        return
    known = ", ".join(WRITES)
    if ending in _LOSSY:
        raise InputError(f"{path}: {ending} would lose the exact pixels; write one of {known}")
    raise InputError(f"{path}: cannot tell the picture format from its name; end it in one of {known}")


def write_picture(file: BinaryIO, picture: Picture, path: str) -> None:
    """Write a picture to an open file, losslessly, in the format that `path` names; "-" is PNG.

    Raises:
        InputError: the format cannot hold the picture.
        OSError: the file cannot be written.
    """
    kind, options = WRITES[".png" if path == "-" else os.path.splitext(path)[1].lower()]
    try:
        Image.fromarray(picture).save(file, kind, **options)
    except (ValueError, OverflowError, struct.error) as error:
        raise InputError(f"cannot write {picture.shape[1]}x{picture.shape[0]} pixels as {kind}: {error}") from error


def _to_rgb(image: Image.Image, fill: tuple[int, int, int] | None, notes: list[str]) -> Image.Image:
    """Return the picture in mode RGB, upright, in sRGB."""
    profile = image.info.get("icc_profile")
    image = _upright(image)
    if image.mode in _SIXTEEN:
        image = _from_sixteen(image, notes)
    if image.mode in _ALPHA or "transparency" in image.info:
        image = _flatten(image, fill)
    if image.mode in ("1", "P"):
        image = image.convert("RGB")
    if image.mode not in ("L", "RGB", "CMYK", "LAB", "YCbCr"):
        raise InputError(f"pixels of kind {image.mode} are not read; convert the picture to 8-bit RGB first")
    if profile:
        image = _to_srgb(image, profile, notes)
    if image.mode == "LAB":
        raise InputError("Lab pixels need a colour profile to be read; convert the picture to 8-bit RGB first")
    if image.mode == "CMYK":
        notes.append("CMYK without a colour profile: its colours are approximate")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ExifTags, ImageOps

    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image) or image
    except (ValueError, TypeError, KeyError, SyntaxError, struct.error):
        return image  # EXIF that cannot be read says nothing about orientation


def _from_sixteen(image: Image.Image, notes: list[str]) -> Image.Image:
    """Return mode L, v * 255 / 65535 rounded to nearest."""
    values = np.asarray(image).astype(np.int32)
    if values.size and (int(values.min()) < 0 or int(values.max()) > 65535):
        raise InputError("32-bit grey pixels are not read; convert the picture to 8-bit RGB first")
    notes.append("16-bit picture reduced to 8 bits")
    return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))


def _flatten(image: Image.Image, fill: tuple[int, int, int] | None) -> Image.Image:
    """Return mode RGB without the alpha channel."""
    rgba = image.convert("RGBA")
    if rgba.getchannel("A").getextrema() == (255, 255):
        return rgba.convert("RGB")
    if fill is None:
        raise InputError("the picture has transparent pixels; flatten it first, or give --background COLOR")
    flat = Image.new("RGB", rgba.size, fill)
    flat.paste(rgba, mask=rgba.getchannel("A"))
    return flat


def _to_srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    from PIL import ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if image.mode == "RGB" and "srgb" in ImageCms.getProfileDescription(source).lower():
            return image
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("the embedded colour profile does not fit the picture and was ignored")
        return image
    if converted is None:  # pragma: no cover - only for inPlace
        return image
    return converted


def _to_array(image: Image.Image) -> Picture:
    """Copy strip by strip: Pillow's own export holds the picture twice more."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // (3 * image.width))
    for y in range(0, image.height, rows):
        out[y : y + rows] = np.asarray(image.crop((0, y, image.width, min(y + rows, image.height))))
    return out


def _notes(image: Image.Image) -> list[str]:
    """Return what reading will lose, as far as the file's header tells; to be called before the pixels are loaded."""
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        notes.append(f"only the first of {frames} frames is read")
    if image.mode not in _SIXTEEN and any(";16" in str(tile[3]) for tile in getattr(image, "tile", [])):
        notes.append("16-bit picture: only the upper 8 bits of each sample are kept")
    return notes


def parse_colour(colour: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour's name or #rrggbb.

    Raises:
        InputError: it is not one.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(colour)[:3]
    except ValueError as error:
        raise InputError(f"unknown colour {colour!r}; write a name such as white, or #rrggbb") from error
    return red, green, blue


def _too_large(size: tuple[int, int], max_pixels: int) -> str:
    return f"a picture of {size[0]}x{size[1]} pixels exceeds the limit of {max_pixels} pixels"


@contextlib.contextmanager
def _errors() -> Iterator[None]:
    """Turn whatever Pillow raises about a file into InputError; its decoders raise nearly every type."""
    try:
        yield
    except (InputError, LimitError, MemoryError, Image.DecompressionBombError):
        raise
    except UnidentifiedImageError as error:
        raise InputError("not a picture file that can be read") from error
    except OSError as error:
        raise InputError(error.strerror or f"damaged picture: {_line(error)}") from error
    except Exception as error:
        raise InputError(f"damaged picture: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@contextlib.contextmanager
def _pillow_limit(max_pixels: int) -> Iterator[None]:
    """Let Pillow enforce our limit instead of its own; its warnings concern programs without one."""
    before = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = max_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before

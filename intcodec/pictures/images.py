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
from intcodec.pictures import colour, depth, repair

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
_SIXTEEN: Final = depth.SIXTEEN
#: Files that are looked into beyond what Pillow tells: PNG, JPEG, JPEG 2000.
_LOOKED_INTO: Final = (repair.PNG, b"\xff\xd8", b"\xff\x4f", b"\0\0\0\x0cjP")
_NO_PICTURE: Final = "not a picture file that can be read"
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
    try:
        with _errors(), _pillow_limit(max_pixels), _opened(source) as file:
            head = file.read(32)
            data = head + file.read() if head.startswith(_LOOKED_INTO) or head[4:8] == b"ftyp" else b""
            file.seek(0)
            return _read(io.BytesIO(data) if data else file, data, max_pixels, fill)
    except Image.DecompressionBombError as error:
        raise LimitError(f"the picture exceeds the limit of {max_pixels} pixels") from error


def _read(file: BinaryIO, data: bytes, max_pixels: int, fill: tuple[int, int, int] | None) -> Loaded:
    """Read an open file; `data` is all of it where more is looked at than Pillow tells."""
    notes: list[str] = []
    image = _open(file, data, notes)
    if image.format not in READS:
        raise InputError(f"{image.format} files are not read; convert it to PNG first")
    if image.width * image.height > max_pixels:
        raise LimitError(_too_large(image.size, max_pixels))
    notes += depth.notes(image, data)
    if depth.is_sixteen(image) and isinstance(key := image.info.get("transparency"), tuple):
        image.info["transparency"] = tuple(value >> 8 for value in key)  # as Pillow keeps the samples
    try:
        image.load()
    except OSError as error:
        if image.format != "JPEG" or "truncated" not in str(error):
            raise
        image = _without_end(data, notes, error)
    return Loaded(_to_array(_to_rgb(image, colour.stated(image, data), fill, notes)), notes)


def _opened(source: str | os.PathLike[str] | bytes) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _open(file: BinaryIO, data: bytes, notes: list[str]) -> Image.Image:
    """Open a picture, a PNG without what only describes it if that is damaged or too large for Pillow."""
    try:
        return Image.open(file)
    except (UnidentifiedImageError, ValueError, SyntaxError, struct.error):
        if data.startswith(repair.PNG):
            bare, profile = repair.bare_png(data)
            image = Image.open(io.BytesIO(bare))
            if profile:
                image.info["icc_profile"] = profile
            notes.append("damaged or very large chunks that do not concern the pixels were left out")
            return image
        file.seek(0)
        if kind := repair.kind_of(file.read(32)):
            raise InputError(f"{kind} files are not read; convert it to PNG first") from None
        raise


def _without_end(data: bytes, notes: list[str], error: OSError) -> Image.Image:
    """Return a JPEG that lacks its end marker only.

    Raises:
        OSError: it lacks more.
    """
    images = [Image.open(io.BytesIO(ended)) for ended in repair.ended_jpegs(data)]
    if images[0].tobytes() != images[1].tobytes():
        raise error
    notes.append("the file lacks its end marker; all pixels are there")
    return images[0]


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


def _to_rgb(
    image: Image.Image, profile: bytes | None, fill: tuple[int, int, int] | None, notes: list[str]
) -> Image.Image:
    """Return the picture in mode RGB, upright, in sRGB. A profile describes colours before anything is mixed."""
    image = _upright(image)
    alpha = None
    if image.mode in _SIXTEEN:
        image, alpha = depth.to_eight(image, notes)
    elif image.mode in _ALPHA or "transparency" in image.info:
        image, alpha = _without_alpha(image)
    if image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("L", "RGB", "CMYK", "LAB", "YCbCr"):
        raise InputError(f"pixels of kind {image.mode} are not read; convert the picture to 8-bit RGB first")
    if profile:
        image = colour.to_srgb(image, profile, notes)
    if image.mode == "LAB":
        raise InputError("Lab pixels need a colour profile to be read; convert the picture to 8-bit RGB first")
    if image.mode == "CMYK":
        notes.append("CMYK without a colour profile: its colours are approximate")
    image = image if image.mode == "RGB" else image.convert("RGB")
    return image if alpha is None or alpha.getextrema() == (255, 255) else _flatten(image, alpha, fill)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Return the colours of a picture, mode L or RGB, and its alpha channel."""
    if image.mode == "LA":
        return image.getchannel("L"), image.getchannel("A")
    rgba = image.convert("RGBA")
    return rgba.convert("RGB"), rgba.getchannel("A")


def _upright(image: Image.Image) -> Image.Image:
    from PIL import ExifTags, ImageOps

    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        return ImageOps.exif_transpose(image) or image
    except (ValueError, TypeError, KeyError, SyntaxError, struct.error):
        return image  # EXIF that cannot be read says nothing about orientation


def _flatten(image: Image.Image, alpha: Image.Image, fill: tuple[int, int, int] | None) -> Image.Image:
    """Return a picture of mode RGB on a background."""
    if fill is None:
        raise InputError("the picture has transparent pixels; flatten it first, or give --background COLOR")
    flat = Image.new("RGB", image.size, fill)
    flat.paste(image, mask=alpha)
    return flat


def _to_array(image: Image.Image) -> Picture:
    """Copy strip by strip: Pillow's own export holds the picture twice more."""
    out = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, _STRIP // (3 * image.width))
    for y in range(0, image.height, rows):
        out[y : y + rows] = np.asarray(image.crop((0, y, image.width, min(y + rows, image.height))))
    return out


def parse_colour(name: str) -> tuple[int, int, int]:
    """Return the red, green and blue of a colour's name or #rrggbb.

    Raises:
        InputError: it is not one.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(name)[:3]
    except ValueError as error:
        raise InputError(f"unknown colour {name!r}; write a name such as white, or #rrggbb") from error
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
        raise InputError(_NO_PICTURE) from error
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

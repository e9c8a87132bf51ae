"""What the colours of a picture file mean, and the same colours in sRGB.

What may live here: profiles, chunks and tags that say what samples stand for; LittleCMS, through Pillow, does the
arithmetic. A profile is judged by what it computes, never by its name. Precedence in PNG, from its third edition: cICP,
then iCCP, then sRGB, then gAMA and cHRM.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import InputError
from intcodec.pictures.repair import png_chunks

if TYPE_CHECKING:
    from PIL import Image

Float = NDArray[np.float64]

#: White, red, green, blue as x, y. Sources: BT.709, SMPTE RP 431-2 and EG 432-1, BT.2020.
SRGB: Final = (0.3127, 0.3290, 0.64, 0.33, 0.30, 0.60, 0.15, 0.06)
PRIMARIES: Final = {
    1: SRGB,
    9: (0.3127, 0.3290, 0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
    12: (0.3127, 0.3290, 0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
#: ITU-T H.273: transfers that are sRGB's or are displayed as it, and those of high dynamic range.
_LIKE_SRGB: Final = (1, 6, 13, 14, 15)
_LINEAR: Final = 8
_HDR: Final = {16: "PQ", 18: "HLG"}
_D50: Final = np.array([0.9642, 1.0, 0.8249])
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
#: A file gamma this near to 1 / 2.2 means sRGB.
_USUAL_GAMMA: Final = 1 / 2.2
_NEAR: Final = 0.005
#: A profile that moves no colour by more than this is sRGB.
_SAME: Final = 2


def to_srgb(image: Image.Image, profile: bytes, notes: list[str]) -> Image.Image:
    """Return a picture of mode L, RGB, CMYK or LAB as the sRGB colours that its profile gives, in mode RGB.

    A picture whose profile is sRGB, or does not fit it, comes back as it is; what does not fit gets a note.
    """
    from PIL import Image, ImageCms

    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        change = ImageCms.buildTransform(source, target, image.mode, "RGB")
        if image.mode == "RGB":
            steps = np.arange(0, 256, 15, dtype=np.uint8)
            grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
            moved = np.asarray(change.apply(Image.fromarray(grid)))
            if int(np.abs(moved.astype(int) - grid).max()) <= _SAME:
                return image
        return change.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("the embedded colour profile does not fit the picture and was ignored")
        return image


def stated(image: Image.Image, data: bytes) -> bytes | None:
    """Return the ICC profile that a picture has, or that its other statements amount to; None for sRGB.

    Args:
        image: the open picture.
        data: a PNG or AVIF file's bytes; of other formats nothing is looked at.

    Raises:
        InputError: it is of high dynamic range.
    """
    profile = image.info.get("icc_profile")
    code_points = _code_points(image, data)
    if code_points is not None and (image.format == "PNG" or not profile):
        primaries, transfer = code_points
        if transfer in _HDR:
            raise InputError(
                f"a picture of high dynamic range ({_HDR[transfer]}) is not read; convert it to sRGB first"
            )
        if primaries in PRIMARIES and transfer in (*_LIKE_SRGB, _LINEAR):
            gamma = None if transfer in _LIKE_SRGB else 1.0
            return None if (primaries, gamma) == (1, None) else matrix_profile(PRIMARIES[primaries], gamma)
    if profile:
        return bytes(profile)
    given, points = image.info.get("gamma"), image.info.get("chromaticity")
    if image.format != "PNG" or "srgb" in image.info or not (given or points):
        return None
    usual = not given or abs(given - _USUAL_GAMMA) < _NEAR
    known = points is None or np.allclose(points, SRGB, atol=_NEAR)
    if usual and known:
        return None
    return matrix_profile(SRGB if points is None else points, None if usual or not given else 1 / float(given))


def _code_points(image: Image.Image, data: bytes) -> tuple[int, int] | None:
    """Return primaries and transfer of a PNG's cICP chunk or an AVIF's nclx box."""
    if image.format == "PNG":
        found = next((c for kind, c, right in png_chunks(data) if kind == b"cICP" and right and len(c) == 4), None)
        return None if found is None else (found[0], found[1])
    at = data.find(b"colrnclx") if image.format == "AVIF" else -1
    return struct.unpack_from(">HH", data, at + 8) if 0 <= at <= len(data) - 12 else None


def matrix_profile(points: Sequence[float], gamma: float | None) -> bytes:
    """Return an ICC profile of three primaries and a curve.

    Args:
        points: x and y of white, red, green and blue.
        gamma: light = sample ** gamma; None is sRGB's curve.
    """
    columns = _to_d50(points)
    curve = b"curv\0\0\0\0" + (_srgb_curve() if gamma is None else struct.pack(">IH", 1, round(gamma * 256)))
    tags = [(name, b"XYZ \0\0\0\0" + _fixed(columns[:, k])) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))]
    tags += [(b"wtpt", b"XYZ \0\0\0\0" + _fixed(_D50)), *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC"))]
    text = b"desc\0\0\0\0" + struct.pack(">I", 1) + b"\0" + bytes(78)
    tags += [(b"desc", text), (b"cprt", b"text\0\0\0\0\0")]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        padded = data + bytes(-len(data) % 4)
        table += name + struct.pack(">II", at + len(body), len(data))
        body += padded
    head = struct.pack(">I4sI4s4s4s", at + len(body), b"\0" * 4, 0x02400000, b"mntr", b"RGB ", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + _fixed(_D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def _to_d50(points: Sequence[float]) -> Float:
    """Return the matrix from linear RGB to XYZ under D50, adapted as Bradford has it.

    Raises:
        InputError: the points form no triangle.
    """
    x, y = np.array(points, float).reshape(4, 2).T
    try:
        xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])
        primaries = xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])
    except (np.linalg.LinAlgError, ZeroDivisionError) as error:
        raise InputError("damaged picture: its cHRM chunk states no primaries") from error
    cone = _BRADFORD @ np.stack([xyz[:, 0], _D50], axis=1)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cone[:, 1] / cone[:, 0]) @ _BRADFORD @ primaries
    if not np.all(np.isfinite(adapted)) or np.abs(adapted).max() > 100:
        raise InputError("damaged picture: its cHRM chunk states no primaries")
    return np.asarray(adapted)


def _fixed(values: Any) -> bytes:
    return struct.pack(f">{len(values)}i", *(round(float(v) * 65536) for v in values))


def _srgb_curve() -> bytes:
    v = np.arange(1024) / 1023
    light = np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)
    curve: bytes = np.rint(light * 65535).astype(">u2").tobytes()
    return struct.pack(">I", 1024) + curve

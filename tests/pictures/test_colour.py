"""Colour, depth and damage: what a file says, against formulas written out here."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image, ImageCms, TiffImagePlugin

from intcodec.base.errors import InputError
from intcodec.pictures import colour
from intcodec.pictures.images import Loaded, read_picture

PICTURE = tiny.picture(24, 32)
#: Linear Display P3 to linear sRGB, from CSS Color 4.
P3_TO_SRGB = np.array(
    [
        [1.2249401763, -0.2249401763, 0.0],
        [-0.0420569547, 1.0420569547, 0.0],
        [-0.0196375546, -0.0786360455, 1.0982736001],
    ]
)


def read(data: bytes) -> Loaded:
    return read_picture(data, 2**20)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(*chunks: bytes, pixels: np.ndarray = PICTURE, **options: Any) -> bytes:
    """A PNG of Pillow's with chunks put before its pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", **options)
    return out.getvalue()[:33] + b"".join(chunks) + out.getvalue()[33:]


def light(v: np.ndarray) -> np.ndarray:
    """sRGB samples 0..255 to linear light, IEC 61966-2-1."""
    v = v / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def samples(linear: np.ndarray) -> np.ndarray:
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def assert_near(loaded: Loaded, expected: np.ndarray) -> None:
    """Mean error below 1 of 255."""
    assert np.abs(loaded.picture - expected).mean() < 1


def gamma(value: float) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", round(value * 100000)))


P3_CHRM = chunk(b"cHRM", struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000))


@pytest.mark.parametrize("value", [1.0, 0.5, 0.7])
def test_gamma_of_png(value: float) -> None:
    assert_near(read(png(gamma(value))), samples((PICTURE / 255) ** (1 / value)))


@pytest.mark.parametrize(
    "chunks",
    [
        (gamma(0.45455),),
        (chunk(b"sRGB", b"\0"), gamma(1.0)),
        (chunk(b"cICP", bytes([1, 13, 0, 1])), gamma(1.0)),
    ],
)
def test_what_says_srgb_wins_and_changes_nothing(chunks: tuple[bytes, ...]) -> None:
    np.testing.assert_array_equal(read(png(*chunks)).picture, PICTURE)


@pytest.mark.parametrize("chunks", [P3_CHRM, chunk(b"cICP", bytes([12, 13, 0, 1]))])
def test_display_p3_by_chunk(chunks: bytes) -> None:
    assert_near(read(png(chunks)), samples(light(PICTURE) @ P3_TO_SRGB.T))


@pytest.mark.parametrize(("transfer", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_refused(transfer: int, name: str) -> None:
    with pytest.raises(InputError, match=f"high dynamic range \\({name}\\)"):
        read(png(chunk(b"cICP", bytes([9, transfer, 0, 1]))))


def test_a_profile_is_judged_by_what_it_computes() -> None:
    """One that calls itself sRGB and is linear is converted; sRGB without a name is not."""
    linear = colour.matrix_profile(colour.SRGB, 1.0)
    nameless, called = (b"desc\0\0\0\0" + struct.pack(">I", len(n)) + n for n in (b"\0", b"sRGB\0"))
    named = linear.replace(nameless + bytes(4), called, 1)
    assert len(named) == len(linear)
    assert "srgb" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(named))).lower()
    assert_near(read(png(icc_profile=named)), samples(PICTURE / 255))
    np.testing.assert_array_equal(read(png(icc_profile=colour.matrix_profile(colour.SRGB, None))).picture, PICTURE)


def grey_profile(gamma: float) -> bytes:
    """A grey profile: the matrix profile's header, a curve and a white point."""
    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    table = struct.pack(">I", 2) + b"kTRC" + struct.pack(">II", 156, 14) + b"wtpt" + struct.pack(">II", 172, 20)
    head = bytearray(colour.matrix_profile(colour.SRGB, gamma)[:128])
    head[16:20] = b"GRAY"
    data = bytes(head) + table + curve + white
    return struct.pack(">I", len(data)) + data[4:]


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_profiles_apply_before_alpha_and_to_bilevel(mode: str) -> None:
    grey = Image.fromarray(PICTURE).convert("L").convert(mode)
    out = io.BytesIO()
    grey.save(out, "PNG", icc_profile=grey_profile(1.0))
    loaded = read(out.getvalue())
    values = np.asarray(grey.convert("L")).astype(float)[..., None].repeat(3, axis=2)
    assert_near(loaded, samples(values / 255))
    assert loaded.notes == []


def test_large_profiles_and_damaged_text_do_not_make_a_picture_damaged() -> None:
    profile = colour.matrix_profile(colour.SRGB, 1.0)
    large = struct.pack(">I", 3 << 20) + profile[4:] + bytes((3 << 20) - len(profile))
    loaded = read(png(chunk(b"iCCP", b"name\0\0" + zlib.compress(large))))
    assert_near(loaded, samples(PICTURE / 255))
    text = bytearray(chunk(b"tEXt", b"key\0value"))
    text[-1] ^= 1
    loaded = read(png(bytes(text)))
    np.testing.assert_array_equal(loaded.picture, PICTURE)
    assert "chunks" in loaded.notes[0]


def tiff(values: np.ndarray, subfile: int = 0) -> bytes:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    info[254] = subfile
    out = io.BytesIO()
    Image.fromarray(values).save(out, "TIFF", tiffinfo=info)
    return out.getvalue()


def test_white_is_zero() -> None:
    values = (np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 80).astype(np.uint16)
    data = bytearray(tiff(values))
    data[data.index(struct.pack("<HHIH", 262, 3, 1, 1)) + 8] = 0
    expected = ((65535 - values.astype(int)) * 255 + 32767) // 65535
    np.testing.assert_array_equal(read(bytes(data)).picture[..., 0], expected)


def test_thumbnails_are_not_the_picture() -> None:
    with pytest.raises(InputError, match="thumbnail"):
        read(tiff(PICTURE, subfile=1))


def test_depth_is_noted_and_scaled() -> None:
    loaded = read(b"P6 32 24 65535\n" + (PICTURE.astype(">u2") * 257).tobytes())
    np.testing.assert_array_equal(loaded.picture, PICTURE)
    assert loaded.notes == ["16-bit picture reduced to 8 bits"]
    assert read(b"P6 32 24 255\n" + PICTURE.tobytes()).notes == []


@pytest.mark.parametrize("key", [1234, 0])
def test_colour_keys_of_16_bits(key: int) -> None:
    values = np.full((24, 32), 40000, np.uint16)
    values[3, 4] = key
    keyed = png(chunk(b"tRNS", struct.pack(">H", key)), pixels=values)
    with pytest.raises(InputError, match="transparent"):
        read(keyed)
    flat = read_picture(keyed, 2**20, "#ff0000").picture
    assert flat[3, 4].tolist() == [255, 0, 0]
    assert np.unique(flat[5:]).tolist() == [156]


def test_a_jpeg_that_lacks_its_end_marker_only() -> None:
    out = io.BytesIO()
    Image.fromarray(PICTURE).save(out, "JPEG", quality=95)
    whole = read(out.getvalue())
    for missing in (1, 2):
        loaded = read(out.getvalue()[:-missing])
        np.testing.assert_array_equal(loaded.picture, whole.picture)
        assert loaded.notes == ["the file lacks its end marker; all pixels are there"]
    with pytest.raises(InputError, match="truncated"):
        read(out.getvalue()[:-40])


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic", "HEIC"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"P7\nWIDTH 1\n", "PAM"),
        (b"8BPS\0\1", "Photoshop"),
    ],
)
def test_kinds_that_are_not_read_are_named(head: bytes, name: str) -> None:
    with pytest.raises(InputError, match=f"{name} files are not read; convert"):
        read(head + bytes(60))

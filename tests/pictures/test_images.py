"""What picture files mean: modes, profiles, orientation, transparency, limits and damage."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image, ImageCms

from intcodec.base.errors import InputError, IntCodecError, LimitError
from intcodec.pictures.images import READS, WRITES, Loaded, check_output, read_picture, write_picture

MAX = 2**20
RGB = tiny.picture(24, 30)


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def read(image: Image.Image | bytes, kind: str = "PNG", background: str | None = None, **options: Any) -> Loaded:
    data = image if isinstance(image, bytes) else file_of(image, kind, **options)
    return read_picture(data, MAX, background)


def test_rgb_from_path_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(file_of(Image.fromarray(RGB)))
    for source in (path, str(path), path.read_bytes()):
        loaded = read_picture(source, MAX)
        np.testing.assert_array_equal(loaded.picture, RGB)
        assert loaded.picture.flags.c_contiguous
        assert loaded.notes == []


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "JPEG", "PPM"])
def test_grey_becomes_three_equal_channels(kind: str) -> None:
    loaded = read(Image.fromarray(np.full((9, 7), 100, np.uint8)), kind)
    np.testing.assert_array_equal(loaded.picture, np.full((9, 7, 3), 100))


def test_bilevel() -> None:
    loaded = read(Image.fromarray(RGB[..., 0]).convert("1"))
    assert set(np.unique(loaded.picture)) == {0, 255}


def test_palette() -> None:
    palette = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read(palette).picture, np.asarray(palette.convert("RGB")))


def test_opaque_alpha_is_dropped() -> None:
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    loaded = read(Image.fromarray(rgba))
    np.testing.assert_array_equal(loaded.picture, RGB)
    assert loaded.notes == []


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "palette with alpha", "RGB with a colour key"])
def test_transparency_needs_a_background(mode: str) -> None:
    rgba = Image.fromarray(np.dstack([np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 255, np.uint8)]))
    rgba.putpixel((0, 0), (0, 0, 0, 0))
    options: dict[str, Any] = {}
    image = rgba
    if mode == "LA":
        image = rgba.convert("LA")
    elif mode == "P":
        image, options = rgba.convert("RGB").quantize(2), {"transparency": 0}
        image.putpixel((0, 0), 0)
    elif mode == "palette with alpha":
        image = rgba.quantize(4)
    elif mode == "RGB with a colour key":
        image, options = rgba.convert("RGB"), {"transparency": (0, 0, 0)}
    with pytest.raises(InputError, match=r"transparent pixels.*--background"):
        read(image, **options)
    assert read(image, background="#00ff00", **options).picture[0, 0].tolist() == [0, 255, 0]


def test_half_transparent_is_mixed() -> None:
    rgba = np.full((2, 2, 4), 128, np.uint8)
    assert abs(int(read(Image.fromarray(rgba), background="white").picture[0, 0, 0]) - 191) <= 1


def test_unknown_colour() -> None:
    with pytest.raises(InputError, match="unknown colour 'blurple'"):
        read(Image.fromarray(RGB), background="blurple")


def test_sixteen_bit_grey_is_rounded() -> None:
    values = np.array([[0, 128, 129, 32767, 32768, 65406, 65407, 65535]], np.uint16)
    loaded = read(Image.fromarray(values))
    assert loaded.picture[0, :, 0].tolist() == [0, 0, 1, 127, 128, 254, 255, 255]
    assert loaded.notes == ["16-bit picture reduced to 8 bits"]


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bit_rgb_is_noted() -> None:
    loaded = read(png(1, 1, 16, 2, b"\0" + bytes([10, 1, 20, 2, 30, 3])))
    assert loaded.picture[0, 0].tolist() == [10, 20, 30]
    assert loaded.notes == ["16-bit picture: only the upper 8 bits of each sample are kept"]


def test_float_pixels_are_refused() -> None:
    with pytest.raises(InputError, match="kind F"):
        read(Image.fromarray(np.zeros((2, 2), np.float32)), "TIFF")


def test_cmyk() -> None:
    loaded = read(Image.new("CMYK", (3, 3), (0, 0, 0, 0)), "TIFF")
    assert loaded.picture.min() == 255
    assert "CMYK without a colour profile" in loaded.notes[0]


def profile(name: str) -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile(name)).tobytes()  # type: ignore[arg-type]


def test_srgb_profile_changes_nothing() -> None:
    np.testing.assert_array_equal(read(Image.fromarray(RGB), icc_profile=profile("sRGB")).picture, RGB)


def test_other_profile_is_converted() -> None:
    lab = Image.new("LAB", (2, 2), (255, 128, 128))
    loaded = read(lab, "TIFF", icc_profile=profile("LAB"))
    assert loaded.picture.min() >= 250
    assert loaded.notes == []


@pytest.mark.parametrize("bad", [b"not a profile", None])
def test_unusable_profile_is_noted(bad: bytes | None) -> None:
    loaded = read(Image.fromarray(RGB), icc_profile=bad or profile("LAB"))
    np.testing.assert_array_equal(loaded.picture, RGB)
    assert "colour profile does not fit" in loaded.notes[0]


def test_exif_orientation() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise
    loaded = read(Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(loaded.picture, np.rot90(RGB, -1))


def test_frames_are_noted() -> None:
    frames = [Image.fromarray(RGB), Image.fromarray(255 - RGB)]
    loaded = read(frames[0], "PNG", save_all=True, append_images=frames[1:])
    assert loaded.notes == ["only the first of 2 frames is read"]


@pytest.mark.parametrize("limit", [24 * 30 - 1, 24 * 30 // 2 - 1, 1])
def test_limit(limit: int) -> None:
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(LimitError, match=f"limit of {limit} pixels"):
        read_picture(file_of(Image.fromarray(RGB)), limit)
    assert before == Image.MAX_IMAGE_PIXELS


def test_a_bomb_is_refused_from_its_header() -> None:
    with pytest.raises(LimitError):
        read_picture(png(2**30, 2**30, 8, 2, b""), 2**28)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_damage_is_one_clear_error(kind: str) -> None:
    whole = file_of(Image.fromarray(tiny.picture(40, 40)), kind)
    rng = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for length in range(0, len(whole) - 20, max(1, len(whole) // 40)):
            with pytest.raises(IntCodecError) as caught:
                read_picture(whole[:length], MAX)
            assert "\n" not in str(caught.value)
        for _ in range(100):
            data = bytearray(whole)
            data[rng.integers(len(data))] ^= rng.integers(1, 256)
            with contextlib.suppress(IntCodecError):
                read_picture(bytes(data), MAX)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_picture(tmp_path / "none.png", MAX)
    with pytest.raises(InputError, match=r"[Dd]irectory"):
        read_picture(tmp_path, MAX)
    for data in (b"", b"hello", b"\x89INT" + bytes(60)):
        with pytest.raises(InputError, match="not a picture file"):
            read(data)


def test_programs_are_not_run() -> None:
    with pytest.raises(InputError, match="EPS files are not read"):
        read(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    assert "EPS" not in READS


@pytest.mark.parametrize("ending", WRITES)
@pytest.mark.parametrize("size", [(1, 1), (24, 30), (33, 65)])
def test_every_format_written_is_lossless(ending: str, size: tuple[int, int]) -> None:
    picture = tiny.picture(*size)
    out = io.BytesIO()
    check_output("x" + ending.upper())
    write_picture(out, picture, "x" + ending)
    np.testing.assert_array_equal(read(out.getvalue()).picture, picture)


def test_standard_output_is_png() -> None:
    out = io.BytesIO()
    check_output("-")
    write_picture(out, RGB, "-")
    assert out.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("path", "message"), [("a.jpg", "would lose the exact pixels"), ("a.xyz", "cannot tell"), ("a", "cannot tell")]
)
def test_output_names_that_are_refused(path: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_output(path)


def test_too_large_for_webp() -> None:
    with pytest.raises(InputError, match="cannot write"):
        write_picture(io.BytesIO(), np.zeros((1, 20000, 3), np.uint8), "a.webp")

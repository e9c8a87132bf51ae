"""Every pixel format: samples as they are, and the options for colour act on all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import CHOICE, LIMIT, av, frames_of, moving, read, written

from intcodec.base.errors import InputError
from intcodec.clips import pixelformats, sources
from intcodec.clips.colour import Chroma, Matrix, plane_shapes
from intcodec.clips.frames import ColourChoice

#: Formats, and planar ones of the same samples.
SAME = {
    "nv12": "yuv420p", "nv21": "yuv420p", "nv16": "yuv422p", "nv24": "yuv444p", "yuyv422": "yuv422p",
    "uyvy422": "yuv422p", "p010le": "yuv420p10le", "p016le": "yuv420p16le", "p210le": "yuv422p10le",
    "p410be": "yuv444p10le", "y210le": "yuv422p10le", "xv30le": "yuv444p10le", "xv36le": "yuv444p12le",
    "yuv420p10be": "yuv420p10le", "vuyx": "yuv444p", "yuv440p": "yuv440p", "yuv410p": "yuv410p",
    "yuv422p9le": "yuv422p9le", "yuv444p14le": "yuv444p14le", "gray10le": "gray10le", "gray12be": "gray12le",
    "gray16be": "gray16le",
}  # fmt: skip


def random_frame(name: str, height: int, width: int) -> tuple[Any, list[np.ndarray]]:
    """A frame of a planar format of random samples, and its planes."""
    frame, rng = av.VideoFrame(width, height, name), np.random.default_rng(7)
    bits = frame.format.components[0].bits
    planes = []
    for plane in frame.planes:
        dtype = np.dtype("u1" if bits == 8 else "<u2")
        rows = rng.integers(0, 1 << bits, (plane.height, plane.line_size // dtype.itemsize)).astype(dtype)
        plane.update(rows.tobytes())
        planes.append(rows[:, : plane.width])
    return frame, planes


@pytest.mark.parametrize("name", list(SAME))
def test_samples_are_moved_and_not_changed(name: str) -> None:
    frame, planes = random_frame(SAME[name], 20, 38)
    made = pixelformats.layout(frame.reformat(format=name, threads=1).format)
    found, alpha = pixelformats.samples(frame.reformat(format=name, threads=1), made)
    assert alpha is None
    assert len(found) == len(planes)
    for one, two in zip(found, planes, strict=True):
        np.testing.assert_array_equal(one, two)
    if made.chroma is not Chroma.MONO:
        assert [p.shape for p in found] == plane_shapes(20, 38, made.chroma)


@pytest.mark.parametrize("name", ["gbrp10le", "gbrp12le", "gbrp16le", "rgb48le", "x2rgb10le", "bgr0", "gbrp", "argb"])
def test_rgb_of_any_depth_is_scaled_by_its_own_top(name: str) -> None:
    depth = av.VideoFormat(name).components[0].bits
    planar = "gbrp" if depth == 8 else f"gbrp{depth}le"
    frame, (green, blue, red) = random_frame(planar, 8, 16)
    made = pixelformats.layout(av.VideoFormat(name, 16, 8))
    found, alpha = pixelformats.samples(frame.reformat(format=name, threads=1), made)
    for one, two in zip(found, (red, green, blue), strict=True):
        exact = np.floor(two.astype(float) * 255 / ((1 << depth) - 1) + 0.5)
        np.testing.assert_array_equal(pixelformats.to_eight(one, depth), exact)
    assert (alpha is None) == (name != "argb")


@pytest.mark.parametrize("name", ["bayer_rggb8", "xyz12le", "gbrpf32le", "gray32le"])
def test_formats_that_are_not_read_are_named(name: str) -> None:
    with pytest.raises(InputError, match=f"pixel format {name} is not read"):
        pixelformats.layout(av.VideoFormat(name, 16, 16))


@pytest.mark.parametrize("name", ["nv12", "yuyv422", "yuv422p10le", "yuv420p", "yuva444p"])
def test_matrix_and_range_act_on_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.nut"
    written(path, "rawvideo", frames_of(moving(1), name), name)
    frames = {
        (m, full): read(path, ColourChoice(m, full), "white")[1][0]
        for m in (Matrix.BT601, Matrix.BT709)
        for full in (False, True)
    }
    assert len({frame.tobytes() for frame in frames.values()}) == 4
    source, (usual,) = read(path, CHOICE, "white")
    np.testing.assert_array_equal(usual, frames[Matrix.BT601, False])
    assert source.format.colour.matrix is Matrix.BT601


def test_untagged_frames_of_high_definition_are_bt709_in_every_format(tmp_path: Path) -> None:
    for name in ("nv12", "yuva444p12le", "yuv422p"):
        path = tmp_path / f"{name}.nut"
        frame, _ = random_frame("yuva444p12le" if "444" in name else "yuv420p" if name == "nv12" else name, 720, 1280)
        frame = frame.reformat(format=name, threads=1)
        frame.pts = 0
        written(path, "rawvideo", [frame], name, (720, 1280))
        with sources.open_source(str(path), LIMIT, CHOICE, None, "white") as source:
            assert source.format.colour.matrix is Matrix.BT709


def test_options_for_yuv_are_refused_for_rgb(tmp_path: Path) -> None:
    written(tmp_path / "a.mkv", "ffv1", frames_of(moving(1), "bgr0"), "bgr0")
    with pytest.raises(InputError, match="the frames are RGB"):
        read(tmp_path / "a.mkv", ColourChoice(Matrix.BT709))
    with pytest.raises(InputError, match="pictures are RGB"):
        read(tmp_path, ColourChoice(None, True))

"""Clips outside: colour in integers, y4m, folders and video files."""

from __future__ import annotations

import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

from intcodec.base.errors import InputError, LimitError
from intcodec.clips import sources, videowriter
from intcodec.clips.colour import Chroma, Colour, Matrix, from_rgb, plane_shapes, to_rgb, upsample
from intcodec.clips.frames import ColourChoice, FrameFormat, parse_range, parse_rate
from intcodec.pictures.images import write_picture

CHOICE = ColourChoice()
LIMIT = 2**20
#: What is written; a few that are only read are left out.
CHROMAS = [c for c in Chroma if c < 8]
YUV = [Colour(m, full, c) for m in list(Matrix)[1:4] for full in (False, True) for c in CHROMAS]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


# --- colour -----------------------------------------------------------------------------------------------------------


def float_to_rgb(y: np.ndarray, cb: np.ndarray, cr: np.ndarray, matrix: Matrix, full: bool) -> np.ndarray:
    """The recommendations' formulas in float64."""
    shares = {1: (0.299, 0.114), 2: (0.2126, 0.0722), 3: (0.2627, 0.0593), 4: (0.3, 0.11), 5: (0.212, 0.087)}
    red, blue = shares[matrix]
    y = (y - (0 if full else 16)) / (255 if full else 219)
    cb, cr = ((c - 128) / (255 if full else 224) for c in (cb, cr))
    r, b = y + 2 * (1 - red) * cr, y + 2 * (1 - blue) * cb
    g = (y - red * r - blue * b) / (1 - red - blue)
    return np.stack([r, g, b], axis=-1) * 255


@pytest.mark.parametrize("matrix", list(Matrix)[1:])
@pytest.mark.parametrize("full", [False, True])
def test_matrices_are_the_recommendations_rounded(matrix: Matrix, full: bool) -> None:
    grid = (
        np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3, indexing="ij"), axis=-1).reshape(-1, 52, 3).astype(np.uint8)
    )
    made = to_rgb(tuple(np.ascontiguousarray(grid[..., k]) for k in range(3)), Colour(matrix, full))
    exact = float_to_rgb(*(grid[..., k].astype(float) for k in range(3)), matrix, full)
    assert np.abs(made - np.clip(exact, 0, 255)).max() < 0.501


@pytest.mark.parametrize("colour", YUV)
def test_grey_stays_grey(colour: Colour) -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    planes = from_rgb(grey, colour)
    assert [p.shape for p in planes] == plane_shapes(16, 16, colour.chroma)
    assert all((p == 128).all() for p in planes[1:])
    np.testing.assert_allclose(to_rgb(planes, colour).astype(int), grey, atol=0 if colour.full else 1)


@pytest.mark.parametrize("colour", [c for c in YUV if c.chroma is Chroma.C444])
def test_there_and_back_moves_little(colour: Colour) -> None:
    picture = noise(16, 16)
    back = to_rgb(from_rgb(picture, colour), colour)
    assert np.abs(back.astype(int) - picture).max() <= 3


@pytest.mark.parametrize("colour", YUV)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 7)])
def test_any_size(colour: Colour, size: tuple[int, int]) -> None:
    planes = from_rgb(noise(*size), colour)
    assert [p.shape for p in planes] == plane_shapes(*size, colour.chroma)
    assert to_rgb(planes, colour).shape == (*size, 3)


#: Where a chroma sample k lies on its axis, in luma samples.
PLACES = {
    Chroma.C420_CENTRE: (0.5, 0.5),
    Chroma.C420_LEFT: (0.5, 0.0),
    Chroma.C420_TOP_LEFT: (0.0, 0.0),
    Chroma.C420_TOP: (0.0, 0.5),
}


@pytest.mark.parametrize("chroma", list(PLACES))
def test_upsampled_chroma_is_linear_between_its_sites(chroma: Chroma) -> None:
    height, width = 12, 14
    small = np.random.default_rng(3).integers(0, 256, (6, 7)).astype(np.uint8)
    from intcodec.clips import colour

    made = upsample(small, height, width, *colour._AXES[chroma])
    down, across = PLACES[chroma]
    rows = [np.interp(np.arange(width), 2 * np.arange(7) + across, row) for row in small.astype(float)]
    exact = np.stack([np.interp(np.arange(height), 2 * np.arange(6) + down, c) for c in np.stack(rows).T], axis=1)
    assert np.abs(made - exact).max() <= 0.5


def test_410_is_linear_between_the_middles_of_four() -> None:
    from intcodec.clips import colour

    small = np.random.default_rng(3).integers(0, 256, (5, 6)).astype(np.uint8)
    made = upsample(small, 20, 23, *colour._AXES[Chroma.C410])
    rows = [np.interp(np.arange(23), 4 * np.arange(6) + 1.5, row) for row in small.astype(float)]
    exact = np.stack([np.interp(np.arange(20), 4 * np.arange(5) + 1.5, c) for c in np.stack(rows).T], axis=1)
    assert np.abs(made - exact).max() <= 0.5


def test_what_is_only_read_is_kept_as_the_nearest() -> None:
    made = Colour(Matrix.FCC, True, Chroma.C410, 9, 16)
    assert made.kept() == Colour(Matrix.BT601, True, Chroma.C420_CENTRE, 9, 16)
    assert Colour.from_byte(made.to_byte(), 9, 16) == made.kept()
    made = Colour(Matrix.SMPTE240M, False, Chroma.C440)
    assert made.kept() == Colour(Matrix.BT709, False, Chroma.C444)


def test_colour_byte_survives() -> None:
    for colour in [Colour(), *YUV]:
        assert Colour.from_byte(colour.to_byte()) == colour
        assert 0 <= colour.to_byte() < 64
    assert Colour.from_byte(1 | 7 << 3).chroma is Chroma.C444


# --- folders ----------------------------------------------------------------------------------------------------------


def test_folders_there_and_back(tmp_path: Path) -> None:
    pictures = [noise(5, 7, k) for k in range(12)]
    with sources.open_sink(str(tmp_path / "out") + "/", FrameFormat(7, 5)) as sink:
        for picture in pictures:
            sink(picture)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{k:06d}.png" for k in range(12)]
    with sources.open_source(str(tmp_path / "out"), LIMIT, CHOICE, Fraction(50)) as source:
        assert (source.format, source.count, source.notes) == (FrameFormat(7, 5, Fraction(50)), 12, [])
        for one, two in zip(source.frames, pictures, strict=True):
            np.testing.assert_array_equal(one, two)


def test_numbers_in_names_are_numbers(tmp_path: Path) -> None:
    for k in (1, 2, 10):
        with open(tmp_path / f"frame{k}.png", "wb") as file:
            write_picture(file, np.full((2, 2, 3), k, np.uint8), "x.png")
    (tmp_path / "notes.txt").write_text("not a frame")
    with sources.open_source(str(tmp_path), LIMIT, CHOICE) as source:
        assert [int(f[0, 0, 0]) for f in source.frames] == [1, 2, 10]
        gap, rate = source.notes
        assert gap.startswith("7 numbers are missing, the first between frame2.png and frame10.png")
        assert "25 per second is assumed" in rate


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no pictures"), sources.open_source(str(tmp_path), LIMIT, CHOICE):
        pass
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"."), sources.open_source(str(tmp_path), LIMIT, CHOICE):
        pass
    with pytest.raises(InputError, match="not an empty folder"), sources.open_sink(str(tmp_path), FrameFormat(2, 2)):
        pass


def test_a_sink_that_fails_leaves_nothing(tmp_path: Path) -> None:
    for name in ("a.y4m", "b/", "c.mkv"):
        if name.endswith("mkv"):
            pytest.importorskip("av")
        sink = sources.open_sink(str(tmp_path / name), FrameFormat(4, 4))
        sink.__enter__()(noise(4, 4))
        assert sink.__exit__(RuntimeError, RuntimeError(), None) is False
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("-", ".y4m"),
        ("a.Y4M", ".y4m"),
        ("a.mp4", ".mp4"),
        ("a.mkv", ".mkv"),
        ("frames", ""),
        ("frames/", ""),
        ("a.b/", ""),
    ],
)
def test_names_decide(name: str, kind: str) -> None:
    assert sources.check_sink(name) == kind


def test_other_names_are_refused() -> None:
    with pytest.raises(InputError, match=r"a.webm: cannot tell .* \.y4m, \.mp4"):
        sources.check_sink("a.webm")
    assert set(sources.VIDEO_ENDINGS) == set(videowriter.WRITES)


# --- video files ------------------------------------------------------------------------------------------------------


def moving(count: int, height: int, width: int) -> list[np.ndarray]:
    large = tiny.picture(height, width + count)
    return [np.ascontiguousarray(large[:, k : k + width]) for k in range(count)]


def write_video(path: Path, pictures: list[np.ndarray], made: FrameFormat) -> None:
    with sources.open_sink(str(path), made) as sink:
        for picture in pictures:
            sink(picture)


@pytest.mark.parametrize("size", [(16, 24), (17, 33)])
def test_mkv_is_lossless(tmp_path: Path, size: tuple[int, int]) -> None:
    pytest.importorskip("av")
    pictures = moving(5, *size)
    made = FrameFormat(size[1], size[0], Fraction(30000, 1001), (1, 1))
    write_video(tmp_path / "a.mkv", pictures, made)
    with sources.open_source(str(tmp_path / "a.mkv"), LIMIT, CHOICE) as source:
        kept = replace(made, aspect=source.format.aspect, timescale=1000)
        assert replace(source.format, rate=source.format.rate.limit_denominator(1001)) == kept
        for one, two in zip(source.frames, pictures, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(("size", "ending"), [((32, 48), ".mp4"), ((33, 47), ".mp4"), ((32, 48), ".mov")])
def test_mp4_is_close(tmp_path: Path, size: tuple[int, int], ending: str) -> None:
    pytest.importorskip("av")
    pictures = moving(6, *size)
    write_video(tmp_path / f"a{ending}", pictures, FrameFormat(size[1], size[0], Fraction(25)))
    with sources.open_source(str(tmp_path / f"a{ending}"), LIMIT, CHOICE) as source:
        assert (source.format.width, source.format.height, source.format.rate) == (size[1], size[0], 25)
        assert source.format.colour.matrix is Matrix.BT601
        assert not [note for note in source.notes if "matrix" in note]
        found = list(source.frames)
    assert len(found) == 6
    error = np.mean([(a.astype(float) - b) ** 2 for a, b in zip(found, pictures, strict=True)])
    assert error < 60  # chroma is halved


def test_yuv_goes_through_our_matrices(tmp_path: Path) -> None:
    """A lossless yuv420p file made by ffmpeg: its planes, converted by us."""
    av = pytest.importorskip("av")
    rng = np.random.default_rng(5)
    path = tmp_path / "a.mkv"
    planes = [rng.integers(16, 236, (36, 32)).astype(np.uint8) for _ in range(3)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for plane in planes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, "yuv420p")))
        container.mux(stream.encode(None))
    with sources.open_source(str(path), LIMIT, ColourChoice(Matrix.BT709)) as source:
        for frame, plane in zip(source.frames, planes, strict=True):
            flat = plane.ravel()
            parts = flat[:768].reshape(24, 32), flat[768:960].reshape(12, 16), flat[960:].reshape(12, 16)
            np.testing.assert_array_equal(frame, to_rgb(parts, source.format.colour))


@pytest.mark.parametrize(("said", "full"), [(None, True), (1, False), (2, True)])
def test_grey_is_full_range_unless_the_file_says_otherwise(tmp_path: Path, said: int | None, full: bool) -> None:
    av = pytest.importorskip("av")
    path, plane = tmp_path / "a.mkv", np.arange(256, dtype=np.uint8).reshape(16, 16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "gray"
        if said is not None:
            stream.codec_context.color_range = said
        container.mux(stream.encode(av.VideoFrame.from_ndarray(plane, "gray")))
        container.mux(stream.encode(None))
    with sources.open_source(str(path), LIMIT, CHOICE) as source:
        assert source.format.colour.full is full
        (frame,) = source.frames
    wanted = plane if full else np.clip(np.rint((plane - 16.0) * 255 / 219), 0, 255)
    np.testing.assert_array_equal(frame, np.repeat(wanted[..., None], 3, axis=2))


def test_bad_video_files(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    for data in (b"", b"no video at all" * 50, b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"):
        path.write_bytes(data)
        words = f"({path}: the file is empty|ffmpeg.*{path})"
        with pytest.raises(InputError, match=words), sources.open_source(str(path), LIMIT, CHOICE):
            pass
    write_video(tmp_path / "b.mkv", moving(2, 16, 16), FrameFormat(16, 16))
    with pytest.raises(LimitError), sources.open_source(str(tmp_path / "b.mkv"), 255, CHOICE):
        pass
    with pytest.raises(InputError, match="No such file"), sources.open_source("none.mp4", LIMIT, CHOICE):
        pass


def test_without_pyav_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "intcodec.clips.videofiles", raising=False)
    import intcodec.clips

    monkeypatch.delattr(intcodec.clips, "videofiles", raising=False)
    (tmp_path / "a.mp4").write_bytes(b"x" * 99)
    with (
        pytest.raises(InputError, match=r"pip install \"intcodec\[video\]\""),
        sources.open_source(str(tmp_path / "a.mp4"), LIMIT, CHOICE),
    ):
        pass


# --- options ----------------------------------------------------------------------------------------------------------


def test_rates_and_ranges() -> None:
    assert [parse_rate(t) for t in ("25", "29.97", "30000/1001")] == [25, Fraction("29.97"), Fraction(30000, 1001)]
    for bad in ("", "x", "0", "-1", "1/0", "4294967296"):
        with pytest.raises(InputError, match="not a frame rate"):
            parse_rate(bad)
    assert [parse_range(t) for t in ("2:5", ":5", "2:", ":")] == [(2, 5), (0, 5), (2, None), (0, None)]
    for bad in ("", "5", "5:5", "6:5", "a:b", "-1:5", "1:2:3"):
        with pytest.raises(InputError, match="not a range"):
            parse_range(bad)


def test_the_usual_matrix_depends_on_the_size() -> None:
    assert CHOICE.apply(1024, 576, Chroma.C444, None, None).matrix is Matrix.BT601
    assert CHOICE.apply(1280, 720, Chroma.C444, None, None).matrix is Matrix.BT709
    assert CHOICE.apply(1280, 720, Chroma.C444, Matrix.BT2020, True) == Colour(Matrix.BT2020, True)


def test_pictures_of_two_sizes_are_refused_by_name(tmp_path: Path) -> None:
    for k, size in enumerate(((4, 4), (4, 5))):
        Image.fromarray(noise(*size)).save(tmp_path / f"{k}.png")
    with sources.open_source(str(tmp_path), LIMIT, CHOICE) as source:
        next(frames := source.frames)
        with pytest.raises(InputError, match=r"1\.png is 5x4, and the frames before are 4x4"):
            next(frames)

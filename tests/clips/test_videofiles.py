"""What video files say: each file is made here by ffmpeg's libraries, the expected frames by hand."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from videos import CHOICE, LIMIT, av, frames_of, moving, read, written

from intcodec.base.errors import InputError
from intcodec.clips import pixelformats, sources
from intcodec.clips.clock import Clock
from intcodec.clips.colour import Chroma, Colour, Matrix, Picture, to_rgb
from intcodec.clips.frames import ColourChoice, FrameFormat

# --- orientation ------------------------------------------------------------------------------------------------------

ORIENTATIONS: dict[tuple[int, int, int, int], Callable[[Picture], Picture]] = {
    (1, 0, 0, 1): lambda p: p,
    (-1, 0, 0, 1): lambda p: p[:, ::-1],
    (1, 0, 0, -1): lambda p: p[::-1],
    (-1, 0, 0, -1): lambda p: p[::-1, ::-1],
    (0, 1, -1, 0): lambda p: np.rot90(p, -1),  # x' = -y, y' = x: a quarter turn clockwise
    (0, -1, 1, 0): lambda p: np.rot90(p, 1),
    (0, 1, 1, 0): lambda p: p.transpose(1, 0, 2),
    (0, -1, -1, 0): lambda p: np.rot90(p, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize("matrix", list(ORIENTATIONS))
def test_display_matrices_turn_and_mirror(matrix: tuple[int, int, int, int], tmp_path: Path) -> None:
    """The matrix of an mp4's track header is replaced by hand."""
    path = tmp_path / "a.mp4"
    ratio = Fraction(4, 3)

    def squeeze(stream: Any) -> None:
        stream.codec_context.sample_aspect_ratio = ratio

    data = written(path, "libx264", frames_of(moving(2), "yuv420p"), "yuv420p", change=squeeze)
    _, upright = read(path)
    unit = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    at = data.index(unit, data.index(b"tkhd"))
    a, b, c, d = (v << 16 for v in matrix)
    path.write_bytes(data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :])
    source, found = read(path)
    for one, two in zip(found, upright, strict=True):
        np.testing.assert_array_equal(one, ORIENTATIONS[matrix](two))
    assert (source.format.height, source.format.width) == found[0].shape[:2]
    assert source.format.aspect == ((3, 4) if matrix[0] == 0 else (4, 3))
    words = [note for note in source.notes if "as the file asks for" in note]
    mirrored = matrix[0] * matrix[3] - matrix[1] * matrix[2] < 0
    assert words == (
        [] if matrix == (1, 0, 0, 1) else [f"frames are {'mirrored' if mirrored else 'turned'}, as the file asks for"]
    )


# --- colour -----------------------------------------------------------------------------------------------------------


def tagged(path: Path, **facts: int) -> None:
    def tag(stream: Any) -> None:
        for name, value in facts.items():
            setattr(stream.codec_context, name, value)

    frames = list(frames_of(moving(2), "yuv444p"))
    for frame in frames:
        for name, value in facts.items():
            setattr(frame, name, value)
    written(path, "libx264", frames, "yuv444p", change=tag)


@pytest.mark.parametrize(
    ("number", "matrix"),
    [
        (1, Matrix.BT709),
        (4, Matrix.FCC),
        (5, Matrix.BT601),
        (6, Matrix.BT601),
        (7, Matrix.SMPTE240M),
        (9, Matrix.BT2020),
    ],
)
def test_matrices_that_files_name_are_read_by_their_own_weights(number: int, matrix: Matrix, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    tagged(path, colorspace=number)
    with av.open(str(path)) as container:
        planes = [tuple(pixelformats.samples(f, pixelformats.layout(f.format))[0]) for f in container.decode(video=0)]
    source, found = read(path)
    for one, two in zip(found, planes, strict=True):
        np.testing.assert_array_equal(one, to_rgb(two, Colour(matrix)))
    assert source.format.colour == Colour(matrix).kept()


@pytest.mark.parametrize(("number", "name"), [(8, "YCgCo"), (10, "constant luminance"), (14, "ICtCp")])
def test_other_matrices_are_named_and_refused_unless_one_is_given(number: int, name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    tagged(path, colorspace=number)
    with pytest.raises(InputError, match=rf"a\.mp4: the colour matrix .*{name}.* is not read.*--matrix"):
        read(path)
    source, found = read(path, ColourChoice(Matrix.BT709))
    assert (len(found), source.format.colour.matrix) == (2, Matrix.BT709)


@pytest.mark.parametrize(
    ("primaries", "transfer", "words"),
    [
        (9, 16, "transfer PQ (HDR), primaries BT.2020"),
        (9, 18, "transfer HLG (HDR)"),
        (12, 13, "primaries Display P3"),
        (1, 8, "transfer linear"),
        (1, 1, ""),
    ],
)
def test_primaries_and_transfer_are_kept_and_written(primaries: int, transfer: int, words: str, tmp_path: Path) -> None:
    tagged(tmp_path / "a.mp4", color_primaries=primaries, color_trc=transfer, colorspace=9)
    source, found = read(tmp_path / "a.mp4")
    assert (source.format.colour.primaries, source.format.colour.transfer) == (primaries, transfer)
    assert (
        any(words in note for note in source.notes)
        if words
        else not any("coded as they are" in n for n in source.notes)
    )
    for name in ("b.mp4", "b.mkv"):
        with sources.open_sink(str(tmp_path / name), source.format) as sink:
            for frame in found:
                sink(frame)
        again, _ = read(tmp_path / name)
        assert (again.format.colour.primaries, again.format.colour.transfer) == (primaries, transfer)


SITES = [
    ("libx264", "a.mp4", "yuv420p", Chroma.C420_LEFT),
    ("mjpeg", "a.avi", "yuvj420p", Chroma.C420_CENTRE),
    ("mpeg4", "b.avi", "yuv420p", Chroma.C420_LEFT),
    ("libvpx-vp9", "a.webm", "yuv420p", Chroma.C420_CENTRE),
    ("ffv1", "a.mkv", "yuv420p", Chroma.C420_CENTRE),
    ("ffv1", "c.mkv", "yuv420p10le", Chroma.C420_LEFT),
]


@pytest.mark.parametrize(("codec", "name", "pixels", "chroma"), SITES)
def test_a_file_and_its_y4m_are_read_alike(codec: str, name: str, pixels: str, chroma: Chroma, tmp_path: Path) -> None:
    """ffmpeg's own y4m of the same frames, with the tag that its writer gives the place that the codec means."""
    path = tmp_path / name
    written(path, codec, frames_of(moving(2), pixels), pixels)
    source, found = read(path)
    assert source.format.colour.chroma is chroma
    tags = {Chroma.C420_LEFT: "420mpeg2", Chroma.C420_CENTRE: "420jpeg"}
    tag = "420p10" if "10" in pixels else tags[chroma]
    out = io.BytesIO(f"YUV4MPEG2 W64 H48 F25:1 Ip C{tag}\n".encode())
    out.seek(0, io.SEEK_END)
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            planes, _ = pixelformats.samples(frame, pixelformats.layout(frame.format))
            out.write(b"FRAME\n" + b"".join(p.tobytes() for p in planes))
    (tmp_path / "a.y4m").write_bytes(out.getvalue())
    _, piped = read(tmp_path / "a.y4m", ColourChoice(None, source.format.colour.full))
    for one, two in zip(found, piped, strict=True):
        np.testing.assert_array_equal(one, two)


# --- alpha ------------------------------------------------------------------------------------------------------------


def see_through(pixels: str, alpha: int) -> Iterator[Any]:
    for k, picture in enumerate(moving(3)):
        data = np.dstack([picture, np.full(picture.shape[:2], alpha, np.uint8)])
        frame = av.VideoFrame.from_ndarray(data, "rgba").reformat(format=pixels, threads=1)
        frame.pts = k
        yield frame


@pytest.mark.parametrize(
    ("codec", "name", "pixels"),
    [
        ("libvpx-vp9", "a.webm", "yuva420p"),
        ("ffv1", "a.mkv", "bgra"),
        ("prores_ks", "a.mov", "yuva444p10le"),
        ("qtrle", "b.mov", "argb"),
        ("libvpx", "b.webm", "yuva420p"),
    ],
)
def test_transparent_frames_need_a_background(codec: str, name: str, pixels: str, tmp_path: Path) -> None:
    def mark(stream: Any) -> None:
        if name.endswith("webm"):
            stream.metadata["alpha_mode"] = "1"

    options = {"auto-alt-ref": "0"} if name.endswith("webm") else {}
    written(tmp_path / name, codec, see_through(pixels, 0), pixels, options=options, change=mark)
    with pytest.raises(InputError, match=rf"{name}: frame 0 has transparent pixels.*--background"):
        read(tmp_path / name)
    _, found = read(tmp_path / name, background="#0a1420")
    assert [f.reshape(-1, 3).astype(int).mean(axis=0).round().tolist() for f in found] == [[10, 20, 32]] * 3
    written(tmp_path / f"opaque{name}", codec, see_through(pixels, 255), pixels, options=options, change=mark)
    assert len(read(tmp_path / f"opaque{name}")[1]) == 3


# --- streams and time -------------------------------------------------------------------------------------------------


def test_the_default_stream_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    from av.stream import Disposition

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        streams = []
        for height in (16, 32, 48):
            stream = out.add_stream("ffv1", rate=25)
            stream.height, stream.width, stream.pix_fmt = height, 64, "yuv420p"
            stream.disposition = Disposition.default if height == 32 else Disposition(0)
            streams.append(stream)
        for stream in streams:
            for frame in frames_of(moving(2, stream.height), "yuv420p"):
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    source, found = read(path)
    assert found[0].shape == (32, 64, 3)
    assert "of 3 video streams number 2, the default one, is read" in source.notes


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    from av.stream import Disposition

    path = tmp_path / "a.mkv"

    def cover(stream: Any) -> None:
        stream.disposition = Disposition.attached_pic

    written(path, "mjpeg", frames_of(moving(1), "yuvj420p"), "yuvj420p", change=cover)
    with av.open(str(path)) as container:
        if not container.streams.video[0].disposition & Disposition.attached_pic:
            data = tmp_path / "a.mp4"
            written(data, "mjpeg", frames_of(moving(1), "yuvj420p"), "yuvj420p", change=cover)
            path = data
    with pytest.raises(InputError, match="no video, only a cover picture"):
        read(path)


@pytest.mark.parametrize("name", ["a.webm", "a.mkv", "a.mp4"])
def test_a_variable_rate_keeps_its_durations(name: str, tmp_path: Path) -> None:
    times = [0, 40, 80, 480, 520, 1520, 1560, 1600]
    codec = "libvpx-vp9" if name.endswith("webm") else "libx264"

    def milliseconds(stream: Any) -> None:
        stream.codec_context.time_base = Fraction(1, 1000)

    def all_frames() -> Iterator[Any]:
        for frame in frames_of(moving(8), "yuv420p", times):
            frame.time_base = Fraction(1, 1000)
            yield frame

    written(tmp_path / name, codec, all_frames(), "yuv420p", change=milliseconds)
    with sources.open_source(str(tmp_path / name), LIMIT, CHOICE) as source:
        made, found = source.format, list(source.timed)
    usual = 1 / made.rate
    lasts = [Fraction(t, made.timescale) if t else usual for _, t in found]
    starts = [sum(lasts[:k]) for k in range(8)]
    assert all(abs(start - Fraction(t, 1000)) <= Fraction(1, 500) for start, t in zip(starts, times, strict=True))
    for out in ("b.mkv", "b.mp4"):
        with sources.open_sink(str(tmp_path / out), made) as sink:
            for picture, ticks in found:
                sink(picture, ticks)
        with av.open(str(tmp_path / out)) as container:
            again = [float(f.pts * f.time_base) for f in container.decode(video=0)]
        assert np.allclose(again, np.array(times) / 1000, atol=0.002)
    with sources.open_source(str(tmp_path / name), LIMIT, CHOICE, Fraction(10)) as source:
        assert (source.format.rate, source.format.timescale) == (10, 0)
        assert [ticks for _, ticks in source.timed] == [0] * 8


def test_a_constant_rate_in_rounded_times_has_no_durations() -> None:
    for rate, tick in (
        (Fraction(30000, 1001), Fraction(1, 1000)),
        (Fraction(24), Fraction(1, 1000)),
        (Fraction(25), Fraction(1, 25)),
    ):
        clock = Clock(rate, tick.denominator, tick)
        times = [round(k / rate / tick) for k in range(5000)]
        clock.start(times[0])
        assert [clock.until(t) for t in times[1:]] == [0] * 4999
        assert clock.last(round(1 / rate / tick)) == 0


def test_a_gap_is_one_duration_and_a_drift_never_adds_up() -> None:
    clock = Clock(Fraction(25), 25, Fraction(1, 25))
    clock.start(7)
    assert [clock.until(t) for t in (8, 9, 12, 13)] == [0, 0, 3, 0]
    clock = Clock(Fraction(30), 1000, Fraction(1, 1000))  # the file says 30, and its times are those of 29.97
    clock.start(0)
    times = [round(k * 1001 / 30) for k in range(2000)]
    lasts = [clock.until(t) for t in times[1:]]
    ends = np.cumsum([Fraction(t, 1000) if t else Fraction(1, 30) for t in lasts])
    assert max(abs(end - Fraction(t, 1000)) for end, t in zip(ends, times[1:], strict=True)) <= Fraction(1, 1000)


def test_frames_too_large_for_an_encoder_are_refused_in_words(tmp_path: Path) -> None:
    for name, width in (("a.mp4", 16386), ("a.mov", 20000), ("a.mkv", 40000)):
        with (
            pytest.raises(InputError, match=rf"{name}: .* up to \d+ a side, not {width}x2: write .y4m or a folder"),
            sources.open_sink(str(tmp_path / name), FrameFormat(width, 2)),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_png_that_moves_is_named(tmp_path: Path) -> None:
    written(tmp_path / "a.apng", "apng", frames_of(moving(3), "rgb24"), "rgb24")
    with pytest.raises(InputError, match=r"a\.apng: a PNG picture is no video.*ffmpeg -i"):
        read(tmp_path / "a.apng")

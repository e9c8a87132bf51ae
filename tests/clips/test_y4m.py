"""y4m: planes exactly, headers as other programs write them, what is refused."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction

import numpy as np
import pytest

from intcodec.base.errors import BitstreamError, InputError, LimitError
from intcodec.clips import y4m
from intcodec.clips.colour import Chroma, Colour, Matrix, from_rgb, plane_shapes, to_rgb
from intcodec.clips.frames import ColourChoice, FrameFormat

CHOICE = ColourChoice()
LIMIT = 2**20
#: What is written; a few that are only read are left out.
CHROMAS = [c for c in Chroma if c < 8]


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def y4m_file(header: y4m.Header, count: int = 3, seed: int = 0) -> tuple[bytes, list[tuple[np.ndarray, ...]]]:
    """The bytes of a y4m file put together by hand, and its planes."""
    rng = np.random.default_rng(seed)
    dtype, top = (np.uint8, 256) if header.depth == 8 else ("<u2", 1 << header.depth)
    data, frames = header.to_line(), []
    for _ in range(count):
        shapes = plane_shapes(header.height, header.width, header.chroma)
        planes = tuple(rng.integers(0, top, shape).astype(dtype) for shape in shapes)
        data += b"FRAME\n" + b"".join(p.tobytes() for p in planes)
        frames.append(planes)
    return data, frames


@pytest.mark.parametrize(
    ("chroma", "depth", "size"),
    [
        *itertools.product(CHROMAS, [8], [(1, 1), (5, 7), (6, 8)]),
        *itertools.product([Chroma.C420_LEFT, Chroma.C422, Chroma.C444, Chroma.MONO], [10, 16], [(1, 1), (5, 7)]),
    ],
)
def test_planes_are_read_exactly(chroma: Chroma, depth: int, size: tuple[int, int]) -> None:
    header = y4m.Header(size[1], size[0], (25, 1), (1, 1), "p", chroma, depth, ("COLORRANGE=FULL", "NOTE"))
    data, frames = y4m_file(header)
    file = io.BytesIO(data)
    assert y4m.read_header(file) == header
    found = list(y4m.read_frames(file, header))
    assert len(found) == len(frames)
    for one, two in zip(found, frames, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("chroma", CHROMAS)
def test_what_is_written_is_read(chroma: Chroma) -> None:
    made = FrameFormat(7, 5, Fraction(30000, 1001), (4, 3), Colour(Matrix.BT709, False, chroma))
    file = io.BytesIO()
    sink = y4m.y4m_sink(file, made)
    pictures = [noise(5, 7, k) for k in range(3)]
    for picture in pictures:
        sink(picture)
    file.seek(0)
    source = y4m.open_y4m(file, LIMIT, ColourChoice(Matrix.BT709))
    assert source.format == made
    for one, two in zip(source.frames, pictures, strict=True):
        np.testing.assert_array_equal(one, to_rgb(from_rgb(two, made.colour), made.colour))


def test_ffmpeg_reads_what_we_write_plane_for_plane() -> None:
    """An independent reader: PyAV."""
    av = pytest.importorskip("av")
    made = FrameFormat(10, 6, Fraction(25), (1, 1), Colour(Matrix.BT601, False, Chroma.C420_CENTRE))
    file = io.BytesIO()
    sink = y4m.y4m_sink(file, made)
    pictures = [noise(6, 10, k) for k in range(3)]
    for picture in pictures:
        sink(picture)
    file.seek(0)
    with av.open(file, format="yuv4mpegpipe") as container:
        frames = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(frames) == 3
    for frame, picture in zip(frames, pictures, strict=True):
        expected = np.concatenate([p.ravel() for p in from_rgb(picture, made.colour)])
        np.testing.assert_array_equal(frame.ravel(), expected)


def test_deep_samples_are_rounded() -> None:
    planes = (np.array([[0, 1, 2, 1021, 1022, 1023]], np.uint16),)
    assert y4m.reduce_depth(planes, 10)[0].tolist() == [[0, 0, 1, 255, 255, 255]]


GOOD = b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(12)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "truncated y4m file: it ends inside the line of its header"),
        (b"RIFF....\n", "not a y4m file"),
        (GOOD.replace(b"W4", b"W0"), "width is '0'"),
        (GOOD.replace(b"W4 ", b""), "width is ''"),
        (GOOD.replace(b"H2", b"H-2"), "height is '-2'"),
        (GOOD.replace(b"H2", b"H9999999999"), "height is"),
        (GOOD.replace(b"C420jpeg", b"C440"), "kind C'440' are not read"),
        (GOOD.replace(b"C420jpeg", b"C420p17"), "kind C'420p17' are not read"),
        (GOOD.replace(b"F25:1", b"F2x"), "rate is '2x'"),
        (GOOD.replace(b"F25:1", b"F"), "rate is ''"),
        (GOOD.replace(b"Ip", b"Ix"), "interlacing is 'x'"),
        (GOOD[:-1], "truncated y4m file: it ends inside frame 0"),
        (GOOD + b"FRAM", "ends inside the line of its frame 1"),
        (GOOD + b"CRAME\n" + bytes(12), "frame 1 should begin with FRAME, and there is b'CRAME'"),
        (GOOD + b"FRAMES\n" + bytes(12), "frame 1 should begin with FRAME, and there is b'FRAMES'"),
        (GOOD + b"\n", r"frame 1 should begin with FRAME, and there is b'\\n'"),
        (GOOD + b"FRAME " + b"x" * 5000, "has no end"),
    ],
)
def test_bad_y4m(data: bytes, message: str) -> None:
    found: list[np.ndarray] = []
    with pytest.raises((InputError, BitstreamError), match=message) as caught:
        found.extend(y4m.open_y4m(io.BytesIO(data), LIMIT, CHOICE).frames)
    # What is whole is given; an error of the header, which comes before all frames, is an InputError.
    assert len(found) == data.startswith(GOOD)
    assert (caught.type is BitstreamError) == data.startswith(GOOD[:-1])


HEAD = b"YUV4MPEG2 W4 H2 F25:1 Ip A1:1 C420jpeg\n"


@pytest.mark.parametrize(
    "head",
    [
        HEAD.replace(b" ", b"\t"),
        HEAD.replace(b"\n", b"\r\n"),
        HEAD.replace(b"F25:1", b"F25"),
        HEAD.replace(b" C420jpeg", b""),
        HEAD.replace(b"C420jpeg", b"XYSCSS=420JPEG"),
        HEAD.replace(b"C420jpeg", b"C420jpeg XYSCSS=444"),
    ],
)
def test_headers_of_other_programs(head: bytes) -> None:
    """ffmpeg reads each like the plain one; so do we."""
    av = pytest.importorskip("av")
    data = bytes(range(12))
    with av.open(io.BytesIO(head + b"FRAME\n" + data), format="yuv4mpegpipe") as container:
        (frame,) = container.decode(video=0)
    source = y4m.open_y4m(io.BytesIO(head + b"FRAME Ip\r\n" + data), LIMIT, CHOICE)
    assert source.format == y4m.open_y4m(io.BytesIO(HEAD), LIMIT, CHOICE).format
    (picture,) = source.frames
    flat = frame.to_ndarray().reshape(-1)
    planes = flat[:8].reshape(2, 4), flat[8:10].reshape(1, 2), flat[10:].reshape(1, 2)
    np.testing.assert_array_equal(picture, to_rgb(planes, source.format.colour))


def test_xyscss_names_the_chroma_where_no_c_does() -> None:
    for text, chroma, depth in (
        ("444", Chroma.C444, 8),
        ("422P10", Chroma.C422, 10),
        ("420MPEG2", Chroma.C420_LEFT, 8),
    ):
        head = HEAD.replace(b"C420jpeg", f"XYSCSS={text}".encode())
        header = y4m.read_header(io.BytesIO(head))
        assert (header.chroma, header.depth) == (chroma, depth)


def test_an_alpha_channel_of_y4m_follows_the_rule() -> None:
    head = b"YUV4MPEG2 W2 H1 F25:1 Ip A1:1 C444alpha\nFRAME\n" + bytes((235, 16)) + bytes((128,) * 4)
    (picture,) = y4m.open_y4m(io.BytesIO(head + b"\xff\xff"), LIMIT, CHOICE).frames
    assert picture.tolist() == [[[255] * 3, [0] * 3]]
    with pytest.raises(InputError, match="frame 0 has transparent pixels"):
        list(y4m.open_y4m(io.BytesIO(head + b"\xff\x80"), LIMIT, CHOICE).frames)
    (picture,) = y4m.open_y4m(io.BytesIO(head + b"\xff\x80"), LIMIT, CHOICE, (200, 100, 0)).frames
    assert picture.tolist() == [[[255] * 3, [round(v * 127 / 255) for v in (200, 100, 0)]]]


def test_y4m_above_the_limit() -> None:
    with pytest.raises(LimitError, match="frames of 4x2 pixels exceed the limit of 7"):
        y4m.open_y4m(io.BytesIO(GOOD), 7, CHOICE)


def test_what_is_assumed_is_said() -> None:
    bare = GOOD.replace(b" F25:1 Ip A1:1 C420jpeg", b" It C420p10")
    source = y4m.open_y4m(io.BytesIO(bare), LIMIT, CHOICE)
    assert source.format == FrameFormat(4, 2, Fraction(25), (0, 0), Colour(Matrix.BT601, False, Chroma.C420_LEFT))
    text = "\n".join(source.notes)
    assert "no frame rate: 25" in text
    assert "10-bit" in text
    assert "on the left column is assumed" in text
    assert "interlaced" in text
    assert "BT601 is assumed" in text
    chosen = y4m.open_y4m(io.BytesIO(GOOD), LIMIT, ColourChoice(Matrix.BT2020, True))
    assert (chosen.format.colour.matrix, chosen.format.colour.full, chosen.notes) == (Matrix.BT2020, True, [])

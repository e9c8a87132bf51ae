"""Clips: every engine, every size; seek, ranges and pipes; what is refused. Damaged ones: test_damaged_clips.py."""

from __future__ import annotations

import io
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache

import numpy as np
import pytest
import tinyvideo

from intcodec import load_video
from intcodec.base.errors import BitstreamError, InputError, LimitError, ModelError, WrongModelError
from intcodec.cli import clips as cli_clips
from intcodec.clips.clip import DEFAULT_INTERVAL, ClipReader, ClipWriter
from intcodec.clips.colour import Chroma, Colour, Matrix
from intcodec.clips.container import ChunkReader, ChunkWriter, Index, frame_limit
from intcodec.clips.framecodec import CodedFrame, VideoCodec, load_either, shown
from intcodec.clips.frames import FrameFormat
from intcodec.clips.header import MAGIC, ClipHeader
from intcodec.engines import create
from intcodec.engines.native import NativeEngine, isa_levels
from intcodec.network.graph import Network
from intcodec.pictures.codec import Codec, load

SIZE = (37, 50)
COUNT = 9
INTERVAL = 4
FORMAT = FrameFormat(SIZE[1], SIZE[0], Fraction(30000, 1001), (4, 3), Colour(Matrix.BT709, True, Chroma.C422))


class Pipe(io.RawIOBase):
    """Bytes that come in short reads and can be read once."""

    def __init__(self, data: bytes) -> None:
        self._rest = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        return self._rest.read(min(size, 7) if size > 0 else size)


def written(codec: VideoCodec, frames: list[np.ndarray], interval: int = INTERVAL) -> bytes:
    file = io.BytesIO()
    writer = ClipWriter(codec, file, FORMAT, interval)
    for frame in frames:
        writer.write(frame)
    writer.close()
    assert writer.bytes_written == len(file.getvalue())
    return file.getvalue()


def source() -> list[np.ndarray]:
    return list(tinyvideo.clip(COUNT, *SIZE))


@lru_cache(maxsize=1)
def codec() -> VideoCodec:
    return tinyvideo.codec()


@lru_cache(maxsize=1)
def clip() -> bytes:
    return written(codec(), source())


@lru_cache(maxsize=1)
def pictures() -> list[np.ndarray]:
    return list(ClipReader(codec(), io.BytesIO(clip())).frames())


def offsets(data: bytes) -> list[int]:
    """Where frames begin, and the end."""
    reader = ChunkReader(io.BytesIO(data))
    found = [reader.at]
    while reader.read() is not None:
        found.append(reader.at)
    return found


def assert_begins(found: list[np.ndarray], whole: list[np.ndarray]) -> None:
    assert len(found) <= len(whole)
    for one, other in zip(found, whole, strict=False):
        np.testing.assert_array_equal(one, other)


# --- frames -----------------------------------------------------------------------------------------------------------


def test_decoder_and_encoder_hold_the_same_pictures() -> None:
    encoder = codec().encoder(*SIZE)
    assert encoder.picture is None
    for number, (frame, decoded) in enumerate(zip(source(), pictures(), strict=True)):
        encoder.encode(frame, number % INTERVAL == 0)
        np.testing.assert_array_equal(encoder.picture, decoded)


@pytest.mark.parametrize("engine", ["reference", "onnxruntime"])
def test_engines_give_the_same_bytes_and_pixels(engine: str) -> None:
    other = tinyvideo.codec(engine)
    assert written(other, source()) == clip()
    for one, two in zip(ClipReader(other, io.BytesIO(clip())).frames(), pictures(), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("isa", [name for name, here in isa_levels() if here])
def test_instruction_sets_and_threads_give_the_same_bytes_and_pixels(isa: str) -> None:
    model = tinyvideo.bundle()
    for threads in (1, 2, 5):
        other = VideoCodec(model, NativeEngine(model.network, threads, isa=isa))
        assert written(other, source()) == clip()
        assert_begins(list(ClipReader(other, io.BytesIO(clip())).frames()), pictures())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (16, 16), (17, 33), (128, 130)])
def test_any_size(size: tuple[int, int]) -> None:
    frames = tinyvideo.clip(3, *size)
    encoder, decoder = codec().encoder(*size), codec().decoder(*size)
    slow = tinyvideo.codec("reference").decoder(*size)
    for number, frame in enumerate(frames):
        coded = encoder.encode(frame, number == 0)
        picture = decoder.decode(coded)
        assert picture.shape == (*size, 3)
        np.testing.assert_array_equal(picture, encoder.picture)
        np.testing.assert_array_equal(picture, slow.decode(coded))


def test_a_hundred_frames_without_drift() -> None:
    """One key frame; the decoder of another engine still has every pixel at the end."""
    model = tinyvideo.bundle()
    decoder = VideoCodec(model, NativeEngine(model.network, 3, isa="scalar")).decoder(16, 32)
    encoder = codec().encoder(16, 32)
    for number, frame in enumerate(tinyvideo.clip(100, 16, 32)):
        np.testing.assert_array_equal(decoder.decode(encoder.encode(frame, number == 0)), encoder.picture)


def test_shown_rounds_and_clamps() -> None:
    reference = np.array([[[-1024, -9, -8], [7, 8, 4087]], [[4088, 5104, 0], [16, 23, 24]]], np.int16)
    assert shown(reference, 2, 2).tolist() == [[[0, 0, 0], [0, 1, 255]], [[255, 255, 0], [1, 1, 2]]]
    assert shown(reference, 1, 1).shape == (1, 1, 3)


def test_frames_that_cannot_be_encoded() -> None:
    encoder = codec().encoder(*SIZE)
    frame = source()[0]
    with pytest.raises(InputError, match="has to be a key frame"):
        encoder.encode(frame, key=False)
    with pytest.raises(InputError, match=r"a frame of 50x36 in a clip of 50x37"):
        encoder.encode(frame[1:], key=True)
    with pytest.raises(InputError, match="uint8"):
        encoder.encode(frame.astype(np.int16), key=True)
    with pytest.raises(InputError, match="sides are 1 to 65536"):
        codec().encoder(0, 5)
    with pytest.raises(LimitError, match="exceed the limit of 99"):
        VideoCodec(tinyvideo.bundle(), codec().engine, max_pixels=99).encoder(10, 10)


def test_frames_that_cannot_be_decoded() -> None:
    encoder, decoder = codec().encoder(*SIZE), codec().decoder(*SIZE)
    key, inter, third = (encoder.encode(f, k == 0) for k, f in enumerate(source()[:3]))
    with pytest.raises(BitstreamError, match="start at a key frame"):
        decoder.decode(inter)
    wrong: list[tuple[CodedFrame, str]] = [
        (replace(inter, latents_crc=inter.latents_crc ^ 1), "latents do not match"),
        (replace(inter, pixels_crc=inter.pixels_crc ^ 1), "pixels do not match"),
        (replace(inter, sections=inter.sections[:2]), "in 2 sections"),
        (third, "do not match"),
        (replace(inter, sections=(b"", *inter.sections[1:])), "damaged|truncated|cannot hold|range coder|end"),
    ]
    for frame, message in wrong:
        decoder.decode(key)
        with pytest.raises(BitstreamError, match=message):
            decoder.decode(frame)
        with pytest.raises(BitstreamError, match="start at a key frame"):
            decoder.decode(inter)
    decoder.decode(key)
    decoder.decode(inter)


def test_models_are_told_apart() -> None:
    model = tinyvideo.bundle()
    with pytest.raises(ModelError, match="codes clips, not pictures"):
        Codec(model, create("native", model.network))
    assert isinstance(load_either(model.data, threads=1), VideoCodec)
    assert isinstance(load_video(model.data, engine="reference"), VideoCodec)
    with pytest.raises(ModelError, match="cannot code clips"):
        load_video(load(None).model.data)


def test_networks_that_are_no_video_codec() -> None:
    model = tinyvideo.bundle()
    graphs = model.network.graphs

    def refused(network: Network, message: str) -> None:
        with pytest.raises(ModelError, match=message):
            VideoCodec(replace(model, network=network), codec().engine)

    network = model.network
    refused(replace(network, graphs={k: v for k, v in graphs.items() if k != "predict"}), "cannot code clips")
    refused(replace(network, latents={k: v for k, v in network.latents.items() if k != "res_z"}), "hyperprior")
    swapped = {**graphs, "motion_g_a": replace(graphs["res_g_a"], name="motion_g_a")}
    refused(replace(network, graphs=swapped), "motion_g_a|x")


# --- the container ----------------------------------------------------------------------------------------------------


def test_header_survives() -> None:
    assert clip().startswith(MAGIC)
    assert MAGIC == cli_clips.MAGIC
    assert DEFAULT_INTERVAL == cli_clips.DEFAULT_INTERVAL
    assert ClipReader(codec(), io.BytesIO(clip())).format == FORMAT


HDR = replace(FORMAT, colour=Colour(Matrix.BT2020, False, Chroma.C420_LEFT, 9, 16), timescale=90000)


def timed(ticks: list[int], made: FrameFormat = HDR) -> bytes:
    file = io.BytesIO()
    writer = ClipWriter(codec(), file, made, 2)
    for frame, duration in zip(source(), ticks, strict=False):
        writer.write(frame, duration)
    writer.close()
    return file.getvalue()


def test_primaries_transfer_and_durations_survive() -> None:
    ticks = [3003, 0, 1, 2**31 - 1]
    data = timed(ticks)
    for file in (io.BytesIO(data), Pipe(data)):
        reader = ClipReader(codec(), file)
        assert reader.format == HDR
        assert [duration for _, duration in reader.timed()] == ticks
    assert [duration for _, duration in ClipReader(codec(), io.BytesIO(data)).timed(1, 3)] == ticks[1:3]


def test_the_header_says_byte_for_byte_what_the_document_says() -> None:
    header = timed([5])[:40]
    assert header[5] == 128 | 3 | 2 << 3  # extended, BT.2020, limited, 4:2:0 on the left
    at = 4 + 1 + 1 + 8 + 1 + 1 + 3 + 2 + 1 + 1  # magic ... 50, 37, 30000, 1001, 4, 3
    assert header[at : at + 5] == bytes((9, 16, 90000 & 127 | 128, 90000 >> 7 & 127 | 128, 90000 >> 14))
    assert header[at + 9 : at + 11] == b"k\x05"  # after the checksum: a key frame of five ticks


def test_durations_need_a_timescale() -> None:
    writer = ClipWriter(codec(), io.BytesIO(), FORMAT)
    for ticks in (1, -1):
        with pytest.raises(InputError, match="durations need a timescale"):
            writer.write(source()[0], ticks)
    with pytest.raises(ValueError, match="cannot write a frame of 7 ticks"):
        ChunkWriter(io.BytesIO(), ClipHeader(bytes(8), 50, 37, Fraction(25))).write(
            CodedFrame(True, (b"", b""), 0, 0), 7
        )


# --- reading ----------------------------------------------------------------------------------------------------------


def test_a_pipe_gives_the_same_frames() -> None:
    assert_begins(pictures(), list(ClipReader(codec(), Pipe(clip())).frames()))
    found = list(ClipReader(codec(), Pipe(clip())).frames(5, 7))
    assert len(found) == 2
    assert_begins(found, pictures()[5:7])


def test_the_writer_never_seeks() -> None:
    class Sink:
        data = b""

        def write(self, data: bytes, /) -> None:
            self.data += data

    sink = Sink()
    writer = ClipWriter(codec(), sink, FORMAT, INTERVAL)
    for frame in source():
        writer.write(frame)
    writer.close()
    assert sink.data == clip()


@pytest.mark.parametrize("indexed", [True, False])
def test_every_range(indexed: bool) -> None:
    data = clip() if indexed else clip()[: offsets(clip())[-1]]
    reader = ClipReader(codec(), io.BytesIO(data))
    for begin in range(COUNT):
        for end in range(begin + 1, COUNT + 1):
            found = list(reader.frames(begin, end))
            assert len(found) == end - begin
            assert_begins(found, pictures()[begin:])


def test_a_range_decodes_from_the_last_key_frame_only() -> None:
    decoded = []

    class Counting(VideoCodec):
        def decoder(self, height: int, width: int):  # type: ignore[no-untyped-def]
            inner = super().decoder(height, width)
            plain = inner.decode
            inner.decode = lambda frame: (decoded.append(frame.key), plain(frame))[1]  # type: ignore[method-assign]
            return inner

    counting = Counting(tinyvideo.bundle(), codec().engine)
    list(ClipReader(counting, io.BytesIO(clip())).frames(6, 7))
    assert decoded == [True, False, False]


def test_iterators_of_one_reader_are_independent() -> None:
    for data in (clip(), clip()[: offsets(clip())[-1]]):
        reader = ClipReader(codec(), io.BytesIO(data))
        pairs = list(zip(reader.frames(2, 7), reader.frames(4, 9), strict=True))
        assert_begins([one for one, _ in pairs], pictures()[2:])
        assert_begins([two for _, two in pairs], pictures()[4:])
        first = reader.frames(0, COUNT)
        next(first)
        list(reader.frames(8, COUNT))
        assert_begins(list(first), pictures()[1:])


def test_a_pipe_can_be_read_once() -> None:
    reader = ClipReader(codec(), Pipe(clip()))
    first = reader.frames()
    next(first)
    with pytest.raises(InputError, match="from a pipe can be read once"):
        reader.frames()
    assert_begins(list(first), pictures()[1:])


def test_a_range_beyond_the_end_says_so() -> None:
    reader = ClipReader(codec(), io.BytesIO(clip()))
    with pytest.raises(InputError, match="the clip has 9 frames, and no frame 9"):
        list(reader.frames(9))
    assert len(list(reader.frames(8, 100))) == 1


def test_a_clip_in_the_middle_of_a_file() -> None:
    file = io.BytesIO(b"before" + clip())
    file.seek(6)
    reader = ClipReader(codec(), file)
    assert_begins(list(reader.frames(6)), pictures()[6:])


def test_intervals() -> None:
    for interval, keys in ((0, [0]), (1, list(range(COUNT))), (3, [0, 3, 6]), (100, [0])):
        index = ChunkReader(io.BytesIO(written(codec(), source(), interval))).load_index()
        assert index is not None
        assert (index.frames, list(index.keys)) == (COUNT, keys)
    with pytest.raises(InputError, match="0 or more"):
        ClipWriter(codec(), io.BytesIO(), FORMAT, -1)
    with pytest.raises(InputError, match="at least one frame"):
        ClipWriter(codec(), io.BytesIO(), FORMAT).close()


def test_the_index_is_where_the_key_frames_are() -> None:
    index = ChunkReader(io.BytesIO(clip())).load_index()
    starts = offsets(clip())
    assert index == Index(COUNT, index.keys, index.offsets)
    assert list(index.offsets) == [starts[k] for k in index.keys]
    assert [index.before(n)[0] for n in range(COUNT)] == [0, 0, 0, 0, 4, 4, 4, 4, 8]


def test_another_model_is_refused() -> None:
    other = tinyvideo.codec(seed=1)
    with pytest.raises(WrongModelError, match=f"needs model {codec().model_id.hex()}, but"):
        ClipReader(other, io.BytesIO(clip()))


def test_frames_above_the_limit_are_refused_before_any_work() -> None:
    small = VideoCodec(tinyvideo.bundle(), codec().engine, max_pixels=100)
    with pytest.raises(LimitError):
        ClipReader(small, io.BytesIO(clip()))


def test_what_a_writer_refuses() -> None:
    header = ClipHeader(bytes(8), 50, 37, Fraction(25))
    frame = CodedFrame(True, (b"a", b"b"), 1, 2)
    for bad in (
        replace(header, width=0),
        replace(header, rate=Fraction(2**31)),
        replace(header, rate=Fraction(0)),
        replace(header, aspect=(2, 4)),
        replace(header, colour=64),
        replace(header, model_id=b""),
    ):
        with pytest.raises(ValueError, match=r"cannot write|bad model"):
            ChunkWriter(io.BytesIO(), bad)
    writer = ChunkWriter(io.BytesIO(), header)
    for bad_frame in (replace(frame, sections=(b"a",)), replace(frame, sections=(b"", bytes(frame_limit(50, 37) + 1)))):
        with pytest.raises(ValueError, match="cannot write a frame"):
            writer.write(bad_frame)
    with pytest.raises(ValueError, match="must be a key frame"):
        writer.write(CodedFrame(False, (b"",) * 4, 1, 2))
    with pytest.raises(ValueError, match="at least one frame"):
        writer.close()

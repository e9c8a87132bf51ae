"""Video models and clips made to hurt: an error of one line, before the memory that they ask for is taken."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tinyvideo
from modelfiles import rebuild

from intcodec import load, load_video
from intcodec.base.errors import BitstreamError, IntCodecError, ModelError
from intcodec.clips.clip import ClipReader, ClipWriter
from intcodec.clips.container import ChunkWriter
from intcodec.clips.framecodec import DEFAULT_FRAME_PIXELS, CodedFrame, VideoCodec, load_either
from intcodec.clips.frames import FrameFormat
from intcodec.clips.header import ClipHeader
from intcodec.conformance.verify import verify
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import check_vectors
from intcodec.network.graph import Graph, Network
from intcodec.rows.conv import Conv
from intcodec.rows.rescale import Rescale
from intcodec.rows.row import Row
from intcodec.rows.scale_space import ScaleSpace

#: Bytes that a decoder may take for each pixel of a frame: pictures, motion, the scale space and what makes it.
BYTES_PER_PIXEL = 100

DECODE = """
import io, sys, intcodec
from intcodec.clips.clip import ClipReader
data = open(sys.argv[2], "rb").read()
codec = intcodec.load_video(sys.argv[1], engine="native", threads=1)
def peak():
    return int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) * 1024
before, frames = peak(), 0
try:
    for picture in ClipReader(codec, io.BytesIO(data)).frames():
        frames += 1
    error = ""
except intcodec.IntCodecError as error_:
    error = type(error_).__name__
print(frames, error or "-", peak() - before)
"""


def measured(data: bytes, folder: Path) -> tuple[int, str, int]:
    """Decode a clip in a process of its own: its frames, the name of its error, how far its peak of memory rose."""
    if not Path("/proc/self/status").exists():
        pytest.skip("peaks of memory are read from /proc")
    (folder / "model.intm").write_bytes(tinyvideo.bundle().data)
    (folder / "clip.intc").write_bytes(data)
    argv = [sys.executable, "-c", DECODE, str(folder / "model.intm"), str(folder / "clip.intc")]
    run = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    frames, error, peak = run.stdout.split()
    return int(frames), error, int(peak)


def clip_of(height: int, width: int, *frames: CodedFrame) -> bytes:
    """Return a clip of frames that nothing has checked."""
    file = io.BytesIO()
    writer = ChunkWriter(file, ClipHeader(tinyvideo.codec().model_id, width, height, Fraction(25)))
    for frame in frames:
        writer.write(frame)
    writer.close()
    return file.getvalue()


def test_memory_is_a_frames(tmp_path: Path) -> None:
    file = io.BytesIO()
    writer = ClipWriter(tinyvideo.codec(), file, FrameFormat(1024, 1024))
    for frame in tinyvideo.clip(3, 1024, 1024):
        writer.write(frame)
    writer.close()
    frames, error, peak = measured(file.getvalue(), tmp_path)
    assert (frames, error) == (3, "-")
    assert 36 << 20 < peak < BYTES_PER_PIXEL << 20  # a scale space alone is 36 bytes: the measure measures


@pytest.mark.parametrize(
    ("height", "width", "error"),
    [
        (1, 2**16 + 1, "BitstreamError"),
        (1, 2**28 - 1, "BitstreamError"),
        (2**28 - 1, 2**28 - 1, "BitstreamError"),
        (2**16, 2**16, "LimitError"),
        (2**13, 2**13, "LimitError"),
        (2**12, 2**13, "BitstreamError"),  # within the limit: the sections are too short for the symbols
        (1, 2**16, "BitstreamError"),
    ],
)
def test_sizes_that_promise_much(height: int, width: int, error: str, tmp_path: Path) -> None:
    data = clip_of(height, width, CodedFrame(True, (b"\x55" * 40, b"\x55" * 40), 1, 2))
    assert len(data) < 300
    assert measured(data, tmp_path)[1] == error
    assert measured(data, tmp_path)[2] < 16 << 20


def test_a_side_that_no_frame_can_have() -> None:
    for height, width in ((2**16 + 1, 1), (1, 2**16 + 1), (2**28 - 1, 2**28 - 1)):
        with pytest.raises(BitstreamError, match=r"cannot be decoded: .* sides are 1 to 65536"):
            ClipReader(tinyvideo.codec(), io.BytesIO(clip_of(height, width, CodedFrame(True, (b"", b""), 1, 2))))


def test_frames_have_a_limit_of_their_own() -> None:
    data = tinyvideo.bundle().data
    assert load_video(data, engine="native").max_pixels == DEFAULT_FRAME_PIXELS == 2**25
    assert load_either(data, engine="native").max_pixels == DEFAULT_FRAME_PIXELS
    assert load_either(data, engine="native", max_pixels=7).max_pixels == 7
    picture = Model.build(tiny.network("factorized"), {"name": "x"}, {}).data
    assert load_either(picture, engine="reference").max_pixels == 2**28


def conv(name: str, source: str, shape: tuple[int, int, int, int], **fields: Any) -> Conv:
    arrays = np.zeros(shape, np.int16), np.zeros(shape[0], np.int32), np.zeros(shape[0], np.uint8)
    return Conv(name, source, *arrays, **{"lo": 0, "hi": 100, **fields})


def swollen(graph: Graph) -> Graph:
    """Return a graph in which a tensor doubles twelve times and halves as often before it goes on."""
    at = 1 if isinstance(graph.rows[0], Rescale) else 0
    reader = graph.rows[at]
    source = graph.specs()[reader.inputs[0]]
    rows: list[Row] = [conv("narrow", source.name, (1, 1, 1, source.channels))]
    for k in range(12):
        rows.append(conv(f"up{k}", rows[-1].name, (4, 1, 1, 1), upsample=2))
    for k in range(12):
        rows.append(conv(f"down{k}", rows[-1].name, (1, 1, 1, 1), stride=2))
    rows.append(conv("wide", rows[-1].name, (source.channels, 1, 1, 1), lo=source.lo, hi=source.hi))
    return replace(graph, rows=(*graph.rows[:at], *rows, replace(reader, input="wide"), *graph.rows[at + 1 :]))


@pytest.mark.parametrize("name", ["img_g_s", "motion_g_s", "res_h_a", "motion_h_s", "res_g_a"])
def test_chains_that_no_self_test_sees(name: str) -> None:
    """Whatever the model's own vectors were, no frame is begun."""
    network = tinyvideo.network()
    hostile = replace(network, graphs={**network.graphs, name: swollen(network.graphs[name])})
    codec = VideoCodec(replace(tinyvideo.bundle(), network=hostile), tinyvideo.codec().engine)
    for make in (codec.encoder, codec.decoder):
        with pytest.raises(ModelError, match="values, more than"):
            make(300, 300)


def predict(**fields: Any) -> Graph:
    return replace(tinyvideo.predict(), **fields)


@pytest.mark.parametrize(
    "graph",
    [
        predict(rows=(*tinyvideo.predict().rows, *(ScaleSpace(f"v{k}", "reference") for k in range(100)))),
        predict(outputs=("volume",)),
        predict(outputs=("volume", "prediction")),
    ],
)
def test_predictions_that_make_more(graph: Graph) -> None:
    network = tinyvideo.network()
    model = replace(tinyvideo.bundle(), network=replace(network, graphs={**network.graphs, "predict": graph}))
    with pytest.raises(ModelError, match="not a scale space and a warp"):
        VideoCodec(model, tinyvideo.codec().engine)


def test_what_cannot_code_does_not_verify() -> None:
    """Integrity, proof and self-test are right in all of these; only a codec they are not."""
    network = tinyvideo.network()
    graphs = network.graphs
    without = {
        field: {k: v for k, v in getattr(network, field).items() if k != "res_z"} for field in ("latents", "tables")
    }
    assert verify(tinyvideo.bundle().data).ok
    swapped = {"img_g_a": replace(graphs["motion_g_a"], name="img_g_a")}
    broken = [
        replace(network, graphs={**graphs, "predict": predict(outputs=("volume",))}),
        replace(network, graphs={**graphs, **swapped}),
        replace(network, graphs={k: v for k, v in graphs.items() if k != "res_h_s"}),
        replace(network, graphs={k: v for k, v in graphs.items() if k != "predict"}),
        replace(network, **without),
        replace(tiny.network("factorized"), graphs={"g_a": tiny.network("factorized").graphs["g_a"]}),
    ]
    for case in broken:
        report = verify(Model.build(case, {"name": "x"}, {}).data)
        assert report.model_id is not None
        assert "codec" in {name for name, status, _ in report.checks if status == "failed"}
        assert not report.ok


@pytest.mark.parametrize(("height", "width"), [(32, 40), (24, 32), (1, 16), (255, 256)])
def test_self_tests_that_cannot_be_warped(height: int, width: int) -> None:
    """An InputError once, which blames the caller."""
    model = tinyvideo.bundle()
    vectors = [
        {**v, "tensors": dict(v["tensors"])} | ({"height": height, "width": width} if v["graph"] == "predict" else {})
        for v in model.vectors
    ]
    with pytest.raises(ModelError, match=rf"graph predict: row volume cannot warp {height}x{width}"):
        check_vectors(model.network, vectors)
    with pytest.raises(ModelError, match="cannot warp"):
        Model.load(rebuild(replace(model, vectors=tuple(vectors))))


def withheld(network: Network) -> Iterator[Network]:
    """Yield networks of which a graph makes one of its tensors, but does not deliver it."""
    for graph in network.graphs.values():
        for name in graph.outputs:
            rest = tuple(other for other in graph.outputs if other != name)
            inner = tuple(row.name for row in graph.rows if row.name != name)[:1]
            if rest or inner:
                yield replace(network, graphs={**network.graphs, graph.name: replace(graph, outputs=rest or inner)})


def test_tensors_that_are_not_delivered() -> None:
    """A KeyError once. Only a mean may be missing: then the model has none."""
    picture, clip = tiny.picture(20, 30), tinyvideo.clip(2, 20, 30)
    cases = [*((load, n) for arch in tiny.ARCHS for n in withheld(tiny.network(arch)))]
    cases += [(load_video, n) for n in withheld(tinyvideo.network())]
    errors = []
    for make, network in cases:
        data = Model.build(network, {"name": "x"}, {}).data
        try:
            codec = make(data, engine="native", threads=1)
            if make is load_video:
                encoder = codec.encoder(20, 30)
                for k, frame in enumerate(clip):
                    encoder.encode(frame, k == 0)
            else:
                codec.decode(codec.encode(picture))
            errors.append("")
        except IntCodecError as error:
            errors.append(type(error).__name__)
    assert set(errors) == {"", "ModelError"}
    assert (errors.count(""), len(errors) > 25) == (5, True)

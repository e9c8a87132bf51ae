"""Clips as cases: frames to a clip's bytes and back, with a note of every frame's sections and tensors.

What may live here: the notes of a frame, for the tool that writes them and for the replay that compares them, and what
the cases of a clip ask for.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import IntCodecError
from intcodec.clips.clip import ClipReader, ClipWriter
from intcodec.clips.container import ChunkReader
from intcodec.clips.framecodec import DEFAULT_FRAME_PIXELS, VideoCodec
from intcodec.clips.frames import FrameFormat
from intcodec.conformance.cases import MakeEngine, Outcome, expect, load, sha256
from intcodec.conformance.trace import Call, Recorder, Run, coded_sections, first_difference
from intcodec.conformance.vectors import Json, VectorFile, read_ppms
from intcodec.engines import Engine
from intcodec.modelfile.model import Model
from intcodec.network.graph import Network

#: Frames per second that the header of an encoded case states.
RATE = Fraction(25)

Frames = NDArray[np.uint8]


@dataclass
class Coded:
    """What an engine did with a clip, up to its first error.

    Args:
        calls: of each frame, the runs of graphs in their order.
        kept: the tensors of the same runs.
        data: the bytes that were encoded.
        pixels: the pictures that were decoded, uint8[H, W, 3].
        error: what ended it, None if nothing did.
    """

    calls: list[list[Call]]
    kept: list[list[Run]]
    data: bytes = b""
    pixels: tuple[Frames, ...] = ()
    error: IntCodecError | None = None


class _Notes:
    """A codec on an engine that is watched, and what it did for each frame."""

    def __init__(self, model: Model, engine: Engine) -> None:
        self._recorder = Recorder(engine, keep=True)
        self.codec = VideoCodec(model, self._recorder)
        self.coded = Coded([], [])

    def frame(self) -> None:
        """Close a frame."""
        self.coded.calls.append(list(self._recorder.calls))
        self.coded.kept.append(list(self._recorder.kept))
        self._recorder.calls.clear()
        self._recorder.kept.clear()


def encode(model: Model, engine: Engine, frames: Frames, interval: int) -> Coded:
    """Encode frames uint8[n, H, W, 3] with a key frame every `interval` frames; 0: the first only."""
    notes, file = _Notes(model, engine), io.BytesIO()
    try:
        made = FrameFormat(frames.shape[2], frames.shape[1], RATE)
        writer = ClipWriter(notes.codec, file, made, interval, scene_cuts=False)
        for frame in frames:
            writer.write(frame)
            notes.frame()
        writer.close()
    except IntCodecError as error:
        notes.coded.error = error
    notes.coded.data = file.getvalue()
    return notes.coded


def decode(model: Model, engine: Engine, clip: bytes) -> Coded:
    """Decode a clip."""
    notes, pixels = _Notes(model, engine), list[Frames]()
    try:
        for picture in ClipReader(notes.codec, io.BytesIO(clip)).frames():
            pixels.append(picture)
            notes.frame()
    except IntCodecError as error:
        notes.coded.error = error
    notes.coded.pixels = tuple(pixels)
    return notes.coded


def sections(network: Network, clip: bytes, decoded: Coded) -> list[list[Json]]:
    """Return for each frame that was decoded its sections, as `coded_sections` notes them; "latent" is "motion_z"."""
    reader, frames = ChunkReader(io.BytesIO(clip)), list[list[Json]]()
    for kept in decoded.kept:
        frame = reader.read()
        if frame is None:
            break
        frames.append([])
        for k, part in enumerate(("img",) if frame.key else ("motion", "res")):
            own = [(graph.removeprefix(f"{part}_"), tensors) for graph, tensors in kept if graph.startswith(f"{part}_")]
            height, width = next(tensors["y_hat"].shape[:2] for graph, tensors in own if graph == "g_s")
            found = coded_sections(network.part(part), frame.sections[2 * k : 2 * k + 2], own, (height, width))
            frames[-1] += [{**section, "latent": f"{part}_{section['latent']}"} for section in found]
    return frames


def replay(file: VectorFile, make: MakeEngine) -> Iterator[Outcome]:
    """Replay all cases of a file of clips."""
    try:
        model, engine = load(file, file.content["model"], make)
    except IntCodecError as error:
        yield Outcome(f"{file.name}/model", f"{type(error).__name__}: {error}")
        return
    for case in file.cases:
        if case["result"] == "valid":
            yield _valid(file, case, model, engine)
        else:
            limit = case.get("max_pixels", DEFAULT_FRAME_PIXELS)
            codec = VideoCodec(model, engine, max_pixels=limit)
            yield Outcome(case["id"], expect(case, partial(_invalid, file, case, codec)))


def _invalid(file: VectorFile, case: Json, codec: VideoCodec) -> str | None:
    """Decode a damaged clip: all frames before the damage are shown, and no other."""
    shown, ended = list[Frames](), None
    try:
        shown.extend(ClipReader(codec, io.BytesIO(bytes.fromhex(case["bytes"]))).frames())
    except IntCodecError as error:
        ended = error
    wanted = read_ppms(file.read(case["pixels"]))[: case["decoded"]]
    problem = _pixels(shown, wanted)
    if problem or ended is None:
        return problem
    raise ended


def _valid(file: VectorFile, case: Json, model: Model, engine: Engine) -> Outcome:
    """Encode a case's frames and decode its stream; compare bytes, pixels and every tensor on the way."""
    stream, problems = file.read(case["stream"]), list[str]()
    written = encode(model, engine, read_ppms(file.read(case["clip"])), case["interval"])
    if written.error is not None:
        problems.append(f"encode: {type(written.error).__name__}: {written.error}")
    elif written.data != stream:
        problems.append("the encoded bytes differ")
    read = decode(model, engine, stream)
    if read.error is not None:
        problems.append(f"decode: {type(read.error).__name__}: {read.error}")
    else:
        problems += filter(None, [_pixels(read.pixels, read_ppms(file.read(case["pixels"])))])
    problems += _sections(case, model.network, stream, read)
    for coded, side in ((written, "encoder"), (read, "decoder")):
        tensor = _first_difference(coded.calls, case["frames"], side)
        if tensor:
            problems.insert(0, f"{side}: first tensor that differs is {tensor}")
    pixels = sha256(np.stack(read.pixels).tobytes()) if read.pixels else None
    return Outcome(case["id"], "; ".join(problems) or None, sha256(written.data), pixels)


def _pixels(found: Sequence[Frames], wanted: Frames) -> str | None:
    for k, (a, b) in enumerate(zip(found, wanted, strict=False)):
        if not np.array_equal(a, b):
            return f"the decoded pixels of frame {k} differ"
    return None if len(found) == len(wanted) else f"{len(found)} frames were decoded, {len(wanted)} expected"


def _sections(case: Json, network: Network, stream: bytes, read: Coded) -> list[str]:
    try:
        made = sections(network, stream, read)
    except IntCodecError as error:
        return [f"sections: {error}"]
    return [
        f"frame {k}, section {want['latent']}: {key} differ"
        for k, (frame, wanted) in enumerate(zip(made, case["frames"], strict=False))
        for got, want in zip(frame, wanted["sections"], strict=True)
        for key in want
        if got[key] != want[key]
    ]


def _first_difference(frames: list[list[Call]], wanted: list[Json], side: str) -> str | None:
    """Return the first tensor that differs, as "frame 2, res_g_s/residual".

    A frame runs each graph once. A decoder reads all its latents first; its calls are put in the encoder's order.
    """
    for k, (calls, want) in enumerate(zip(frames, wanted, strict=False)):
        order = [call["graph"] for call in want["calls"]]
        calls = sorted(calls, key=lambda call: order.index(call.graph) if call.graph in order else len(order))
        tensor = first_difference(calls, want["calls"], side)
        if tensor:
            return f"frame {k}, {tensor}"
    return None

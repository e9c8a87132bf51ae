"""A device's part of clip.py: decode a clip, maybe encode its frames again, and print digests as JSON.

    python clip_device.py MODEL CLIP ENGINE THREADS [FRAMES.npy INTERVAL]

Needs intcodec and numpy alone. Nothing is compared here: a device is not asked for its own verdict.
"""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import IntCodecError
from intcodec.clips.clip import ClipReader, ClipWriter
from intcodec.clips.framecodec import VideoCodec
from intcodec.clips.frames import FrameFormat
from intcodec.engines import Engine, create
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import self_test
from intcodec.pictures.codec import check_proof

Frame = NDArray[np.uint8]


def make_codec(source: str | bytes, engine: str, threads: int) -> VideoCodec:
    """Return a codec of a model (file or bytes), proved and self-tested; `engine` may be "native/ISA"."""
    model = Model.load(source)
    check_proof(model)
    name, _, isa = engine.partition("/")
    chosen: Engine = create(name, model.network, threads) if not isa else native(model, threads, isa)
    self_test(model, chosen)
    return VideoCodec(model, chosen)


def native(model: Model, threads: int, isa: str) -> Engine:
    """Return the native engine at an instruction set."""
    from intcodec.engines.native import NativeEngine

    return NativeEngine(model.network, threads, isa=isa)


def encode(codec: VideoCodec, frames: Iterable[Frame], interval: int) -> bytes:
    """Return the clip of frames uint8[H, W, 3]."""
    file, writer = io.BytesIO(), None
    for frame in frames:
        if writer is None:
            made = FrameFormat(frame.shape[1], frame.shape[0], Fraction(25))
            writer = ClipWriter(codec, file, made, interval, scene_cuts=False)
        writer.write(frame)
    if writer is not None:
        writer.close()
    return file.getvalue()


def digest(frame: Frame) -> str:
    """Return the SHA-256 of a frame's size and pixels."""
    return hashlib.sha256(repr(frame.shape).encode() + frame.tobytes()).hexdigest()


def report(
    model: str, clip: bytes, engine: str, threads: int, frames: Iterable[Frame], interval: int
) -> dict[str, Any]:
    """Return what a device makes of a clip, up to its first error.

    Returns:
        "pictures": digests of the decoded frames; "clip": SHA-256 of the encoded frames, None without any; "error".
    """
    found: dict[str, Any] = {"numpy": np.__version__, "pictures": [], "clip": None, "error": None}
    try:
        codec = make_codec(model, engine, threads)
        for frame in ClipReader(codec, io.BytesIO(clip)).frames():
            found["pictures"].append(digest(frame))
        data = encode(codec, frames, interval)
        found["clip"] = hashlib.sha256(data).hexdigest() if data else None
    except IntCodecError as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


if __name__ == "__main__":
    model, clip, engine, threads, *more = sys.argv[1:]
    frames = np.load(more[0], mmap_mode="r") if more else ()
    interval = int(more[1]) if more else 0
    given = (np.ascontiguousarray(frame) for frame in frames)
    print(json.dumps(report(model, Path(clip).read_bytes(), engine, int(threads), given, interval)))

"""Fuzz target: single coded frames, behind any container. Run by fuzz/drive.py.

The first byte of an input chooses the mode, the second a size of frame, the rest is cut into frames: a byte that says
how each is made, a length of two bytes for each part, and the parts.

    0   sections as they are, with the checksums of a good clip's frame
    1   sections as they are; the checksums are made right for what they decode to
    2   latents: their sections are written by the range coder, so that any symbols reach the networks
    3   pixels: what an encoder makes of them

What must hold: an IntCodecError of one line, or the right pixels. In mode 0 those are the good clip's; in the others
those of the reference engine, which must give the same bytes, too. After an error only a key frame is decoded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from common import ROOT, tinyvideo

from intcodec.base.errors import BitstreamError, IntCodecError
from intcodec.clips.framecodec import CodedFrame, FrameDecoder, VideoCodec
from intcodec.engines.native import NativeEngine
from intcodec.engines.reference import ReferenceEngine

__all__ = ["ROOT", "one_input"]

SIZES = ((1, 1), (16, 16), (9, 33), (37, 50))
MOST_FRAMES = 4
KEY = 1

_MODEL = tinyvideo.bundle()
NATIVE = VideoCodec(_MODEL, NativeEngine(_MODEL.network, 1))
REFERENCE = VideoCodec(_MODEL, ReferenceEngine(_MODEL.network))


class Recorder(FrameDecoder):
    """A decoder that writes checksums down instead of comparing them."""

    def _check(self, what: str, crc: int, expected: int) -> None:
        self.__dict__[what] = crc

    def forged(self, key: bool, sections: tuple[bytes, ...]) -> CodedFrame:
        """Return a frame of sections with the checksums of what they decode to."""
        self.decode(CodedFrame(key, sections, 0, 0))
        return CodedFrame(key, sections, self.__dict__["latents"], self.__dict__["pixels"])


def good_clip(height: int, width: int) -> list[tuple[CodedFrame, Any]]:
    """Return the coded frames of a clip and what they show; every other one is a key frame."""
    encoder = NATIVE.encoder(height, width)
    frames = tinyvideo.clip(MOST_FRAMES, height, width)
    return [(encoder.encode(frame, k % 2 == 0), encoder.picture) for k, frame in enumerate(frames)]


GOOD = {size: good_clip(*size) for size in SIZES}


def cut(data: bytes) -> list[tuple[int, tuple[bytes, ...]]]:
    """Return of each frame the byte that says how it is made, and its parts: as many as the byte's upper bits say."""
    found: list[tuple[int, tuple[bytes, ...]]] = []
    at = 0
    while at < len(data) and len(found) < MOST_FRAMES:
        how, parts = data[at], []
        at += 1
        for _ in range(how >> 4 & 7):
            length = int.from_bytes(data[at : at + 2], "little")
            parts.append(data[at + 2 : at + 2 + length])
            at += 2 + length
        found.append((how, tuple(parts)))
    return found


def packed(mode: int, size: int, frames: list[tuple[int, tuple[bytes, ...]]]) -> bytes:
    """Return an input; the inverse of `cut`, and how a corpus begins."""
    out = bytearray((mode, size))
    for how, parts in frames:
        out.append(how & 15 | len(parts) << 4)
        for part in parts:
            out += len(part).to_bytes(2, "little") + part
    return bytes(out)


class Decoding:
    """Decoders of both engines, of one clip.

    Invariant: `whole` says whether the last frame was decoded, so that another may follow it.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        self.native, self.reference = NATIVE.decoder(*size), REFERENCE.decoder(*size)
        self.recorder = Recorder(NATIVE, *size)
        self.whole = False

    def decode(self, frame: CodedFrame) -> Any:
        """Return what a frame shows, or None after an error; both engines must say the same."""
        made = [attempt(decoder, frame) for decoder in (self.native, self.reference)]
        if (made[0] is None) != (made[1] is None) or (made[0] is not None and (made[0] != made[1]).any()):
            raise AssertionError("engines differ")
        if made[0] is not None and not (frame.key or self.whole):
            raise AssertionError("a frame was decoded without the one before it")
        self.whole = made[0] is not None
        return made[0]

    def forged(self, key: bool, sections: tuple[bytes, ...]) -> CodedFrame:
        """Return a frame of sections with the checksums of what they decode to, or of nothing if they do not."""
        try:
            return self.recorder.forged(key, sections)
        except IntCodecError as error:
            check(error)
            return CodedFrame(key, sections, 0, 0)


def check(error: IntCodecError) -> None:
    """Look at the words of an error."""
    if "\n" in str(error) or len(str(error)) > 400:
        raise AssertionError("an error of more than one short line") from error


def attempt(decoder: FrameDecoder, frame: CodedFrame) -> Any:
    """Return what a decoder makes of a frame; None after an error, which must be a BitstreamError."""
    try:
        return decoder.decode(frame)
    except BitstreamError as error:
        check(error)
        return None


def latent(part: bytes, rows: int, columns: int) -> Any:
    """Return a latent y [rows, columns, C] of a byte for each value; of two if the first byte is 255."""
    spec = _MODEL.network.graphs["img_g_a"].specs()["y"]
    if part[:1] == b"\xff":
        given = np.frombuffer(part[1 : len(part) - 1 + len(part) % 2], "<i2").astype(np.int64) << 10
    else:
        given = np.frombuffer(part, np.int8).astype(np.int64) << 8
    return np.clip(np.resize(given, (rows, columns, spec.channels)), spec.lo, spec.hi).astype(spec.dtype)


def sections_of(how: int, parts: tuple[bytes, ...], size: tuple[int, int]) -> tuple[bytes, ...]:
    """Return the sections of a frame whose latents are given: of one part for a key frame, else of two."""
    rows, columns = (-(-side // 16) for side in size)
    out: tuple[bytes, ...] = ()
    for name, part in zip(("img",) if how & KEY else ("motion", "res"), (*parts, b"", b""), strict=False):
        out += NATIVE.coders[name].encode(latent(part, rows, columns)).sections
    return out


def decode(mode: int, size: tuple[int, int], frames: list[tuple[int, tuple[bytes, ...]]]) -> None:
    """Decode the frames of an input."""
    decoding = Decoding(size)
    for how, parts in frames:
        key = bool(how & KEY)
        if mode == 0:
            good, picture = GOOD[size][how >> 1 & 3]
            made = decoding.decode(CodedFrame(key, parts, good.latents_crc, good.pixels_crc))
            if made is not None and (made != picture).any():
                raise AssertionError("a wrong picture has passed the checksums")
            continue
        sections = parts if mode == 1 else sections_of(how, parts, size)
        possible = key or decoding.whole
        if decoding.decode(decoding.forged(key, sections)) is None and mode == 2 and possible:
            raise AssertionError("a frame of the range coder is refused")


def encode(size: tuple[int, int], frames: list[tuple[int, tuple[bytes, ...]]]) -> None:
    """Encode pictures on both engines and decode what comes out."""
    encoders, decoding = (NATIVE.encoder(*size), REFERENCE.encoder(*size)), Decoding(size)
    for number, (how, parts) in enumerate(frames):
        given = np.frombuffer(b"".join(parts) or b"\0", np.uint8)
        frame = np.resize(given, (*size, 3))
        coded = [encoder.encode(frame, number == 0 or bool(how & KEY)) for encoder in encoders]
        if coded[0] != coded[1]:
            raise AssertionError("engines encode differently")
        made = decoding.decode(coded[0])
        if made is None or (made != encoders[0].picture).any():
            raise AssertionError("the decoder does not show what the encoder saw")


def one_input(data: bytes) -> None:
    """Code the frames of one input."""
    if len(data) < 2:
        return
    mode, size, frames = data[0] & 3, SIZES[data[1] % len(SIZES)], cut(data[2:])
    try:
        if mode == 3:
            encode(size, frames)
        else:
            decode(mode, size, frames)
    except IntCodecError as error:
        check(error)
        raise AssertionError("an error that is not a damaged clip's") from error

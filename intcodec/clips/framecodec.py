"""Frames of a clip to sections of range-coded symbols and back, with a video model.

What may live here: the order of the steps of one frame, the reference that encoder and decoder hold alike, and the
checks that make every decoded frame prove itself. Nothing of containers, files or seeking.

    key    frame -> img_g_a -> coder -> img_g_s -> reference
    inter  (frame, reference) -> motion_g_a -> coder -> motion_g_s -> motion;  (reference, motion) -> predict
           frame - prediction -> res_g_a -> coder -> res_g_s -> residual;      prediction + residual -> reference

The reference is int16[H, W, 3] in units of 1/16 of a pixel's value, H and W multiples of 16; the picture is its rounded
and cropped form. Everything is an integer, so the two references never part.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import BitstreamError, InputError, LimitError, ModelError
from intcodec.base.integers import IntArray
from intcodec.coding.latentcoder import Coded, LatentCoder
from intcodec.coding.latents import checksum
from intcodec.modelfile.container import MODEL_ID_BYTES
from intcodec.network.graph import Network
from intcodec.network.limits import PictureLimits
from intcodec.pictures.codec import DEFAULT_MAX_PIXELS, Codec, Picture, check_picture, load_engine, pad
from intcodec.rows.row import TensorSpec
from intcodec.rows.scale_space import MAX_WARP_SIDE, ScaleSpace
from intcodec.rows.warp import Warp

if TYPE_CHECKING:
    from intcodec.engines import Engine
    from intcodec.modelfile.model import Model

#: Names of a video network's three codecs, and for each what its graph g_s makes.
PARTS: Final = {"img": "x_hat", "motion": "motion", "res": "residual"}
#: Fraction bits of the reference: it holds pixels' values times 16.
REFERENCE_BITS: Final = 4
#: Range of the reference: a quarter of a picture's range more on either side.
REFERENCE_LO, REFERENCE_HI = -64 << REFERENCE_BITS, (255 + 64) << REFERENCE_BITS
#: Pixels that one position of y stands for, each way.
STRIDE: Final = 16
#: Pixels per frame that are accepted unless the caller says otherwise, 8K's: each takes some 80 bytes to decode.
DEFAULT_FRAME_PIXELS: Final = 2**25

Reference = NDArray[np.int16]


@dataclass(frozen=True)
class CodedFrame:
    """One frame as it goes into a container."""

    key: bool  # a key frame needs no reference
    sections: tuple[bytes, ...]  # key: z, y; inter: motion z, motion y, residual z, residual y
    latents_crc: int  # CRC-32 of all symbols, int16 little-endian, in the order of the sections
    pixels_crc: int  # CRC-32 of the decoded picture, uint8[H, W, 3]


class VideoCodec:
    """Code clips with one model on one engine; each clip has an encoder or a decoder of its own.

    Example:
        codec = intcodec.load_video("clip.intm")
        encoder, decoder = codec.encoder(height, width), codec.decoder(height, width)
        for k, frame in enumerate(frames):
            picture = decoder.decode(encoder.encode(frame, key=k == 0))
    """

    def __init__(self, model: Model, engine: Engine, *, max_pixels: int = DEFAULT_FRAME_PIXELS) -> None:
        """Put a codec together; `load_video` is the usual way.

        Args:
            model: the model.
            engine: an engine created for the same model.
            max_pixels: the largest width * height to encode or decode.

        Raises:
            ModelError: the model's graphs do not form a video codec that this version knows.
        """
        self.model = model
        self.engine = engine
        self.max_pixels = max_pixels
        check_video(model.network)
        self.coders = {part: LatentCoder(model.network.part(part), _PartEngine(engine, part)) for part in PARTS}
        self._limits = {part: PictureLimits(model.network.part(part)) for part in PARTS}

    @property
    def model_id(self) -> bytes:
        """Return the bytes that name the model in a file."""
        return bytes.fromhex(self.model.model_id)[:MODEL_ID_BYTES]

    def encoder(self, height: int, width: int) -> FrameEncoder:
        """Start encoding a clip of frames uint8[height, width, 3].

        Raises:
            InputError: a side is less than 1 or more than 65536.
            LimitError: a frame has more than `max_pixels` pixels.
            ModelError: the model would make too much of frames of this size.
        """
        self._check_size(height, width)
        return FrameEncoder(self, height, width)

    def decoder(self, height: int, width: int) -> FrameDecoder:
        """Start decoding a clip, at any key frame; arguments and errors as for `encoder`."""
        self._check_size(height, width)
        return FrameDecoder(self, height, width)

    def run(self, graph: str, output: str, **inputs: IntArray) -> IntArray:
        """Return one output of a graph."""
        return self.engine.run(graph, inputs)[output]

    def key_picture(self, y_hat: IntArray) -> Reference:
        """Return the reference that a key frame's latent gives."""
        return np.asarray(self.run("img_g_s", "x_hat", y_hat=y_hat), np.int16)

    def prediction(self, reference: Reference, motion_hat: IntArray) -> Reference:
        """Return what the motion's latent makes of a reference."""
        motion = self.run("motion_g_s", "motion", y_hat=motion_hat)
        return np.asarray(self.run("predict", "prediction", reference=reference, motion=motion), np.int16)

    def corrected(self, prediction: Reference, y_hat: IntArray, motion_hat: IntArray) -> Reference:
        """Return the next reference: the prediction and the residual that the two latents give, clamped."""
        residual = self.run("res_g_s", "residual", y_hat=y_hat, motion_y_hat=motion_hat)
        return np.clip(prediction + residual, REFERENCE_LO, REFERENCE_HI, out=residual)

    def _check_size(self, height: int, width: int) -> None:
        if not 1 <= min(height, width) <= max(height, width) <= MAX_WARP_SIDE:
            raise InputError(f"frames of {width}x{height} pixels: sides are 1 to {MAX_WARP_SIDE}")
        if height * width > self.max_pixels:
            raise LimitError(f"frames of {width}x{height} pixels exceed the limit of {self.max_pixels} pixels")
        rows, columns = -(-height // STRIDE), -(-width // STRIDE)
        padded, graphs = (rows * STRIDE, columns * STRIDE), self.model.network.graphs
        for part, made in PARTS.items():
            self._limits[part].check(rows, columns, STRIDE)
            y, out = graphs[f"{part}_g_a"].out_sizes(*padded)["y"], graphs[f"{part}_g_s"].out_sizes(rows, columns)[made]
            if (y, out) != ((rows, columns), padded):
                raise ModelError(f"the part {part} of the video model does not cover a frame of {width}x{height}")


class FrameEncoder:
    """Encodes the frames of one clip in order.

    Invariant: `_reference` is what a decoder holds after the same frames; None before the first.
    """

    def __init__(self, codec: VideoCodec, height: int, width: int) -> None:
        self._codec = codec
        self._height, self._width = height, width
        self._reference: Reference | None = None

    @property
    def picture(self) -> Picture | None:
        """The last frame as a decoder will show it, uint8[H, W, 3]; None before the first."""
        return None if self._reference is None else shown(self._reference, self._height, self._width)

    def encode(self, frame: IntArray, key: bool) -> CodedFrame:
        """Encode the next frame.

        Args:
            frame: uint8[H, W, 3], sRGB, of the clip's size.
            key: whether to code it by itself; the first frame has to be.

        Raises:
            InputError: the frame has another dtype or size, or is the first and no key frame.
        """
        if check_picture(frame) != (self._height, self._width):
            raise InputError(f"a frame of {frame.shape[1]}x{frame.shape[0]} in a clip of {self._width}x{self._height}")
        if not key and self._reference is None:
            raise InputError("the first frame of a clip has to be a key frame")
        padded = pad(frame, STRIDE)
        coded = self._key(padded) if key else self._inter(padded)
        picture = self.picture
        assert picture is not None
        sections = tuple(section for part in coded for section in part.sections)
        return CodedFrame(key, sections, coded[-1].crc, checksum(picture))

    def _key(self, frame: Picture) -> tuple[Coded, ...]:
        codec = self._codec
        coded = codec.coders["img"].encode(codec.run("img_g_a", "y", x=frame))
        self._reference = codec.key_picture(coded.y_hat)
        return (coded,)

    def _inter(self, frame: Picture) -> tuple[Coded, ...]:
        codec, reference = self._codec, self._reference
        assert reference is not None
        current = frame.astype(np.int16) << REFERENCE_BITS
        pair = np.concatenate([current, reference], axis=2)
        motion = codec.coders["motion"].encode(codec.run("motion_g_a", "y", x=pair))
        del pair
        prediction = codec.prediction(reference, motion.y_hat)
        current -= prediction
        rest = codec.coders["res"].encode(codec.run("res_g_a", "y", x=current), motion.crc)
        self._reference = codec.corrected(prediction, rest.y_hat, motion.y_hat)
        return motion, rest


class FrameDecoder:
    """Decodes the frames of one clip in order; the mirror of `FrameEncoder`.

    Invariant: `_reference` is proved by the last frame's checksums; None before the first key frame and after an error.
    """

    def __init__(self, codec: VideoCodec, height: int, width: int) -> None:
        self._codec = codec
        self._height, self._width = height, width
        self._reference: Reference | None = None

    def decode(self, frame: CodedFrame) -> Picture:
        """Decode the next frame, and prove that it is the one the encoder saw decoded.

        Returns:
            uint8[H, W, 3], sRGB, C-contiguous.

        Raises:
            BitstreamError: a section is damaged, a checksum does not match, or an inter frame has no reference. After
                an error only a key frame can be decoded.
        """
        reference, self._reference = self._reference, None
        if len(frame.sections) != (2 if frame.key else 4):
            raise BitstreamError(f"damaged clip: a frame in {len(frame.sections)} sections")
        if not frame.key and reference is None:
            raise BitstreamError("this frame needs the one before it, which was not decoded: start at a key frame")
        size = -(-self._height // STRIDE), -(-self._width // STRIDE)
        coders = self._codec.coders
        if reference is None or frame.key:
            y_hat, crc = coders["img"].decode(frame.sections, *size)
            self._check("latents", crc, frame.latents_crc)
            reference = self._codec.key_picture(y_hat)
        else:
            motion_hat, crc = coders["motion"].decode(frame.sections[:2], *size)
            y_hat, crc = coders["res"].decode(frame.sections[2:], *size, crc)
            self._check("latents", crc, frame.latents_crc)
            prediction = self._codec.prediction(reference, motion_hat)
            reference = self._codec.corrected(prediction, y_hat, motion_hat)
        picture = shown(reference, self._height, self._width)
        self._check("pixels", checksum(picture), frame.pixels_crc)
        self._reference = reference
        return picture

    def _check(self, what: str, crc: int, expected: int) -> None:
        if crc != expected:
            who = f"engine {self._codec.engine.name!r} here or the one that encoded computes wrongly"
            raise BitstreamError(f"a frame's {what} do not match its checksum: the clip was altered, or {who}")


def shown(reference: Reference, height: int, width: int) -> Picture:
    """Return the picture uint8[height, width, 3] of a reference: clamp((v + 8) >> 4, 0, 255), cropped."""
    v = reference[:height, :width] + np.int16(1 << (REFERENCE_BITS - 1))
    v >>= REFERENCE_BITS
    return np.ascontiguousarray(np.clip(v, 0, 255, out=v).astype(np.uint8))


def load_video(
    path: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    engine: str | None = None,
    threads: int | None = None,
    max_pixels: int = DEFAULT_FRAME_PIXELS,
) -> VideoCodec:
    """Load a video model and prepare it for encoding and decoding; arguments and errors as for `intcodec.load`."""
    return VideoCodec(*load_engine(path, None, engine, threads), max_pixels=max_pixels)


def load_either(
    path: str | os.PathLike[str] | bytes | BinaryIO,
    *,
    engine: str | None = None,
    threads: int | None = None,
    max_pixels: int | None = None,
) -> Codec | VideoCodec:
    """Load a model for pictures or for clips, whichever the file holds.

    Arguments and errors are those of `intcodec.load`; `max_pixels` None is what either kind has by itself.
    """
    model, chosen = load_engine(path, None, engine, threads)
    if is_video(model.network):
        return VideoCodec(model, chosen, max_pixels=DEFAULT_FRAME_PIXELS if max_pixels is None else max_pixels)
    return Codec(model, chosen, max_pixels=DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels)


def is_video(network: Network) -> bool:
    """Return whether a network codes clips rather than pictures."""
    return "predict" in network.graphs


class _PartEngine:
    """An engine that runs the graphs of one part of the network under their names within the part."""

    def __init__(self, engine: Engine, part: str) -> None:
        self.name, self.threads = engine.name, engine.threads
        self._run: Callable[[str, Mapping[str, IntArray]], dict[str, IntArray]] = engine.run
        self._part = part

    def run(self, graph: str, inputs: Mapping[str, IntArray]) -> dict[str, IntArray]:
        """Run one graph of the part."""
        return self._run(f"{self._part}_{graph}", inputs)


def check_video(network: Network) -> None:
    """Check that a network's graphs form a video codec.

    Raises:
        ModelError: they do not.
    """
    wanted = {f"{part}_{graph}" for part in PARTS for graph in ("g_a", "h_a", "h_s", "g_s")} | {"predict"}
    if set(network.graphs) != wanted:
        raise ModelError(f"this intcodec cannot code clips with a {network.arch} model")
    if any(set(network.part(part).latents) != {"y", "z"} for part in PARTS):
        raise ModelError("a part of the video model is no codec with a hyperprior")
    picture = (REFERENCE_LO, REFERENCE_HI)
    widest = REFERENCE_HI - REFERENCE_LO  # of a difference of two pictures
    seen = {
        "img": [("x", 3, 0, 255)],
        "motion": [("x", 6, *picture)],
        "res": [("x", 3, -widest, widest)],
    }
    for part, made in PARTS.items():
        g_a, g_s = network.graphs[f"{part}_g_a"], network.graphs[f"{part}_g_s"]
        _check_inputs(g_a.inputs, seen[part])
        if made not in g_s.outputs or g_s.specs()[made].channels != 3:
            raise ModelError(f"the graph {part}_g_s does not make {made!r}")
        for h, w in ((1, 1), (1, 2), (5, 3)):
            if g_a.out_sizes(h * STRIDE, w * STRIDE).get("y") != (h, w):
                raise ModelError(f"{part}_g_a does not turn {STRIDE} pixels into one position of y")
            if g_s.out_sizes(h, w).get(made) != (h * STRIDE, w * STRIDE):
                raise ModelError(f"{part}_g_s does not turn one position of y_hat into {STRIDE} pixels")
    _check_flow(network)


def _check_flow(network: Network) -> None:
    """Check what passes between the parts: reference, motion, prediction and residual."""
    graph = network.graphs["predict"]
    rows = (ScaleSpace("volume", "reference"), Warp("prediction", "volume", "motion"))
    if graph.rows != rows or graph.outputs != ("prediction",):
        raise ModelError("the graph predict of the video model is not a scale space and a warp")
    specs = {part: network.graphs[f"{part}_g_s"].specs() for part in PARTS}
    motion, residual, x_hat = specs["motion"]["motion"], specs["res"]["residual"], specs["img"]["x_hat"]
    _check_inputs(
        graph.inputs,
        [("reference", 3, REFERENCE_LO, REFERENCE_HI), ("motion", 3, motion.lo, motion.hi)],
    )
    latent = specs["motion"]["y_hat"]
    _check_inputs(
        network.graphs["res_g_s"].inputs,
        [("y_hat", specs["res"]["y_hat"].channels, *_ends(specs["res"]["y_hat"])),
         ("motion_y_hat", latent.channels, *_ends(latent))],
    )  # fmt: skip
    inside = [x_hat, graph.specs()["prediction"]]
    if any(t.dtype != np.int16 or t.lo < REFERENCE_LO or t.hi > REFERENCE_HI or t.channels != 3 for t in inside):
        raise ModelError("a graph of the video model makes pictures outside the range of a reference")
    if residual.dtype != np.int16 or max(abs(residual.lo), residual.hi) + REFERENCE_HI > 32767:
        raise ModelError("the residual of the video model does not fit int16")


def _ends(spec: TensorSpec) -> tuple[int, int]:
    return spec.lo, spec.hi


def _check_inputs(inputs: tuple[TensorSpec, ...], wanted: list[tuple[str, int, int, int]]) -> None:
    """Check that a graph's inputs have these names and channels, and take these ranges in their dtypes."""
    given = {s.name: s for s in inputs}
    for name, channels, lo, hi in wanted:
        spec = given.pop(name, None)
        if spec is None or spec.channels != channels or not spec.lo <= lo <= hi <= spec.hi:
            raise ModelError(f"a graph of the video model does not read {name!r} as it is made")
        if spec.dtype != TensorSpec(name, channels, lo, hi).dtype:
            raise ModelError(f"a graph of the video model reads {name!r} in another type")
    if given:
        raise ModelError(f"a graph of the video model reads {min(given)!r}, which nothing makes")

"""Pictures to bitstreams and back.

What may live here: padding, cropping, the order of the steps and the checks that make a decode prove itself. A codec
is given its model and its engine and chooses neither; `load` does the choosing for users.

    encode   pad by edge replication -> g_a -> latent coder -> (g_s -> checksum of the pixels) -> bitstream
    decode   bitstream -> model id, size -> latent coder -> checksum -> g_s -> crop -> checksum -> picture
"""

from __future__ import annotations

import os
from fractions import Fraction
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import BitstreamError, InputError, LimitError, ModelError, WrongModelError
from intcodec.base.integers import IntArray
from intcodec.coding import bitstream
from intcodec.coding.bitstream import Bitstream, Buffer
from intcodec.coding.latentcoder import LatentCoder
from intcodec.coding.latents import checksum
from intcodec.modelfile import embedded
from intcodec.modelfile.container import MODEL_ID_BYTES
from intcodec.network.graph import Network
from intcodec.network.limits import PictureLimits

if TYPE_CHECKING:
    from intcodec.engines import Engine
    from intcodec.modelfile.model import Model

Picture: TypeAlias = NDArray[np.uint8]

#: Pixels per picture that are accepted unless the caller says otherwise.
DEFAULT_MAX_PIXELS: Final = 2**28
#: Graphs that only encoding runs.
ENCODER_GRAPHS: Final = ("g_a", "h_a")
#: Pixels per row and column of y, at most: a picture is padded to a multiple of them.
MAX_STRIDE: Final = 2**8


class Codec:
    """Encode and decode pictures with one model on one engine.

    Example:
        codec = intcodec.load()
        data = codec.encode(picture)
        assert np.array_equal(codec.decode(data), intcodec.load(engine="reference").decode(data))
    """

    def __init__(
        self, model: Model, engine: Engine, *, max_pixels: int = DEFAULT_MAX_PIXELS, decode_only: bool = False
    ) -> None:
        """Put a codec together; `load` is the usual way.

        Args:
            model: the model.
            engine: an engine created for the same model.
            max_pixels: the largest width * height to encode or decode.
            decode_only: refuse to encode, where the encoder's graphs have not been tested.

        Raises:
            ModelError: the model's graphs do not form a codec that this version knows.
        """
        self.model = model
        self.engine = engine
        self.max_pixels = max_pixels
        self.decode_only = decode_only
        self._stride = _stride(model.network)
        self._limits = PictureLimits(model.network)
        self._coder = LatentCoder(model.network, engine)

    def encode(self, image: IntArray, *, pixel_checksum: bool = True) -> bytes:
        """Encode a picture.

        Args:
            image: uint8[H, W, 3], sRGB.
            pixel_checksum: whether to record a checksum of the decoded pixels, at the cost of a decode.

        Returns:
            The bitstream (docs/bitstream.md). The same picture, model and options give the same bytes on every engine
            and machine.

        Raises:
            InputError: the picture has another dtype or shape, no pixels, or a side above 2**28 - 1; or the codec was
                loaded to decode only.
            LimitError: it has more than `max_pixels` pixels.
        """
        if self.decode_only:
            raise InputError("this codec was loaded with decode_only=True: it cannot encode")
        height, width = check_picture(image)
        self._check_size(height, width)
        self._limits.check(-(-height // self._stride), -(-width // self._stride), self._stride)
        coded = self._coder.encode(self.engine.run("g_a", {"x": pad(image, self._stride)})["y"])
        pixels_crc = None
        if pixel_checksum:
            pixels_crc = checksum(self._synthesize(coded.y_hat, height, width))
        model_id = bytes.fromhex(self.model.model_id)[:MODEL_ID_BYTES]
        return bitstream.serialize(Bitstream(model_id, width, height, coded.sections, coded.crc, pixels_crc))

    def decode(self, data: Buffer) -> Picture:
        """Decode a picture, and prove that it is the one the encoder saw decoded.

        Args:
            data: a whole bitstream.

        Returns:
            uint8[H, W, 3], sRGB, C-contiguous.

        Raises:
            BitstreamError: the bitstream is damaged, or the decoded latents or pixels do not match its checksums.
            WrongModelError: it was made with another model.
            LimitError: it declares more than `max_pixels` pixels; nothing was allocated for it.
        """
        stream = bitstream.parse(data)
        self._check_stream(stream)
        height, width = stream.height, stream.width
        rows, columns = -(-height // self._stride), -(-width // self._stride)
        self._limits.check(rows, columns, self._stride)
        y_hat, crc = self._coder.decode(stream.sections, rows, columns)
        if crc != stream.latents_crc:
            raise BitstreamError(self._mismatch("latents"))
        picture = self._synthesize(y_hat, height, width)
        del y_hat  # before the copy, not after
        picture = np.ascontiguousarray(picture)
        if stream.pixels_crc is not None and checksum(picture) != stream.pixels_crc:
            raise BitstreamError(self._mismatch("pixels"))
        return picture

    def _synthesize(self, y_hat: IntArray, height: int, width: int) -> Picture:
        """Return a view uint8[height, width, 3] of g_s's output."""
        picture: Picture = self.engine.run("g_s", {"y_hat": y_hat})["x_hat"]
        picture = picture[:height, :width]
        if picture.shape != (height, width, 3):
            raise ModelError("g_s does not cover the picture")
        return picture

    def _check_size(self, height: int, width: int) -> None:
        if height * width > self.max_pixels:
            raise LimitError(f"a picture of {width}x{height} pixels exceeds the limit of {self.max_pixels} pixels")

    def _check_stream(self, stream: Bitstream) -> None:
        given = self.model.model_id[: 2 * MODEL_ID_BYTES]
        if stream.model_id.hex() != given:
            rung = embedded.by_id(stream.model_id)
            which = f" (embedded, quality {rung.quality})" if rung else ""
            message = f"the file needs model {stream.model_id.hex()}{which}, but model {given} was given"
            raise WrongModelError(message, rung.quality if rung else None)
        self._check_size(stream.height, stream.width)
        if len(stream.sections) != self._coder.sections:
            have = f"{len(stream.sections)} sections, {self._coder.sections} expected"
            raise BitstreamError(f"damaged file: {have} of a {self.model.network.arch} model")

    def _mismatch(self, what: str) -> str:
        who = f"engine {self.engine.name!r} here or the one that encoded computes wrongly"
        return f"the decoded {what} do not match the file's checksum: the file was altered, or {who}"


def load(
    path: str | os.PathLike[str] | bytes | BinaryIO | None = None,
    *,
    quality: int | None = None,
    engine: str | None = None,
    threads: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decode_only: bool = False,
) -> Codec:
    """Load a model and prepare it for encoding and decoding.

    Args:
        path: a model file, its bytes, or an open binary file; None is a model that comes with intcodec.
        quality: which of those, 1 makes the smallest files; None is the default one. `load_for` finds the one that a
            compressed file needs.
        engine: "native", "onnxruntime" or "reference"; None is the best one on this machine. All give equal results.
        threads: number of threads; None lets the engine choose. No result depends on it.
        max_pixels: the largest width * height to encode or decode.
        decode_only: leave out the self-test of what only encoding needs, and refuse to encode; a fast start.

    Returns:
        A codec whose engine has reproduced the model's self-test vectors on this machine.

    Raises:
        InputError: the file cannot be read, or the engine or quality is unknown.
        ModelError: the model is damaged, unsupported or fails its proof.
        SelfTestError: this machine or engine does not reproduce the model's self-test vectors.
    """
    unused = ENCODER_GRAPHS if decode_only else ()
    made = load_engine(path, quality, engine, threads, unused=unused)
    return Codec(*made, max_pixels=max_pixels, decode_only=decode_only)


def load_engine(
    path: str | os.PathLike[str] | bytes | BinaryIO | None,
    quality: int | None,
    engine: str | None,
    threads: int | None,
    *,
    unused: tuple[str, ...] = (),
) -> tuple[Model, Engine]:
    """Return a model and an engine that has reproduced its self-test vectors; arguments and errors as for `load`.

    Graphs in `unused` are not tested, and must not be run.
    """
    from intcodec import engines
    from intcodec.modelfile.model import Model
    from intcodec.modelfile.selftest import self_test

    if path is not None and quality is not None:
        raise InputError("give a model or the quality of an embedded one, not both")
    source: Any = embedded.bundle(embedded.by_quality(quality)) if path is None else path
    try:
        model = Model.load(source)
    except OSError as error:
        raise InputError(f"cannot read model {path!s}: {error.strerror or error}") from error
    if path is not None:  # the tests prove the one that comes with intcodec
        check_proof(model)
    chosen = engines.create(engine, model.network, threads)
    self_test(model, chosen, skip=unused)
    return model, chosen


def load_for(
    data: Buffer,
    *,
    engine: str | None = None,
    threads: int | None = None,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    decode_only: bool = False,
) -> Codec:
    """Load the embedded model that a compressed file needs.

    Args:
        data: a whole bitstream.
        engine: as for `load`, and so on.
        threads: as for `load`.
        max_pixels: as for `load`.
        decode_only: as for `load`.

    Raises:
        BitstreamError: the bitstream is damaged.
        WrongModelError: it was made with a model that does not come with intcodec.
        InputError: as for `load`; ModelError and SelfTestError likewise.
    """
    model_id = bitstream.parse(data).model_id
    rung = embedded.by_id(model_id)
    if rung is None:
        raise WrongModelError(f"the file needs model {model_id.hex()}, which does not come with intcodec")
    return load(quality=rung.quality, engine=engine, threads=threads, max_pixels=max_pixels, decode_only=decode_only)


def check_proof(model: Model) -> None:
    """Refuse a model whose accumulators could overflow: engines compute without looking.

    Raises:
        ModelError: the proof fails, or is not the one that the model states.
    """
    from intcodec.network.proof import prove

    if prove(model.network) != dict(model.bounds):
        raise ModelError("the bounds that the model states are not those of its network")


def default_model() -> bytes:
    """Return the bytes of the embedded model that is taken where nobody chooses.

    Raises:
        ModelError: this installation has none.
    """
    return embedded.read(embedded.by_quality(None))


def check_picture(image: IntArray) -> tuple[int, int]:
    """Return (height, width) of a picture.

    Raises:
        InputError: it is no uint8[H, W, 3], or a side is 0 or above 2**28 - 1.
    """
    shape: tuple[int, ...] = getattr(image, "shape", ())
    dtype = getattr(image, "dtype", None)
    if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:
        have = f"{dtype}{list(shape)}" if dtype is not None else type(image).__name__
        raise InputError(f"a picture must be uint8[H, W, 3], got {have}")
    height, width = int(shape[0]), int(shape[1])
    if not 1 <= min(height, width) <= max(height, width) <= bitstream.MAX_SIDE:
        raise InputError(f"a picture of {width}x{height} pixels cannot be encoded; sides are 1 to {bitstream.MAX_SIDE}")
    return height, width


def pad(image: Picture, stride: int) -> Picture:
    """Return the picture extended to multiples of `stride` by repeating its last row and column, C-contiguous."""
    height, width, _ = image.shape
    full = (-(-height // stride) * stride, -(-width // stride) * stride, 3)
    if full == image.shape:
        return np.ascontiguousarray(image)
    out = np.empty(full, np.uint8)
    out[:height, :width] = image
    out[:height, width:] = image[:, -1:]
    out[height:] = out[height - 1]
    return out


def _stride(network: Network) -> int:
    """Return how many pixels g_a turns into one position of y, after checking that the graphs' sizes agree."""
    missing = {"g_a", "g_s"} - set(network.graphs)
    if "predict" in network.graphs:
        raise ModelError(f"a {network.arch} model codes clips, not pictures: use intcodec.load_video, or name a clip")
    if missing:
        raise ModelError(f"the model has no graph {sorted(missing)[0]!r}")
    g_a, g_s = network.graphs["g_a"], network.graphs["g_s"]
    if any(s.channels != 3 or s.dtype != np.uint8 for s in (g_a.inputs[0], g_s.specs().get("x_hat", g_s.inputs[0]))):
        raise ModelError("the model does not code uint8 pixels of three channels")
    if "x_hat" not in g_s.outputs:
        raise ModelError("g_s does not deliver 'x_hat'")
    stride = g_a.scales().get("y", Fraction(1)).denominator
    if stride > MAX_STRIDE:
        raise ModelError(f"g_a turns {stride} pixels into one position of y; more than {MAX_STRIDE} are not supported")
    for h, w in ((1, 1), (1, 2), (5, 3)):
        if g_a.out_sizes(h * stride, w * stride).get("y") != (h, w):
            raise ModelError(f"g_a does not turn {stride} pixels into one position of y")
        if g_s.out_sizes(h, w).get("x_hat") != (h * stride, w * stride):
            raise ModelError(f"g_s does not turn one position of y_hat into {stride} pixels")
    return stride

"""What codes a picture: integer models, and the codecs that Pillow brings."""

from __future__ import annotations

import io
import time
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image, features

from intcodec.base.errors import InputError
from intcodec.coding import bitstream
from intcodec.pictures.codec import Codec

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Outcome:
    """A picture coded and decoded.

    Args:
        bytes: of the file.
        picture: uint8[H, W, 3], decoded.
        encode_s: seconds, None where it means nothing.
        decode_s: likewise.
        extra: more figures to keep.
    """

    bytes: int
    picture: Picture
    encode_s: float | None
    decode_s: float | None
    extra: dict[str, float] = field(default_factory=dict)


class PictureCodec(Protocol):
    """Something that codes pictures at one rate.

    Args:
        series: the curve that it is a point of.
        label: which point.
        key: what its results depend on; equal keys give equal bytes and pixels.
    """

    series: str
    label: str
    key: str

    def code(self, picture: Picture) -> Outcome:
        """Code and decode uint8[H, W, 3].

        Raises:
            IntCodecError: it cannot.
        """


class IntegerModel:
    """A model of ours: the file that `intcodec encode` writes, and what `intcodec decode` makes of it."""

    def __init__(self, codec: Codec, label: str, series: str | None = None) -> None:
        self.codec = codec
        self.series = series or f"intcodec {codec.model.arch}"
        self.label = label
        self.arch = codec.model.arch
        self.key = f"intcodec {codec.model.model_id} {codec.engine.name} threads {codec.engine.threads}"
        source = codec.model.manifest.get("source")
        self.source_sha256 = source.get("sha256") if isinstance(source, dict) else None

    def code(self, picture: Picture) -> Outcome:
        """Code and decode; the time to encode includes the decode that the checksum of the pixels needs."""
        begin = time.perf_counter()
        data = self.codec.encode(picture)
        middle = time.perf_counter()
        decoded = self.codec.decode(data)
        end = time.perf_counter()
        payload = bitstream.parse(data).payload_bytes
        return Outcome(len(data), decoded, middle - begin, end - middle, {"payload_bytes": payload})


#: Pillow's name and options by codec, the qualities measured, and the name of the curve.
OTHERS: Final[dict[str, tuple[str, dict[str, Any], tuple[int, ...], str]]] = {
    "jpeg": (
        "JPEG",
        {"subsampling": "4:2:0", "optimize": True},
        (3, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90),
        "JPEG 4:2:0",
    ),
    "webp": ("WEBP", {"method": 4}, (1, 10, 20, 30, 40, 50, 60, 70, 80, 90), "WebP"),
    "avif": ("AVIF", {"subsampling": "4:2:0", "speed": 6}, (20, 30, 40, 50, 60, 70, 80, 90), "AVIF 4:2:0"),
}
_FEATURES: Final = {"jpeg": "libjpeg_turbo", "webp": "webp", "avif": "avif"}


class PillowCodec:
    """A codec that Pillow brings, at one quality.

    Raises:
        InputError: this Pillow has no such codec.
    """

    def __init__(self, name: str, quality: int) -> None:
        self._format, options, _, self.series = OTHERS[name]
        self._options = {**options, "quality": quality}
        if not has_codec(name):
            raise InputError(f"this Pillow ({PIL.__version__}) cannot write {self._format}")
        self.label = str(quality)
        version = features.version(_FEATURES[name])
        self.key = f"pillow {PIL.__version__} {name} {version} {sorted(self._options.items())}"

    def code(self, picture: Picture) -> Outcome:
        """Code into memory and decode."""
        buffer = io.BytesIO()
        begin = time.perf_counter()
        try:
            Image.fromarray(picture).save(buffer, self._format, **self._options)
            middle = time.perf_counter()
            buffer.seek(0)
            decoded = np.asarray(Image.open(buffer).convert("RGB"))
        except (OSError, ValueError) as error:
            raise InputError(f"{self._format} cannot code it: {error}") from error
        return Outcome(buffer.getbuffer().nbytes, decoded, middle - begin, time.perf_counter() - middle)


def has_codec(name: str) -> bool:
    """Return whether this Pillow can write the codec."""
    return bool(features.check(_FEATURES[name] if name != "jpeg" else "jpg"))

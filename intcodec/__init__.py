"""Deterministic integer-network inference for learned image compression: every device decodes the same pixels.

    import intcodec
    codec = intcodec.load()            # a model that comes with intcodec; quality=1, 2, ... chooses
    data = codec.encode(picture)       # uint8[H, W, 3] -> bytes
    picture = codec.decode(data)       # bytes -> uint8[H, W, 3]

Importing this package imports nothing else; `load` and `Codec` are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from intcodec.base.errors import (
    BitstreamError,
    InputError,
    IntCodecError,
    LimitError,
    ModelError,
    RangeError,
    SelfTestError,
    WrongModelError,
)

if TYPE_CHECKING:
    from intcodec.clips.framecodec import VideoCodec, load_video
    from intcodec.pictures.codec import DEFAULT_MAX_PIXELS, Codec, load, load_for

    __version__: str

__all__ = [
    "DEFAULT_MAX_PIXELS",
    "BitstreamError",
    "Codec",
    "InputError",
    "IntCodecError",
    "LimitError",
    "ModelError",
    "RangeError",
    "SelfTestError",
    "VideoCodec",
    "WrongModelError",
    "__version__",
    "load",
    "load_for",
    "load_video",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("intcodec")
        except PackageNotFoundError:
            return "0+unknown"
    if name in {"Codec", "DEFAULT_MAX_PIXELS", "load", "load_for"}:
        from intcodec.pictures import codec

        return getattr(codec, name)
    if name in {"VideoCodec", "load_video"}:
        from intcodec.clips import framecodec

        return getattr(framecodec, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""What encode, decode and info do with clips instead of pictures."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

from intcodec.base.errors import BitstreamError, InputError, WrongModelError
from intcodec.base.files import Input, atomic_output
from intcodec.cli.common import refuse_terminal, say

if TYPE_CHECKING:
    from intcodec.clips.framecodec import VideoCodec
    from intcodec.clips.frames import Sink
    from intcodec.pictures.codec import Codec, Picture

#: The first bytes of a clip; tests compare it with intcodec.clips.header.MAGIC, whose import is not cheap.
MAGIC = b"\x89INV"
#: The default of --keyframe-interval; compared likewise with intcodec.clips.clip.DEFAULT_INTERVAL.
DEFAULT_INTERVAL = 60
_CLIP_ENDINGS = (".y4m", ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".ts", ".ogv")


def add_encode_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only clips take."""
    group = parser.add_argument_group("clips")
    group.add_argument(
        "--keyframe-interval",
        type=_count,
        metavar="N",
        help=f"a key frame every N frames; 0: only the first (default: {DEFAULT_INTERVAL})",
    )
    group.add_argument(
        "--rate", metavar="FPS", help="frames per second, such as 25 or 30000/1001 (default: the clip's)"
    )
    group.add_argument(
        "--matrix", choices=("bt601", "bt709", "bt2020"), help="of YUV frames (default: what the clip says)"
    )
    group.add_argument("--range", choices=("limited", "full"), help="of YUV frames (default: what the clip says)")


def add_decode_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that only clips take."""
    group = parser.add_argument_group("clips")
    group.add_argument("--frames", metavar="A:B", help="decode the frames A to B - 1 only, counted from 0")


def load_either(args: argparse.Namespace) -> tuple[Codec | None, VideoCodec | None]:
    """Load the model that the options name: (codec for pictures, codec for clips), of which one is None."""
    from intcodec.clips import framecodec

    codec = framecodec.load_either(args.model, engine=args.engine, threads=args.threads, max_pixels=args.max_pixels)
    return (None, codec) if isinstance(codec, framecodec.VideoCodec) else (codec, None)


def refuse_clip(name: str) -> None:
    """Refuse what is a clip by its name where pictures are coded.

    Raises:
        InputError: it is one.
    """
    if os.path.isdir(name) or os.path.splitext(name)[1].lower() in _CLIP_ENDINGS:
        raise InputError(f"{name} is a clip, or a folder of pictures: name a model for clips with -m MODEL")


def encode(args: argparse.Namespace, codec: VideoCodec, outputs: list[str]) -> int:
    """Encode one clip and return the exit code."""
    from intcodec.clips.clip import ClipWriter
    from intcodec.clips.colour import Matrix
    from intcodec.clips.frames import ColourChoice, parse_rate
    from intcodec.clips.sources import open_source

    if len(args.inputs) > 1:
        raise InputError("clips are encoded one at a time")
    (name,), (target,) = args.inputs, outputs
    rate = None if args.rate is None else parse_rate(args.rate)
    choice = ColourChoice(
        None if args.matrix is None else Matrix[args.matrix.upper()],
        None if args.range is None else args.range == "full",
    )
    interval = DEFAULT_INTERVAL if args.keyframe_interval is None else args.keyframe_interval
    begin = time.perf_counter()
    with open_source(name, codec.max_pixels, choice, rate, args.background) as source:
        for note in source.notes:
            say(f"note: {name}: {note}", args.quiet)
        with atomic_output(target) as file:
            writer = ClipWriter(codec, file, source.format, interval)
            for frame in source.frames:
                writer.write(frame)
            writer.close()
    size = f"{source.format.width}x{source.format.height}, {writer.frames} frames"
    kbps = 8e-3 * writer.bytes_written * source.format.rate / writer.frames
    seconds = f"{time.perf_counter() - begin:.2f} s"
    say(f"{name} -> {target}: {size}, {writer.bytes_written} bytes, {float(kbps):.1f} kbit/s, {seconds}", args.quiet)
    return 0


def decode(args: argparse.Namespace, source: Input, target: str) -> int:
    """Decode one clip and return the exit code.

    Of a clip that is damaged or truncated, the frames before the damage are written.

    Raises:
        BitstreamError: the clip is damaged; the message says how many frames were decoded.
    """
    from intcodec.clips.clip import ClipReader
    from intcodec.clips.frames import parse_range
    from intcodec.clips.sources import check_sink, open_sink

    check_sink(target)
    refuse_terminal(target)
    first, last = (0, None) if args.frames is None else parse_range(args.frames)
    if not args.model:
        raise WrongModelError(f"the clip needs model {_header(source)}, and no model for clips comes with intcodec")
    _, codec = load_either(args)
    if codec is None:
        raise WrongModelError(f"{source.path} is a clip, and {args.model} is a model for pictures")
    begin = time.perf_counter()
    reader = ClipReader(codec, source.rewound())
    made = reader.format
    frames = _Frames(reader.frames(first, last))
    frames.start()
    with open_sink(target, made) as sink:
        frames.copy(sink)
    size = f"{made.width}x{made.height}, {frames.count} frames"
    say(f"{source.path} -> {target}: {size}, {time.perf_counter() - begin:.2f} s", args.quiet)
    if frames.error is not None:
        raise BitstreamError(f"{frames.error}; {target} has the {frames.count} frames before")
    return 0


class _Frames:
    """Frames up to the first error, which is kept.

    Invariant: `count` frames were handed on.
    """

    def __init__(self, frames: Iterable[Picture]) -> None:
        self._frames = iter(frames)
        self._first: Picture | None = None
        self.count = 0
        self.error: BitstreamError | None = None

    def start(self) -> None:
        """Decode the first frame, so that an output is begun only if there is one.

        Raises:
            BitstreamError: there is none.
        """
        self._first = next(self._frames, None)

    def copy(self, sink: Sink) -> None:
        """Hand every frame on."""
        while self._first is not None:
            sink(self._first)
            self.count += 1
            try:
                self._first = next(self._frames, None)
            except BitstreamError as error:
                self.error, self._first = error, None


def _header(source: Input) -> str:
    """Return the model id of the clip's header, in hex."""
    return source.peek(14)[6:14].hex()


def describe(source: Input) -> dict[str, Any]:
    """Return what a clip says about itself, in the order to print. What a pipe holds passes through a temporary file.

    Raises:
        BitstreamError: its header is damaged.
    """
    with contextlib.ExitStack() as stack:
        file = source.rewound()
        if isinstance(file, Input):
            spool = stack.enter_context(tempfile.TemporaryFile())
            while piece := file.read(1 << 16):
                spool.write(piece)
            spool.seek(0)
            file = spool
        return _described(file)


def _described(file: BinaryIO) -> dict[str, Any]:
    from intcodec.clips.colour import Colour
    from intcodec.clips.container import ChunkReader
    from intcodec.clips.header import VERSION

    chunks = ChunkReader(file)
    size = file.seek(0, os.SEEK_END)
    chunks.seek(*chunks.first)
    header, index = chunks.header, chunks.load_index()
    frames, keys, whole = (index.frames, len(index.keys), True) if index else (*chunks.count(), False)
    colour = Colour.from_byte(header.colour)
    return {
        "kind": "intcodec clip",
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "frames": frames,
        "key_frames": keys,
        "index": "whole" if whole else "missing or damaged: the clip is truncated",
        "frames_per_second": str(header.rate),
        "pixel_aspect": "{}:{}".format(*header.aspect) if all(header.aspect) else None,
        "colour": f"{colour.matrix.name}, {'full' if colour.full else 'limited'} range, {colour.chroma.name}",
        "bytes": size,
        "kilobits_per_second": round(float(8e-3 * size * header.rate / frames), 3) if frames else None,
        "model_id": header.model_id.hex(),
    }


def _count(text: str) -> int:
    """Parse an integer of 0 or more."""
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames")
    return int(text)

"""What encode, decode and info do with clips instead of pictures."""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from array import array
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO

from intcodec.base.errors import BitstreamError, InputError, WrongModelError
from intcodec.base.files import Input, atomic_output
from intcodec.cli.clipprogress import INTERRUPTED, Progress, Stop, interruptible
from intcodec.cli.common import complain, refuse_terminal, say

if TYPE_CHECKING:
    from intcodec.clips.clip import ClipWriter
    from intcodec.clips.container import ChunkReader
    from intcodec.clips.framecodec import VideoCodec
    from intcodec.clips.frames import FrameFormat, Sink, Source
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
        help=f"a key frame N frames after the last one; 0: only where scenes begin (default: {DEFAULT_INTERVAL})",
    )
    group.add_argument(
        "--no-scene-cuts", action="store_true", help="no key frames where scenes begin, only at the interval"
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
        raise InputError(f"clips are encoded one at a time: give {args.inputs[0]} alone")
    (name,), (target,) = args.inputs, outputs
    rate = None if args.rate is None else parse_rate(args.rate)
    choice = ColourChoice(
        None if args.matrix is None else Matrix[args.matrix.upper()],
        None if args.range is None else args.range == "full",
    )
    interval = DEFAULT_INTERVAL if args.keyframe_interval is None else args.keyframe_interval
    begin = time.perf_counter()
    with open_source(name, codec.max_pixels, choice, rate, args.background) as source:
        told = _tell(name, source.notes, 0, args.quiet)
        with atomic_output(target) as file, interruptible() as stop:
            writer = ClipWriter(codec, file, source.format, interval, scene_cuts=not args.no_scene_cuts)
            damage = _encode_frames(source, writer, Progress(source.count, args.quiet), stop)
            if not writer.frames and (damage or stop):
                raise damage or KeyboardInterrupt
            writer.close()
        _tell(name, source.notes, told, args.quiet)
    size = f"{source.format.width}x{source.format.height}, {writer.frames} frames"
    kbps = 8e-3 * writer.bytes_written / writer.seconds
    seconds = f"{time.perf_counter() - begin:.2f} s"
    say(f"{name} -> {target}: {size}, {writer.bytes_written} bytes, {kbps:.1f} kbit/s, {seconds}", args.quiet)
    if stop:
        complain(f"interrupted: {target} is a whole clip of the {writer.frames} frames up to here")
        return INTERRUPTED
    if damage is not None:
        raise BitstreamError(f"{damage}; {target} has the {writer.frames} frames before")
    return 0


def _tell(name: str, notes: list[str], told: int, quiet: bool) -> int:
    """Print the notes that were not told yet, and return how many there are."""
    for note in notes[told:]:
        say(f"note: {name}: {note}", quiet)
    return len(notes)


def _encode_frames(source: Source, writer: ClipWriter, progress: Progress, stop: Stop) -> BitstreamError | None:
    """Encode frames up to the end, the first damage, which is returned, or an interruption."""
    try:
        for frame, ticks in source.timed:
            writer.write(frame, ticks)
            progress.step(writer.frames)
            if stop:
                break
        return None
    except BitstreamError as error:
        return error
    finally:
        progress.clear()


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
    frames = _Frames(reader.timed(first, last), Progress(_length(reader.count, first, last), args.quiet))
    frames.start()
    with open_sink(target, made) as sink:
        frames.copy(sink)
    _tell(str(source.path), _losses(target, made, frames), 0, args.quiet)
    size = f"{made.width}x{made.height}, {frames.count} frames"
    say(f"{source.path} -> {target}: {size}, {time.perf_counter() - begin:.2f} s", args.quiet)
    if frames.error is not None:
        raise BitstreamError(f"{frames.error}; {target} has the {frames.count} frames before")
    return 0


def _length(count: int | None, first: int, last: int | None) -> int | None:
    """Return how many frames of a clip of `count` a range has, as far as it is known."""
    end = count if last is None else last if count is None else min(last, count)
    return None if end is None else max(end - first, 0)


def _losses(target: str, made: FrameFormat, frames: _Frames) -> list[str]:
    """Return what the clip says and the kind of output cannot: only .mkv, .mp4 and .mov have durations and colours."""
    from intcodec.clips.h273 import unusual
    from intcodec.clips.sources import VIDEO_ENDINGS, check_sink

    if check_sink(target) in VIDEO_ENDINGS:
        return []
    notes = []
    if frames.timed:
        lasts = frames.ticks / made.timescale + float((frames.count - frames.timed) / made.rate)
        notes.append(f"durations of frames are lost: {lasts:.2f} s become {float(frames.count / made.rate):.2f} s")
    if names := unusual(made.colour.primaries, made.colour.transfer):
        notes.append(f"{names}: {target} cannot say so")
    return [f"{note}; {', '.join(VIDEO_ENDINGS)} keep them" for note in notes]


class _Frames:
    """Frames up to the first error, which is kept.

    Invariant: `count` frames were handed on, of which `timed` had durations of their own, `ticks` together.
    """

    def __init__(self, frames: Iterable[tuple[Picture, int]], progress: Progress) -> None:
        self._frames = iter(frames)
        self._progress = progress
        self._first: tuple[Picture, int] | None = None
        self.count = self.timed = self.ticks = 0
        self.error: BitstreamError | None = None

    def start(self) -> None:
        """Decode the first frame, so that an output is begun only if there is one.

        Raises:
            BitstreamError: there is none.
        """
        self._first = next(self._frames, None)

    def copy(self, sink: Sink) -> None:
        """Hand every frame on."""
        try:
            while self._first is not None:
                picture, ticks = self._first
                sink(picture, ticks)
                self.count += 1
                self.timed += ticks > 0
                self.ticks += ticks
                self._progress.step(self.count)
                self._first = next(self._frames, None)
        except BitstreamError as error:
            self.error = error
        finally:
            self._progress.clear()


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
    from intcodec.clips.h273 import PRIMARIES, TRANSFERS
    from intcodec.clips.header import VERSION

    chunks = ChunkReader(file)
    size = file.seek(0, os.SEEK_END)
    chunks.seek(*chunks.first)
    header, index = chunks.header, chunks.load_index()
    frames, keys, whole = (index.frames, len(index.keys), True) if index else (*chunks.count(), False)
    colour = Colour.from_byte(header.colour)
    ticks = _durations(chunks)
    seconds = sum(ticks) / (header.timescale or 1) + float((frames - len(ticks)) / header.rate)
    return {
        "kind": "intcodec clip",
        "version": VERSION,
        "width": header.width,
        "height": header.height,
        "frames": frames,
        "key_frames": keys,
        "index": "whole" if whole else "missing or damaged: the clip is truncated",
        "frames_per_second": str(header.rate),
        "seconds": round(seconds, 3),
        "frames_with_durations": len(ticks),
        "pixel_aspect": "{}:{}".format(*header.aspect) if all(header.aspect) else None,
        "colour": f"{colour.matrix.name}, {'full' if colour.full else 'limited'} range, {colour.chroma.name}",
        "primaries": PRIMARIES.get(header.primaries, str(header.primaries)) if header.primaries != 2 else None,
        "transfer": TRANSFERS.get(header.transfer, str(header.transfer)) if header.transfer != 2 else None,
        "bytes": size,
        "kilobits_per_second": round(8e-3 * size / seconds, 3) if frames else None,
        "model_id": header.model_id.hex(),
    }


def _durations(chunks: ChunkReader) -> array[int]:
    """Return the durations of the frames that have their own, as far as the clip is whole."""
    found, reader = array("L"), chunks.again()
    with contextlib.suppress(BitstreamError):
        while reader.read() is not None:
            if reader.ticks:
                found.append(reader.ticks)
    return found


def _count(text: str) -> int:
    """Parse an integer of 0 or more."""
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of frames")
    return int(text)

"""`intcodec decode`: .intc files to pictures, or to a clip."""

from __future__ import annotations

import argparse
import os
import time
from typing import TYPE_CHECKING, Any

from intcodec.base import files
from intcodec.base.errors import BitstreamError, InputError
from intcodec.cli import clips
from intcodec.cli.common import add_codec_options, for_each, load_codec, plan_outputs, refuse_terminal, say
from intcodec.coding import bitstream
from intcodec.modelfile import embedded

if TYPE_CHECKING:
    from intcodec.pictures.codec import Codec


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "decode",
        help="decompress .intc files",
        description="Decompress .intc files to lossless picture files, or one clip to a .y4m file, a video file or a "
        "folder. A picture made with an embedded model finds it.",
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE.intc", help="file to decompress; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="OUTPUT",
        help="output picture (.png .ppm .bmp .tiff .webp, all lossless), or directory for several inputs; "
        "- is PNG on standard output (default: FILE with .png). Of a clip: a folder or .mkv (RGB, lossless), .y4m "
        "(YUV, uncompressed), .mp4, .mov (H.264); - is y4m (default: FILE with .y4m)",
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace pictures that -o does not name exactly")
    add_codec_options(parser)
    clips.add_decode_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if len(args.inputs) == 1:
        with files.open_input(args.inputs[0]) as source:
            if not source.peek(1):
                raise BitstreamError(f"{args.inputs[0]}: the file is empty")
            if source.starts_with(clips.MAGIC):
                return clips.decode(args, source, _clip_output(args))
            _read_ahead(args, source)
            return _pictures(args, source)
    if args.model and (clip := next(filter(_is_clip, args.inputs), None)):
        raise InputError(f"{clip} is a clip: decode clips one at a time")
    return _pictures(args, None)


def _is_clip(name: str) -> bool:
    """Return whether a file that can be read begins as a clip does."""
    try:
        with open(name, "rb") as file:
            return file.read(len(clips.MAGIC)) == clips.MAGIC
    except OSError:
        return False


def _read_ahead(args: argparse.Namespace, source: files.Input) -> None:
    """Begin to read the embedded model that the only input names, if it names one."""
    rung = None if args.model else embedded.by_id(bitstream.model_of(source.peek(bitstream.HEAD_BYTES)))
    if rung is not None:
        embedded.read_ahead(rung)


def _clip_output(args: argparse.Namespace) -> str:
    """Return where the only input goes, which is a clip."""
    if args.output is not None:
        return str(args.output)
    (target,) = plan_outputs(args.inputs, None, ".y4m")
    if target != "-" and not args.force and os.path.exists(target):
        raise InputError(f"{target} exists already; name the output with -o, or replace it with -f")
    return target


def _pictures(args: argparse.Namespace, source: files.Input | None) -> int:
    """Decode pictures; `source` is the input where there is only one."""
    from intcodec.pictures.images import check_output, write_picture

    outputs = plan_outputs(args.inputs, args.output, ".png")
    for target in outputs:
        check_output(target)
    refuse_terminal(outputs[0])
    codecs = _Codecs(args)

    def work(name: str, target: str, prefix: str) -> None:
        # A derived name may be that of the picture that was encoded: not to be lost to its lossy copy.
        if target != args.output and not args.force and os.path.exists(target):
            raise InputError(f"{target} exists already; name the output with -o, or replace it with -f")
        data = files.read_bytes(name) if source is None else source.read_all()
        if data.startswith(clips.MAGIC):
            raise InputError(f"{name} is a clip: decode clips one at a time")
        codec = codecs.of(data)
        begin = time.perf_counter()
        picture = codec.decode(data)
        seconds = time.perf_counter() - begin
        with files.atomic_output(target) as file:
            write_picture(file, picture, target)
        say(f"{prefix}{name} -> {target}: {picture.shape[1]}x{picture.shape[0]}, {seconds:.2f} s", args.quiet)

    return for_each(args.inputs, outputs, work)


class _Codecs:
    """The codec for each file: that of the model given, or of the embedded model that the file names."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._loaded: dict[int | None, Codec] = {}
        if args.model:
            self._loaded[None] = load_codec(
                args, decode_only=True
            )  # a model that cannot be read is one error, not one for each file

    def of(self, data: bytes) -> Codec:
        rung = None if self._args.model else embedded.by_id(bitstream.parse(data).model_id)
        quality = rung.quality if rung else None
        if quality not in self._loaded:
            self._loaded[quality] = load_codec(self._args, quality, decode_only=True)
        return self._loaded[quality]

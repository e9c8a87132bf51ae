"""`intcodec encode`: pictures, or a clip, to .intc files."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from intcodec.base import files
from intcodec.cli import clips
from intcodec.cli.common import add_codec_options, for_each, load_codec, plan_outputs, positive, refuse_terminal, say

if TYPE_CHECKING:
    from intcodec.pictures.codec import Codec


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "encode",
        help="compress pictures or a clip",
        description="Compress pictures to .intc files; with a model for clips, compress a video file, a .y4m file or a "
        "folder of pictures to one .intc file.",
    )
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="picture or clip to compress; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.intc",
        help="output file, or directory for several inputs; - is standard output (default: INPUT with .intc)",
    )
    parser.add_argument(
        "-q",
        "--quality",
        type=positive,
        metavar="Q",
        help="embedded model, 1 for the smallest files (see intcodec info)",
    )
    parser.add_argument("--background", metavar="COLOR", help="colour behind transparent pixels, such as white or #fff")
    add_codec_options(parser)
    clips.add_encode_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    outputs = plan_outputs(args.inputs, args.output, ".intc")
    refuse_terminal(outputs[0])
    if args.model is None or args.quality is not None:
        return _pictures(args, load_codec(args, args.quality), outputs)
    pictures, video = clips.load_either(args)
    return clips.encode(args, video, outputs) if video else _pictures(args, pictures, outputs)


def _pictures(args: argparse.Namespace, codec: Codec | None, outputs: list[str]) -> int:
    from intcodec.pictures.images import read_picture

    assert codec is not None

    def work(name: str, target: str, prefix: str) -> None:
        clips.refuse_clip(name)
        loaded = read_picture(files.read_bytes("-") if name == "-" else name, codec.max_pixels, args.background)
        for note in loaded.notes:
            say(f"note: {name}: {note}", args.quiet)
        begin = time.perf_counter()
        data = codec.encode(loaded.picture)
        seconds = time.perf_counter() - begin
        files.write_bytes(target, data)
        height, width, _ = loaded.picture.shape
        rate = f"{len(data)} bytes, {8 * len(data) / (height * width):.4f} bpp"
        say(f"{prefix}{name} -> {target}: {width}x{height}, {rate}, {seconds:.2f} s", args.quiet)

    return for_each(args.inputs, outputs, work)

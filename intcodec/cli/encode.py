"""`intcodec encode`: pictures to .intc files."""

from __future__ import annotations

import argparse
import time
from typing import Any

from intcodec import files
from intcodec.cli.common import add_codec_options, for_each, load_codec, plan_outputs, refuse_terminal, say


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser("encode", help="compress pictures", description="Compress pictures to .intc files.")
    parser.add_argument("inputs", nargs="+", metavar="IMAGE", help="picture to compress; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE.intc",
        help="output file, or directory for several inputs; - is standard output (default: IMAGE with .intc)",
    )
    parser.add_argument("--background", metavar="COLOR", help="colour behind transparent pixels, such as white or #fff")
    add_codec_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from intcodec.images import read_picture

    outputs = plan_outputs(args.inputs, args.output, ".intc")
    refuse_terminal(outputs[0])
    codec = load_codec(args)

    def work(name: str, target: str, prefix: str) -> None:
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

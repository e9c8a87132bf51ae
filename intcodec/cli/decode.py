"""`intcodec decode`: .intc files to pictures."""

from __future__ import annotations

import argparse
import os
import time
from typing import Any

from intcodec import files
from intcodec.cli.common import add_codec_options, for_each, load_codec, plan_outputs, refuse_terminal, say
from intcodec.errors import InputError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "decode", help="decompress .intc files", description="Decompress .intc files to lossless picture files."
    )
    parser.add_argument("inputs", nargs="+", metavar="FILE.intc", help="file to decompress; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        metavar="IMAGE.png",
        help="output picture (.png .ppm .bmp .tiff .webp, all lossless), or directory for several inputs; "
        "- is PNG on standard output (default: FILE with .png)",
    )
    parser.add_argument("-f", "--force", action="store_true", help="replace pictures that -o does not name exactly")
    add_codec_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from intcodec.images import check_output, write_picture

    outputs = plan_outputs(args.inputs, args.output, ".png")
    for target in outputs:
        check_output(target)
    refuse_terminal(outputs[0])
    codec = load_codec(args)

    def work(name: str, target: str, prefix: str) -> None:
        # A derived name may be that of the picture that was encoded: not to be lost to its lossy copy.
        if target != args.output and not args.force and os.path.exists(target):
            raise InputError(f"{target} exists already; name the output with -o, or replace it with -f")
        data = files.read_bytes(name)
        begin = time.perf_counter()
        picture = codec.decode(data)
        seconds = time.perf_counter() - begin
        with files.atomic_output(target) as file:
            write_picture(file, picture, target)
        say(f"{prefix}{name} -> {target}: {picture.shape[1]}x{picture.shape[0]}, {seconds:.2f} s", args.quiet)

    return for_each(args.inputs, outputs, work)

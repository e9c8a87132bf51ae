"""What several commands share: options, messages, names of outputs, and going on after a file that fails."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intcodec.base.errors import InputError, IntCodecError, WrongModelError
from intcodec.modelfile import embedded

if TYPE_CHECKING:
    from intcodec.pictures.codec import Codec

#: Kept here so that showing --help imports no engine; tests compare it with intcodec.engines.ENGINES.
ENGINE_NAMES = ("native", "onnxruntime", "reference")


def complain(message: str) -> None:
    """Print an error as one line on standard error."""
    print(f"intcodec: error: {message}", file=sys.stderr)


def say(message: str, quiet: bool) -> None:
    """Print one line on standard error unless the user asked for quiet."""
    if not quiet:
        print(f"intcodec: {message}", file=sys.stderr, flush=True)


def add_codec_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that encode and decode share."""
    parser.add_argument("-m", "--model", metavar="MODEL", help="model file (default: an embedded one)")
    parser.add_argument(
        "--engine",
        choices=ENGINE_NAMES,
        help="what computes the networks; results are equal (default: the best one here)",
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads to use; results are equal")
    text = "refuse larger pictures (default: 268435456; of frames of clips 33554432)"
    parser.add_argument("--max-pixels", type=positive, metavar="N", help=text)
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def positive(text: str) -> int:
    """Parse an integer of 1 or more."""
    value = int(text) if text.isascii() and text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer")
    return value


def load_codec(args: argparse.Namespace, quality: int | None = None, *, decode_only: bool = False) -> Codec:
    """Load the codec that the options of `add_codec_options` describe, or the embedded one of a quality."""
    if args.model is None:
        embedded.read_ahead(embedded.by_quality(quality))  # while the next line imports numpy
    from intcodec.pictures.codec import DEFAULT_MAX_PIXELS, load

    which: dict[str, Any] = {} if quality is None else {"quality": quality}
    return load(
        args.model, **which, engine=args.engine, threads=args.threads,
        max_pixels=args.max_pixels or DEFAULT_MAX_PIXELS, decode_only=decode_only,
    )  # fmt: skip


def plan_outputs(inputs: list[str], output: str | None, ending: str) -> list[str]:
    """Return one output name per input.

    Without -o an output is named like its input, with another ending, beside it; "-" stays "-". With several inputs,
    or an existing directory, -o is the directory that those names go to; it is made if it does not exist.

    Raises:
        InputError: two inputs would write one file, or an output is one of the inputs.
    """
    if inputs.count("-") > 1:
        raise InputError("standard input can be read only once")
    many = len(inputs) > 1 or (output is not None and (output.endswith(os.sep) or os.path.isdir(output)))
    if output is None:
        outputs = ["-" if name == "-" else _renamed(Path(name), ending) for name in inputs]
    elif many:
        outputs = [_inside(output, name, ending) for name in inputs]
    else:
        outputs = [output]
    seen = {os.path.realpath(name): name for name in inputs if name != "-"}
    for name, target in zip(inputs, outputs, strict=True):
        real = os.path.realpath(target)
        if target != "-" and real in seen and _replaceable(target):
            raise InputError(f"{name} would be written to {target}, which {seen[real]} already is or writes; use -o")
        seen[real] = name
    return outputs


def _inside(directory: str, name: str, ending: str) -> str:
    if directory == "-" or name == "-":
        raise InputError("with several inputs or a directory, '-' cannot be used")
    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to directory {directory}: {error.strerror or error}") from error
    return _renamed(Path(directory, Path(name).name or "picture"), ending)


def _renamed(path: Path, ending: str) -> str:
    """Change the ending; "." and "/" have no name to change, and fail as directories when they are read."""
    return str(path.with_suffix(ending) if path.name else path / f"picture{ending}")


def _replaceable(path: str) -> bool:
    """Return whether writing to `path` destroys something: not so for devices and pipes."""
    return not os.path.exists(path) or os.path.isfile(path)


def refuse_terminal(output: str) -> None:
    """Refuse to print binary data on a terminal.

    Raises:
        InputError: `output` is "-" and standard output is a terminal.
    """
    if output == "-" and sys.stdout.isatty():
        raise InputError("not writing binary data to a terminal; name a file with -o")


def for_each(inputs: list[str], outputs: list[str], work: Callable[[str, str, str], None]) -> int:
    """Call work(input, output, prefix of its messages) for every file; go on after errors.

    Returns:
        0, or the exit code of the first error.
    """
    code = 0
    for k, (name, target) in enumerate(zip(inputs, outputs, strict=True)):
        try:
            work(name, target, f"[{k + 1}/{len(inputs)}] " if len(inputs) > 1 else "")
        except IntCodecError as error:
            code = code or error.exit_code
            message, hint = str(error), ""
            if isinstance(error, WrongModelError):
                hint = "; name it with -m MODEL" if error.quality is None else "; leave out -m"
            complain((message if name in message else f"{name}: {message}") + hint)
    return code

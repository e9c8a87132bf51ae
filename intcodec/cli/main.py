"""Parse, call, print; turn every error into one line and an exit code.

Exit codes: 0 success, 1 other, 2 arguments, pictures and files, 3 bitstream, 4 model, 5 self-test, 6 range,
7 size limit, 130 interrupted, 141 nobody reads our output.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from intcodec.base.errors import InputError, IntCodecError
from intcodec.cli import conformance, decode, encode, evaluate, export, info, train, verify
from intcodec.cli.common import complain

_COMMANDS = (export, encode, decode, info, verify, train, evaluate, conformance)
_INTERRUPTED = 130
_BROKEN_PIPE = 141


class _Parser(argparse.ArgumentParser):
    """argparse, with errors of one line."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message} (see: {self.prog} --help)")
        raise SystemExit(InputError.exit_code)


class _Version(argparse.Action):
    """Look the version up only when asked for it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        import intcodec

        print(f"intcodec {intcodec.__version__}")
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = _Parser(
        prog="intcodec",
        description="Learned image compression in integers: every device decodes the same pixels.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands)
    return parser


def _abandon_stdout() -> None:
    """Keep the interpreter from failing once more when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; argparse's own exits are SystemExit, as usual."""
    args = build_parser().parse_args(argv)
    run: Callable[[argparse.Namespace], int] = args.run
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except IntCodecError as error:
        complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        _abandon_stdout()
        return _BROKEN_PIPE
    except OSError as error:
        _abandon_stdout()
        complain(f"cannot write standard output: {error.strerror or error}")
        return InputError.exit_code
    except KeyboardInterrupt:
        complain("interrupted")
        return _INTERRUPTED
    except MemoryError:
        complain("out of memory")
        return 1

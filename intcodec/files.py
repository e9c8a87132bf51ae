"""Files that are either whole or not there.

What may live here: reading and writing bytes with one clear line when it fails. "-" is standard input or output.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from intcodec.errors import InputError


def read_bytes(path: str) -> bytes:
    """Return a file's bytes; "-" reads standard input to its end.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


@contextlib.contextmanager
def atomic_output(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file for writing that appears under its name only when it is complete and on the disk.

    The bytes go to a temporary file in the same directory, which replaces `path` at the end and is removed if the
    body raises. What is no regular file (a pipe, a device) is written directly; "-" is standard output. An existing
    file keeps its permissions; a symbolic link keeps pointing where it did.

    Args:
        path: where to write.

    Yields:
        An open binary file.

    Raises:
        InputError: the directory or disk does not let it be written; the file that was there before is still there.
        OSError: standard output fails, BrokenPipeError included.
    """
    if os.fspath(path) == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        if Path(path).exists() and not Path(path).is_file():
            with open(path, "wb") as file:
                yield file
        else:
            with _replacing(Path(os.path.realpath(path))) as file:
                yield file
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


def write_bytes(path: str | os.PathLike[str], data: bytes) -> None:
    """Write a whole file as `atomic_output` does.

    Raises:
        InputError: it cannot be written.
        OSError: standard output fails.
    """
    with atomic_output(path) as file:
        file.write(data)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name[:80]}.", suffix=".part", dir=path.parent)
    try:
        with cast(BinaryIO, os.fdopen(handle, "w+b")) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(path))
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _mode(path: Path) -> int:
    """Return the permissions of the file to be replaced, or those of a new file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask

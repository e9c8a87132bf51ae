"""Files that are either whole or not there.

What may live here: reading and writing bytes with one clear line when it fails. "-" is standard input or output.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from intcodec.base.errors import InputError

_PIECE: Final = 1 << 20


class Readable(Protocol):
    """What a sequential reader needs: a file, a pipe, or `Input`."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        ...


class Input:
    """An open file or pipe whose first bytes can be looked at before it is read.

    Invariant: `head` and what `read` returns next are the file from its beginning.
    """

    def __init__(self, path: str, file: BinaryIO) -> None:
        self.path = path
        self.file = file
        self._head = b""

    def peek(self, count: int) -> bytes:
        """Return the next `count` bytes, fewer at the end of the file, without consuming them."""
        self._head += read_exactly(self.file, count - len(self._head))
        return self._head[:count]

    def starts_with(self, magic: bytes) -> bool:
        """Return whether the file begins with these bytes, which are not consumed.

        Raises:
            InputError: the system refuses to read.
        """
        return self.peek(len(magic)) == magic

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes, none at the end."""
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self.file.read(size)

    def rewound(self) -> BinaryIO | Input:
        """Return the file from its beginning: itself where it can seek, else this object."""
        if not self.file.seekable():
            return self
        if self._head:
            self.file.seek(-len(self._head), os.SEEK_CUR)
            self._head = b""
        return self.file

    def read_all(self) -> bytes:
        """Return what is left.

        Raises:
            InputError: the system refuses.
        """
        try:
            head, self._head = self._head, b""
            return head + self.file.read()
        except OSError as error:
            raise InputError(f"cannot read {self.path}: {error.strerror or error}") from error


@contextlib.contextmanager
def open_input(path: str) -> Iterator[Input]:
    """Open a file for reading; "-" is standard input, which is left open.

    Raises:
        InputError: it cannot be opened.
    """
    try:
        file = sys.stdin.buffer if path == "-" else open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        yield Input(path, file)
    finally:
        if path != "-":
            file.close()


def read_exactly(file: Readable, count: int) -> bytes:
    """Read `count` bytes, or what there is before the end of the file.

    Memory grows with the bytes that arrive, not with `count`.

    Raises:
        InputError: the system refuses.
    """
    out = bytearray()
    try:
        while len(out) < count:
            piece = file.read(min(count - len(out), _PIECE))
            if not piece:
                break
            if len(piece) == count:
                return piece
            out += piece
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror or error}") from error
    return bytes(out)


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
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Fill a folder that appears under its name only when it is complete.

    The files go to a temporary folder beside it, which is renamed at the end and removed if the body raises.

    Args:
        path: a name that does not exist, or an empty folder.

    Yields:
        The temporary folder.

    Raises:
        InputError: `path` exists and is not an empty folder, or the disk does not let it be written.
    """
    target = Path(os.path.realpath(path))
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise InputError(f"{path} exists already and is not an empty folder")
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent))
        try:
            yield temporary
            temporary.chmod(_mode(target, 0o777))
            os.replace(temporary, target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}") from error


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


def _mode(path: Path, new: int = 0o666) -> int:
    """Return the permissions of the file to be replaced, or those of a new one before the umask."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except OSError:
        umask = os.umask(0)
        os.umask(umask)
        return new & ~umask

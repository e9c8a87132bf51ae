"""The vectors as one file: a ZIP archive that is the same bytes wherever it is made.

What may live here: writing it, and reading it within bounds. Nothing is unpacked to disk, so no name in an archive can
lead out of a folder.
"""

from __future__ import annotations

import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Final

from intcodec.base.errors import InputError

#: The folder that the archive holds.
FOLDER: Final = "intcodec-conformance/"
#: Limits of what is read: bytes of the archive and of all members together, and their number.
MAX_BYTES: Final = 64 << 20
MAX_MEMBERS: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_ENTRY: Final = b"PK\x01\x02"
_ERRORS: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, KeyError, IndexError, TypeError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files by name.

    Members are sorted, without times and without compression, whose result depends on the library that compresses: the
    same files are the same bytes on every machine.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(FOLDER + name, (1980, 1, 1, 0, 0, 0))
            info.create_system, info.external_attr = 3, 0o100644 << 16
            archive.writestr(info, files[name])
    return buffer.getvalue()


def read(path: str | os.PathLike[str]) -> dict[str, bytes]:
    """Return the files of an archive by name.

    Raises:
        InputError: it cannot be read, is not what `pack` makes of its files, or holds more than the limits.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"cannot read {path!s}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES or data.count(_ENTRY) > MAX_MEMBERS:  # before thousands of them become objects
        raise InputError(f"{path!s}: more than {MAX_BYTES} bytes or {MAX_MEMBERS} members")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            found = _members(archive)
        if pack(found) != data:  # a damaged directory can lose members without another sign
            raise ValueError("not the bytes that packing its files gives")
        return found
    except _ERRORS as error:
        raise InputError(f"{path!s} is no archive of conformance vectors: {ascii(str(error))[1:81]}") from error


def _members(archive: zipfile.ZipFile) -> dict[str, bytes]:
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if sum(info.file_size for info in infos) > MAX_BYTES:
        raise ValueError(f"its members declare more than {MAX_BYTES} bytes")
    found: dict[str, bytes] = {}
    for info in infos:
        name = info.filename.removeprefix(FOLDER)
        if name == info.filename or not _NAME.fullmatch(name) or name in found:
            raise ValueError(f"unexpected member {ascii(info.filename)[:60]}")
        if info.compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"member {name} is compressed")
        with archive.open(info) as member:
            found[name] = member.read(info.file_size + 1)
        if len(found[name]) != info.file_size:
            raise ValueError(f"member {name} is not as long as it declares")
    return found

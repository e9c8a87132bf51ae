"""The container of a model: a ZIP file with a manifest, the network and, if wished, ONNX graphs.

    manifest.json          informative: where the model comes from, hashes of the other members
    network.safetensors    normative: the integers; its SHA-256 is the model's id
    onnx/<graph>.onnx      the same graphs for other runtimes, derived from the network; optional

docs/model.md is the format. What may live here: names, sizes and bytes of members; what they mean is for `model`. A
file is untrusted: whatever is wrong with it ends in a `ModelError` of one line, after bounded memory. No numpy: a
bundle can be read while numpy is still being imported (`embedded`).
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import BinaryIO, Final, TypeAlias

from intcodec.base.errors import ModelError

Source: TypeAlias = "str | os.PathLike[str] | bytes | BinaryIO"

MANIFEST: Final = "manifest.json"
NETWORK: Final = "network.safetensors"
#: Bitstreams name their model by this many bytes of its id.
MODEL_ID_BYTES: Final = 8
MAX_FILE: Final = 256 << 20
MAX_MANIFEST: Final = 1 << 20
#: A network has at most 16 graphs; the rest is room for bytes that look like an entry of the ZIP file's directory.
MAX_MEMBERS: Final = 64
#: The default limit on the sum of what all members declare to hold.
MAX_TOTAL: Final = 512 << 20
ONNX: Final = re.compile(r"onnx/([A-Za-z_][A-Za-z0-9_]{0,63})\.onnx")
_ENTRY = b"PK\x01\x02"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_READ_ERRORS = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, KeyError, IndexError, TypeError, OverflowError,
    NotImplementedError, RuntimeError, MemoryError,
)  # fmt: skip


class Bundle:
    """The members of a model file: only expected names, each once, within the limits."""

    def __init__(self, source: Source, max_bytes: int = MAX_TOTAL) -> None:
        """Read a file's directory; no member is inflated yet.

        Args:
            source: a path, the bundle's bytes, or an open binary file.
            max_bytes: refuse a bundle whose members would take more than this when inflated.

        Raises:
            ModelError: it is no bundle.
            OSError: it cannot be read.
        """
        self.data = _bytes_of(source)
        if self.data.count(_ENTRY) > MAX_MEMBERS:  # before thousands of them become objects
            raise ModelError(f"model: more than {MAX_MEMBERS} members")
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(self.data))
            infos = self._zip.infolist()
        except _READ_ERRORS as error:
            raise ModelError(f"not an intcodec model: {str(error)[:80] or type(error).__name__}") from error
        self.names = {info.filename: info for info in infos}
        if len(self.names) != len(infos):
            raise ModelError("model: a member is there twice")
        for info in infos:
            name, limit = info.filename, MAX_MANIFEST if info.filename == MANIFEST else MAX_FILE
            if name not in (MANIFEST, NETWORK) and not ONNX.fullmatch(name):
                raise ModelError(f"model: unexpected member {ascii(name)[:80]}")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) or info.flag_bits & 1:
                raise ModelError(f"model: member {name} is encrypted or packed in an unknown way")
            if info.file_size > limit:
                raise ModelError(f"model: member {name} declares {info.file_size} bytes, more than {limit}")
        if sum(info.file_size for info in infos) > max_bytes:
            raise ModelError(f"model: its members declare more than {max_bytes} bytes")
        for name in (MANIFEST, NETWORK):
            if name not in self.names:
                raise ModelError(f"not an intcodec model: {name} is missing")
        self._network: tuple[bytes, str] | None = None

    def read(self, name: str) -> bytes:
        """Return a member's bytes; its CRC and its declared size are checked.

        Raises:
            ModelError: it is damaged.
        """
        info = self.names[name]
        try:
            with self._zip.open(info) as file:
                data = file.read(info.file_size + 1)
        except _READ_ERRORS as error:
            raise ModelError(f"model: member {name} is damaged ({str(error)[:80] or type(error).__name__})") from error
        if len(data) != info.file_size:
            raise ModelError(f"model: member {name} does not have its declared size")
        return data

    def network(self) -> tuple[bytes, str]:
        """Return the bytes of network.safetensors and their SHA-256 in hex; they are inflated once.

        Raises:
            ModelError: it is damaged.
        """
        if self._network is None:
            content = self.read(NETWORK)
            self._network = content, sha256(content)
        return self._network

    def forget(self) -> None:
        """Let go of what `network` keeps."""
        self._network = None


def pack(members: Mapping[str, bytes]) -> bytes:
    """Return the ZIP file of members: sorted, 1980-01-01, deflated, without attributes of the machine."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, members[name], compresslevel=6)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    """Return the SHA-256 of bytes in hex."""
    return hashlib.sha256(data).hexdigest()


def _bytes_of(source: Source) -> bytes:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            data = file.read(MAX_FILE + 1)
    else:
        data = source.read(MAX_FILE + 1)
    if len(data) > MAX_FILE:
        raise ModelError(f"model: larger than {MAX_FILE} bytes")
    return data

"""Fuzz target: compressed files. Run by fuzz/drive.py.

The first byte of an input chooses the victim and how much is repaired, the rest is a file. A repaired file has the
victim's model id and right section checksums, so that mutations reach the sizes, the range coder and the networks; one
that decodes gets its latents' checksum too. What must hold:

    an IntCodecError, or a picture; memory below the process's limit
    a picture of a repaired file is the same on the reference engine
"""

from __future__ import annotations

import dataclasses
from typing import Any
from zlib import crc32

from common import tiny

from intcodec.base.errors import BitstreamError, IntCodecError
from intcodec.coding import bitstream
from intcodec.engines.native import NativeEngine
from intcodec.engines.reference import ReferenceEngine
from intcodec.pictures.codec import Codec

MAX_PIXELS = 2**12
REPAIR, FORGE = 4, 8


def codecs(arch: str) -> tuple[Any, Any]:
    """Return the victim on the native and on the reference engine."""
    model = tiny.model(arch)
    engines = NativeEngine(model.network, 1), ReferenceEngine(model.network)
    native, reference = (Codec(model, engine, max_pixels=MAX_PIXELS) for engine in engines)
    return native, reference


VICTIMS = [codecs(arch) for arch in tiny.ARCHS]


def repair(data: bytes, model_id: str) -> bytes:
    """Return the file with its magic, version, model id and section checksums made right, cut or padded to its end."""
    flags = data[5] & 7 if len(data) > 5 else 0
    head = bitstream.MAGIC + bytes((bitstream.VERSION, flags)) + bytes.fromhex(model_id)[: bitstream.MODEL_ID_BYTES]
    data = head + data[len(head) :]
    view, at, lengths = memoryview(data), 14, []
    try:
        for k in range(2 + (flags & 3) + 1):
            value, at = bitstream.read_varint(view, at, bitstream.MAX_SECTION, "number")
            lengths += [value] if k > 1 else []
    except BitstreamError:
        return data
    at += 8 if flags & 4 else 4
    if sum(lengths) > 4 * len(data):
        return data
    out, begin = bytearray(data[:at].ljust(at, b"\0")), 0
    for length in lengths:
        out += data[at : at + length].ljust(length, b"\0")
        out += crc32(memoryview(out)[begin:]).to_bytes(4, "little")
        at, begin = at + length + 4, len(out)
    return bytes(out)


def forge(codec: Any, data: bytes) -> bytes:
    """Return the file with the latents' checksum that its sections have, and without one of the pixels."""
    stream = bitstream.parse(data)
    if stream.width * stream.height > MAX_PIXELS or len(stream.sections) != codec._coder.sections:
        return data
    stride = codec._stride
    _, crc = codec._coder.decode(stream.sections, -(-stream.height // stride), -(-stream.width // stride))
    return bitstream.serialize(dataclasses.replace(stream, latents_crc=crc, pixels_crc=None))


def one_input(data: bytes) -> None:
    """Decode one input."""
    if not data:
        return
    native, reference = VICTIMS[data[0] & 3]
    file = data[1:]
    try:
        if data[0] & REPAIR:
            file = repair(file, native.model.model_id)
            if data[0] & FORGE:
                file = forge(native, file)
        picture = native.decode(file)
    except IntCodecError as error:
        if "\n" in str(error):
            raise AssertionError("an error of more than one line") from error
        return
    if (picture != reference.decode(file)).any():
        raise AssertionError("engines differ")

"""Picture files that others read and Pillow refuses: what is wrong with them does not concern their pixels.

What may live here: bytes of PNG and JPEG files, mended in memory; names for files of kinds that are not read.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

PNG: Final = b"\x89PNG\r\n\x1a\n"
#: Largest profile that is read; larger ones are left out.
MAX_PROFILE: Final = 16 << 20
#: Chunks that must be right, or the pixels are not: those whose first letter is a capital.
_CRITICAL: Final = 0x20


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield (type, content, whether its CRC is right) of a PNG file's chunks, as far as they are whole."""
    at = len(PNG)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        end = at + 12 + length
        if end > len(data):
            return
        kind, content = data[at + 4 : at + 8], data[at + 8 : end - 4]
        yield kind, content, zlib.crc32(data[at + 4 : end - 4]) == int.from_bytes(data[end - 4 : end], "big")
        at = end


def bare_png(data: bytes) -> tuple[bytes, bytes | None]:
    """Return a PNG file without what only describes it, and its ICC profile, if that is whole and not too large.

    What stays is what says how pixels look: critical chunks, tRNS, gAMA, cHRM, sRGB and pHYs with right CRCs.
    """
    out, profile = [PNG], None
    for kind, content, right in png_chunks(data):
        if kind == b"iCCP" and right and b"\0" in content[:80]:
            packed = content[content.index(b"\0") + 2 :]
            inflater = zlib.decompressobj()
            try:
                found = inflater.decompress(packed, MAX_PROFILE)
                profile = found if inflater.eof else None
            except zlib.error:
                profile = None
        elif not kind[0] & _CRITICAL or (right and kind in (b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs")):
            crc = zlib.crc32(kind + content) if right else 0
            out.append(struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc))
    return b"".join(out), profile


def ended_jpegs(data: bytes) -> tuple[bytes, bytes]:
    """Return a JPEG file with its end marker, twice: as it is, and with coded data before the marker.

    If both decode to the same pixels, nothing but the marker was missing.
    """
    body = data[:-1] if data.endswith(b"\xff") else data
    return body + b"\xff\xd9", body + b"\x5a\xa5\x3c\xc3" * 64 + b"\xff\xd9"


def kind_of(head: bytes) -> str | None:
    """Return the name of a kind of picture that is not read, from a file's first bytes, or None."""
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"heim", b"heis"):
        return "HEIC"
    if head.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")):
        return "JPEG XL"
    names = {b"P7": "PAM", b"8BPS": "Photoshop", b"%PDF": "PDF", b"<svg": "SVG", b"\x76\x2f\x31\x01": "OpenEXR"}
    return next((name for magic, name in names.items() if head.startswith(magic)), None)

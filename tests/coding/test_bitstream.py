"""The layout of docs/bitstream.md, to the byte, and one error per way a file can be wrong."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from intcodec.base.errors import BitstreamError
from intcodec.coding.bitstream import MAX_SECTION, MAX_SIDE, Bitstream, parse, read_varint, serialize, write_varint

KNOWN = Bitstream(bytes(range(8)), 768, 512, (b"\x01\x02", b"\x03"), 0x11223344, 0x55667788)
# Written out by hand from the table in docs/bitstream.md; the two checksums by the bit loop below.
KNOWN_HEX = "89494e54 01 05 0001020304050607 8006 8004 02 01 44332211 88776655 0102 {crc0} 03 {crc1}"


def crc_by_bits(data: bytes) -> str:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little").hex()


def known_bytes() -> bytes:
    covered = bytes.fromhex(KNOWN_HEX.split("{")[0])
    return bytes.fromhex(KNOWN_HEX.format(crc0=crc_by_bits(covered), crc1=crc_by_bits(b"\x03")))


def plain(stream: Bitstream) -> Bitstream:
    return dataclasses.replace(stream, sections=tuple(bytes(s) for s in stream.sections))


def test_known_bytes() -> None:
    assert serialize(KNOWN) == known_bytes()
    assert plain(parse(known_bytes())) == KNOWN
    assert known_bytes().hex() == "89494e5401050001020304050607800680040201443322118877665501025656cf8f0337be0b4b"


def test_overhead_never_exceeds_48_bytes() -> None:
    assert len(serialize(KNOWN)) - KNOWN.payload_bytes == 36  # 39 with lengths of 2 and 3 bytes
    at_most = 14 + 2 * len(write_varint(MAX_SIDE)) + 2 * len(write_varint(MAX_SECTION)) + 8 + 8
    assert at_most == 48


@pytest.mark.parametrize(
    ("value", "coded"),
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (16384, "808001"), (2**28 - 1, "ffffff7f")],
)
def test_varint(value: int, coded: str) -> None:
    assert write_varint(value).hex() == coded
    assert read_varint(memoryview(bytes.fromhex(coded)), 0, 2**35 - 1, "field") == (value, len(coded) // 2)


@given(
    st.builds(
        Bitstream,
        st.binary(min_size=8, max_size=8),
        st.integers(1, MAX_SIDE),
        st.integers(1, MAX_SIDE),
        st.lists(st.binary(max_size=300), min_size=1, max_size=4).map(tuple),
        st.integers(0, 2**32 - 1),
        st.none() | st.integers(0, 2**32 - 1),
    )
)
def test_round_trip(stream: Bitstream) -> None:
    data = serialize(stream)
    assert plain(parse(data)) == stream
    assert plain(parse(memoryview(bytearray(data)))) == stream


def with_byte(at: int, value: int) -> bytes:
    data = bytearray(known_bytes())
    data[at] = value
    return bytes(data)


def patched(header: str, sections: bytes = b"\x01\x02") -> bytes:
    """A file of one section whose checksum is right, so that only the header can be refused."""
    covered = bytes.fromhex(header) + sections
    return covered + bytes.fromhex(crc_by_bits(covered))


START = "89494e54 01 04 0001020304050607"
CRCS = "44332211 88776655"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n" + bytes(20), "not an intcodec file"),
        (known_bytes()[:10], "ends at byte 10, inside the header"),
        (known_bytes()[:17], "inside the height"),
        (known_bytes()[:22], "inside the checksum of the latents"),
        (known_bytes()[:26], "inside the checksum of the pixels"),
        (known_bytes()[:-1], "truncated file: it has 38 bytes of 39"),
        (known_bytes() + b"\0", "1 bytes after its end at byte 39"),
        (with_byte(4, 2), "version 2 is not supported"),
        (with_byte(5, 0x0D), "reserved bits"),
        (with_byte(6, 1), "the header or section 0"),
        (with_byte(29, 1), "the header or section 0"),
        (with_byte(-5, 1), "section 1"),
        (with_byte(-1, 1), "section 1"),
        (patched(f"{START} 00 01 02 {CRCS}"), "nothing to decode"),
        (patched(f"{START} 01 00 02 {CRCS}"), "nothing to decode"),
        (patched(f"{START} 8100 01 02 {CRCS}"), "not in its shortest form"),
        (patched(f"{START} 01 01 8200 {CRCS}"), "not in its shortest form"),
        (patched(f"{START} 8080808001 01 02 {CRCS}"), "width 268435456 at byte 14 exceeds 268435455"),
        (patched(f"{START} 8080808008 01 02 {CRCS}"), "width 2147483648"),
        (patched(f"{START} 808080808001 01 02 {CRCS}"), "longer than 5 bytes"),
        (patched(f"{START} 01 01 ffffffff7f {CRCS}"), "truncated"),
        (patched(f"{START} 01 01 02 44332211 88776655")[:-4] + bytes(4), "checksum"),
    ],
)
def test_refused(data: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        parse(data)


@pytest.mark.parametrize(
    "change", [{"width": 0}, {"height": 2**28}, {"sections": ()}, {"sections": (b"",) * 5}, {"model_id": b"1234567"}]
)
def test_writer_refuses_what_readers_would(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"cannot write|bad model id"):
        serialize(dataclasses.replace(KNOWN, **change))  # type: ignore[arg-type]

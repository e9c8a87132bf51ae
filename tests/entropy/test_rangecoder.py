"""The range coder against exact integer arithmetic, golden bytes, and hostile streams.

The oracle below keeps the whole code value as one Python integer: no words, no carries, no window.
"""

import doctest
import math
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intcodec.base.errors import BitstreamError, InputError
from intcodec.entropy import rangecoder
from intcodec.entropy.cdf import CdfTables, default_scale_table, gaussian_tables
from intcodec.entropy.rangecoder import LANES_FROM, MAX_LANES, Decoder, Encoder, decode, encode, lanes_for

TABLES = CdfTables.from_rows(
    [
        np.array([0, 65535, 65536], np.uint32),
        np.array([0, 1, 65536], np.uint32),
        np.array([0, 1, 2, 30000, 65000, 65535, 65536], np.uint32),
        np.array([0, 20000, 40000, 65536], np.uint32),
        np.arange(65537, dtype=np.uint32),
        np.concatenate((np.arange(0, 1000), [65536])).astype(np.uint32),
        np.array([0, 32768, 65536], np.uint32),
    ],
    [0, 7, -3, 32766, -32768, -500, -32768],
)
GAUSSIAN = gaussian_tables(default_scale_table())


class Oracle:
    """One lane in unbounded integers: code is in [lower, lower + range) / 2**(64 + 32 * words)."""

    def __init__(self):
        self.lower, self.range, self.words = 0, 2**64 - 1, 0

    def narrow(self, scale, start, freq):
        self.lower += scale * start
        self.range = scale * freq
        if self.range < 2**32:
            self.lower, self.range, self.words = self.lower << 32, self.range << 32, self.words + 1

    def bits(self, text):
        for bit in text:
            self.narrow(self.range // 2, int(bit), 1)

    def put(self, symbol, row, offset):
        slots = len(row) - 1
        slot = symbol - offset
        escaped = not 0 <= slot < slots - 1
        at = slots - 1 if escaped else slot
        self.narrow(self.range // 65536, int(row[at]), int(row[at + 1]) - int(row[at]))
        if escaped:
            order = max(0, slots.bit_length() - 5)
            excess = slot - (slots - 1) if slot > 0 else -1 - slot
            digits = format(excess + 2**order, "b")
            self.bits("1" if slot > 0 else "0")
            self.bits("0" * (len(digits) - 1 - order) + digits)

    def finish(self):
        for n in range(5):
            unit = 2 ** (64 - 8 * n)
            point = -(-self.lower // unit) * unit
            if point < self.lower + self.range:
                return (point // unit).to_bytes(4 * self.words + n, "big")
        raise AssertionError("four bytes are enough")


def leb128(value):
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + leb128(value // 128)


def oracle(symbols, indexes, tables, lanes):
    coders = [Oracle() for _ in range(lanes)]
    for i, (symbol, index) in enumerate(zip(symbols, indexes, strict=True)):
        coders[i % lanes].put(int(symbol), tables.row(index).tolist(), int(tables.offsets[index]))
    parts = [coder.finish() for coder in coders]
    return b"".join([leb128(len(p)) for p in parts[:-1]] + parts)


def encode_with(lanes, symbols, indexes, tables=TABLES):
    encoder = Encoder(tables, lanes)
    encoder.encode(symbols, indexes)
    return encoder.finish()


def decode_with(lanes, data, indexes, tables=TABLES):
    decoder = Decoder(data, tables, lanes)
    symbols = decoder.decode(indexes)
    decoder.finish()
    return symbols


values = st.one_of(
    st.integers(-6, 10), st.integers(-32768, 32767), st.sampled_from([-32768, -32767, 32765, 32766, 32767, 499, 500])
)
sequences = st.lists(st.tuples(values, st.integers(0, TABLES.rows - 1)), max_size=60).map(
    lambda pairs: (np.array([p[0] for p in pairs], np.int16), np.array([p[1] for p in pairs], np.uint8))
)


@settings(max_examples=400, deadline=None)
@given(sequence=sequences, lanes=st.integers(1, MAX_LANES))
def test_bytes_equal_the_oracle_and_round_trip(sequence, lanes):
    symbols, indexes = sequence
    data = encode_with(lanes, symbols, indexes)
    assert data == oracle(symbols, indexes, TABLES, lanes)
    assert np.array_equal(decode_with(lanes, data, indexes), symbols)


def latents(n, seed=0, tables=GAUSSIAN, spread=1.0):
    rng = np.random.default_rng(seed)
    indexes = np.clip(rng.normal(22, 12, n), 0, tables.rows - 1).astype(np.uint8)
    symbols = np.rint(rng.normal(0, spread, n) * default_scale_table()[indexes]).astype(np.int16)
    return symbols, indexes


@pytest.mark.parametrize("lanes", range(1, MAX_LANES + 1))
def test_long_sequences_equal_the_oracle(lanes):
    symbols, indexes = latents(4001, spread=1.5)
    data = encode_with(lanes, symbols, indexes, GAUSSIAN)
    assert data == oracle(symbols, indexes, GAUSSIAN, lanes)
    assert np.array_equal(decode_with(lanes, data, indexes, GAUSSIAN), symbols)


def test_a_carry_runs_through_many_bytes():
    # Steer the coder: at every step take the slot that holds the point just below or at 1/2, so that the bytes
    # are 7f ff ff ... until a last symbol above it carries to 80 00 00 ...
    row = [0, *range(1, 65536, 257), 65535, 65536]
    table = CdfTables.from_rows([np.array(row, np.uint32)], [0])
    coder, chosen = Oracle(), []
    for _ in range(200):
        scale = coder.range // 65536
        target = 2 ** (63 + 32 * coder.words)
        slot = max(s for s in range(len(row) - 2) if s == 0 or coder.lower + scale * row[s] < target)
        chosen.append(slot)
        coder.put(slot, row, 0)
    assert coder.words > 10
    assert 2 ** (63 + 32 * coder.words) - coder.lower < 2**64
    coder.put(len(row) - 3, row, 0)
    chosen.append(len(row) - 3)
    assert coder.lower >= 2 ** (63 + 32 * coder.words)
    symbols, indexes = np.array(chosen, np.int16), np.zeros(201, np.uint8)
    data = encode_with(1, symbols, indexes, table)
    assert data[:5] == b"\x80\0\0\0\0"
    assert data == oracle(symbols, indexes, table, 1)
    assert np.array_equal(decode_with(1, data, indexes, table), symbols)


GOLDEN = [
    (1, [], [], ""),
    (1, [0], [0], ""),
    (4, [], [], "000000"),
    (1, [0, -3, 100, -32768, 32767], [0, 2, 2, 2, 2], "0000fffe818f7e6c7e7bffdc000f00587f5f"),
    (
        1,
        [*range(-5, 9)],
        [2, 3] * 7,
        "ffff29c4031c7037cfcd503654ed912134cccadb449f514a6126fd1a55c2e19d6b196c2485ad96c2d132",
    ),
    (2, [7, 7, 7, 8, -32768, 0, 3], [1, 1, 1, 1, 6, 4, 4], "07000000004001800000e00020"),
    (4, [-300, 0, 300, -600, 600, 7, -9], [5] * 7, "04040400c8925301f401fb032001eb1408"),
]


@pytest.mark.parametrize(("lanes", "symbols", "indexes", "golden"), GOLDEN)
def test_golden_bytes(lanes, symbols, indexes, golden):
    symbols, indexes = np.array(symbols, np.int16), np.array(indexes, np.uint8)
    assert encode_with(lanes, symbols, indexes).hex() == golden
    assert np.array_equal(decode_with(lanes, bytes.fromhex(golden), indexes), symbols)


@settings(max_examples=100, deadline=None)
@given(sequence=sequences, lanes=st.integers(1, MAX_LANES), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_several_calls_equal_one(sequence, lanes, cuts):
    symbols, indexes = sequence
    encoder, pieces = Encoder(TABLES, lanes), sorted(min(c, len(symbols)) for c in cuts)
    bounds = list(zip([0, *pieces], [*pieces, len(symbols)], strict=True))
    for a, b in bounds:
        encoder.encode(symbols[a:b], indexes[a:b])
    data = encoder.finish()
    assert data == encode_with(lanes, symbols, indexes)
    decoder = Decoder(data, TABLES, lanes)
    parts = [decoder.decode(indexes[a:b]) for a, b in bounds]
    decoder.finish()
    assert np.array_equal(np.concatenate(parts), symbols)


def test_one_shot_keeps_the_shape_and_picks_the_lanes():
    symbols, indexes = latents(LANES_FROM)
    assert (lanes_for(0), lanes_for(LANES_FROM - 1), lanes_for(LANES_FROM)) == (1, 1, 4)
    data = encode(symbols.reshape(2, -1, 64), indexes.reshape(2, -1, 64), GAUSSIAN)
    assert data == encode_with(4, symbols, indexes, GAUSSIAN)
    decoded = decode(memoryview(data), indexes.reshape(2, -1, 64), GAUSSIAN)
    assert decoded.dtype == np.int16
    assert np.array_equal(decoded, symbols.reshape(2, -1, 64))
    assert encode(symbols[:5], indexes[:5], GAUSSIAN) == encode_with(1, symbols[:5], indexes[:5], GAUSSIAN)
    # Any memory order and integer type of the caller gives the same bytes.
    symbols, indexes = symbols.reshape(128, -1).T, indexes.reshape(128, -1).T
    plain = encode(symbols.copy(), indexes.copy(), GAUSSIAN)
    assert encode(symbols, indexes.astype(np.uint16), GAUSSIAN) == plain
    assert encode(symbols.astype(np.int64), indexes.astype(np.uint32), GAUSSIAN) == plain


@pytest.mark.parametrize("n", [1, 300, 5000, 300_000])
def test_length_is_within_a_thousandth_and_16_bytes_of_the_ideal(n):
    symbols, indexes = latents(n, seed=n)
    slots = np.diff(GAUSSIAN.starts)[indexes] - 1
    slot = symbols - GAUSSIAN.offsets[indexes]
    escaped = (slot < 0) | (slot >= slots - 1)
    at = GAUSSIAN.starts[indexes] + np.where(escaped, slots - 1, slot)
    bits = 16 - np.log2(np.diff(GAUSSIAN.cdf.astype(np.int64))[at])
    order = np.maximum(0, np.floor(np.log2(slots)).astype(int) - 4)
    excess = np.where(slot < 0, -1 - slot, slot - slots + 1)[escaped]
    digits = np.floor(np.log2(excess + 2.0 ** order[escaped])) + 1
    ideal = math.fsum(bits) / 8 + math.fsum(2 * digits - order[escaped]) / 8
    assert ideal - 1 < len(encode(symbols, indexes, GAUSSIAN)) <= ideal * 1.001 + 16


def test_every_extension_is_refused_and_nearly_every_truncation():
    # A few cuts near the end are what an encoder writes for other symbols; a container's checksum is for those.
    symbols, indexes = latents(800, seed=3)
    for lanes in range(1, MAX_LANES + 1):
        data, accepted = encode_with(lanes, symbols, indexes, GAUSSIAN), 0
        for cut in range(len(data)):
            try:
                decoded = decode_with(lanes, data[:cut], indexes, GAUSSIAN)
            except BitstreamError:
                continue
            accepted += 1
            assert encode_with(lanes, decoded, indexes, GAUSSIAN) == data[:cut]
        assert accepted <= 5
        for more in (b"\0", b"\xff", b"\0" * 4, b"\0" * 9):
            with pytest.raises(BitstreamError):
                decode_with(lanes, data + more, indexes, GAUSSIAN)


@settings(max_examples=500, deadline=None)
@given(data=st.binary(max_size=80), indexes=st.lists(st.integers(0, 6), max_size=60), lanes=st.integers(1, MAX_LANES))
def test_any_bytes_are_refused_or_are_what_an_encoder_writes(data, indexes, lanes):
    rows = np.array(indexes, np.uint8)
    try:
        symbols = decode_with(lanes, data, rows)
    except BitstreamError:
        return
    assert encode_with(lanes, symbols, rows) == data


def test_flipped_bits_are_refused_or_are_what_an_encoder_writes():
    rng = np.random.default_rng(9)
    symbols, indexes = latents(500, seed=4, spread=2.0)
    for lanes in (1, 4):
        data = encode_with(lanes, symbols, indexes, GAUSSIAN)
        refused = 0
        for _ in range(600):
            bad = bytearray(data)
            bad[rng.integers(len(bad))] ^= 1 << rng.integers(8)
            try:
                decoded = decode_with(lanes, bytes(bad), indexes, GAUSSIAN)
            except BitstreamError:
                refused += 1
            else:
                assert encode_with(lanes, decoded, indexes, GAUSSIAN) == bytes(bad)
        assert refused > 500


@pytest.mark.parametrize(
    ("lanes", "data", "indexes", "says"),
    [
        (1, b"\xff" * 8, [0], "a code that no symbol has"),
        (1, b"\xff\xff\xff\xff", [1] * 40, "too early|no symbol|end where"),
        (1, b"\0", [0], "end where"),
        (1, b"\x01", [0], "end where"),
        (4, b"", [], "lane lengths"),
        (4, b"\x00\x00", [], "lane lengths"),
        (4, b"\x01\x00\x00", [], "lane lengths"),
        (4, b"\x80\x00\x00\x00", [], "lane lengths"),
        (4, b"\x80\x80\x80\x80\x08\x00\x00", [], "lane lengths"),
        (4, b"\xff\xff\xff\xff\xff\xff\x01\x00\x00", [], "lane lengths"),
        (2, b"\xff\xff\xff\xff\x07", [], "lane lengths"),
    ],
)
def test_malformed_payloads(lanes, data, indexes, says):
    with pytest.raises(BitstreamError, match=says):
        decode_with(lanes, data, np.array(indexes, np.uint8))


def escape_bits(bits):
    """A stream of row 6's escape, then these bypass bits."""
    coder = Oracle()
    coder.narrow(coder.range // 65536, 32768, 32768)
    coder.bits(bits)
    return coder.finish()


@pytest.mark.parametrize("bits", ["0" * 18, "1" + "0" * 17 + "1", "01", "1" + "0" * 16 + "1" * 17])
def test_escapes_beyond_int16(bits):
    # Row 6 holds only -32768, so that anything below it, and 65536 above, leave int16.
    with pytest.raises(BitstreamError, match="outside int16"):
        decode_with(1, escape_bits(bits), np.array([6], np.uint8))


def test_a_decoder_stays_failed():
    decoder = Decoder(b"\xff" * 8, TABLES)
    rows = np.zeros(3, np.uint8)
    for _ in range(2):
        with pytest.raises(BitstreamError):
            decoder.decode(rows)
        with pytest.raises(BitstreamError):
            decoder.finish()


def test_arguments_are_checked():
    one, row = np.zeros(1, np.int16), np.zeros(1, np.uint8)
    encoder = Encoder(TABLES)
    for bad in (np.array([32768]), np.array([-32769]), np.array([0.0])):
        with pytest.raises(InputError, match="symbols"):
            encoder.encode(bad, row)
    for bad in (np.array([70000]), np.array([-1]), np.array([0.0])):
        with pytest.raises(InputError, match="indexes"):
            encoder.encode(one, bad)
    with pytest.raises(InputError, match="names no row"):
        encoder.encode(one, np.array([TABLES.rows], np.uint8))
    with pytest.raises(InputError, match="names no row"):
        Decoder(b"", TABLES).decode(np.array([TABLES.rows], np.uint16))
    with pytest.raises(InputError, match="symbols but"):
        encoder.encode(one, np.zeros(2, np.uint8))
    for make in (lambda k: Encoder(TABLES, k), lambda k: Decoder(b"", TABLES, k)):
        for lanes in (0, MAX_LANES + 1):
            with pytest.raises(InputError, match="lanes"):
                make(lanes)
    # None of these left anything in the encoder.
    assert encoder.finish() == b""
    with pytest.raises(InputError, match="finish"):
        encoder.finish()
    with pytest.raises(InputError, match="finish"):
        encoder.encode(one, row)


def test_threads_do_not_disturb_each_other():
    symbols, indexes = latents(LANES_FROM)
    golden = encode(symbols, indexes, GAUSSIAN)

    def work(_):
        data = encode(symbols, indexes, GAUSSIAN)
        return data == golden and np.array_equal(decode(data, indexes, GAUSSIAN), symbols)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))


def test_doctests():
    assert doctest.testmod(rangecoder) == (0, 6)


C_USER = r"""
#include "rangecoder_core.h"
int main(void) {
    static const uint32_t cdf[] = {0, 20000, 40000, 65536};
    static const int32_t starts[] = {0, 4}, offsets[] = {-1};
    static uint32_t slots[4];
    static uint16_t lookup[4096];
    rc_row rows[1];
    size_t n_lookup;
    if (rc_check_tables(cdf, 4, starts, offsets, 1, &n_lookup) || n_lookup > 4096) return 1;
    rc_build_tables(cdf, starts, offsets, 1, slots, lookup, rows);
    rc_tables tables = {slots, lookup, rows, 1};
    int16_t symbols[] = {0, -1, 5, -32768, 32767, 0}, out[6];
    uint16_t indexes[6] = {0};
    uint8_t bytes[128];
    rc_encoder enc;
    rc_decoder dec;
    rc_encoder_init(&enc, 1);
    enc.lane[0].bytes = bytes;
    enc.lane[0].capacity = sizeof bytes;
    if (rc_encode(&enc, &tables, symbols, indexes, 6)) return 2;
    rc_flush(&enc.lane[0]);
    if (rc_decoder_init(&dec, 1, bytes, enc.lane[0].length)) return 3;
    if (rc_decode(&dec, &tables, indexes, out, 6) || rc_finish(dec.payload, &dec.lane[0])) return 4;
    return memcmp(symbols, out, sizeof out) ? 5 : 0;
}
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_core_stands_alone_in_c(tmp_path):
    source, program = tmp_path / "user.c", tmp_path / "user"
    source.write_text(C_USER)
    core = Path(__file__).resolve().parents[2] / "_ext"
    strict = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    subprocess.run(["cc", *strict, f"-I{core}", str(source), "-o", str(program)], check=True)
    subprocess.run([str(program)], check=True)

"""Damaged and forged files. The contract: an IntCodecError or the identical picture, in bounded memory; nothing else.

Accidents (truncations, flipped bytes) leave the checksums as they are. Forgeries repair every checksum after the
change, so that they reach the size checks, the range coder and the proofs on the decoded latents and pixels.
"""

from __future__ import annotations

import dataclasses
import random
import tracemalloc
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import tiny

from intcodec.base.errors import BitstreamError, IntCodecError
from intcodec.coding import bitstream
from intcodec.engines.reference import ReferenceEngine
from intcodec.pictures.codec import Codec

ACCIDENTS = 10_000
FORGERIES = 400


class Victim:
    def __init__(self, arch: str) -> None:
        model = tiny.model(arch)
        self.codec = Codec(model, ReferenceEngine(model.network), max_pixels=2**16)
        self.data = self.codec.encode(tiny.picture(50, 70))
        self.picture = self.codec.decode(self.data)
        self.stream = bitstream.parse(self.data)

    def survives(self, data: bytes) -> bool:
        """Return whether it decoded, which it may only to the identical picture."""
        try:
            picture = self.codec.decode(data)
        except IntCodecError:
            return False
        np.testing.assert_array_equal(picture, self.picture)
        return True


@pytest.fixture(scope="module", params=tiny.ARCHS)
def victim(request: pytest.FixtureRequest) -> Victim:
    return Victim(request.param)


def test_every_truncation(victim: Victim) -> None:
    for length in range(len(victim.data)):
        with pytest.raises(BitstreamError):
            victim.codec.decode(victim.data[:length])


def test_every_truncation_from_the_front(victim: Victim) -> None:
    for start in range(1, len(victim.data)):
        with pytest.raises(BitstreamError):
            victim.codec.decode(victim.data[start:])


def test_flipped_bytes(victim: Victim) -> None:
    rng = random.Random(1)
    for _ in range(ACCIDENTS):
        data = bytearray(victim.data)
        for _ in range(rng.choice((1, 1, 1, 2, 5))):
            data[rng.randrange(len(data))] ^= rng.randrange(1, 256)
        if bytes(data) != victim.data:
            assert not victim.survives(bytes(data))


def test_every_single_bit(victim: Victim) -> None:
    for bit in range(8 * len(victim.data)):
        data = bytearray(victim.data)
        data[bit // 8] ^= 1 << bit % 8
        assert not victim.survives(bytes(data))


def test_inserted_removed_and_swapped_bytes(victim: Victim) -> None:
    rng = random.Random(2)
    for _ in range(2000):
        a, b = sorted(rng.sample(range(len(victim.data) + 1), 2))
        for data in (
            victim.data[:a] + victim.data[b:],
            victim.data[:a] + rng.randbytes(b - a) + victim.data[a:],
            victim.data[:a] + victim.data[a:b][::-1] + victim.data[b:],
            victim.data[:b] + victim.data[a:],
        ):
            if data != victim.data:
                assert not victim.survives(data)


def test_random_bytes(victim: Victim) -> None:
    rng = random.Random(3)
    for _ in range(2000):
        assert not victim.survives(rng.randbytes(rng.randrange(300)))
        assert not victim.survives(victim.data[: rng.randrange(4, 30)] + rng.randbytes(rng.randrange(300)))


def forge(victim: Victim, **change: Any) -> bytes:
    return bitstream.serialize(dataclasses.replace(victim.stream, **change))


def test_forged_sections(victim: Victim) -> None:
    """Every checksum of the file is right; what the symbols become is not."""
    rng = random.Random(4)
    for _ in range(FORGERIES):
        sections = [bytearray(s) for s in victim.stream.sections]
        for _ in range(rng.choice((1, 1, 2, 8))):
            section = rng.choice(sections)
            kind = rng.randrange(4)
            at = rng.randrange(len(section))
            if kind == 0:
                section[at] ^= rng.randrange(1, 256)
            elif kind == 1 and len(section) > 1:
                del section[at:]
            elif kind == 2:
                section += rng.randbytes(rng.randrange(1, 9))
            else:
                section[:] = rng.randbytes(len(section))
            if not section:
                section += b"\0"
        forged = tuple(bytes(s) for s in sections)
        if forged != tuple(bytes(s) for s in victim.stream.sections):
            assert not victim.survives(forge(victim, sections=forged))


def test_forged_sizes(victim: Victim) -> None:
    """The pixels' checksum covers the shape only through the bytes: no other size may have the same ones here."""
    rng = random.Random(5)
    near = [(w, h) for w in range(64, 82) for h in range(46, 54)]
    far = [(rng.randrange(1, 300), rng.randrange(1, 300)) for _ in range(100)]
    huge = [(2**k, 2**j) for k in range(0, 28, 3) for j in range(0, 28, 3)]
    for width, height in near + far + huge:
        if (width, height) != (victim.stream.width, victim.stream.height):
            assert not victim.survives(forge(victim, width=width, height=height))


def test_forged_checksums_and_ids(victim: Victim) -> None:
    for bit in range(32):
        assert not victim.survives(forge(victim, latents_crc=victim.stream.latents_crc ^ 1 << bit))
        assert not victim.survives(forge(victim, pixels_crc=victim.stream.pixels_crc ^ 1 << bit))
    for bit in range(64):
        other = (int.from_bytes(victim.stream.model_id, "big") ^ 1 << bit).to_bytes(8, "big")
        assert not victim.survives(forge(victim, model_id=other))
    assert victim.survives(forge(victim, pixels_crc=None))


def test_forged_headers(victim: Victim) -> None:
    """Any bytes in the header, with section 0's checksum repaired where the file would have it."""
    rng = random.Random(6)
    end = len(victim.data) - (len(victim.stream.sections[-1]) + 4 if len(victim.stream.sections) == 2 else 0) - 4
    header = end - len(victim.stream.sections[0])
    for _ in range(3000):
        data = bytearray(victim.data)
        for _ in range(rng.choice((1, 1, 2, 4))):
            data[rng.randrange(4, header)] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        data[end : end + 4] = crc32(data[:end]).to_bytes(4, "little")
        if data != victim.data and data[5] & 4:  # without its checksum a forged crop is a picture like any other
            assert not victim.survives(bytes(data))


def test_forged_lengths(victim: Victim) -> None:
    """Section boundaries moved, with all checksums made right for the new boundaries."""
    whole = b"".join(bytes(s) for s in victim.stream.sections)
    for cut in range(0, len(whole) + 1, 3):
        if len(victim.stream.sections) == 2:
            if cut != len(victim.stream.sections[0]):
                assert not victim.survives(forge(victim, sections=(whole[:cut], whole[cut:])))
        elif cut < len(whole):
            assert not victim.survives(forge(victim, sections=(whole[:cut],)))
        assert not victim.survives(forge(victim, sections=(whole[:cut], whole[cut:], b"")))


def test_memory_is_bounded_by_the_limit(victim: Victim) -> None:
    """No file of this length makes the decoder hold more than what max_pixels allows."""
    rng = random.Random(7)
    tracemalloc.start()
    try:
        for _ in range(300):
            width, height = (int(2 ** rng.uniform(0, 28)) or 1 for _ in range(2))
            assert not victim.survives(forge(victim, width=width, height=height))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()

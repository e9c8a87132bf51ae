"""Damaged clips: every cut, every flipped byte: an error or a clean shorter clip, never a wrong frame."""

from __future__ import annotations

import io
import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import tinyvideo
from test_clip import COUNT, SIZE, assert_begins, clip, codec, offsets, pictures, written

from intcodec.base.errors import BitstreamError, InputError, LimitError, WrongModelError
from intcodec.clips.clip import ClipReader
from intcodec.clips.container import ChunkReader, ChunkWriter, frame_limit
from intcodec.coding.bitstream import write_varint


@lru_cache(maxsize=1)
def longer() -> tuple[bytes, list[np.ndarray]]:
    """A clip of more than 1000 bytes, and its frames."""
    data = written(codec(), list(tinyvideo.clip(20, *SIZE)))
    return data, list(ClipReader(codec(), io.BytesIO(data)).frames())


def survivors(data: bytes) -> tuple[list[np.ndarray], str]:
    """Return the frames that a damaged clip still gives, and the error's words; "" where there is none."""
    found: list[np.ndarray] = []
    message = ""
    try:
        for picture in ClipReader(codec(), io.BytesIO(data)).frames():
            found.append(picture)
    except (BitstreamError, WrongModelError, LimitError) as error:
        message = str(error)
    assert "\n" not in message
    return found, message


def flips(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield every place with its byte changed in three ways: one bit, all bits, any bits."""
    chance = random.Random(11)
    for at in range(len(data)):
        for change in (1 << chance.randrange(8), 255, chance.randrange(1, 256)):
            yield at, data[:at] + bytes((data[at] ^ change,)) + data[at + 1 :]


def test_truncation_at_every_frame_boundary() -> None:
    for data, whole in ((clip(), pictures()), longer()):
        for number, at in enumerate(offsets(data)):
            found, error = survivors(data[:at])
            assert len(found) == number
            assert "truncated clip" in error
            assert_begins(found, whole)


def test_truncation_anywhere_keeps_every_frame_before() -> None:
    """Every place of a short clip, 1000 random places of a longer one."""
    chosen = random.Random(7).sample(range(len(longer()[0])), 1000)
    for data, whole, places in ((clip(), pictures(), range(len(clip()))), (*longer(), chosen)):
        starts = offsets(data)
        for at in places:
            found, error = survivors(data[:at])
            assert len(found) == sum(start <= at for start in starts[1:]), at
            assert error, at
            assert_begins(found, whole)


def test_a_flipped_byte_costs_its_frame_and_those_behind_it() -> None:
    starts, count = offsets(clip()), 0
    for at, damaged in flips(clip()):
        found, error = survivors(damaged)
        assert error, at
        assert len(found) == sum(start <= at for start in starts[1:]), at
        assert_begins(found, pictures())
        count += 1
    assert count > 2000


def test_flipped_bytes_behind_right_checksums_of_the_container_show_no_wrong_frame() -> None:
    """As if someone had altered sections or checksums and packed the clip again."""
    reader, chance, wrong = ChunkReader(io.BytesIO(clip())), random.Random(13), 0
    frames = [reader.read() for _ in range(COUNT)]
    for _ in range(1000):
        k = chance.randrange(COUNT)
        frame = frames[k]
        assert frame is not None
        sections = [bytearray(section) for section in frame.sections]
        damaged = chance.choice(sections)
        damaged[chance.randrange(len(damaged))] ^= chance.randrange(1, 256)
        forged = replace(frame, sections=tuple(map(bytes, sections)))
        if chance.randrange(8) == 0:
            forged = replace(frame, pixels_crc=frame.pixels_crc ^ 1 << chance.randrange(32))
        file = io.BytesIO()
        writer = ChunkWriter(file, reader.header)
        for number, other in enumerate(frames):
            assert other is not None
            writer.write(forged if number == k else other)
        writer.close()
        found, error = survivors(file.getvalue())
        assert (len(found), bool(error)) == (k, True)
        assert_begins(found, pictures())
        wrong += "checksum" in error
    assert wrong > 50  # some reach what the frame proves of itself


def test_many_flipped_bytes_give_an_error_or_a_shorter_clip() -> None:
    data, chance = clip(), random.Random(11)
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 1, 2, 5])):
            damaged[chance.randrange(len(data))] ^= chance.randrange(1, 256)
        found, error = survivors(bytes(damaged))
        assert error
        assert_begins(found, pictures())


def test_flipped_bytes_with_a_range_never_give_a_wrong_frame() -> None:
    data, chance = clip(), random.Random(12)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        found = []
        try:
            for picture in ClipReader(codec(), io.BytesIO(bytes(damaged))).frames(5, 7):
                found.append(picture)
        except (BitstreamError, WrongModelError, LimitError, InputError):
            pass
        assert_begins(found, pictures()[5:7])


def test_chunks_that_change_places_are_found_out() -> None:
    data, starts = clip(), offsets(clip())
    one, two, three = (data[a:b] for a, b in pairwise(starts[1:5]))
    for middle in (two + one + three, one + three, one + one + two + three):
        found, error = survivors(data[: starts[1]] + middle + data[starts[4] :])
        assert error
        assert_begins(found, pictures())


def test_bytes_after_the_end_are_an_error() -> None:
    found, error = survivors(clip() + b"\0")
    assert len(found) == COUNT
    assert "bytes after its end" in error


def forged(**fields: object) -> bytes:
    """A clip's header with fields that no writer would write, and a checksum that fits."""
    plain = {"magic": b"\x89INV", "version": 1, "colour": 0, "model": codec().model_id, "ints": (50, 37, 25, 1, 0, 0)}
    made = {**plain, **fields}
    out = bytearray(made["magic"]) + bytes((made["version"], made["colour"])) + made["model"]  # type: ignore[call-overload,operator]
    for value in made["ints"]:  # type: ignore[attr-defined]
        out += bytes((value,)) if isinstance(value, int) else value
    out += made.get("more", b"")  # type: ignore[arg-type]
    return bytes(out) + zlib.crc32(out).to_bytes(4, "little")


@pytest.mark.parametrize(
    ("header", "chunk", "message"),
    [
        ({}, b"k\x05", "no frame 0 begins"),
        ({}, b"p\x05", "no frame 0 begins"),
        ({"colour": 128, "more": b"\x02\x02\x19"}, b"k\x00", "frame 0 lasts no time"),
        ({"colour": 128, "more": b"\x02\x02\x19"}, b"k" + b"\xff" * 5, "impossible number"),
        ({"colour": 128, "more": b"\x02\x02\x19"}, b"p\x05", "no frame 0 begins"),
    ],
)
def test_forged_durations(header: dict[str, object], chunk: bytes, message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        list(ClipReader(codec(), io.BytesIO(forged(**header) + chunk + bytes(40))).frames())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"magic": b"\x89INT"}, "not an intcodec clip"),
        ({"version": 2}, "version 2 is not supported"),
        ({"colour": 64}, "makes no sense"),
        ({"colour": 128 + 64, "more": b"\x09\x10\x00"}, "makes no sense"),
        ({"colour": 128, "more": b"\x02\x02\x00"}, "extended for nothing"),
        ({"colour": 128, "more": b"\x02\x02\x80\x00"}, "impossible number"),
        ({"colour": 128}, "ends at byte 24, inside its header"),
        ({"ints": (0, 37, 25, 1, 0, 0)}, "makes no sense"),
        ({"ints": (50, 37, 25, 0, 0, 0)}, "makes no sense"),
        ({"ints": (50, 37, 50, 2, 0, 0)}, "makes no sense"),
        ({"ints": (50, 37, 25, 1, 2, 2)}, "makes no sense"),
        ({"ints": (50, 37, 25, 1, 0, 2)}, "makes no sense"),
        ({"ints": (b"\x80\x00", 37, 25, 1, 0, 0)}, "impossible number"),
        ({"ints": (b"\xff" * 9, 37, 25, 1, 0, 0)}, "impossible number"),
        ({}, "truncated clip: it ends at byte 24"),
    ],
)
def test_forged_headers(fields: dict[str, object], message: str) -> None:
    with pytest.raises(BitstreamError, match=message):
        list(ClipReader(codec(), io.BytesIO(forged(**fields))).frames())


def test_a_section_that_claims_more_than_there_is_costs_nothing() -> None:
    """A frame may declare gigabytes: refused by its limit, or read only as far as bytes arrive."""
    header = forged()
    limit = frame_limit(50, 37)
    for length in (limit + 1, limit):
        digits = write_varint(length)
        with pytest.raises(BitstreamError, match=r"truncated|impossible number|checksum"):
            list(ClipReader(codec(), io.BytesIO(header + b"K" + digits + b"\0" * 12)).frames())

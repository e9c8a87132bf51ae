"""Invalid streams, clips and models: what a decoder must refuse, made from valid ones.

What may live here: one small function per way to be wrong. Checksums are made to fit again where the damage is meant to
get past them.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from zlib import crc32

import numpy as np

from intcodec.clips.container import ChunkReader, ChunkWriter
from intcodec.clips.framecodec import CodedFrame
from intcodec.coding import bitstream
from intcodec.coding.bitstream import Bitstream, write_varint
from intcodec.modelfile.container import MANIFEST, NETWORK
from intcodec.modelfile.model import Model, write_network
from intcodec.network.graph import Network
from intcodec.rows.conv import Conv
from intcodec.rows.scale_space import MAX_WARP_SIDE

Json = dict[str, Any]
Damage = tuple[str, str, str, bytes, Json]  # name, comment, error class, bytes, options of the case


def streams(good: bytes) -> Iterator[Damage]:
    """Yield damaged forms of a stream that carries a checksum of its pixels."""
    s = bitstream.parse(good)
    plain = dataclasses.replace(s, sections=tuple(map(bytes, s.sections)))
    last = len(plain.sections) - 1

    def again(**fields: Any) -> bytes:
        return bitstream.serialize(dataclasses.replace(plain, **fields))

    def sections(change: Callable[[bytes], bytes]) -> bytes:
        return again(sections=(*plain.sections[:last], change(plain.sections[last])))

    bad, over = "BitstreamError", "LimitError"
    yield "empty", "no bytes at all", bad, b"", {}
    yield "magic", "the first byte is that of a PNG's sibling, not ours", bad, b"\x8a" + good[1:], {}
    yield "version", "version 2", bad, good[:4] + b"\x02" + good[5:], {}
    yield "flags", "a reserved flag is set", bad, good[:5] + bytes([good[5] | 0x08]) + good[6:], {}
    yield "cut-header", "ends inside the model id", bad, good[:10], {}
    yield "cut-end", "the last byte is missing", bad, good[:-1], {}
    yield "trailing", "one byte too many", bad, good + b"\x00", {}
    yield "flipped", "one bit of the last section is flipped", bad, _flip(good, len(good) - 6), {}
    yield "flipped-header", "one bit of the latents' checksum is flipped", bad, _flip(good, _start(plain) - 5), {}
    yield "long-varint", "the width is not in its shortest form", bad, _width(plain, _padded(s.width)), {}
    yield "endless-varint", "the width has more than 5 bytes", bad, _width(plain, b"\xff\xff\xff\xff\xff\x01"), {}
    yield "no-width", "a picture of width 0", bad, _width(plain, b"\x00"), {}
    latents = again(latents_crc=s.latents_crc ^ 1)
    yield "latents-crc", "a wrong checksum of the latents under right CRCs", bad, latents, {}
    pixels = again(pixels_crc=(s.pixels_crc or 0) ^ 1)
    yield "pixels-crc", "a wrong checksum of the pixels under right CRCs", bad, pixels, {}
    yield "recoded", "a flipped bit in the last section under right CRCs", bad, sections(lambda d: _flip(d, 0)), {}
    yield "longer", "a byte more in the last section under right CRCs", bad, sections(lambda d: d + b"\x00"), {}
    yield "shorter", "the last section has lost its bytes, under right CRCs", bad, sections(lambda d: d[:1]), {}
    more = (*plain.sections, b"")
    yield "section-count", "one section more than the architecture has", bad, again(sections=more), {}
    other = bytes([plain.model_id[0] ^ 0xFF]) + plain.model_id[1:]
    yield "other-model", "needs another model", "WrongModelError", again(model_id=other), {}
    yield "over-limit", "one pixel more than the limit", over, good, {"max_pixels": s.width * s.height - 1}
    wide = again(width=bitstream.MAX_SIDE, height=bitstream.MAX_SIDE)
    yield "huge", "declares 2**56 pixels: refused before anything is allocated", over, wide, {}


def _flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def _padded(value: int) -> bytes:
    short = write_varint(value)
    return short[:-1] + bytes([short[-1] | 0x80, 0])


def _start(s: Bitstream) -> int:
    """Return where section 0 begins."""
    sizes = (s.width, s.height, *map(len, s.sections))
    return 14 + sum(len(write_varint(v)) for v in sizes) + 4 + (4 if s.pixels_crc is not None else 0)


def _width(s: Bitstream, width: bytes) -> bytes:
    """Return the stream with other bytes in place of its width, its checksums right."""
    good = bitstream.serialize(s)
    head = good[:14] + width + good[14 + len(write_varint(s.width)) : _start(s)] + bytes(s.sections[0])
    rest = good[_start(s) + len(s.sections[0]) + 4 :]
    return head + crc32(head).to_bytes(4, "little") + rest


class _Clip:
    """A valid clip taken apart, and put together again with changes."""

    def __init__(self, good: bytes) -> None:
        self.good = good
        reader = ChunkReader(io.BytesIO(good))
        self.frames = list[CodedFrame]()
        self.ends = [reader.at]  # of the header and of each frame
        while (frame := reader.read()) is not None:
            self.frames.append(frame)
            self.ends.append(reader.at)
        self.header = reader.header
        self.chunks = [good[a:b] for a, b in itertools.pairwise(self.ends)]
        self.head, self.tail = good[: self.ends[0]], good[self.ends[-1] :]

    def again(self, changed: Sequence[CodedFrame] | None = None, **fields: Any) -> bytes:
        file = io.BytesIO()
        writer = ChunkWriter(file, dataclasses.replace(self.header, **fields))
        for one in self.frames if changed is None else changed:
            writer.write(one)
        writer.close()
        return file.getvalue()

    def frame_with(self, k: int, **fields: Any) -> bytes:
        return self.again([dataclasses.replace(f, **fields) if n == k else f for n, f in enumerate(self.frames)])

    def section(self, k: int, change: Callable[[bytes], bytes]) -> bytes:
        *first, last = self.frames[k].sections
        return self.frame_with(k, sections=(*first, change(last)))

    def joined(self, *numbers: int) -> bytes:
        return self.head + b"".join(self.chunks[n] for n in numbers) + self.tail

    def refitted(self, data: bytes) -> bytes:
        return data[:-4] + crc32(data[:-4]).to_bytes(4, "little") + self.good[self.ends[0] :]


def clips(good: bytes) -> Iterator[Damage]:
    """Yield damaged forms of a clip of four frames or more; "decoded" is the number of frames before the damage."""
    clip = _Clip(good)
    yield from _damaged_headers(clip)
    yield from _damaged_frames(clip)


def _damaged_headers(clip: _Clip) -> Iterator[Damage]:
    bad, over, good, end = "BitstreamError", "LimitError", clip.good, clip.ends[0]
    yield "empty", "no bytes at all", bad, b"", {"decoded": 0}
    yield "magic", "the magic of a picture", bad, good[:3] + b"T" + good[4:], {"decoded": 0}
    yield (
        "version",
        "version 2 under a right CRC",
        bad,
        clip.refitted(clip.head[:4] + b"\2" + clip.head[5:]),
        {"decoded": 0},
    )
    yield (
        "colour",
        "a reserved bit of the colour is set",
        bad,
        clip.refitted(clip.head[:5] + b"\x40" + clip.head[6:]),
        {"decoded": 0},
    )
    yield "cut-header", "ends inside the header", bad, good[: end - 1], {"decoded": 0}
    yield (
        "flipped-header",
        "one bit of the header's checksum is flipped",
        bad,
        _flip(good, end - 2),
        {"decoded": 0},
    )
    yield "other-model", "needs another model", "WrongModelError", clip.again(model_id=bytes(8)), {"decoded": 0}
    least = clip.header.width * clip.header.height - 1
    yield "over-limit", "one pixel a frame more than the limit", over, good, {"decoded": 0, "max_pixels": least}
    huge = clip.again(width=60000, height=60000)
    yield "huge", "frames of 60000x60000: refused before anything is allocated", over, huge, {"decoded": 0}
    yield "wide", "a side that no frame can have", bad, clip.again(width=MAX_WARP_SIDE + 1), {"decoded": 0}


def _damaged_frames(clip: _Clip) -> Iterator[Damage]:
    bad, good, count, ends = "BitstreamError", clip.good, len(clip.frames), clip.ends
    order = range(count)
    yield "inter-first", "the key frame is missing", bad, clip.joined(*order[1:]), {"decoded": 0}
    yield "no-end", "ends after frame 1", bad, good[: ends[2]], {"decoded": 2}
    yield "cut-frame", "ends inside frame 2", bad, good[: ends[3] - 1], {"decoded": 2}
    yield "cut-trailer", "the last byte is missing", bad, good[:-1], {"decoded": count}
    yield "trailing", "one byte too many", bad, good + b"\0", {"decoded": count}
    yield "flipped", "one bit of a section of frame 2 is flipped", bad, _flip(good, ends[3] - 6), {"decoded": 2}
    yield (
        "flipped-length",
        "one bit of a length in frame 1 is flipped",
        bad,
        _flip(good, ends[1] + 1),
        {"decoded": 1},
    )
    yield "swapped", "frames 1 and 2 in the other order", bad, clip.joined(0, 2, 1, *order[3:]), {"decoded": 1}
    yield "repeated", "frame 1 twice", bad, clip.joined(0, 1, 1, *order[2:]), {"decoded": 2}
    yield "missing", "frame 1 is left out", bad, clip.joined(0, *order[2:]), {"decoded": 1}
    foreign = clip.again(rate=clip.header.rate + 1)[len(clip.head) :][: len(clip.chunks[0])]
    yield (
        "foreign",
        "frame 0 of a clip with another header",
        bad,
        clip.head + foreign + good[ends[1] :],
        {"decoded": 0},
    )
    wrong = clip.frame_with(1, latents_crc=clip.frames[1].latents_crc ^ 1)
    yield "latents-crc", "a wrong checksum of frame 1's latents under right CRCs", bad, wrong, {"decoded": 1}
    wrong = clip.frame_with(2, pixels_crc=clip.frames[2].pixels_crc ^ 1)
    yield "pixels-crc", "a wrong checksum of frame 2's pixels under right CRCs", bad, wrong, {"decoded": 2}
    wrong = clip.section(1, lambda d: _flip(d, 0))
    yield "recoded", "a flipped bit in a section of frame 1 under right CRCs", bad, wrong, {"decoded": 1}
    wrong = clip.section(3, lambda d: d + b"\0")
    yield "longer", "a byte more in a section of frame 3 under right CRCs", bad, wrong, {"decoded": 3}
    wrong = clip.section(0, lambda d: d[:1])
    yield "shorter", "a section of frame 0 has lost its bytes, under right CRCs", bad, wrong, {"decoded": 0}
    wrong = clip.frame_with(1, key=True, sections=clip.frames[1].sections[:2])
    yield "false-key", "half of frame 1 as a key frame, under right CRCs", bad, wrong, {"decoded": 1}
    fewer = clip.again(clip.frames[:-1])[ends[-2] :]
    yield "index", "the index of a shorter clip", bad, good[: ends[-1]] + fewer, {"decoded": count}


def models(good: Model) -> Iterator[Damage]:
    """Yield damaged forms of a model."""
    plain = good.data
    members = _members(plain)
    manifest, network = json.loads(members[MANIFEST]), members[NETWORK]
    bad = "ModelError"

    def rewritten(network: Network = good.network, bounds: Mapping[str, int] = good.bounds) -> bytes:
        return _fit(manifest, write_network(network, bounds, good.vectors))

    yield "cut", "the ZIP file's end is missing", bad, plain[: len(plain) // 2], {}
    yield "no-zip", "a stream in place of a model", bad, b"\x89INT" + bytes(60), {}
    yield "missing-member", "no network.safetensors", bad, _pack({MANIFEST: members[MANIFEST]}), {}
    yield "path", "a member that would leave its folder", bad, _pack({**members, "../evil": b"x"}), {}
    flipped = _pack({**members, NETWORK: _flip(network, len(network) - 9)})
    yield "flipped", "one bit of the network is flipped; the hash tells", bad, flipped, {}
    wrong = {**members, MANIFEST: json.dumps({**manifest, "format": 2}).encode()}
    yield "format", "format 2", bad, _pack(wrong), {}
    long = _fit(manifest, b"\xff" * 8 + network[8:])
    yield "header", "the network's header claims more bytes than there are", bad, long, {}
    loud = rewritten(_louder(good.network))
    yield "bound", "weights whose accumulator could overflow, under the bounds of the good model", bad, loud, {}
    low = rewritten(bounds={**good.bounds, next(iter(good.bounds)): 1})
    yield "stated-bound", "a stated bound that is not the network's", bad, low, {}
    fewer = {n: g for n, g in good.network.graphs.items() if n != "g_s"}
    headless = rewritten(dataclasses.replace(good.network, graphs=fewer))
    yield "no-graph", "no g_s, but its bounds and self-test vector", bad, headless, {}
    first = {**good.vectors[0], "tensors": dict.fromkeys(good.vectors[0]["tensors"], "0" * 32)}
    untrue = _fit(manifest, write_network(good.network, good.bounds, (first, *good.vectors[1:])))
    yield "self-test", "a self-test vector that no engine reproduces", "SelfTestError", untrue, {}


def _louder(network: Network) -> Network:
    """Return the network with all weights of g_s's first convolution at the ends of int16."""
    g_s = network.graphs["g_s"]
    first = next(row for row in g_s.rows if isinstance(row, Conv))
    loud = dataclasses.replace(first, weight=np.where(first.weight < 0, -32767, 32767).astype(np.int16))
    rows = tuple(loud if row is first else row for row in g_s.rows)
    return dataclasses.replace(network, graphs={**network.graphs, "g_s": dataclasses.replace(g_s, rows=rows)})


def _members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _fit(manifest: Json, network: bytes) -> bytes:
    """Return a bundle of a network whose manifest states the right hash."""
    digest = hashlib.sha256(network).hexdigest()
    fixed = {**manifest, "model_id": digest, "sha256": {NETWORK: digest}}
    return _pack({MANIFEST: json.dumps(fixed, sort_keys=True).encode(), NETWORK: network})


def _pack(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, members[name], compresslevel=6)
    return buffer.getvalue()

"""Replaying cases on one engine, or on the range coder alone.

What may live here: what each kind of case asks for, and the words for what went wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from intcodec.base.errors import IntCodecError
from intcodec.coding import bitstream
from intcodec.conformance import clips
from intcodec.conformance.cases import MakeEngine, Outcome, expect, load, sha256
from intcodec.conformance.trace import Recorder, coded_sections, first_difference
from intcodec.conformance.vectors import Json, VectorFile, read_ppm
from intcodec.engines import Engine
from intcodec.entropy import rangecoder
from intcodec.entropy.cdf import CdfTables
from intcodec.modelfile.model import Model
from intcodec.pictures.codec import DEFAULT_MAX_PIXELS, Codec


def replay(file: VectorFile, make: MakeEngine) -> Iterator[Outcome]:
    """Replay all cases of a file on the engine that `make` makes; an error is an outcome."""
    if file.kind == "rangecoder":
        yield from (Outcome(case["id"], expect(case, partial(_code, case))) for case in file.cases)
    elif file.kind == "models":
        yield from (Outcome(c["id"], expect(c, partial(_load_check, file, c["model"], make))) for c in file.cases)
    elif file.kind == "clips":
        yield from clips.replay(file, make)
    else:
        yield from _pictures(file, make)


def _code(case: Json) -> str | None:
    """Encode and decode a sequence of the range coder."""
    table = case["tables"]
    starts = np.cumsum([0, *map(len, table["cdf"])])
    tables = CdfTables(
        cdf=np.concatenate([np.array(row, np.uint32) for row in table["cdf"]]),
        starts=starts.astype(np.int32),
        offsets=np.array(table["offsets"], np.int32),
    )
    rows = np.array(case["rows"], np.uint16)
    data = bytes.fromhex(case["bytes"])
    decoder = rangecoder.Decoder(data, tables, case["lanes"])
    symbols = decoder.decode(rows)
    decoder.finish()
    if case["result"] == "invalid":
        return None
    if symbols.tolist() != case["symbols"]:
        wrong = next(i for i, (a, b) in enumerate(zip(symbols.tolist(), case["symbols"], strict=True)) if a != b)
        return f"symbol {wrong} decodes to {symbols[wrong]}, {case['symbols'][wrong]} expected"
    encoder = rangecoder.Encoder(tables, case["lanes"])
    encoder.encode(np.array(case["symbols"], np.int16), rows)
    return None if encoder.finish() == data else "encoding the symbols gives other bytes"


def _load_check(file: VectorFile, path: str, make: MakeEngine) -> None:
    load(file, path, make)


def _pictures(file: VectorFile, make: MakeEngine) -> Iterator[Outcome]:
    try:
        model, engine = load(file, file.content["model"], make)
    except IntCodecError as error:
        yield Outcome(f"{file.name}/model", f"{type(error).__name__}: {error}")
        return
    codecs = {DEFAULT_MAX_PIXELS: Codec(model, engine)}
    for case in file.cases:
        if case["result"] == "valid":
            yield _picture(file, case, model, engine)
            continue
        limit = case.get("max_pixels", DEFAULT_MAX_PIXELS)
        codec = codecs.get(limit) or Codec(model, engine, max_pixels=limit)
        yield Outcome(case["id"], expect(case, partial(_decode, codec, case)))


def _decode(codec: Codec, case: Json) -> None:
    codec.decode(bytes.fromhex(case["bytes"]))


def _picture(file: VectorFile, case: Json, model: Model, engine: Engine) -> Outcome:
    """Encode a case's picture and decode its stream; compare bytes, pixels and every tensor on the way."""
    stream, wanted = file.read(case["stream"]), file.read(case["pixels"])
    problems = []
    coded = pixels = None
    writer, reader = Recorder(engine), Recorder(engine, keep=True)
    try:
        data = Codec(model, writer).encode(read_ppm(file.read(case["picture"])), pixel_checksum=case["checksum"])
        coded = sha256(data)
        if data != stream:
            problems.append("the encoded bytes differ")
    except IntCodecError as error:
        problems.append(f"encode: {type(error).__name__}: {error}")
    try:
        picture = Codec(model, reader).decode(stream)
        pixels = sha256(picture.tobytes())
        expected = read_ppm(wanted)
        if picture.shape != expected.shape or not np.array_equal(picture, expected):
            problems.append("the decoded pixels differ")
    except IntCodecError as error:
        problems.append(f"decode: {type(error).__name__}: {error}")
    problems += _section_problems(case, model, stream, reader)
    for recorder, side in ((writer, "encoder"), (reader, "decoder")):
        tensor = first_difference(recorder.calls, case["calls"], side)
        if tensor:
            problems.insert(0, f"{side}: first tensor that differs is {tensor}")
    return Outcome(case["id"], "; ".join(problems) or None, coded, pixels)


def _section_problems(case: Json, model: Model, stream: bytes, reader: Recorder) -> list[str]:
    """Compare what the range coder saw with a case's notes; nothing where the decode ended early."""
    latent = next(((call.height, call.width) for call in reader.calls if call.graph == "g_s"), None)
    if latent is None:
        return []
    try:
        made = coded_sections(model.network, bitstream.parse(stream).sections, reader.kept, latent)
    except IntCodecError as error:
        return [f"sections: {error}"]
    pairs = zip(made, case["sections"], strict=True)
    return [f"section {want['latent']}: {key} differ" for got, want in pairs for key in want if got[key] != want[key]]

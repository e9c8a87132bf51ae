"""Pictures to bytes and back: exactness against a direct reading of the documents, sizes, limits, and proofs."""

from __future__ import annotations

import dataclasses
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from wrongengines import WrongEngine

from intcodec.base.errors import BitstreamError, InputError, LimitError, ModelError, WrongModelError
from intcodec.coding import bitstream, latents
from intcodec.engines.reference import ReferenceEngine
from intcodec.entropy import rangecoder
from intcodec.network.graph import Graph, Network
from intcodec.pictures.codec import Codec, pad

SIZES = [(1, 1), (1, 2), (2, 1), (15, 16), (16, 16), (17, 16), (33, 17), (1, 100), (64, 80), (65, 63), (80, 128)]


def make(arch: str, seed: int = 0, **options: Any) -> Codec:
    model = tiny.model(arch, seed)
    return Codec(model, ReferenceEngine(model.network), **options)


@pytest.fixture(scope="module", params=tiny.ARCHS)
def codec(request: pytest.FixtureRequest) -> Codec:
    return make(request.param)


def direct(network: Any, picture: np.ndarray) -> tuple[dict[str, bytes], np.ndarray]:
    """Encode and decode as docs/arithmetic.md, Latents and docs/bitstream.md say, in int64 and one piece."""
    engine = ReferenceEngine(network)
    height, width, _ = picture.shape
    x = np.pad(picture, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    y = engine.run("g_a", {"x": x})["y"].astype(np.int64)
    sections: dict[str, bytes] = {}

    def code(name: str, v: np.ndarray, mean: Any, rows: np.ndarray) -> np.ndarray:
        latent = network.latents[name]
        f, shift = latent.fraction, latent.shift.astype(np.int64)
        mean = latent.offset.astype(np.int64) + mean
        symbols = np.clip((v - mean + (1 << f >> 1)) >> f, -32768, 32767)
        sections[name] = rangecoder.encode(symbols.astype(np.int16), rows.astype(np.uint16), network.tables[name])
        hat = (symbols << f) + mean + ((np.int64(1) << shift) >> 1)
        return np.clip(hat >> shift, latent.lo, latent.hi).astype(np.int16)

    def channels(v: np.ndarray) -> np.ndarray:
        return np.tile(np.arange(v.shape[2]), (*v.shape[:2], 1))

    if "h_a" in network.graphs:
        z = engine.run("h_a", {"y": y.astype(np.int32)})["z"].astype(np.int64)
        out = engine.run("h_s", {"z_hat": code("z", z, 0, channels(z))})
        out = {name: t[: y.shape[0], : y.shape[1]].astype(np.int64) for name, t in out.items()}
        if "params" in out:
            out = scan(engine, network.latents["y"], y, out["params"])
            order = sorted(np.ndindex(y.shape[:2]), key=lambda p: (p[1] + 3 * p[0], p[0]))  # docs/bitstream.md
            rows, columns = (np.array(v) for v in zip(*order, strict=True))
            y_hat = np.empty(y.shape, np.int16)
            y_hat[rows, columns] = code("y", *(t[rows, columns][None] for t in (y, out["mean"], out["index"])))[0]
        else:
            y_hat = code("y", y, out.get("mean", 0), out["index"])
    else:
        y_hat = code("y", y, 0, channels(y))
    return sections, engine.run("g_s", {"y_hat": y_hat})["x_hat"][:height, :width]


def scan(engine: Any, latent: Any, y: np.ndarray, params: np.ndarray) -> dict[str, np.ndarray]:
    """Return index and mean of a context model, one position after the other in raster order."""
    out = {name: np.zeros(y.shape, np.int64) for name in ("index", "mean")}
    y_hat = np.zeros((y.shape[0] + 2, y.shape[1] + 4, y.shape[2]), np.int16)
    for i, j in np.ndindex(y.shape[:2]):
        window = y_hat[i : i + 3, j : j + 5].reshape(15, -1)[:12]
        inputs = {"neighbours": window.reshape(1, 1, -1), "params": params[i : i + 1, j : j + 1].astype(np.int16)}
        step = engine.run("context", inputs)
        for name in out:
            out[name][i, j] = step[name][0, 0]
        v = y[i, j] - out["mean"][i, j] - latent.offset
        symbol = np.clip((v + (1 << latent.fraction >> 1)) >> latent.fraction, -32768, 32767)
        hat = (symbol << latent.fraction) + out["mean"][i, j] + latent.offset
        hat = (hat + ((np.int64(1) << latent.shift.astype(np.int64)) >> 1)) >> latent.shift
        y_hat[i + 2, j + 2] = np.clip(hat, latent.lo, latent.hi)
    return out


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{s[1]}x{s[0]}")
def test_matches_the_documents(codec: Codec, size: tuple[int, int]) -> None:
    picture = tiny.picture(*size)
    sections, expected = direct(codec.model.network, picture)
    data = codec.encode(picture)
    assert tuple(bytes(s) for s in bitstream.parse(data).sections) == tuple(sections.values())
    decoded = codec.decode(data)
    assert decoded.dtype == np.uint8
    assert decoded.flags.c_contiguous
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, expected)


def test_same_picture_same_bytes(codec: Codec) -> None:
    picture = tiny.picture(40, 50)
    data = codec.encode(picture)
    assert codec.encode(np.asfortranarray(picture)) == data
    assert codec.encode(np.repeat(picture, 2, axis=1)[:, ::2]) == data
    np.testing.assert_array_equal(codec.decode(memoryview(data)), codec.decode(bytearray(data)))


@pytest.mark.parametrize("tile", [1, 7, 300, 2**17])
def test_tiles_do_not_matter(codec: Codec, tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tiny.picture(70, 50)
    data = codec.encode(picture)
    decoded = codec.decode(data)
    monkeypatch.setattr(latents, "TILE", tile)
    assert codec.encode(picture) == data
    np.testing.assert_array_equal(codec.decode(data), decoded)


def test_all_symbols_count_in_the_checksum(codec: Codec) -> None:
    stream = bitstream.parse(codec.encode(tiny.picture(30, 30)))
    data = bitstream.serialize(dataclasses.replace(stream, latents_crc=stream.latents_crc ^ 1))
    with pytest.raises(BitstreamError, match="decoded latents do not match"):
        codec.decode(data)


def test_pixel_checksum(codec: Codec) -> None:
    picture = tiny.picture(30, 30)
    data = codec.encode(picture)
    stream = bitstream.parse(data)
    forged = bitstream.serialize(dataclasses.replace(stream, pixels_crc=0))
    with pytest.raises(BitstreamError, match="decoded pixels do not match"):
        codec.decode(forged)
    without = codec.encode(picture, pixel_checksum=False)
    assert len(without) == len(data) - 4
    np.testing.assert_array_equal(codec.decode(without), codec.decode(data))


@pytest.mark.parametrize("graph", ["h_s", "g_s"])
@pytest.mark.parametrize("arch", ["hyperprior", "mean-scale"])
def test_a_machine_that_computes_wrongly_is_found_out(graph: str, arch: str) -> None:
    model = tiny.model(arch)
    data = make(arch).encode(tiny.picture(50, 50))
    engine = WrongEngine(model.network)
    engine.wrong = graph
    with pytest.raises(BitstreamError):
        Codec(model, engine).decode(data)


def test_wrong_model() -> None:
    data = make("hyperprior", 0).encode(tiny.picture(16, 16))
    other = make("hyperprior", 1)
    with pytest.raises(WrongModelError) as caught:
        other.decode(data)
    assert tiny.model("hyperprior", 0).model_id[:16] in str(caught.value)
    assert other.model.model_id[:16] in str(caught.value)


def test_number_of_sections_must_be_the_models() -> None:
    codec = make("factorized")
    stream = bitstream.parse(codec.encode(tiny.picture(16, 16)))
    data = bitstream.serialize(dataclasses.replace(stream, sections=(*stream.sections, b"")))
    with pytest.raises(BitstreamError, match="2 sections, 1 expected"):
        codec.decode(data)


def test_limit() -> None:
    data = make("hyperprior").encode(tiny.picture(20, 30))
    small = make("hyperprior", max_pixels=599)
    with pytest.raises(LimitError, match="30x20 pixels exceeds the limit of 599"):
        small.decode(data)
    with pytest.raises(LimitError):
        small.encode(tiny.picture(20, 30))
    make("hyperprior", max_pixels=600).decode(data)


@pytest.mark.parametrize("side", [(2**28 - 1, 2**28 - 1), (2**28 - 1, 1), (60000, 60000), (16384, 16384)])
@pytest.mark.parametrize("max_pixels", [2**28, 2**60])
def test_an_enormous_promise_allocates_nothing(codec: Codec, side: tuple[int, int], max_pixels: int) -> None:
    stream = bitstream.parse(codec.encode(tiny.picture(16, 16)))
    data = bitstream.serialize(dataclasses.replace(stream, width=side[0], height=side[1]))
    unlimited = Codec(codec.model, codec.engine, max_pixels=max_pixels)
    tracemalloc.start()
    try:
        with pytest.raises((LimitError, BitstreamError), match=r"exceeds the limit|cannot hold"):
            unlimited.decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 0, 3), np.uint8),
        [[1, 2, 3]],
        None,
    ],
    ids=lambda p: f"{getattr(p, 'dtype', type(p))}{getattr(p, 'shape', '')}",
)
def test_refuses_what_is_no_picture(picture: Any) -> None:
    with pytest.raises(InputError, match="picture"):
        make("factorized").encode(picture)


@given(st.integers(1, 40), st.integers(1, 40))
def test_pad_repeats_edges(height: int, width: int) -> None:
    picture = tiny.picture(height, width)
    expected = np.pad(picture, ((0, -height % 16), (0, -width % 16), (0, 0)), mode="edge")
    np.testing.assert_array_equal(pad(picture, 16), expected)


def fewer_rows(graph: Graph) -> Graph:
    """Without its second half, whose name the last row takes over."""
    return Graph(graph.name, graph.inputs, (dataclasses.replace(graph.rows[0], name="y"),), ("y",))


def test_h_s_must_cover_y() -> None:
    network = tiny.network("hyperprior")
    h_s = network.graphs["h_s"]
    narrow = [dataclasses.replace(r, pad=(0, 0, 0, 0)) if r.name == "scale" else r for r in h_s.rows]
    model = broken("hyperprior", graphs={**network.graphs, "h_s": dataclasses.replace(h_s, rows=tuple(narrow))})
    with pytest.raises(ModelError, match="does not cover y"):
        Codec(model, ReferenceEngine(model.network)).encode(tiny.picture(64, 64))


def broken(arch: str, **change: Any) -> Any:
    model = tiny.model(arch)
    model.network = dataclasses.replace(model.network, **change)
    return model


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda n: {"graphs": {k: g for k, g in n.graphs.items() if k != "g_s"}}, "no graph 'g_s'"),
        (lambda n: {"graphs": {k: g for k, g in n.graphs.items() if k != "h_s"}}, "graph 'h_s' is missing"),
        (lambda n: {"graphs": {**n.graphs, "context": n.graphs["h_s"]}}, "cannot run"),
        (lambda n: {"tables": {"z": n.tables["z"]}}, "no tables 'y'"),
        (lambda n: {"tables": {"z": n.tables["z"], "y": n.tables["z"]}}, "8 rows, 64 are needed"),
        (lambda n: {"latents": {**n.latents, "y": n.latents["z"]}}, "no such channels"),
        (lambda n: {"graphs": {**n.graphs, "g_a": tiny.network("mean-scale").graphs["h_a"]}}, "three channels"),
        (lambda n: {"graphs": {**n.graphs, "g_s": tiny.network("hyperprior", 0, 8, 10).graphs["g_s"]}}, "does not fit"),
        (lambda n: {"graphs": {**n.graphs, "g_a": tiny.network("hyperprior", 0, 8, 10).graphs["g_a"]}}, "does not fit"),
        (
            lambda n: {"graphs": {**n.graphs, "h_s": tiny.network("hyperprior", 0, 8, 10).graphs["h_s"]}},
            "h_s does not give 12 channels",
        ),
        (
            lambda n: {"graphs": {**n.graphs, "g_a": fewer_rows(n.graphs["g_a"])}},
            "does not turn",
        ),
    ],
)
def test_models_that_form_no_codec(change: Any, message: str) -> None:
    model = broken("hyperprior", **change(tiny.network("hyperprior")))
    with pytest.raises(ModelError, match=message):
        Codec(model, ReferenceEngine(model.network))


class _Stub:
    """Outputs of the right size at once; what is measured is the codec."""

    name, threads = "stub", 1

    def __init__(self, network: Network) -> None:
        self.network = network

    def run(self, graph: str, inputs: Any) -> dict[str, np.ndarray]:
        description = self.network.graphs[graph]
        sizes, specs = description.out_sizes(*next(iter(inputs.values())).shape[:2]), description.specs()
        return {n: np.full((*sizes[n], specs[n].channels), 40, specs[n].dtype) for n in description.outputs}


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_memory_per_pixel(arch: str) -> None:
    """At M = 192: y alone takes 3 bytes a pixel, as does a picture; 100 megapixels must stay far below 1 GiB."""
    network = tiny.network(arch, 0, 16, 192)
    model = SimpleNamespace(network=network, model_id=bytes(32).hex())
    codec = Codec(model, _Stub(network))
    picture = np.zeros((1999, 1001, 3), np.uint8)
    tracemalloc.start()
    try:
        data = codec.encode(picture)
        encode = tracemalloc.get_traced_memory()[1] / (2000 * 1008)
        tracemalloc.reset_peak()
        codec.decode(data)
        decode = tracemalloc.get_traced_memory()[1] / (2000 * 1008)
    finally:
        tracemalloc.stop()
    context = 2 if arch == "context" else 0  # h_s's parameters live as long as the walk
    assert encode < 11 + context  # numpy 1.26 holds half a byte more than numpy 2
    assert decode < 9 + context


# With the real parts -------------------------------------------------------------------------------------------------

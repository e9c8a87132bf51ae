"""Loading a model: its proof and self-test, what is refused, the default model on every engine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from wrongengines import WrongEngine

import intcodec
from intcodec.base.errors import InputError, ModelError, SelfTestError
from intcodec.engines import ENGINES
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile.model import Model
from intcodec.network import proof as bounds
from intcodec.pictures.codec import default_model


@pytest.fixture(scope="module", params=tiny.ARCHS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file: Path = tmp_path_factory.mktemp("models") / f"{request.param}.intm"
    tiny.bundle(request.param).save(file)
    return file


def test_every_engine_writes_the_same_bytes_and_pixels(path: Path) -> None:
    codecs = [intcodec.load(path, engine=name) for name in ENGINES]
    codecs += [intcodec.load(str(path), threads=3), intcodec.load(path.read_bytes(), threads=1)]
    for size in [(1, 1), (1, 2), (15, 16), (17, 16), (33, 17), (1, 100), (65, 63), (80, 128)]:
        picture = tiny.picture(*size, seed=1)
        data = codecs[0].encode(picture)
        decoded = codecs[0].decode(data)
        for other in codecs[1:]:
            assert other.encode(picture) == data
            np.testing.assert_array_equal(other.decode(data), decoded)


def test_load_self_tests_the_engine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intcodec.engines.create", lambda name, network, threads: WrongEverywhere(network))
    with pytest.raises(SelfTestError, match="reference"):
        intcodec.load(path)


class WrongEverywhere(WrongEngine):
    wrong = "g_s"


def test_decode_only_tests_and_runs_what_decodes(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = tiny.picture(20, 30)
    data = intcodec.load(path, engine="reference").encode(picture)
    ran = []
    real = ReferenceEngine.run
    monkeypatch.setattr(ReferenceEngine, "run", lambda self, graph, x: ran.append(graph) or real(self, graph, x))
    codec = intcodec.load(path, engine="reference", decode_only=True)
    decoded = codec.decode(data)
    assert set(ran) == set(codec.model.network.graphs) - {"g_a", "h_a"}
    np.testing.assert_array_equal(decoded, intcodec.load(path, engine="reference").decode(data))
    with pytest.raises(InputError, match="decode_only"):
        codec.encode(picture)


def test_load_refuses_a_model_without_its_proof(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Model.load(path)
    first = next(iter(honest.bounds))
    lying = dataclasses.replace(honest, bounds={**honest.bounds, first: honest.bounds[first] - 1})
    monkeypatch.setattr(Model, "load", classmethod(lambda cls, source: lying))
    with pytest.raises(ModelError, match="bounds"):
        intcodec.load(path)


@pytest.mark.parametrize(
    ("content", "error"), [(None, InputError), (b"", ModelError), (b"PK\3\4 no", ModelError), (b"\x89INT", ModelError)]
)
def test_load_refuses_other_files(tmp_path: Path, content: bytes | None, error: type[Exception]) -> None:
    file = tmp_path / "m.intm"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(error):
        intcodec.load(file)


@pytest.mark.parametrize("options", [{"engine": "abacus"}, {"threads": 0}, {"threads": -1}])
def test_load_refuses_options(path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        intcodec.load(path, **options)


def test_default_model_round_trip_on_every_engine() -> None:
    picture = tiny.picture(70, 90)
    coded = {name: intcodec.load(engine=name).encode(picture) for name in ENGINES}
    assert len(set(coded.values())) == 1
    pictures = [intcodec.load(engine=name).decode(coded["reference"]) for name in ENGINES]
    for other in pictures[1:]:
        np.testing.assert_array_equal(other, pictures[0])


def test_replicating_edges_costs_less_than_zeros() -> None:
    codec = intcodec.load()
    picture = np.clip(tiny.picture(65, 81).astype(int) // 2 + 110, 0, 255).astype(np.uint8)
    zeros = np.pad(picture, ((0, 15), (0, 15), (0, 0)))
    assert len(codec.encode(picture)) < len(codec.encode(zeros))


def test_default_model_is_proved() -> None:
    model = Model.load(default_model())
    assert bounds.prove(model.network) == dict(model.bounds)

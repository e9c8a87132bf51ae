"""The embedded models: the index tells the truth, a rung is found by quality and by a file's model id."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tiny
from PIL import Image

import intcodec
from intcodec.base.errors import InputError, ModelError, WrongModelError
from intcodec.cli.main import main
from intcodec.coding import bitstream
from intcodec.conformance.verify import verify
from intcodec.modelfile import embedded
from intcodec.modelfile.container import NETWORK
from intcodec.modelfile.model import Model

PACKAGE = Path(intcodec.__file__).parent
LIMIT = 40_000_000


@pytest.fixture
def ladder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Two tiny rungs in place of the real ones; the second is the default and stores no ONNX graphs."""
    folder = tmp_path / "models"
    folder.mkdir()
    rungs = []
    for quality in (2, 1):
        model = Model.build(tiny.network("hyperprior", quality), onnx_graphs=None if quality == 1 else {})
        model.save(folder / f"tiny-{quality}.intm")
        rungs.append({"quality": quality, "file": f"tiny-{quality}.intm", "model_id": model.model_id,
                      "arch": "hyperprior", "bytes": len(model.data), "facts": {"kodak_bpp": quality / 4}})  # fmt: skip
    (folder / "index.json").write_text(json.dumps({"default": 2, "rungs": rungs}))
    monkeypatch.setattr(embedded, "_folder", lambda: folder)
    monkeypatch.chdir(tmp_path)
    Image.fromarray(tiny.picture(30, 40)).save("a.png")
    embedded._ladder.cache_clear()
    yield folder
    embedded._ladder.cache_clear()


# --- the real ones ----------------------------------------------------------------------------------------------------


def test_the_index_is_true() -> None:
    rungs = embedded.rungs()
    assert [rung.quality for rung in rungs] == list(range(1, len(rungs) + 1))
    assert embedded.by_quality(None) in rungs
    assert {p.name for p in (PACKAGE / "models").glob("*.intm")} == {rung.file for rung in rungs}
    for rung in rungs:
        model = Model.load(embedded.read(rung))
        assert (model.model_id, model.arch, len(model.data)) == (rung.model_id, rung.arch, rung.bytes)
        bpp = [rung.facts["kodak_bpp"] for rung in rungs if "kodak_bpp" in rung.facts]
        assert bpp == sorted(bpp)


def test_all_together_are_small() -> None:
    assert sum(path.stat().st_size for path in (PACKAGE / "models").iterdir()) < LIMIT


@pytest.mark.parametrize("quality", [rung.quality for rung in embedded.rungs()])
def test_every_rung_is_verified(quality: int) -> None:
    report = verify(embedded.read(embedded.by_quality(quality)))
    assert report.ok, report.checks


@pytest.mark.parametrize("quality", [rung.quality for rung in embedded.rungs()])
def test_every_rung_codes(quality: int) -> None:
    picture = tiny.picture(70, 90)
    data = intcodec.load(quality=quality).encode(picture)
    np.testing.assert_array_equal(intcodec.load_for(data).decode(data), intcodec.load(quality=quality).decode(data))


def test_reading_ahead() -> None:
    rung = embedded.by_quality(1)
    embedded.read_ahead(rung)
    ahead = embedded._ahead[rung.model_id]
    embedded.read_ahead(rung)  # once is enough
    assert embedded._ahead[rung.model_id] is ahead
    bundle = embedded.bundle(rung)
    assert bundle is ahead._bundle
    assert bundle.data == embedded.read(rung)
    assert bundle.network() == (bundle.read(NETWORK), rung.model_id)
    assert Model.load(bundle).model_id == rung.model_id
    assert embedded.bundle(rung) is not bundle, "a bundle that was read ahead is handed out once"


def test_reading_ahead_of_a_damaged_file(ladder: Path) -> None:
    rung = embedded.by_quality(1)
    data = bytearray((ladder / rung.file).read_bytes())
    data[len(data) // 2] ^= 1
    (ladder / rung.file).write_bytes(data)
    embedded.read_ahead(rung)
    with pytest.raises(ModelError):
        Model.load(embedded.bundle(rung))
    (ladder / rung.file).unlink()
    embedded.read_ahead(rung)
    with pytest.raises(ModelError, match="install it again"):
        embedded.bundle(rung)


# --- two tiny ones ----------------------------------------------------------------------------------------------------


def test_quality_picks_a_rung(ladder: Path) -> None:
    ids = {q: intcodec.load(quality=q, engine="reference").model.model_id for q in (1, 2)}
    assert ids[1] != ids[2]
    assert intcodec.load(engine="reference").model.model_id == ids[2], "the default"
    for quality in (0, 3):
        with pytest.raises(InputError, match=f"no embedded model has quality {quality}; choose one of 1, 2"):
            intcodec.load(quality=quality)
    with pytest.raises(InputError, match="not both"):
        intcodec.load("a.intm", quality=1)


def test_a_file_finds_its_rung(ladder: Path) -> None:
    picture = tiny.picture(20, 20)
    for quality in (1, 2):
        codec = intcodec.load(quality=quality, engine="reference")
        data = codec.encode(picture)
        found = intcodec.load_for(data, engine="onnxruntime", threads=1)  # one has stored graphs, one has not
        assert found.model.model_id == codec.model.model_id
        np.testing.assert_array_equal(found.decode(data), codec.decode(data))
        with pytest.raises(WrongModelError, match=rf"\(embedded, quality {quality}\), but model") as caught:
            intcodec.load(quality=3 - quality, engine="reference").decode(data)
        assert caught.value.quality == quality


def test_a_file_of_a_model_that_is_not_embedded(ladder: Path) -> None:
    stream = bitstream.Bitstream(b"8 bytes.", 1, 1, (b"x",), 0, None)
    with pytest.raises(WrongModelError, match=f"{b'8 bytes.'.hex()}, which does not come with intcodec") as caught:
        intcodec.load_for(bitstream.serialize(stream))
    assert caught.value.quality is None


def test_command_line(ladder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for quality in ("1", "2"):
        assert main(["encode", "a.png", "-q", quality, "-o", f"q{quality}.intc"]) == 0
    assert main(["encode", "a.png", "-o", "default.intc"]) == 0
    assert Path("default.intc").read_bytes() == Path("q2.intc").read_bytes() != Path("q1.intc").read_bytes()
    capfd.readouterr()
    assert main(["decode", "q1.intc", "q2.intc", "default.intc", "-o", "out"]) == 0, "each finds its own"
    for quality in ("1", "2"):
        with Image.open(f"out/q{quality}.png") as image:
            codec = intcodec.load(quality=int(quality), engine="reference")
            np.testing.assert_array_equal(np.asarray(image), codec.decode(Path(f"q{quality}.intc").read_bytes()))
    capfd.readouterr()
    assert main(["info", "q1.intc"]) == 0
    assert "embedded quality     1\n" in capfd.readouterr().out
    assert main(["decode", "q1.intc", "-m", str(ladder / "tiny-2.intm"), "-o", "x.png"]) == 4
    err = capfd.readouterr().err
    assert "(embedded, quality 1)" in err
    assert err.endswith("; leave out -m\n")
    assert main(["encode", "a.png", "-q", "3"]) == 2
    assert "choose one of 1, 2" in capfd.readouterr().err
    assert main(["encode", "a.png", "-q", "1", "-m", str(ladder / "tiny-2.intm")]) == 2
    assert "not both" in capfd.readouterr().err


def test_info_lists_them(ladder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    first, second = capfd.readouterr().out.splitlines()
    assert first.startswith("quality 1            hyperprior, ")
    assert second.startswith("quality 2 (default)  hyperprior, ")
    assert second.endswith("kodak bpp 0.5")
    assert main(["info", "--json"]) == 0
    listed = json.loads(capfd.readouterr().out)
    assert [(rung["quality"], rung["default"]) for rung in listed] == [(1, False), (2, True)]


def test_eval_takes_every_rung(ladder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "a.png", "--codecs", "none", "--no-cache"]) == 0
    out = capfd.readouterr().out
    assert "intcodec hyperprior q1" in out
    assert "intcodec hyperprior q2" in out


def test_damaged_installations(ladder: Path) -> None:
    rung = embedded.by_quality(1)
    (ladder / rung.file).unlink()
    with pytest.raises(ModelError, match=r"lacks tiny-1\.intm"):
        intcodec.load(quality=1)
    (ladder / "index.json").write_text("{")
    embedded._ladder.cache_clear()
    with pytest.raises(ModelError, match="no embedded model; name one"):
        intcodec.load()
    assert embedded.by_id(b"8 bytes.") is None

"""The page of web/ in real headless Chromium: what its canvas holds equals Python's pixels, bit for bit."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chromium
import numpy as np
import pytest
import tiny
import webdecoder
from places import VECTORS
from webdecoder import Server

import intcodec
from intcodec.modelfile import embedded
from intcodec.modelfile.model import Model

#: Red, green and blue of the canvas in base64; an error where a pixel is not opaque.
PIXELS = """(async () => {
  const canvas = document.getElementById("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const rgb = new Uint8Array(data.length / 4 * 3);
  for (let i = 0, k = 0; i < data.length; i += 4, k += 3) {
    if (data[i + 3] !== 255) throw new Error("a pixel is not opaque");
    rgb.set(data.subarray(i, i + 3), k);
  }
  const url = await new Promise((done) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result);
    reader.readAsDataURL(new Blob([rgb]));
  });
  return { width: canvas.width, height: canvas.height, rgb: url.split(",")[1] };
})()"""
STATE = "document.body.dataset.state"


@pytest.fixture(scope="module")
def dist() -> Path:
    if chromium.find() is None:
        pytest.skip("no chromium: scripts/setup-web.sh")
    return webdecoder.build()


@pytest.fixture(scope="module")
def browser(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    with chromium.Browser(tmp_path_factory.mktemp("profile")) as started:
        yield started


@pytest.fixture
def site(dist: Path, tmp_path: Path) -> Iterator[Server]:
    """Serve a copy of the build without models; tests add theirs to `folder`."""
    shutil.copytree(dist, tmp_path / "site", ignore=shutil.ignore_patterns("*.intm"))
    with Server(tmp_path / "site") as server:
        yield server


def add_model(site: Server, data: bytes) -> str:
    """Put a model where the page looks for it, and return its path."""
    name = f"models/{Model.load(data).model_id[:16]}.intm"
    (site.folder / name).write_bytes(data)
    return f"/{name}"


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def shown(page: chromium.Page, state: str = "done") -> None:
    page.wait(f"{STATE} !== 'busy' && {STATE} !== 'idle'")
    assert page.evaluate(STATE) == state, page.evaluate("document.getElementById('error').textContent")


def text(page: chromium.Page, name: str) -> str:
    found: str = page.evaluate(f"document.getElementById({json.dumps(name)}).textContent")
    return found


def canvas(page: chromium.Page) -> np.ndarray:
    found: dict[str, Any] = page.evaluate(PIXELS)
    rgb = np.frombuffer(base64.b64decode(found["rgb"]), np.uint8)
    return rgb.reshape(found["height"], found["width"], 3)


def check(site: Server, browser: chromium.Browser, model: bytes, folder: Path, sizes: list[tuple[int, int]]) -> None:
    """Decode pictures on the page and compare them with Python's."""
    asked = add_model(site, model)
    codec = intcodec.load(model, engine="native", threads=1)
    page = browser.open(site.url)
    for seed, (height, width) in enumerate(sizes):
        file = write(folder / f"{height}x{width}.intc", codec.encode(tiny.picture(height, width, seed)))
        page.evaluate(f"{STATE} = 'idle'")
        page.choose("#file", [file])
        shown(page)
        np.testing.assert_array_equal(canvas(page), codec.decode(file.read_bytes()))
        assert text(page, "verdict").startswith("Exact")
        assert text(page, "size") == f"{width} × {height}"
        assert "WebAssembly SIMD" in text(page, "time")
    assert site.asked.count(asked) == 1
    assert browser.complaints() == []


@pytest.mark.parametrize("arch", tiny.ARCHS)
def test_tiny_networks(site: Server, browser: chromium.Browser, tmp_path: Path, arch: str) -> None:
    check(site, browser, tiny.bundle(arch).data, tmp_path, [(50, 70), (1, 1), (33, 17)])


PICTURES = sorted({p.stem for p in (VECTORS / "models").glob("*.intm")} - {"ssf2020"})  # the page knows no clips


@pytest.mark.parametrize("arch", PICTURES or ["none"])
def test_conformance_vectors(site: Server, browser: chromium.Browser, arch: str) -> None:
    if not VECTORS.is_dir():
        pytest.skip("no tests/conformance here")
    add_model(site, (VECTORS / "models" / f"{arch}.intm").read_bytes())
    page = browser.open(site.url)
    for case in json.loads((VECTORS / f"{arch}.json").read_text())["cases"]:
        if case["result"] == "valid":
            page.evaluate(f"{STATE} = 'idle'")
            page.choose("#file", [VECTORS / case["stream"]])
            shown(page)
            head = f"P6\n{canvas(page).shape[1]} {canvas(page).shape[0]}\n255\n".encode()
            assert head + canvas(page).tobytes() == (VECTORS / case["pixels"]).read_bytes()
    assert browser.complaints() == []


def test_the_embedded_model(site: Server, browser: chromium.Browser, tmp_path: Path) -> None:
    check(site, browser, embedded.read(embedded.by_quality(None)), tmp_path, [(203, 310)])


def test_a_model_is_fetched_once_and_kept(site: Server, browser: chromium.Browser, tmp_path: Path) -> None:
    model = tiny.bundle("factorized", 5)
    asked = add_model(site, model.data)
    file = write(tmp_path / "a.intc", intcodec.load(model.data, engine="reference").encode(tiny.picture(20, 30)))
    for _ in range(3):
        page = browser.open(site.url)
        page.choose("#file", [file])
        shown(page)
    assert site.asked.count(asked) == 1
    assert site.asked.count("/simd128.wasm") >= 1


def test_files_are_dropped(site: Server, browser: chromium.Browser, tmp_path: Path) -> None:
    """First a picture whose model the page lacks: the message says so, and the model, dropped, shows the picture."""
    model = tiny.bundle("hyperprior", 7)
    codec = intcodec.load(model.data, engine="reference")
    file = write(tmp_path / "a.intc", codec.encode(tiny.picture(40, 50)))
    page = browser.open(site.url)
    page.drop([file], 500, 300)
    shown(page, "failed")
    assert text(page, "error").startswith(f"this picture needs model {model.model_id[:16]}")
    page.evaluate(f"{STATE} = 'idle'")
    page.drop([write(tmp_path / "m.intm", model.data)], 500, 300)
    shown(page)
    np.testing.assert_array_equal(canvas(page), codec.decode(file.read_bytes()))


def test_what_is_damaged_is_not_shown(site: Server, browser: chromium.Browser, tmp_path: Path) -> None:
    model = tiny.bundle("mean-scale")
    add_model(site, model.data)
    data = intcodec.load(model.data, engine="reference").encode(tiny.picture(40, 50))
    page = browser.open(site.url)
    for bad, start in (
        (data[:-1], "truncated file: "),
        (data[:30] + bytes([data[30] ^ 1]) + data[31:], "damaged file: "),
        (b"\x89PNG\r\n\x1a\n", "not an intcodec file"),
        (model.data[:500], "not an intcodec model: "),
    ):
        page.evaluate(f"{STATE} = 'idle'")
        page.choose("#file", [write(tmp_path / "bad", bad)])
        shown(page, "failed")
        assert text(page, "error").startswith(start)
        assert page.evaluate("document.getElementById('result').hidden") is True
    page.evaluate(f"{STATE} = 'idle'")
    page.choose("#file", [write(tmp_path / "good.intc", data)])
    shown(page)


def test_pictures_of_the_page(site: Server, browser: chromium.Browser, tmp_path: Path) -> None:
    """The page in its four states, for people to look at: pytest --basetemp=FOLDER keeps the pictures."""
    codec = intcodec.load()
    add_model(site, embedded.read(embedded.by_quality(None)))
    page = browser.open(site.url)
    taken = [tmp_path / f"{name}.png" for name in ("idle", "done", "dark", "failed")]
    page.screenshot(taken[0])
    page.choose("#file", [write(tmp_path / "waves.intc", codec.encode(tiny.picture(480, 720)))])
    shown(page)
    page.screenshot(taken[1])
    page.dark()
    page.screenshot(taken[2])
    page.dark(False)
    page.choose("#file", [write(tmp_path / "bad.intc", b"\x89INT\x01")])
    page.wait(f"{STATE} === 'failed'")
    page.screenshot(taken[3])
    assert len({path.read_bytes() for path in taken}) == len(taken)

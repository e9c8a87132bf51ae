"""What the tests of evaluation share: the command, two pictures, two tiny models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny
from PIL import Image

from intcodec.cli.main import main

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def call(*args: str) -> tuple[int, str, str]:
        code = main(("eval", *args))
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for k, (height, width) in enumerate([(40, 50), (64, 64)]):
        Image.fromarray(tiny.picture(height, width, seed=k)).save(folder / f"p{k}.png")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Two tiny models, which form one series."""
    folder = tmp_path_factory.mktemp("models")
    paths = [folder / f"m{seed}.intm" for seed in (0, 1)]
    for seed, path in enumerate(paths):
        tiny.bundle("hyperprior", seed).save(path)
    return [str(path) for path in paths]

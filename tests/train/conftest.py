"""What the tests of training share: one thread, and a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny
import torch
from PIL import Image


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 12 pictures in two layers, one that is too small, one that is broken, and a text."""
    folder = tmp_path_factory.mktemp("photos")
    (folder / "sub").mkdir()
    for k in range(12):
        name = folder / ("sub" if k % 2 else "") / f"{k:02}.png"
        Image.fromarray(tiny.picture(80 + k, 96, seed=k)).save(name)
    Image.fromarray(tiny.picture(20, 96)).save(folder / "small.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8 no picture")
    (folder / "readme.txt").write_text("no picture either")
    return folder

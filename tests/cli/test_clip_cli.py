"""Clips on the command line: what goes in and comes out, pipes, ranges, truncated files, messages of one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import tinyvideo
from PIL import Image

from intcodec.cli.main import main
from intcodec.clips import sources
from intcodec.clips.colour import Chroma, Colour, Matrix
from intcodec.clips.frames import ColourChoice, FrameFormat
from intcodec.pictures.images import read_picture

COUNT, HEIGHT, WIDTH = 5, 19, 34
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model for clips, one for pictures, a folder of frames, and the clip of them."""
    folder = tmp_path_factory.mktemp("home")
    tinyvideo.bundle().save(folder / "clips.intm")
    tinyvideo.bundle(1).save(folder / "other.intm")
    tiny.bundle().save(folder / "pictures.intm")
    (folder / "frames").mkdir()
    for k, frame in enumerate(tinyvideo.clip(COUNT, HEIGHT, WIDTH)):
        Image.fromarray(frame).save(folder / "frames" / f"f{k + 8}.png")  # 8, 9, 10: numbers, not letters
    args = ["encode", str(folder / "frames"), "-m", str(folder / "clips.intm"), "-o", str(folder / "a.intc"),
            "--keyframe-interval", "3", "--rate", "24"]  # fmt: skip
    assert main(args) == 0
    return folder


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(home)

    def call(*args: str) -> tuple[int, str, str]:
        try:
            code = main(args)
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return code, out, err

    return call


def expected(interval: int = 3) -> list[np.ndarray]:
    codec = tinyvideo.codec()
    encoder, decoder = codec.encoder(HEIGHT, WIDTH), codec.decoder(HEIGHT, WIDTH)
    frames = tinyvideo.clip(COUNT, HEIGHT, WIDTH)
    return [decoder.decode(encoder.encode(f, key=k % interval == 0)) for k, f in enumerate(frames)]


def folder_frames(path: Path) -> list[np.ndarray]:
    return [read_picture(p, 2**20).picture for p in sorted(path.iterdir())]


def test_a_folder_there_and_back(run: Run, tmp_path: Path) -> None:
    code, _, err = run("decode", "a.intc", "-m", "clips.intm", "-o", f"{tmp_path}/out/")
    assert code == 0, err
    assert "34x19, 5 frames" in err
    for one, two in zip(folder_frames(tmp_path / "out"), expected(), strict=True):
        np.testing.assert_array_equal(one, two)


def test_info(run: Run, home: Path) -> None:
    described = json.loads(run("info", "a.intc", "--json")[1])
    assert (described["width"], described["height"], described["frames"], described["key_frames"]) == (34, 19, 5, 2)
    assert (described["frames_per_second"], described["index"]) == ("24", "whole")
    assert described["bytes"] == (home / "a.intc").stat().st_size
    assert described["model_id"] == tinyvideo.bundle().model_id[:16]
    piped = subprocess.run(
        [sys.executable, "-m", "intcodec", "info", "-", "--json"],
        input=(home / "a.intc").read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    assert json.loads(piped.stdout) == described


def test_pipes(home: Path) -> None:
    """y4m in, clip out, and a clip in, y4m out: the same as through files."""

    def piped(data: bytes, *args: str) -> bytes:
        command = [sys.executable, "-m", "intcodec", *args, "-m", str(home / "clips.intm")]
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout

    made = FrameFormat(WIDTH, HEIGHT, colour=Colour(Matrix.BT601, True, Chroma.C444))
    with sources.open_sink(str(home / "in.y4m"), made) as sink:
        for frame in tinyvideo.clip(COUNT, HEIGHT, WIDTH):
            sink(frame)
    y4m = (home / "in.y4m").read_bytes()
    clip = piped(y4m, "encode", "-", "-o", "-")
    assert main(["encode", str(home / "in.y4m"), "-m", str(home / "clips.intm"), "-o", str(home / "y.intc")]) == 0
    assert clip == (home / "y.intc").read_bytes()
    back = piped(clip, "decode", "-", "-o", "-")
    assert main(["decode", str(home / "y.intc"), "-m", str(home / "clips.intm"), "-o", str(home / "y.y4m")]) == 0
    assert back == (home / "y.y4m").read_bytes()
    with sources.open_source(str(home / "y.y4m"), 2**20, ColourChoice()) as source:
        assert sum(1 for _ in source.frames) == COUNT


@pytest.mark.parametrize(("text", "wanted"), [("2:4", [2, 3]), (":1", [0]), ("4:", [4]), ("3:9", [3, 4])])
def test_ranges(run: Run, tmp_path: Path, text: str, wanted: list[int]) -> None:
    assert run("decode", "a.intc", "-m", "clips.intm", "-o", f"{tmp_path}/out/", "--frames", text)[0] == 0
    frames = expected()
    for one, k in zip(folder_frames(tmp_path / "out"), wanted, strict=True):
        np.testing.assert_array_equal(one, frames[k])


def test_a_truncated_clip_gives_what_is_whole_and_says_so(run: Run, home: Path, tmp_path: Path) -> None:
    data = (home / "a.intc").read_bytes()
    (tmp_path / "cut.intc").write_bytes(data[: len(data) // 2])
    code, _, err = run("decode", f"{tmp_path}/cut.intc", "-m", "clips.intm", "-o", f"{tmp_path}/out/")
    assert code != 0
    found = folder_frames(tmp_path / "out")
    assert 0 < len(found) < COUNT
    assert err.splitlines()[-1].startswith("intcodec: error: truncated clip")
    assert f"has the {len(found)} frames before" in err.splitlines()[-1]
    for one, two in zip(found, expected(), strict=False):
        np.testing.assert_array_equal(one, two)
    described = json.loads(run("info", f"{tmp_path}/cut.intc", "--json")[1])
    assert described["frames"] == len(found)
    assert "truncated" in described["index"]


def test_a_clip_without_a_whole_frame_leaves_nothing(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.intc").write_bytes((home / "a.intc").read_bytes()[:40])
    code, _, err = run("decode", f"{tmp_path}/cut.intc", "-m", "clips.intm", "-o", f"{tmp_path}/out/")
    assert code != 0
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_transparent_frames(run: Run, tmp_path: Path) -> None:
    (tmp_path / "alpha").mkdir()
    for k in range(2):
        picture = np.dstack([tinyvideo.clip(2, 16, 16)[k], np.full((16, 16), 128, np.uint8)])
        Image.fromarray(picture).save(tmp_path / "alpha" / f"{k}.png")
    args = ("encode", f"{tmp_path}/alpha", "-m", "clips.intm", "-o", f"{tmp_path}/a.intc")
    code, _, err = run(*args)
    assert code != 0
    assert "--background" in err
    assert run(*args, "--background", "white")[0] == 0


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("decode", "a.intc", "-o", "x.y4m"), "no model for clips comes with intcodec"),
        (("decode", "a.intc", "-m", "other.intm", "-o", "x.y4m"), "needs model"),
        (("decode", "a.intc", "-m", "pictures.intm", "-o", "x.y4m"), "is a model for pictures"),
        (("decode", "a.intc", "-m", "clips.intm", "-o", "x.webm"), "cannot tell the kind"),
        (("decode", "a.intc", "-m", "clips.intm", "-o", "x.y4m", "--frames", "9:"), "frame"),
        (("encode", "frames", "-m", "pictures.intm", "-o", "x.intc"), "clip"),
        (("encode", "frames", "none.y4m", "-m", "clips.intm", "-o", "."), "one at a time"),
        (("encode", "none.y4m", "-m", "clips.intm", "-o", "x.intc"), "cannot read none.y4m"),
        (("encode", "frames", "-m", "clips.intm", "-o", "x.intc", "--rate", "0"), "not a frame rate"),
    ],
)
def test_errors_are_one_line_and_leave_nothing(run: Run, home: Path, args: tuple[str, ...], words: str) -> None:
    code, _, err = run(*args)
    assert code != 0
    (line,) = [text for text in err.splitlines() if not text.startswith("intcodec: note:")]
    assert line.startswith("intcodec: error: ")
    assert words in line
    assert not list(home.glob("x.*"))


def test_the_same_bytes_twice_and_on_another_engine(run: Run, home: Path, tmp_path: Path) -> None:
    for engine in ("native", "reference"):
        args = ("encode", "frames", "-m", "clips.intm", "--keyframe-interval", "3", "--rate", "24", "--engine", engine)
        assert run(*args, "-o", f"{tmp_path}/{engine}.intc")[0] == 0
        assert (tmp_path / f"{engine}.intc").read_bytes() == (home / "a.intc").read_bytes()

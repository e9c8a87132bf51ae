"""Evaluation: a run that goes on where it stopped, and what a user sees."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import tinyvideo
import torch
from floatcheckpoints import float_checkpoint
from PIL import Image

import intcodec
from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.cli.main import main
from intcodec.evaluate import codecs, curves
from intcodec.evaluate.codecs import OTHERS, IntegerModel
from intcodec.evaluate.curves import equivalent_percent
from intcodec.evaluate.run import evaluate, find_pictures
from intcodec.evaluate.store import Store
from intcodec.modelfile.model import Model
from intcodec.quantize.export import VIDEO_ARCHITECTURES

Run = Callable[..., tuple[int, str, str]]
PICTURE_ARCHS = sorted(zoo.ARCHITECTURES.keys() - set(VIDEO_ARCHITECTURES))


class Counting:
    """A codec that counts how often it works, and fails on pictures 64 wide if it is told to."""

    series, label = "counting", "1"

    def __init__(self, key: str = "k", fails: bool = False) -> None:
        self.key, self.calls, self.fails = key, 0, fails

    def code(self, picture: np.ndarray) -> codecs.Outcome:
        self.calls += 1
        if self.fails and picture.shape[1] == 64:
            raise InputError("cannot")
        return codecs.Outcome(100, picture.copy(), 0.1, 0.2)


def test_an_interrupted_run_goes_on(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "store" / "eval.jsonl"
    pictures = find_pictures([str(photos)])
    first = Counting()
    evaluate(pictures[:1], [first], Store(path), 2**20, False)
    with path.open("a") as file:
        file.write('{"key": "cut of')  # what a kill leaves
    second = Counting()
    results = evaluate(pictures, [second], Store(path), 2**20, False)
    assert (first.calls, second.calls, results.known) == (1, 1, 1)
    third, other = Counting(), Counting("another key")
    results = evaluate(pictures, [third, other], Store(path), 2**20, False)
    assert (third.calls, other.calls, results.known) == (0, 2, 2)
    assert [len(rows) for rows in results.rows] == [2, 2]
    assert results.rows[0][0]["bpp"] == 8 * 100 / (40 * 50)


def test_a_changed_picture_is_measured_again(photos: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    evaluate(find_pictures([str(photos)]), [Counting()], store, 2**20, False)
    Image.fromarray(tiny.picture(40, 50, seed=9)).save(photos / "p0.png")
    again = Counting()
    evaluate(find_pictures([str(photos)]), [again], store, 2**20, False)
    assert again.calls == 1


def test_a_picture_that_one_contestant_cannot_code_counts_for_none(photos: Path) -> None:
    results = evaluate(find_pictures([str(photos)]), [Counting(), Counting("f", True)], Store(None), 2**20, False)
    assert results.pictures == ["p0.png"]
    assert [len(rows) for rows in results.rows] == [1, 1]
    assert results.failures == [(str(photos / "p1.png"), "cannot")]


def test_command(run: Run, photos: Path, models: list[str]) -> None:
    code, out, err = run(str(photos), "-m", models[0], "-m", models[1], "--codecs", "jpeg", "--csv", "r.csv",
                         "--plot", "rd.png", "--per-picture")  # fmt: skip
    assert code == 0, err
    assert "2 pictures, means over pictures" in out
    assert "dB over JPEG" in out
    assert "intcodec hyperprior m1.intm" in out
    assert "| p1.png  | m0.intm |" in out
    with open("r.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * (2 + len(OTHERS["jpeg"][2]))
    codec = intcodec.load(models[0])
    expected = len(codec.encode(np.asarray(Image.open(photos / "p0.png"))))
    assert rows[0]["label"] == "m0.intm"
    assert int(rows[0]["bytes"]) == expected
    assert float(rows[0]["bpp"]) == pytest.approx(8 * expected / 2000)
    with Image.open("rd.png") as image:
        assert image.size[0] > 500
        assert len(image.convert("RGB").resize((200, 100)).getcolors(2**20) or []) > 20


def test_json_and_cache(run: Run, photos: Path, models: list[str], tmp_path: Path) -> None:
    args = (str(photos), "-m", models[0], "--codecs", "none", "--json")
    first = json.loads(run(*args)[1])
    second = json.loads(run(*args)[1])
    assert first["rows"] == second["rows"], "times too: they are the first run's"
    assert (tmp_path / "cache/intcodec/eval.jsonl").exists()
    assert "2 of 2 results" in second["notes"][0]
    assert first["models"][0]["points"][0]["bytes"] == np.mean([row["bytes"] for row in first["rows"]])
    third = json.loads(run(*args, "--no-cache")[1])
    assert third["notes"] == []


def test_broken_pictures_are_reported_and_skipped(run: Run, photos: Path, models: list[str]) -> None:
    (photos / "broken.png").write_bytes(b"no picture")
    code, out, err = run(str(photos), "-m", models[0], "--codecs", "none")
    assert code == 2
    assert err == f"intcodec: error: {photos}/broken.png: not a picture file that can be read; left out\n"
    assert "2 pictures, means" in out


def test_published_curves_are_shown_for_kodak_only(run: Run, photos: Path, models: list[str]) -> None:
    args = (str(photos), "-m", models[0], "--codecs", "none")
    assert "published" not in run(*args)[1]
    assert "bmshj2018_hyperprior, published" in run(*args, "--published")[1]
    for k in (0, 1):
        shutil.move(photos / f"p{k}.png", photos / f"kodim0{k + 1}.png")
    assert "bmshj2018_hyperprior, published" in run(*args)[1]
    assert "hyperprior, published" not in run(*args, "--no-published")[1]


def test_loss_of_conversion(run: Run, photos: Path, tmp_path: Path) -> None:
    """An integer model made from a checkpoint is put beside it; another model is not."""
    path = float_checkpoint("mbt2018_mean", tmp_path)
    assert main(["export", "--arch", "mbt2018_mean", "--checkpoint", str(path), "-o", "m.intm"]) == 0
    other = tmp_path / "o.intm"
    tiny.bundle("hyperprior", 0).save(other)
    args = (str(photos), "-m", "m.intm", "-m", str(other), "--codecs", "none", "--checkpoint", str(path), "--json")
    code, out, err = run(*args)
    assert code == 0, err
    (loss,) = json.loads(out)["conversion"]
    assert (loss["arch"], loss["model"], loss["pictures"]) == ("mbt2018_mean", "m.intm", 2)
    assert loss["bytes_percent"] == pytest.approx(100 * (loss["bytes"] / loss["float_bytes"] - 1))
    expected = equivalent_percent(loss["bytes"] / loss["float_bytes"], loss["psnr"] - loss["float_psnr"], loss["slope"])
    assert loss["equivalent"] == pytest.approx(expected)
    assert abs(loss["bytes_percent"]) < 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none"], "cannot read none"),
        (["empty"], "no picture in this folder"),
        (["photos", "--codecs", "gif"], "unknown codec 'gif'"),
        (["photos", "--plot", "rd.txt"], "a plot ends in"),
        (["photos", "-m", "none.intm"], "cannot read model"),
        (["photos", "--checkpoint", "none.pth"], "no such file"),
    ],
)
def test_errors_are_one_line(run: Run, photos: Path, args: list[str], message: str) -> None:
    os.mkdir("empty")
    code, out, err = run(*args)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_models_for_clips_are_refused(run: Run, photos: Path, tmp_path: Path) -> None:
    tinyvideo.bundle().save(tmp_path / "video.intm")
    torch.save({"state_dict": zoo.build("ssf2020", 8, 12).state_dict()}, tmp_path / "video.pth.tar")
    for option, name in (("-m", "video.intm"), ("--checkpoint", "video.pth.tar")):
        code, out, err = run(str(photos), option, name, "--codecs", "none")
        assert (code, out) == (2, "")
        assert re.fullmatch(rf"intcodec: error: {name}: [^\n]* codes clips, not pictures\n", err), err


def test_no_readable_picture_is_an_error(run: Run, tmp_path: Path, models: list[str]) -> None:
    (tmp_path / "a.png").write_bytes(b"")
    code, out, err = run("a.png", "-m", models[0], "--codecs", "none")
    assert (code, out) == (2, "")
    assert "no picture could be evaluated" in err


def test_a_codec_that_is_missing_is_said_loudly(
    run: Run, photos: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codecs, "has_codec", lambda name: name != "avif")
    code, out, err = run(str(photos), "-m", models[0], "--codecs", "avif")
    assert code == 0
    assert "avif is NOT measured" in out
    assert "avif is NOT measured" in err


@pytest.mark.parametrize(
    ("module", "needed"), [("matplotlib", "--plot needs matplotlib"), ("bjontegaard", "bjontegaard")]
)
def test_missing_packages(
    module: str, needed: str, run: Run, photos: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    args = ("-m", models[0], "-m", models[1], "--codecs", "jpeg", "--plot", "rd.png")
    if module == "bjontegaard":
        monkeypatch.setattr(curves, "_rises", lambda curve: True)
    code, _, err = run(str(photos), *args)
    assert code == 2
    assert needed in err
    assert 'pip install "intcodec[eval]"' in err


def test_evaluation_without_a_checkpoint_imports_no_torch(photos: Path, models: list[str], tmp_path: Path) -> None:
    script = (
        "import sys; from intcodec.cli.main import main\n"
        "code = main(sys.argv[1:]); print('torch' in sys.modules, 'matplotlib' in sys.modules, code)"
    )
    command = [sys.executable, "-c", script, "eval", str(photos), "-m", models[0], "--codecs", "jpeg", "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False False 0", done.stderr


def test_model_without_a_source(models: list[str]) -> None:
    assert IntegerModel(intcodec.load(models[0], engine="reference"), "m").source_sha256 is None
    assert Model.load(models[0]).manifest["name"] == "tiny hyperprior"

"""Evaluation: metrics against independent implementations, curves against formulas, and what a user sees."""

from __future__ import annotations

import csv
import json
import math
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
from PIL import Image
from places import ROOT

import intcodec
from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.cli.main import main
from intcodec.coding import bitstream
from intcodec.engines.reference import ReferenceEngine
from intcodec.evaluate import codecs, curves
from intcodec.evaluate.codecs import OTHERS, IntegerModel, PillowCodec
from intcodec.evaluate.curves import Curve, Point, bd_rate, equivalent_percent, psnr_at, slope_at
from intcodec.evaluate.metrics import MIN_SIDE, ms_ssim, psnr
from intcodec.evaluate.published import published, source
from intcodec.evaluate.run import evaluate, find_pictures
from intcodec.evaluate.store import Store
from intcodec.modelfile.model import Model
from intcodec.pictures.codec import Codec
from intcodec.quantize.export import VIDEO_ARCHITECTURES
from intcodec.train.tables import fill_tables, settle_quantiles

Run = Callable[..., tuple[int, str, str]]
PICTURE_ARCHS = sorted(zoo.ARCHITECTURES.keys() - set(VIDEO_ARCHITECTURES))


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


# --- metrics ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(161, 161), (192, 256), (197, 333), (163, 202)])
def test_ms_ssim_against_pytorch_msssim(shape: tuple[int, int]) -> None:
    from pytorch_msssim import ms_ssim as independent

    a = tiny.picture(*shape)
    noise = np.random.default_rng(0).normal(0, 20, a.shape)
    for b in (np.clip(a + noise, 0, 255).astype(np.uint8), a, a[::-1], np.full_like(a, 128)):
        x, y = (torch.from_numpy(p.copy()).permute(2, 0, 1)[None].float() for p in (a, b))
        ours = ms_ssim(a, np.ascontiguousarray(b))
        assert ours is not None
        assert ours == pytest.approx(float(independent(x, y, data_range=255)), abs=2e-5)


def test_ms_ssim_of_small_pictures_is_unknown() -> None:
    assert ms_ssim(tiny.picture(MIN_SIDE - 1, 300), tiny.picture(MIN_SIDE - 1, 300)) is None


def test_psnr() -> None:
    a = np.zeros((4, 5, 3), np.uint8)
    assert psnr(a, a) == math.inf
    assert psnr(a, a + np.uint8(255)) == 0
    b = a.copy()
    b[0, 0, 0] = 10
    assert psnr(a, b) == psnr(b, a) == pytest.approx(10 * math.log10(255**2 / (100 / 60)))


# --- curves -----------------------------------------------------------------------------------------------------------


def curve(*points: tuple[float, float]) -> Curve:
    return Curve("c", [Point("", bpp, psnr) for bpp, psnr in points])


def test_interpolation_is_linear_in_the_logarithm_of_the_rate() -> None:
    c = curve((1.0, 34.0), (0.25, 30.0))
    assert psnr_at(c, 0.5) == pytest.approx(32.0)
    assert psnr_at(c, 0.25) == 30.0
    assert psnr_at(c, 1.0) == 34.0
    assert psnr_at(c, 1.01) is None
    assert psnr_at(c, 0.2) is None
    assert slope_at(c, 0.5) == pytest.approx(4 / math.log(4))
    assert slope_at(c, 9.0) == slope_at(c, 0.01) == slope_at(c, 0.5), "the nearest piece"
    assert slope_at(curve((1.0, 34.0)), 1.0) is None


def test_slope_takes_the_piece_that_holds_the_rate() -> None:
    c = curve((0.1, 28.0), (0.2, 31.0), (0.4, 33.0))
    assert slope_at(c, 0.15) == pytest.approx(3 / math.log(2))
    assert slope_at(c, 0.3) == pytest.approx(2 / math.log(2))


def test_equivalent_moves_along_the_curve() -> None:
    """A codec with PSNR = s ln(rate) + c that loses k dB needs exp(k / s) times the rate for what it had."""
    slope = 5.0
    assert equivalent_percent(1.0, 0.0, slope) == 0
    assert equivalent_percent(1.02, slope * math.log(1.02), slope) == pytest.approx(0)
    assert equivalent_percent(1.0, -0.05, slope) == pytest.approx(100 * (math.exp(0.01) - 1))


def test_bd_rate_of_a_curve_that_needs_a_tenth_more() -> None:
    a = curve((0.2, 29.0), (0.4, 32.0), (0.8, 34.5), (1.6, 37.0))
    b = Curve("b", [Point("", 1.1 * p.bpp, p.psnr) for p in a.points])
    assert bd_rate(a, b) == pytest.approx(10)
    assert bd_rate(b, a) == pytest.approx(-100 / 11)
    assert bd_rate(a, curve((0.2, 29.0))) is None
    assert bd_rate(a, curve((0.2, 39.0), (0.3, 40.0))) is None, "no overlap"
    assert bd_rate(a, curve((0.2, 31.0), (0.3, 30.0))) is None, "PSNR falls"


def test_bd_rate_against_an_integral_of_our_own() -> None:
    """With two points each the interpolation is a straight line: the integral is that of a trapezium."""
    a, b = curve((0.2, 30.0), (0.8, 34.0)), curve((0.3, 31.0), (0.9, 35.0))

    def log_rate(c: Curve, psnr: float) -> float:
        low, high = c.points
        part = (psnr - low.psnr) / (high.psnr - low.psnr)
        return math.log(low.bpp) + part * math.log(high.bpp / low.bpp)

    mean = sum(log_rate(b, p) - log_rate(a, p) for p in (31.0, 34.0)) / 2
    assert bd_rate(a, b) == pytest.approx(100 * (math.exp(mean) - 1))


def test_published_curves() -> None:
    """Spot checks against CompressAI's page; its table has four digits."""
    hyperprior = published("bmshj2018_hyperprior")
    assert hyperprior is not None
    assert len(hyperprior.points) == 8
    assert round(hyperprior.points[3].bpp, 4) == 0.4784
    assert round(hyperprior.points[3].psnr, 2) == 32.83
    assert published("none") is None
    assert "InterDigital" in source()
    for arch in PICTURE_ARCHS:
        found = published(arch)
        assert found is not None
        assert all(a.bpp < b.bpp and a.psnr < b.psnr for a, b in zip(found.points, found.points[1:], strict=False))


# --- codecs ------------------------------------------------------------------------------------------------------


def test_integer_model_counts_the_real_file(models: list[str]) -> None:
    codec = intcodec.load(models[0], engine="reference")
    picture = tiny.picture(40, 50)
    outcome = IntegerModel(codec, "m").code(picture)
    data = codec.encode(picture)
    assert outcome.bytes == len(data)
    np.testing.assert_array_equal(outcome.picture, codec.decode(data))
    assert 0 < outcome.extra["payload_bytes"] < outcome.bytes


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_other_codecs(name: str) -> None:
    if not codecs.has_codec(name):
        pytest.skip(f"this Pillow cannot write {name}")
    picture = tiny.picture(64, 80)
    low, high = (PillowCodec(name, q).code(picture) for q in OTHERS[name][2][:: len(OTHERS[name][2]) - 1])
    assert low.bytes < high.bytes
    assert psnr(picture, low.picture) < psnr(picture, high.picture)


def test_jpeg_is_what_pillow_writes(tmp_path: Path) -> None:
    picture = tiny.picture(64, 80)
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=40, subsampling="4:2:0", optimize=True)
    assert PillowCodec("jpeg", 40).code(picture).bytes == (tmp_path / "a.jpg").stat().st_size


# --- the float model --------------------------------------------------------------------------------------------------


def float_checkpoint(arch: str, folder: Path) -> Path:
    """Random weights whose latents are about 2, and whose scales and means differ and suit them."""
    torch.manual_seed(1)
    net = zoo.build(arch, 8, 8 if arch.startswith("cheng") else 12)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("weight"):
                value.mul_(1.5)
            elif name.endswith("bias"):
                value.add_(0.1 * torch.randn_like(value))
        for chain in ("h_s", "entropy_parameters"):
            convs = [m for m in getattr(net, chain, torch.nn.Identity()).modules() if isinstance(m, torch.nn.Conv2d)]
            if convs:
                convs[-1].bias.add_(2)
        [m for m in net.g_a.modules() if isinstance(m, torch.nn.Conv2d)][-1].weight.mul_(3)
    settle_quantiles(net)
    fill_tables(net)
    path = folder / f"{arch}.pth.tar"
    torch.save({"state_dict": net.state_dict()}, path)
    return path


@pytest.mark.parametrize("arch", PICTURE_ARCHS)
def test_float_model_is_what_the_forward_pass_says(arch: str, tmp_path: Path) -> None:
    from intcodec.evaluate.floatmodel import FloatModel

    model = FloatModel(float_checkpoint(arch, tmp_path), threads=1)
    assert model.arch == arch
    picture = tiny.picture(256, 192)
    outcome = model.code(picture)
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        result = model.net(x)
    forward = -sum(float(torch.log2(part.double()).sum()) for part in result["likelihoods"].values()) / 8
    sizes = {"bytes": outcome.bytes, **outcome.extra}
    # Random weights leave some tails to chance, where an escape costs less than a likelihood of 1e-9 does.
    low = 0.9 if hasattr(model.net, "context_prediction") else 0.97
    for name in ("bytes", "compressai_bytes"):
        assert low * sizes["ideal_bytes"] < sizes[name] < 1.05 * sizes["ideal_bytes"] + 16
    if not hasattr(model.net, "context_prediction"):  # else the forward pass is an estimate
        assert sizes["ideal_bytes"] == pytest.approx(forward, rel=1e-5)
        expected = (result["x_hat"][0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        assert np.abs(outcome.picture - expected).max() <= 1  # a tie may fall either way


def test_float_model_takes_the_rows_of_the_integer_model(tmp_path: Path) -> None:
    from intcodec.evaluate.floatmodel import FloatModel
    from intcodec.quantize.export import quantize
    from intcodec.quantize.precision import Precision

    path = float_checkpoint("mbt2018_mean", tmp_path)
    state = torch.load(path, weights_only=True)["state_dict"]
    scales = state["h_s.4.bias"][: len(state["h_s.4.bias"]) // 2]
    scales.copy_(torch.linspace(0.2, 3, len(scales)))  # random weights would leave all in the first row
    torch.save({"state_dict": state}, path)
    plain, picture = FloatModel(path, threads=1), tiny.picture(128, 128)
    sizes = {}
    for hedge in (0.0, 1.5):
        network = quantize("mbt2018_mean", plain.net, [picture], Precision(hedge=hedge))
        alike = FloatModel(path, 1, {plain.sha256: network})
        outcome = alike.code(picture)
        assert outcome.extra == plain.code(picture).extra
        assert alike.key != plain.key
        codec = Codec(Model.build(network, onnx_graphs={}), ReferenceEngine(network))
        payload = bitstream.parse(codec.encode(picture, pixel_checksum=False)).payload_bytes
        assert outcome.bytes == pytest.approx(payload, rel=0.01)
        sizes[hedge] = outcome.bytes
    assert abs(sizes[0.0] - sizes[1.5]) > 0.02 * sizes[0.0], "or the sizes above say nothing about rows"
    assert FloatModel(path, 1, {"0" * 64: network}).key == plain.key


def test_float_context_model_against_compressai(tmp_path: Path) -> None:
    """CompressAI codes position by position; its pictures, and its bytes with its choice of rows, are ours."""
    fallback = ROOT / ".venv-peer" / "bin" / "python"
    python = os.environ.get("INTCODEC_PEER_PYTHON") or (str(fallback) if fallback.exists() else "")
    if not python:
        pytest.skip("no peer Python with CompressAI: set INTCODEC_PEER_PYTHON or create .venv-peer")
    from intcodec.evaluate.floatmodel import FloatModel

    path = float_checkpoint("mbt2018", tmp_path)
    picture = tiny.picture(256, 192)
    outcome = FloatModel(path, threads=1).code(picture)
    np.savez(tmp_path / "x.npz", x=picture.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    command = [python, str(ROOT / "tests/peer/compressai_code.py"), "mbt2018", str(path), str(tmp_path / "x.npz")]
    done = subprocess.run([*command, str(tmp_path / "y.npz")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout)["bits"] / 8
    assert outcome.extra["compressai_bytes"] == pytest.approx(theirs, rel=0.02, abs=16)
    decoded = np.load(tmp_path / "y.npz")["x_hat"][0].transpose(1, 2, 0) * 255
    assert np.abs(outcome.picture - decoded).max() < 1.01


# --- the run ----------------------------------------------------------------------------------------------------------


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


# --- the command ------------------------------------------------------------------------------------------------------


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

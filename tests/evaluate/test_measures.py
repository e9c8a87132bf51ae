"""Metrics against independent implementations, curves against formulas, codecs and the float model."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from floatcheckpoints import float_checkpoint
from PIL import Image
from places import ROOT

import intcodec
from intcodec import zoo
from intcodec.coding import bitstream
from intcodec.engines.reference import ReferenceEngine
from intcodec.evaluate import codecs
from intcodec.evaluate.codecs import OTHERS, IntegerModel, PillowCodec
from intcodec.evaluate.curves import Curve, Point, bd_rate, equivalent_percent, psnr_at, slope_at
from intcodec.evaluate.metrics import MIN_SIDE, ms_ssim, psnr
from intcodec.evaluate.published import published, source
from intcodec.modelfile.model import Model
from intcodec.pictures.codec import Codec
from intcodec.quantize.export import VIDEO_ARCHITECTURES

Run = Callable[..., tuple[int, str, str]]
PICTURE_ARCHS = sorted(zoo.ARCHITECTURES.keys() - set(VIDEO_ARCHITECTURES))


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

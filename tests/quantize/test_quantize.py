"""The quantisation pass against the float zoo: lowering is exact to float rounding, folding to a fraction of a step."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the quantisation pass needs torch")

import intcodec  # noqa: E402
from intcodec import zoo  # noqa: E402
from intcodec.base.errors import InputError  # noqa: E402
from intcodec.engines import ENGINES  # noqa: E402
from intcodec.engines.reference import ReferenceEngine  # noqa: E402
from intcodec.entropy import rangecoder  # noqa: E402
from intcodec.entropy.cdf import default_scale_table, gaussian_tables  # noqa: E402
from intcodec.modelfile.model import Model  # noqa: E402
from intcodec.network import proof as bounds  # noqa: E402
from intcodec.quantize import synthetic  # noqa: E402
from intcodec.quantize.calibrate import FloatRunner, calibrate  # noqa: E402
from intcodec.quantize.export import quantize  # noqa: E402
from intcodec.quantize.lowering.architectures import ARCHITECTURES, lower_model  # noqa: E402
from intcodec.quantize.lowering.layers import lower_transposed  # noqa: E402
from intcodec.quantize.lowering.registry import LOWERINGS, lower_module, lower_sequence, lowers  # noqa: E402
from intcodec.quantize.precision import Precision  # noqa: E402
from intcodec.quantize.rows.conv import FloatConv  # noqa: E402
from intcodec.quantize.rows.row import Source  # noqa: E402
from intcodec.quantize.scales import HEDGES, RowCosts, row_borders  # noqa: E402
from intcodec.rows.row import TensorSpec  # noqa: E402

ARCHS = sorted(ARCHITECTURES)


def small_model(arch):
    torch.manual_seed(7)
    channels = {"N": 16} if arch.startswith("cheng2020") else {"N": 16, "M": 24}
    model = getattr(zoo, arch)(1, **channels).eval()
    with torch.no_grad():  # random weights give latents near zero; spread them so that rounding has something to round
        [m for m in model.g_a.modules() if isinstance(m, torch.nn.Conv2d)][-1].weight.mul_(60)
    return model


@pytest.fixture(scope="module")
def pictures():
    return list(synthetic.pictures(3, 128))


@pytest.mark.parametrize("arch", ARCHS)
def test_lowered_rows_compute_what_the_zoo_computes(arch, pictures):
    model = small_model(arch)
    x = torch.from_numpy(pictures[0]).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        got = FloatRunner(lower_model(arch, model)).image(x)
        assert torch.allclose(got["y"], model.g_a(x), atol=1e-3)
        assert torch.allclose(got["x_hat"], model.g_s(got["y_hat"]), atol=2e-5)
        if hasattr(model, "context_prediction"):
            context = model.context_prediction(torch.round(got["y"]))
            scale, mean = model.entropy_parameters(torch.cat((got["params"], context), dim=1)).chunk(2, dim=1)
            assert torch.allclose(got["mean"], mean, atol=1e-3)
            assert torch.allclose(got["scale"], scale.relu(), atol=1e-3)
        else:
            assert torch.allclose(got["x_hat"], model(x)["x_hat"], atol=2e-5)


def test_a_transposed_convolution_is_a_convolution_and_a_pixel_shuffle():
    torch.manual_seed(3)
    module = torch.nn.ConvTranspose2d(5, 4, 5, 2, 2, 1)
    row = lower_transposed(module, "t", "x")
    x = torch.randn(1, 5, 3, 6)
    with torch.inference_mode():
        weight, bias = torch.from_numpy(row.weight).float(), torch.from_numpy(row.bias).float()
        v = torch.nn.functional.conv2d(x, weight, bias, padding=1)
        assert torch.allclose(torch.pixel_shuffle(v, 2), module(x), atol=1e-5)


def test_a_module_without_an_integer_form_is_refused():
    with pytest.raises(InputError, match="5x5"):
        lower_transposed(torch.nn.ConvTranspose2d(5, 4, 3, 2, 1, 1), "t", "x")
    with pytest.raises(InputError, match="choose one of"):
        lower_model("vgg16", torch.nn.Identity())


def test_a_layer_of_ones_own_is_lowered_once_registered():
    class Doubled(torch.nn.Conv2d):
        def forward(self, x):
            return 2 * super().forward(x)

    module, x = Doubled(3, 2, 3), torch.randn(1, 3, 5, 6)
    with pytest.raises(InputError, match="t_0: no integer form of Doubled"):
        lower_sequence([module], "x", "t")
    try:

        @lowers(Doubled)
        def doubled(module, name, src):
            weight, bias = (2 * p.detach().double().numpy() for p in (module.weight, module.bias))
            return [FloatConv(name, src, weight, bias)]

        (row,) = lower_module(module, "t", "x")
        with torch.inference_mode():
            assert torch.allclose(row.evaluate(x), module(x), atol=1e-5)
    finally:
        LOWERINGS.pop(Doubled, None)


def test_an_activation_needs_a_convolution_before_it():
    with pytest.raises(InputError, match="t_0: a ReLU has to follow a convolution"):
        lower_sequence([torch.nn.ReLU()], "x", "t")
    with pytest.raises(InputError, match="t_0: LeakyReLU slope"):
        lower_sequence([torch.nn.Conv2d(3, 3, 1), torch.nn.LeakyReLU(0.2)], "x", "t")


@pytest.mark.parametrize("arch", ARCHS)
def test_the_integer_network_is_proved_and_follows_the_float_one(arch, pictures):
    model = small_model(arch)
    network = quantize(arch, model, pictures)
    assert max(bounds.prove(network).values()) < 2**31
    picture = pictures[1]
    x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = FloatRunner(lower_model(arch, model)).image(x)
    engine = ReferenceEngine(network)
    y = engine.run("g_a", {"x": picture})["y"] / 1024
    error = y - expected["y"][0].permute(1, 2, 0).numpy()
    scale = float(expected["y"].abs().max())
    assert float(np.sqrt(np.mean(error**2))) < scale / 500


@pytest.mark.parametrize("arch", ARCHS)
def test_files_of_every_architecture_are_equal_on_every_engine(arch, pictures):
    model = Model.build(quantize(arch, small_model(arch), pictures))
    codecs = [intcodec.load(model.data, engine=name) for name in ENGINES]
    for picture in (pictures[0][:50, :70], pictures[2][:1, :1]):
        files = [codec.encode(picture) for codec in codecs]
        assert len(set(files)) == 1
        decoded = [codec.decode(files[0]) for codec in codecs]
        assert decoded[0].shape == picture.shape
        assert all(np.array_equal(d, decoded[0]) for d in decoded)


def test_the_integer_synthesis_reproduces_float_pixels(pictures):
    model = small_model("bmshj2018_hyperprior")
    network = quantize("bmshj2018_hyperprior", model, pictures)
    rng = np.random.default_rng(0)
    y_hat = rng.integers(-3, 4, (4, 5, 24)).astype(np.int16)
    with torch.inference_mode():
        x = model.g_s(torch.from_numpy(y_hat.astype(np.float32)).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    expected = np.rint(x.clamp(0, 1).numpy() * 255)
    got = ReferenceEngine(network).run("g_s", {"y_hat": y_hat})["x_hat"].astype(int)
    assert np.abs(got - expected).max() <= 2
    assert np.mean(got != expected) < 0.2


def test_each_shift_is_the_largest_that_fits():
    rng = np.random.default_rng(5)
    row = FloatConv("c", "x", rng.normal(size=(8, 6, 3, 3)), rng.normal(size=8))
    src = TensorSpec("x", 6, -2047, 2047)
    conv, scale = row.fold((Source(src, np.full(6, 0.01)),), {"c": np.full(8, 5.0)}, Precision(), None)
    peak = np.abs(conv.weight.astype(int)).max(axis=(1, 2, 3))
    assert ((peak > 1023) & (peak <= 2047)).all()
    step = scale / 2.0**conv.shift / 0.01
    real = conv.weight.transpose(0, 3, 1, 2) * step[:, None, None, None]
    assert np.abs(real - row.weight).max() <= 0.5 * step.max() * 1.0001


def test_a_dead_channel_gets_a_coarser_scale_instead_of_an_error():
    row = FloatConv("c", "x", np.ones((2, 1, 1, 1)), np.array([0.0, -9e6]), activation="relu")
    source = Source(TensorSpec("x", 1, -2047, 2047), np.ones(1))
    conv, _ = row.fold((source,), {"c": np.array([2000.0, 0.0])}, Precision(), None)
    assert int(np.abs(conv.bias.astype(np.int64)).max()) < 2**31


def test_row_borders_lie_between_their_rows():
    table = np.array([0.11, 0.2, 1.0, 256.0])
    borders = row_borders(table, 0.25)
    assert (borders >= table[:-1]).all()
    assert (borders < table[1:]).all()
    assert np.array_equal(row_borders(table, 0.0), table[:-1]), "CompressAI's: the first row that is wide enough"
    assert np.allclose(row_borders(table, 1.0), table[1:])


@pytest.mark.parametrize("steps", [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
def test_rows_are_chosen_as_scales_are_wrong(steps):
    """Predicted scales are off by a number of rows; the best border of exact Gaussians is in the middle, at 1/2."""
    rng = np.random.default_rng(1)
    table = default_scale_table()
    true = np.exp(rng.uniform(np.log(0.5), np.log(20), (1, 32, 40, 40)))
    y = rng.normal(0, true)
    costs = RowCosts(table, gaussian_tables(table))
    costs.add(y + 3.25, np.full_like(y, 3.25), true * (table[1] / table[0]) ** steps)
    assert costs.best() == pytest.approx(0.5 + steps, abs=0.126)


@pytest.mark.parametrize("hedge", [-1.0, 0.0, 0.5, 2.0])
def test_costs_are_what_the_coder_writes(hedge):
    rng = np.random.default_rng(2)
    table = default_scale_table()
    scale = np.exp(rng.uniform(np.log(0.05), np.log(60), 100_000))
    y = rng.normal(0, scale * np.where(rng.random(len(scale)) < 0.01, 9, 1))  # some need an escape
    tables = gaussian_tables(table, outliers=0.01)
    costs = RowCosts(table, tables)
    costs.add(y, 0.0, scale)
    rows = np.searchsorted(row_borders(table, hedge), scale).astype(np.uint16)
    symbols = np.rint(y).astype(np.int16)
    size = tables.starts[rows + 1] - tables.starts[rows] - 2
    assert ((symbols < tables.offsets[rows]) | (symbols >= tables.offsets[rows] + size)).sum() > 20
    written = 8 * len(rangecoder.encode(symbols, rows, tables))
    assert costs.total[HEDGES.index(hedge)] == pytest.approx(written, rel=1e-4, abs=200)


def test_calibration_records_the_largest_magnitude_of_each_channel(pictures):
    codec = lower_model("bmshj2018_factorized", small_model("bmshj2018_factorized"))
    both = calibrate(codec, pictures[:2])
    each = [calibrate(codec, [p]) for p in pictures[:2]]
    assert np.array_equal(both["g_a_0"], np.maximum(each[0]["g_a_0"], each[1]["g_a_0"]))
    assert both["x"].max() <= 1


def test_export_calibrates_on_a_folder_and_refuses_what_it_cannot_use(tmp_path):
    from PIL import Image

    from intcodec.quantize.export import export_model

    torch.save({"state_dict": small_model("bmshj2018_factorized").state_dict()}, tmp_path / "small.pth.tar")
    folder, out = tmp_path / "pictures", tmp_path / "small.intm"
    arguments = ("bmshj2018_factorized", tmp_path / "small.pth.tar", None, "mse", False)
    with pytest.raises(InputError, match="not a folder"):
        export_model(*arguments, folder, out, progress=False)
    folder.mkdir()
    Image.fromarray(np.zeros((40, 200, 3), np.uint8)).save(folder / "small.png")
    with pytest.raises(InputError, match="64x64"):
        export_model(*arguments, folder, out, progress=False)
    Image.fromarray(next(synthetic.pictures(1, 100))).save(folder / "a.png")
    model = export_model(*arguments, folder, out, progress=False)
    assert "1 pictures" in model.manifest["calibration"]
    assert out.exists()
    (folder / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png"):
        export_model(*arguments, folder, out, progress=False)

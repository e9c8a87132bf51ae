"""Training's parts: batches of crops, what a step minimises, settled tables, warm starts."""

from __future__ import annotations

import math
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from trainruns import M, N, random_net, saved

from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.entropy.cdf import default_scale_table, gaussian_tables
from intcodec.train import choose_channels
from intcodec.train.data import Batches, Pictures, batches, held_out_crops
from intcodec.train.objective import PictureObjective
from intcodec.train.tables import fill_tables, settle_quantiles
from intcodec.train.warmstart import warm_start


def test_folder_and_archive_give_the_same_crops(photos: Path, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in sorted(photos.rglob("*")):
            file.write(path, path.relative_to(photos))
    one, other = Pictures(photos), Pictures(archive)
    assert one.names == other.names
    assert len(one.names) == 14
    for step in (0, 7):
        a, b = (Batches(p, p.names, 4, 64, seed=3)[step] for p in (one, other))
        assert a.shape == (4, 3, 64, 64)
        assert a.dtype == torch.uint8
        assert torch.equal(a, b)
    other.close()


def test_batches_depend_on_seed_and_step_alone(photos: Path) -> None:
    pictures = Pictures(photos)
    source = Batches(pictures, pictures.names, 2, 64, seed=1)
    assert torch.equal(source[5], source[5])
    assert not torch.equal(source[5], source[6])
    assert not torch.equal(source[5], Batches(pictures, pictures.names, 2, 64, seed=2)[5])
    stream = batches(source, 5, 0, False)
    assert torch.equal(next(stream), source[5])
    assert torch.equal(next(stream), source[6])


def test_readers_in_other_processes_give_the_same_batches(photos: Path) -> None:
    script = (
        "import sys, torch; from pathlib import Path; from intcodec.train.data import *\n"
        "if __name__ == '__main__':\n"
        "    p = Pictures(Path(sys.argv[1])); s = Batches(p, p.names, 2, 64, 1); b = batches(s, 3, 2, False)\n"
        "    print(all(torch.equal(next(b), s[k]) for k in range(3, 8)))\n"
    )
    run = subprocess.run([sys.executable, "-c", script, str(photos)], capture_output=True, text=True, check=False)
    assert run.stdout == "True\n", run.stderr


def test_crops_come_from_the_pictures_at_any_place_and_mirrored(tmp_path: Path) -> None:
    """The picture holds its own coordinates, so that a crop says where it is from."""
    rows, columns = np.mgrid[:67, :70].astype(np.uint8)
    for name in ("a.png", "b.png"):
        Image.fromarray(np.stack([rows, columns, rows * 0], axis=-1)).save(tmp_path / name)
    pictures = Pictures(tmp_path)
    seen = set()
    for crop in Batches(pictures, pictures.names, 300, 64, 0)[0].numpy():
        top, left, mirrored = int(crop[0, 0, 0]), int(crop[1].min()), bool(crop[1, 0, 0] > crop[1, 0, 1])
        expected = np.stack([rows, columns])[:, top : top + 64, left : left + 64]
        np.testing.assert_array_equal(crop[:2], expected[:, :, ::-1] if mirrored else expected)
        seen.add((top, left, mirrored))
    assert seen == {(y, x, m) for y in range(4) for x in range(7) for m in (False, True)}


def test_broken_and_small_pictures_are_named_once_and_left_out(photos: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures = Pictures(photos)
    source = Batches(pictures, ["broken.jpg", "small.png", "00.png"], 8, 64, 0)
    assert source[0].shape == (8, 3, 64, 64)
    source[1]
    err = capfd.readouterr().err.splitlines()
    assert sorted(line.partition("note: ")[2].partition(":")[0] for line in err) == ["broken.jpg", "small.png"]
    with pytest.raises(InputError, match="50 pictures in a row"):
        Batches(pictures, ["broken.jpg", "small.png"], 1, 64, 0)[0]


def test_held_out_pictures_are_never_trained_on(photos: Path) -> None:
    pictures = Pictures(photos)
    kept, out = pictures.split(1000)
    assert len(out) == 1, "at most a tenth"
    assert sorted(kept + out) == pictures.names
    assert pictures.split(1000) == (kept, out)
    assert held_out_crops(pictures, ["00.png", "small.png", "broken.jpg"], 64).shape == (1, 3, 64, 64)
    expected = tiny.picture(80, 96, seed=0)[8:72, 16:80].transpose(2, 0, 1)
    np.testing.assert_array_equal(held_out_crops(pictures, ["00.png"], 64)[0].numpy(), expected)
    with pytest.raises(InputError, match="no held-out picture"):
        held_out_crops(pictures, ["small.png"], 64)


@pytest.mark.parametrize(
    ("name", "match"), [("none", "no such"), ("text", "neither a folder"), ("empty", "0 pictures")]
)
def test_data_that_is_none(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "text").write_text("text")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=match):
        Pictures(tmp_path / name)


def test_mse_objective_against_numpy() -> None:
    net, x = random_net().eval(), torch.rand(2, 3, 64, 128, generator=torch.Generator().manual_seed(1))
    terms = PictureObjective(0.013, "mse")(net, x)
    output = net(x)
    bits = sum(-np.log2(v.detach().numpy().astype(np.float64)).sum() for v in output["likelihoods"].values())
    bpp = bits / (2 * 64 * 128)
    mse = np.mean((output["x_hat"].detach().numpy().astype(np.float64) - x.numpy()) ** 2)
    assert float(terms.bpp) == pytest.approx(bpp, rel=1e-5)
    assert float(terms.distortion) == pytest.approx(mse, rel=1e-5)
    assert float(terms.loss.detach()) == pytest.approx(0.013 * 255**2 * mse + bpp, rel=1e-5)
    assert PictureObjective(0.013, "mse").quality(0.001) == {"psnr": 30.0}


def test_ms_ssim_objective() -> None:
    from pytorch_msssim import ms_ssim

    net, x = random_net().eval(), torch.rand(1, 3, 192, 192, generator=torch.Generator().manual_seed(1))
    terms = PictureObjective(8.73, "ms-ssim")(net, x)
    expected = 1 - float(ms_ssim(net(x)["x_hat"].detach(), x, data_range=1.0))
    assert float(terms.distortion) == pytest.approx(expected, rel=1e-5)
    assert float(terms.loss.detach()) == pytest.approx(8.73 * expected + float(terms.bpp), rel=1e-5)
    assert PictureObjective(8.73, "ms-ssim").quality(0.01) == {"ms_ssim_db": 20.0}


def test_settled_quantiles_are_where_the_auxiliary_loss_is_least() -> None:
    net = random_net("bmshj2018_hyperprior")
    with torch.no_grad():
        for p in net.entropy_bottleneck.parameters():
            p.add_(0.2 * torch.randn_like(p))
    before = float(net.aux_loss().detach())
    settle_quantiles(net)
    assert float(net.aux_loss().detach()) < 1e-3 < before
    assert bool((net.entropy_bottleneck.quantiles.diff(dim=-1) > 0).all())


def test_tables_are_ours_in_compressais_form() -> None:
    net = random_net()
    settle_quantiles(net)
    fill_tables(net)
    module, tables = net.gaussian_conditional, gaussian_tables(default_scale_table())
    assert module._quantized_cdf.shape[0] == len(module.scale_table) == 64
    for k in (0, 31, 63):
        row = tables.row(k)
        assert int(module._cdf_length[k]) == len(row)
        np.testing.assert_array_equal(module._quantized_cdf[k, : len(row)].numpy(), row)
        assert int(module._offset[k]) == tables.offsets[k]
    assert net.entropy_bottleneck._quantized_cdf.shape[0] == N


def test_warm_start_from_the_same_and_from_another_architecture(tmp_path: Path) -> None:
    source = random_net("mbt2018_mean", 1)
    net = random_net("mbt2018_mean", 2)
    assert "55 of 55 tensors, 100.0 %" in warm_start(net, saved(source, tmp_path / "a"))
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), source.parameters(), strict=True))
    joint = random_net("mbt2018", 2)
    line = warm_start(joint, tmp_path / "a")
    assert line.startswith("a (mbt2018_mean): 55 of 63 tensors")
    assert "random: context_prediction.bias, context_prediction.weight, entropy_parameters.0" in line
    assert torch.equal(joint.g_s[0].weight, source.g_s[0].weight)


def test_warm_start_between_cheng2020_models(tmp_path: Path) -> None:
    anchor, attn = random_net("cheng2020_anchor", 1), random_net("cheng2020_attn", 2)
    line = warm_start(attn, saved(anchor, tmp_path / "anchor"))
    assert "random: g_a.3, g_a.8, g_s.0, g_s.5" in line
    assert torch.equal(attn.g_a[7].weight, anchor.g_a[6].weight)
    back = random_net("cheng2020_anchor", 3)
    assert "100.0 %" in warm_start(back, saved(attn, tmp_path / "attn"))
    assert all(torch.equal(a, b) for a, b in zip(back.parameters(), anchor.parameters(), strict=True))


def test_warm_start_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no tensor of this checkpoint"):
        warm_start(zoo.build("mbt2018_mean", 10, 14), saved(zoo.build("cheng2020_anchor", 9, 9), tmp_path / "a"))
    bad = random_net()
    with torch.no_grad():
        bad.g_a[0].weight[0] = math.nan
    with pytest.raises(InputError, match="NaN"):
        warm_start(random_net(), saved(bad, tmp_path / "b"))


def test_channels(tmp_path: Path) -> None:
    path = saved(random_net(), tmp_path / "a")
    assert choose_channels("mbt2018-mean", 5, path) == (192, 320)
    assert choose_channels("mbt2018", None, path) == (N, M)
    assert choose_channels("mbt2018", None, None) == (128, 192)
    assert choose_channels("cheng2020_attn", None, None) == (128, 128)
    assert choose_channels("cheng2020_attn", None, saved(random_net("cheng2020_attn"), tmp_path / "b")) == (N, N)
    with pytest.raises(InputError, match="quality 7"):
        choose_channels("cheng2020_attn", 7, None)

"""Training on clips: which pieces there are, how still pictures move, what is minimised, and the command."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

torch = pytest.importorskip("torch", reason="training needs torch")

import tiny  # noqa: E402

from intcodec import zoo  # noqa: E402
from intcodec.base.errors import InputError  # noqa: E402
from intcodec.cli.main import main  # noqa: E402
from intcodec.train import Settings, choose_channels, train  # noqa: E402
from intcodec.train.clips import ClipBatches, Clips, held_out_clips, moving, split_clips  # noqa: E402
from intcodec.train.data import Pictures  # noqa: E402
from intcodec.train.dataset import dataset_for  # noqa: E402
from intcodec.train.objective import ClipObjective, objective_for  # noqa: E402

SIDE, N, M = 128, 8, 12


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def pixel(clip: int, frame: int) -> np.ndarray:
    """Return a picture that tells at each pixel where it is, and which frame of which clip: uint8[140, 150, 3]."""
    rows, columns = np.mgrid[:140, :150]
    return np.stack([rows, columns, np.full_like(rows, 16 * clip + frame)], axis=2).astype(np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 5 frames, named so that an order of letters is wrong, one that is short and one that is small."""
    folder = tmp_path_factory.mktemp("clips")
    for clip in range(3):
        (folder / "deep" / f"c{clip}").mkdir(parents=True)
        for frame in range(5):
            Image.fromarray(pixel(clip, frame)).save(folder / "deep" / f"c{clip}" / f"im{frame + 7}.png")
    for name, count, size in (("short", 2, 140), ("small", 4, 64)):
        (folder / name).mkdir()
        for frame in range(count):
            Image.fromarray(tiny.picture(size, size, seed=frame)).save(folder / name / f"{frame}.png")
    return folder


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stills")
    for k in range(3):
        Image.fromarray(tiny.picture(150, 160, seed=k)).save(folder / f"{k}.png")
    return folder


def settings(clips: Path, tmp_path: Path, **changes: object) -> Settings:
    base = Settings("ssf2020", clips, tmp_path / "out.pth.tar", 0.013, N=N, M=M, steps=4, batch_size=2, crop=SIDE,
                    lr=1e-3, warmup=2, validate_every=4, log_every=2, held_out=2)  # fmt: skip
    return replace(base, **changes)  # type: ignore[arg-type]


# --- pieces of clips --------------------------------------------------------------------------------------------------


def test_folders_with_enough_frames_are_clips(clips: Path) -> None:
    assert sorted(Clips(clips, 3).frames) == ["deep/c0", "deep/c1", "deep/c2", "small"]
    assert "short" in Clips(clips, 2).frames
    assert [p.name for p in Clips(clips, 3).frames["deep/c0"]] == [f"im{k}.png" for k in (7, 8, 9, 10, 11)]


def test_pieces_are_frames_in_a_row_at_one_place(clips: Path) -> None:
    found = Clips(clips, 3)
    source = ClipBatches(found, ["deep/c0", "deep/c2"], None, 200, SIDE, seed=3)
    batch = source[7].numpy().astype(int)
    assert batch.shape == (200, 3, 3, SIDE, SIDE)
    starts, directions, mirrored, places = set(), set(), set(), set()
    for piece in batch:
        rows, columns, which = piece.transpose(1, 0, 2, 3)
        assert (rows == rows[0]).all()
        assert (columns == columns[0]).all()
        assert (np.diff(rows[0], axis=0) == 1).all()
        step = np.unique(np.diff(columns[0], axis=1))
        assert step.tolist() in ([1], [-1])
        numbers = which[:, 0, 0]
        assert (which == numbers[:, None, None]).all()
        assert np.diff(numbers).tolist() in ([1, 1], [-1, -1])
        mirrored.add(int(step[0]))
        directions.add(int(numbers[1] - numbers[0]))
        starts.add(int(numbers.min()))
        places.add((int(rows.min()), int(columns.min())))
    assert (mirrored, directions) == ({1, -1}, {1, -1})
    assert starts == {0, 1, 2, 32, 33, 34}, "every start of both clips, and nothing of the third"
    assert {y for y, _ in places} == set(range(140 - SIDE + 1))
    assert {x for _, x in places} >= {0, 150 - SIDE}


def test_batches_depend_on_seed_and_step_alone(clips: Path, stills: Path) -> None:
    pictures = Pictures(stills)

    def source(seed: int) -> ClipBatches:
        return ClipBatches(Clips(clips, 3), ["deep/c0"], (pictures, pictures.names), 4, SIDE, seed)

    one = source(1)
    later = one[5]
    assert torch.equal(later, source(1)[5])
    assert not torch.equal(later, one[6])
    assert not torch.equal(later, source(2)[5])
    numbers = later[:, :, 2].numpy()
    assert [int(np.ptp(numbers[k, 0])) == 0 for k in range(4)] == [True, False, True, False], "every other one moves"


def test_clips_of_no_use_are_passed_over_until_none_is_left(clips: Path) -> None:
    found = Clips(clips, 3)
    mixed = ClipBatches(found, ["small", "deep/c0"], None, 20, SIDE, 0)[0]
    assert mixed.shape == (20, 3, 3, SIDE, SIDE)
    with pytest.raises(InputError, match="64x64 are smaller than 128x128"):
        _ = ClipBatches(found, ["small"], None, 1, SIDE, 0)[0]


def test_held_out_clips(clips: Path) -> None:
    found = Clips(clips, 3)
    kept, out = split_clips(found, 2)
    assert len(out) == 1
    assert sorted(kept + out) == sorted(found.frames)
    held = held_out_clips(found, ["small", "deep/c1"], SIDE).numpy()
    assert held.shape == (1, 3, 3, SIDE, SIDE)
    np.testing.assert_array_equal(held[0, 1], pixel(1, 1)[6:134, 11:139].transpose(2, 0, 1))
    with pytest.raises(InputError, match="no held-out clip"):
        held_out_clips(found, ["small"], SIDE)


def test_data_that_is_none(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        Clips(tmp_path / "none", 3)
    with pytest.raises(InputError, match="holds 9 frames"):
        Clips(clips, 9)
    with pytest.raises(InputError, match="one clip"):
        split_clips(Clips(clips / "deep" / "c0", 3), 1)
    (tmp_path / "clip").mkdir()
    for k, side in enumerate((130, 130, 131)):
        Image.fromarray(tiny.picture(side, 130)).save(tmp_path / "clip" / f"{k}.png")
    with pytest.raises(InputError, match="different sizes"):
        Clips(tmp_path, 3).read("clip", 0)


# --- pictures in motion -----------------------------------------------------------------------------------------------


def maps(seed: int, length: int = 6) -> list[np.ndarray] | None:
    """Return for each frame the affine map [2, 3] from (column, row) of a frame to the picture; None with an object."""
    rows, columns = np.mgrid[:256, :256]
    ground = np.stack([columns, rows, np.zeros_like(rows)], axis=2).astype(np.uint8)
    thing = np.full((256, 256, 3), 255, np.uint8)
    frames = moving(ground, thing, length, SIDE, seed).astype(np.float64)
    assert frames.shape == (length, 3, SIDE, SIDE)
    if frames[:, 2].max() > 0:
        return None
    y, x = np.mgrid[:SIDE, :SIDE]
    inside = (slice(40, 88),) * 2  # away from what is reflected
    basis = np.stack([x[inside].ravel(), y[inside].ravel(), np.ones(48 * 48)], axis=1)
    return [np.linalg.lstsq(basis, f[(slice(2), *inside)].reshape(2, -1).T, rcond=None)[0].T for f in frames]


def test_a_motion_is_steady() -> None:
    """The pictures hold their own coordinates, so a linear fit of a frame is the motion at its time."""
    found = [m for m in (maps(seed) for seed in range(40)) if m is not None]
    assert 10 < len(found) < 30, "half of them have an object before them"
    moved = turned = 0.0
    for m in found:
        linear = np.array([affine[:, :2] for affine in m])
        np.testing.assert_allclose(linear[0], np.eye(2), atol=2e-3)
        angles = np.arctan2(linear[:, 1, 0] - linear[:, 0, 1], linear[:, 0, 0] + linear[:, 1, 1])
        zooms = np.log(np.linalg.det(linear)) / 2
        times = np.arange(len(m))
        for grown in (angles, zooms):  # to what whole numbers over 48 pixels tell of a slope
            np.testing.assert_allclose(grown, times * (times @ grown) / (times @ times), atol=0.015)
        centre = np.array([SIDE / 2, SIDE / 2, 1])
        path = np.array([np.linalg.solve(a[:, :2], m[0] @ centre - a[:, 2]) for a in m])  # where the middle is seen
        shift, speed = path - path.mean(axis=0), times - times.mean()
        np.testing.assert_allclose(shift, np.outer(speed, speed @ shift / (speed @ speed)), atol=0.7)  # whole numbers
        moved, turned = max(moved, np.ptp(path, axis=0).max()), max(turned, abs(angles[-1]))
    assert moved > 10
    assert turned > 0.05


def test_small_pictures_are_reflected_not_black() -> None:
    bright = np.full((40, 50, 3), 200, np.uint8)
    assert all(moving(bright, bright, 5, SIDE, seed).min() == 200 for seed in range(30))


# --- what is minimised ------------------------------------------------------------------------------------------------


class _Fixed(torch.nn.Module):
    """Returns what it was given as a video model's output."""

    def __init__(self, output: dict[str, object]) -> None:
        super().__init__()
        self.output = output

    def forward(self, frames: list[torch.Tensor]) -> dict[str, object]:
        self.frames = frames
        return self.output


def test_objective_against_numpy() -> None:
    rng = np.random.default_rng(0)
    clip, seen = rng.random((2, 2, 3, 3, 8, 4)).astype(np.float32)
    likelihoods = [
        {part: {name: rng.uniform(0.01, 1, (2, 5, 2, 2)).astype(np.float32) for name in "yz"} for part in parts}
        for parts in (["keyframe"], ["motion", "residual"], ["motion", "residual"])
    ]
    frames = [{p: {n: torch.from_numpy(v) for n, v in d.items()} for p, d in f.items()} for f in likelihoods]
    net = _Fixed({"x_hat": list(torch.from_numpy(seen).unbind(1)), "likelihoods": frames})
    terms = ClipObjective(0.02, "mse")(net, torch.from_numpy(clip))
    assert [f.shape for f in net.frames] == [(2, 3, 8, 4)] * 3
    bits = -sum(np.log2(v).sum() for f in likelihoods for d in f.values() for v in d.values())
    bpp, mse = bits / (2 * 3 * 8 * 4), np.square(seen - clip).mean()
    assert float(terms.bpp) == pytest.approx(bpp, rel=1e-5)
    assert float(terms.distortion) == pytest.approx(mse, rel=1e-5)
    assert float(terms.loss) == pytest.approx(0.02 * 255**2 * mse + bpp, rel=1e-5)


def test_objective_is_chosen_by_the_model() -> None:
    assert type(objective_for(zoo.build("ssf2020", N, M), 0.01, "mse")) is ClipObjective
    assert type(objective_for(zoo.build("mbt2018_mean", N, M), 0.01, "mse")) is not ClipObjective


# --- runs -------------------------------------------------------------------------------------------------------------


def test_the_loss_falls_and_the_checkpoint_loads(clips: Path, stills: Path, tmp_path: Path) -> None:
    result = train(settings(clips, tmp_path, stills=stills, steps=12, lr=3e-3))
    assert result.after["loss"] < result.before["loss"]
    net = zoo.load_checkpoint("ssf2020", result.output)
    assert (net.N, net.M) == (N, M)
    assert float(net.aux_loss().detach()) < 1e-2, "the quantiles are settled"
    assert choose_channels("ssf2020", None, result.output) == (N, M)
    record = torch.load(result.output, weights_only=True)["intcodec"]
    assert (record["frames"], record["stills"]) == (3, str(stills))


def test_every_part_is_trained(clips: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = zoo.build("ssf2020", N, M).state_dict()
    result = train(settings(clips, tmp_path, steps=2))
    end = torch.load(result.output, weights_only=True)["state_dict"]
    still = [name for name, value in start.items() if name.endswith("weight") and torch.equal(value, end[name])]
    assert still == []


def test_material_says_what_it_is(clips: Path, stills: Path, tmp_path: Path) -> None:
    dataset = dataset_for(settings(clips, tmp_path, stills=stills))
    assert dataset.summary == "3 clips to train on, 3 pictures to set in motion, 1 clips held out"
    assert dataset.source[0].shape == (2, 3, 3, SIDE, SIDE)


def test_settings_that_make_no_sense(clips: Path, tmp_path: Path) -> None:
    for changes, words in (
        ({"crop": 192}, "multiple of 128"),
        ({"frames": 1}, "at least 2"),
        ({"arch": "mbt2018", "stills": clips}, "stills are for video models"),
    ):
        with pytest.raises(InputError, match=words):
            settings(clips, tmp_path, **changes)


def test_command(clips: Path, stills: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "o.pth.tar"
    code = main(["train", "--arch", "ssf2020", "--data", str(clips), "--stills", str(stills), "-q", "3", "--N", "8",
                 "--M", "8", "--crop", "128", "--frames", "2", "--steps", "2", "--batch-size", "1", "--log-every", "1",
                 "-o", str(out)])  # fmt: skip
    err = capfd.readouterr().err
    assert code == 0, err
    assert "held out" in err.splitlines()[-1]
    record = torch.load(out, weights_only=True)["intcodec"]
    assert (record["lmbda"], record["N"], record["M"], record["frames"]) == (0.0067, 8, 8, 2)


def test_compressai_codes_with_our_checkpoint(clips: Path, tmp_path: Path) -> None:
    """Its own class loads the file, codes a clip with the tables in it, and makes the pictures that our zoo makes."""
    fallback = ROOT / ".venv-peer" / "bin" / "python"
    python = os.environ.get("INTCODEC_PEER_PYTHON") or (str(fallback) if fallback.exists() else "")
    if not python:
        pytest.skip("no peer Python with CompressAI: set INTCODEC_PEER_PYTHON or create .venv-peer")
    path = train(settings(clips, tmp_path, N=128, M=192, steps=1, batch_size=1, frames=2)).output  # its only channels
    frames = np.stack([tiny.picture(128, 256, seed=1), tiny.picture(128, 256, seed=1), tiny.picture(128, 256, seed=2)])
    np.savez(tmp_path / "clip.npz", frames=frames)
    script = ROOT / "tests" / "peer" / "compressai_code_clip.py"
    done = subprocess.run(
        [python, str(script), str(path), str(tmp_path / "clip.npz"), str(tmp_path / "out.npz")],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    theirs = json.loads(done.stdout)
    x = [torch.from_numpy(f).permute(2, 0, 1)[None].float() / 255 for f in frames]
    with torch.no_grad():
        output = zoo.load_checkpoint("ssf2020", path)(x)
    with np.load(tmp_path / "out.npz") as answer:
        error = np.abs(answer["x_hat"] - torch.cat(output["x_hat"]).numpy()).max()
    assert error < 1e-4
    parts = [part for frame in output["likelihoods"] for part in frame.values()]
    ideal = -sum(float(torch.log2(v).sum()) for part in parts for v in part.values())
    assert math.isfinite(ideal)
    assert 0.98 * ideal < theirs["bits"] < 1.02 * ideal + 5 * 2 * 64, "its own coder, with our tables; ten strings"

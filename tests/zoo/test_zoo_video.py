"""ssf2020 in float against CompressAI's own class: keys, pictures and likelihoods of a short clip."""

from __future__ import annotations

import os
import subprocess

import numpy as np
import pytest
from places import ROOT

torch = pytest.importorskip("torch", reason="the float zoo needs torch")

from intcodec import zoo  # noqa: E402

#: Sums over positions that a warp reads are taken in another order than CompressAI's; pixels are in [0, 1].
TOLERANCE = 1e-5


def clip(frames: int = 3, side: int = 128) -> np.ndarray:
    """Return a moving pattern, float32[n, 3, side, side] in [0, 1]."""
    rows, columns = np.mgrid[:side, :side].astype(np.float64)
    waves = [
        [np.sin((rows + 3 * t) / (7 + 3 * c)) * np.cos((columns - 2 * t) / (5 + 4 * c)) for c in range(3)]
        for t in range(frames)
    ]
    noise = np.random.default_rng(0).standard_normal((frames, 3, side, side))
    return np.clip(0.5 + 0.35 * np.array(waves) + 0.05 * noise, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return (ours, CompressAI's) of one network with random weights."""
    fallback = ROOT / ".venv-peer" / "bin" / "python"
    python = os.environ.get("INTCODEC_PEER_PYTHON") or (str(fallback) if fallback.exists() else "")
    if not python:
        pytest.skip("no peer Python with CompressAI: set INTCODEC_PEER_PYTHON or create .venv-peer")
    folder = tmp_path_factory.mktemp("peer")
    torch.manual_seed(7)
    net = zoo.ssf2020(1).eval()
    with torch.no_grad():  # motion of a few pixels, between the levels of the scale space
        net.motion_decoder[6].weight.mul_(0.2)
        net.motion_decoder[6].bias.add_(torch.tensor([0.03, -0.05, -0.4]))
    frames = clip()
    torch.save(net.state_dict(), folder / "net.pth.tar")
    np.savez(folder / "clip.npz", frames=frames)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.no_grad():
        result = net([torch.from_numpy(frame[None]) for frame in frames])
    torch.set_num_threads(threads)
    ours = {"x_hat": np.concatenate([x.numpy() for x in result["x_hat"]])}
    for index, parts in enumerate(result["likelihoods"]):
        for part, tensors in parts.items():
            ours.update({f"{index}/{part}/{name}": value.numpy() for name, value in tensors.items()})
    script = ROOT / "tests" / "peer" / "compressai_video.py"
    arguments = [str(folder / name) for name in ("net.pth.tar", "clip.npz", "answer.npz")]
    done = subprocess.run([python, str(script), *arguments], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "answer.npz") as theirs:
        return ours, dict(theirs)


def test_clip_equals_compressai(answers: tuple[dict[str, np.ndarray], dict[str, np.ndarray]]) -> None:
    ours, theirs = answers
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        assert ours[name].shape == value.shape
        assert float(np.abs(ours[name] - value).max()) <= TOLERANCE, name
    assert float(np.abs(ours["x_hat"][1] - ours["x_hat"][0]).max()) > 0.01, "the frames must differ to show anything"

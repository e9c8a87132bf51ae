"""The float zoo: equal to CompressAI's own classes, and every way in which a checkpoint can be wrong.

The comparison runs tests/peer/compressai_forward.py under another Python that has CompressAI 1.2.8: the environment
variable INTCODEC_PEER_PYTHON, or .venv-peer/bin/python. It is skipped, with its reason, where there is none.
"""

import hashlib
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from places import ROOT
from torch import Tensor

from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.zoo import pretrained
from intcodec.zoo.layers import LowerBound

CHECKPOINTS = Path(os.environ.get("INTCODEC_SHARED", ROOT.parent / "shared")) / "data" / "checkpoints"
TRAINED = ("bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018_mean", "mbt2018")
ARCHS = tuple(arch for arch in zoo.ARCHITECTURES if arch != "ssf2020")  # tests/test_zoo_video.py has that one
#: (arch, quality) with random weights: both channel counts of the cheng2020 models, and M != N for a joint model.
RANDOM = (*((arch, 1) for arch in ARCHS), ("mbt2018", 5), ("cheng2020_attn", 4))
TOLERANCE = 1e-5


def trained_path(arch: str) -> Path:
    path = CHECKPOINTS / f"{arch}-lambda0.013-N128-M192.pth.tar"
    if not path.exists():
        pytest.skip(f"no shared checkpoint {path.name}: set INTCODEC_SHARED to the folder that has data/checkpoints")
    return path


def image(height: int, width: int, seed: int = 0) -> Tensor:
    """A smooth image with noise on it, so that latents are neither all zero nor saturated."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / (7 + 3 * c)) * np.cos(columns / (5 + 4 * c)) for c in range(3)]
    pixels = 0.5 + 0.35 * np.stack(waves) + 0.1 * rng.standard_normal((3, height, width))
    return torch.from_numpy(np.clip(pixels, 0, 1)[None].astype(np.float32))


def random_net(arch: str, quality: int = 1, seed: int = 1234, **kwargs: int) -> zoo.Model:
    """Random weights that use every parameter: biases, off-diagonal gamma, context, the density's factors."""
    torch.manual_seed(seed)
    net = getattr(zoo, arch)(quality, **kwargs)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if name.endswith("gamma"):
                value.add_(0.05 * torch.rand_like(value))
            elif name.startswith("entropy_bottleneck") or name.endswith("bias"):
                value.add_(0.1 * torch.randn_like(value))
            elif name.endswith("weight"):
                value.mul_(1.5)
        for chain in ("g_a", "h_s", "entropy_parameters"):  # latents, scales and means of about 2, not 0
            convs = [m for m in getattr(net, chain, torch.nn.Identity()).modules() if isinstance(m, torch.nn.Conv2d)]
            if convs:
                convs[-1].bias.add_(2)
    return net.eval()


def forward(net: zoo.Model, x: Tensor) -> dict[str, np.ndarray]:
    with torch.no_grad():
        result = net(x)
    return {"x_hat": result["x_hat"].numpy(), **{k: v.numpy() for k, v in result["likelihoods"].items()}}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Hold torch to one thread, as the peer is: sums then have one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


# --- against CompressAI -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run CompressAI once on every checkpoint; return the folder with its answers."""
    fallback = ROOT / ".venv-peer" / "bin" / "python"
    python = os.environ.get("INTCODEC_PEER_PYTHON") or (str(fallback) if fallback.exists() else "")
    if not python:
        pytest.skip("no peer Python with CompressAI: set INTCODEC_PEER_PYTHON or create .venv-peer")
    folder = tmp_path_factory.mktemp("peer")
    np.savez(folder / "large.npz", x=image(128, 192).numpy())
    np.savez(folder / "small.npz", x=image(64, 128).numpy())
    runs = []
    for arch in TRAINED:
        path = CHECKPOINTS / f"{arch}-lambda0.013-N128-M192.pth.tar"
        if path.exists():
            runs.append({"arch": arch, "checkpoint": str(path), "input": "large", "output": f"{arch}-trained"})
    for arch, quality in RANDOM:
        path = folder / f"{arch}-{quality}.pth.tar"
        torch.save(random_net(arch, quality).state_dict(), path)
        runs.append({"arch": arch, "checkpoint": str(path), "input": "small", "output": f"{arch}-{quality}"})
    for run in runs:
        run["input"], run["output"] = str(folder / f"{run['input']}.npz"), str(folder / f"{run['output']}.npz")
    job = folder / "job.json"
    job.write_text(json.dumps({"facts": str(folder / "facts.json"), "runs": runs}))
    command = [python, str(ROOT / "tests" / "peer" / "compressai_forward.py"), str(job)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def assert_equal_to_peer(ours: dict[str, np.ndarray], answer: Path) -> None:
    with np.load(answer) as theirs:
        assert set(ours) == set(theirs.files)
        for name, value in ours.items():
            assert value.shape == theirs[name].shape
            difference = float(np.abs(value - theirs[name]).max())
            print(f"{answer.stem} {name}: max abs difference {difference:.3g}")  # pytest -rP shows it
            assert difference <= TOLERANCE, name


@pytest.mark.parametrize("arch", TRAINED)
def test_trained_checkpoint_equals_compressai(arch: str, peer: Path) -> None:
    net = zoo.load_checkpoint(arch, trained_path(arch))
    assert (net.N, net.M, net.training) == (128, 192, False)
    assert_equal_to_peer(forward(net, image(128, 192)), peer / f"{arch}-trained.npz")


@pytest.mark.parametrize(("arch", "quality"), RANDOM)
def test_random_weights_equal_compressai_which_loads_our_state_dict_strictly(
    arch: str, quality: int, peer: Path
) -> None:
    net = zoo.load_checkpoint(arch, peer / f"{arch}-{quality}.pth.tar")
    assert zoo.ARCHITECTURES[arch].channels[quality - 1] == (net.N, net.M)
    ours = forward(net, image(64, 128))
    assert np.ptp(ours["y"]) > 0.01, "a test that quantises everything to one value shows nothing"
    assert_equal_to_peer(ours, peer / f"{arch}-{quality}.npz")


@pytest.mark.parametrize("arch", ARCHS)
def test_signature_channels_and_addresses_equal_compressai(arch: str, peer: Path) -> None:
    facts = json.loads((peer / "facts.json").read_text())[arch]
    parameters = getattr(zoo, arch).__code__.co_varnames[:5]
    assert list(parameters) == facts["signature"]
    channels = zoo.ARCHITECTURES[arch].channels
    assert [list(row) for row in channels] == facts["channels"]
    for metric, urls in facts["urls"].items():
        assert [pretrained.checkpoint_url(arch, metric, q + 1) for q in range(len(channels))] == urls


# --- layers -----------------------------------------------------------------------------------------------------------


def test_gdn_follows_its_formula_and_its_inverse_multiplies() -> None:
    torch.manual_seed(3)
    x = torch.randn(2, 5, 4, 3)
    for inverse in (False, True):
        gdn = zoo.GDN(5, inverse=inverse)
        with torch.no_grad():
            gdn.gamma.add_(0.1 * torch.rand(5, 5))
            gdn.beta.copy_(torch.tensor([-1.0, 0.0, 0.5, 1.0, 2.0]))
        beta, gamma = gdn.effective()
        assert float(beta.detach().min()) >= 0.999e-6
        assert float(gamma.detach().min()) >= 0
        norm = torch.sqrt(beta[None, :, None, None] + torch.einsum("ij,bjhw->bihw", gamma, x**2))
        torch.testing.assert_close(gdn(x), x * norm if inverse else x / norm)


def test_masked_convolution_sees_only_earlier_positions() -> None:
    torch.manual_seed(4)
    layer = zoo.MaskedConv2d(2, 3, kernel_size=5)
    with torch.no_grad():
        x = torch.randn(1, 2, 7, 7)
        changed = x.clone()
        changed[0, :, 3, 4] += 1
        moved = (layer(changed) - layer(x)).abs().sum(dim=(0, 1)) > 0
    expected = torch.zeros(7, 7, dtype=torch.bool)
    expected[3, 5:7] = True
    expected[4:6, 2:7] = True
    assert torch.equal(moved, expected)
    assert int((layer.masked_weight()[0, 0] != 0).sum()) == 12


def test_lower_bound_lets_a_gradient_through_only_towards_the_bound() -> None:
    bound = LowerBound(1.0)
    x = torch.tensor([0.0, 0.0, 2.0, 2.0, 1.0], requires_grad=True)
    (bound(x) * torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0, -1, 1, -1, 1]


def test_bottleneck_layers_give_its_likelihoods_in_float64() -> None:
    torch.manual_seed(5)
    model = random_net("bmshj2018_factorized", N=8, M=12).entropy_bottleneck
    x = torch.arange(-6.0, 7.0).repeat(12, 1, 1)

    def cumulative(points: np.ndarray) -> np.ndarray:
        for matrix, bias, factor in model.cumulative_layers():
            points = matrix.numpy() @ points + bias.numpy()
            if factor is not None:
                points = points + factor.numpy() * np.tanh(points)
        return 1 / (1 + np.exp(-points))

    with torch.no_grad():
        logits = model.logits(x).double().sigmoid().numpy()
    np.testing.assert_allclose(cumulative(x.double().numpy()), logits, atol=1e-6)
    assert model.medians.shape == (12,)
    assert torch.equal(model.medians, model.quantiles[:, 0, 1].detach())


def test_gaussian_likelihoods_sum_to_one() -> None:
    model = zoo.GaussianConditional().eval()
    y = torch.arange(-60.0, 61.0).reshape(1, 1, 1, -1)
    for scale in (0.01, 0.11, 1.0, 7.5):
        total = model.likelihood(y, torch.full_like(y, scale), torch.full_like(y, 0.3)).sum()
        assert float(total) == pytest.approx(1, abs=1e-5)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ARCHS)
def test_training_step_reaches_every_parameter(arch: str) -> None:
    net = random_net(arch, N=16, **({} if arch.startswith("cheng") else {"M": 24})).train()
    result = net(image(64, 64))
    rate = sum(-torch.log2(likelihood).sum() for likelihood in result["likelihoods"].values())
    (rate + result["x_hat"].square().sum() + net.aux_loss()).backward()
    for name, value in net.named_parameters():
        assert value.grad is not None, name
        assert bool(torch.isfinite(value.grad).all()), name


def test_aux_loss_moves_the_quantiles_alone_and_falls() -> None:
    net = random_net("bmshj2018_factorized", N=8, M=12)
    losses = []
    optimizer = torch.optim.Adam([net.entropy_bottleneck.quantiles], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = net.aux_loss()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(value.grad is None for name, value in net.named_parameters() if not name.endswith("quantiles"))


# --- checkpoints, good ------------------------------------------------------------------------------------------------

SMALL = {"N": 8, "M": 12}


def small_state(arch: str = "mbt2018_mean") -> dict[str, Tensor]:
    kwargs = {"N": 8} if arch.startswith("cheng") else SMALL
    return dict(random_net(arch, **kwargs).state_dict())


def renamed(state: dict[str, Tensor], spelling: str) -> dict[str, Tensor]:
    result = {}
    for key, value in state.items():
        head, _, tail = key.partition("entropy_bottleneck.")
        for plural, singular in (("matrices", "matrix"), ("biases", "bias"), ("factors", "factor")):
            if not head and tail.startswith(plural + "."):
                index = tail.rpartition(".")[2]
                old = {"list": f"_{plural}.{index}", "flat": f"_{singular}{index}"}[spelling]
                key = f"entropy_bottleneck.{old}"
        result[key] = value
    return result


def assert_same_parameters(net: zoo.Model, state: dict[str, Tensor]) -> None:
    for name, value in net.named_parameters():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("arch", ARCHS)
def test_any_channel_counts_load_and_the_architecture_is_recognised(arch: str) -> None:
    state = small_state(arch)
    assert zoo.guess_architecture(state) == arch
    net = zoo.load_checkpoint(arch.replace("_", "-"), state)
    assert (net.arch, net.N, net.M) == (arch, 8, 8 if arch.startswith("cheng") else 12)
    assert_same_parameters(net, state)


@pytest.mark.parametrize("spelling", ["list", "flat"])
def test_older_bottleneck_keys_load(spelling: str) -> None:
    state = small_state()
    old = renamed(state, spelling)
    assert old.keys() != state.keys()
    assert_same_parameters(zoo.load_checkpoint("mbt2018_mean", old), state)


def test_wrapped_parallel_checkpoint_with_old_shortcut_keys_loads_from_a_file(tmp_path: Path) -> None:
    state = small_state("cheng2020_anchor")
    old = {f"module.{key.replace('.skip.', '.downsample.')}": value for key, value in state.items()}
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    content = {"epoch": 3, "loss": 0.5, "state_dict": old, "optimizer": optimizer.state_dict()}
    torch.save(content, tmp_path / "c.pth.tar")
    assert_same_parameters(zoo.load_checkpoint("cheng2020_anchor", tmp_path / "c.pth.tar"), state)


def test_tables_of_any_size_or_none_and_constants_left_out_load() -> None:
    state = small_state("mbt2018")
    sized = {**state, "gaussian_conditional.scale_table": torch.linspace(0.1, 9, 17)}
    sized["entropy_bottleneck._quantized_cdf"] = torch.zeros(8, 31, dtype=torch.int32)
    net = zoo.load_checkpoint("mbt2018", sized)
    assert net.state_dict()["gaussian_conditional.scale_table"].shape == (17,)
    assert net.state_dict()["entropy_bottleneck._quantized_cdf"].shape == (8, 31)
    plain = zoo.mbt2018(1, **SMALL)
    plain.load_state_dict(sized)  # torch's own door takes them, too
    bare = {name: value for name, value in state.items() if name in dict(net.named_parameters())}
    x = image(64, 64)
    for other in (zoo.load_checkpoint("mbt2018", bare), plain.eval()):
        for name, value in forward(other, x).items():
            np.testing.assert_array_equal(value, forward(net, x)[name])


def test_half_precision_checkpoints_become_float32() -> None:
    state = {key: value.half() if value.is_floating_point() else value for key, value in small_state().items()}
    assert {value.dtype for value in zoo.load_checkpoint("mbt2018_mean", state).parameters()} == {torch.float32}


# --- checkpoints, bad -------------------------------------------------------------------------------------------------


def without(key: str) -> dict[str, Tensor]:
    return {name: value for name, value in small_state().items() if name != key}


def with_(key: str, value: Any, arch: str = "mbt2018_mean") -> dict[str, Any]:
    return {**small_state(arch), key: value}


BAD: tuple[tuple[str, str, Callable[[], Any], str], ...] = (
    ("wrong-architecture", "mbt2018", small_state, "a checkpoint of mbt2018_mean, not of mbt2018"),
    ("unknown-architecture", "jpeg", small_state, "unknown architecture 'jpeg': choose one of bmshj2018_factorized"),
    ("missing-first-layer", "mbt2018_mean", lambda: without("g_a.0.weight"), "no tensor 'g_a.0.weight'"),
    ("missing-inner-layer", "mbt2018_mean", lambda: without("g_s.1.beta"), "g_s.1.beta missing"),
    ("missing-quantiles", "mbt2018_mean", lambda: without("entropy_bottleneck.quantiles"), "quantiles missing"),
    ("unknown-key", "mbt2018_mean", lambda: with_("g_a.7.weight", torch.zeros(1)), "g_a.7.weight unknown"),
    ("wrong-shape", "mbt2018_mean", lambda: with_("h_a.0.bias", torch.zeros(5)), r"h_a.0.bias has shape \(5,\)"),
    ("not-finite", "mbt2018_mean", lambda: with_("h_a.0.bias", torch.full((8,), torch.nan)), "NaN or infinity"),
    ("not-a-tensor", "mbt2018_mean", lambda: with_("h_a.0.bias", "text"), "entry 'h_a.0.bias' is no tensor"),
    ("empty", "mbt2018_mean", dict, "holds no tensors"),
    ("empty-inside", "mbt2018_mean", lambda: {"state_dict": {}}, "holds no tensors"),
    ("two-dimensional-weight", "mbt2018_mean", lambda: with_("g_a.0.weight", torch.zeros(8, 3)), "g_a.0.weight"),
    (
        "foreign-mask",
        "mbt2018",
        lambda: with_("context_prediction.mask", torch.ones(24, 12, 5, 5), "mbt2018"),
        "not the raster-order mask",
    ),
)


@pytest.mark.parametrize(("arch", "make", "message"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_bad_state_dicts_say_what_is_wrong_in_one_line(arch: str, make: Callable[[], Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        zoo.load_checkpoint(arch, make())
    assert "\n" not in str(caught.value)


class Payload:
    """An object whose pickle would run code if it were trusted."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("false",))


def damaged(path: Path) -> None:
    torch.save(small_state(), path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BAD_FILES: tuple[tuple[str, Callable[[Path], object], str], ...] = (
    ("absent", lambda path: None, "no such file"),
    ("folder", Path.mkdir, "cannot be read"),
    ("empty", lambda path: path.write_bytes(b""), "not a checkpoint"),
    ("text", lambda path: path.write_bytes(b"hello, world\n" * 9), "not a checkpoint"),
    ("truncated", damaged, "not a checkpoint"),
    ("code", lambda path: torch.save(Payload(), path), "Python objects inside; save only net.state_dict"),
    ("tensor", lambda path: torch.save(torch.zeros(3), path), "holds a Tensor; expected a state dict"),
)


@pytest.mark.parametrize(("make", "message"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
def test_bad_files_say_what_is_wrong_in_one_line(make: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth.tar"
    make(path)
    with pytest.raises(InputError, match=message) as caught:
        zoo.load_checkpoint("mbt2018_mean", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# --- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "arguments", "message"),
    [
        ("mbt2018", {"quality": 9}, "qualities 1 to 8"),
        ("cheng2020_attn", {"quality": 7}, "qualities 1 to 6"),
        ("mbt2018", {"quality": True}, "qualities 1 to 8"),
        ("mbt2018", {"quality": 1, "metric": "psnr"}, "choose one of mse, ms-ssim"),
        ("mbt2018", {"quality": 1, "K": 3}, "no argument 'K'"),
        ("cheng2020_anchor", {"quality": 1, "M": 3}, "no argument 'M'"),
        ("mbt2018", {"quality": 1, "N": 0}, "N = 0"),
        ("mbt2018", {"quality": 1, "N": 64, "pretrained": True}, "cannot be chosen"),
    ],
)
def test_bad_arguments(arch: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        getattr(zoo, arch)(**arguments)


def test_an_image_that_does_not_fit_the_hyperprior_says_how_to_pad() -> None:
    with pytest.raises(InputError, match=r"80x64 .*pad both to multiples of 64"):
        forward(random_net("bmshj2018_hyperprior", **SMALL), image(80, 64))


# --- published weights, from a loopback server ------------------------------------------------------------------------


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a folder on the loopback interface: (address, folder)."""
    folder = tmp_path / "served"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", folder
        httpd.shutdown()
        thread.join()


def publish(folder: Path, stem: str, sha: str | None = None) -> tuple[str, dict[str, Tensor]]:
    state = small_state()
    torch.save(state, folder / "x")
    sha = sha or hashlib.sha256((folder / "x").read_bytes()).hexdigest()[:8]
    (folder / "x").rename(folder / f"{stem}-1-{sha}.pth.tar")
    return sha, state


def test_pretrained_downloads_once_and_loads(
    server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    address, folder = server
    sha, state = publish(folder, "mbt2018-mean")
    monkeypatch.setattr(pretrained, "ROOT_URL", address)
    monkeypatch.setitem(pretrained.FILES, ("mbt2018_mean", "mse"), ("mbt2018-mean", sha))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    net = zoo.mbt2018_mean(1, pretrained=True)
    assert "100%" in capfd.readouterr().err
    assert not net.training
    assert_same_parameters(net, state)
    (folder / f"mbt2018-mean-1-{sha}.pth.tar").unlink()
    assert_same_parameters(zoo.mbt2018_mean(1, pretrained=True, progress=False), state)
    assert capfd.readouterr().err == ""


def test_a_download_with_another_hash_is_refused_and_not_kept(server: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = server
    publish(folder, "wrong", sha="00c0ffee")
    with pytest.raises(InputError, match="does not have the hash in its name"):
        pretrained.fetch(f"{address}/wrong-1-00c0ffee.pth.tar", progress=False, folder=tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_kept_file_with_another_hash_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m-1-00c0ffee.pth.tar"
    path.write_bytes(b"damaged since")
    with pytest.raises(InputError, match="delete it and run again"):
        pretrained.fetch(f"http://127.0.0.1:9/{path.name}", progress=False, folder=tmp_path)


def test_failed_downloads_name_the_other_way(server: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = server
    with pytest.raises(InputError, match=r"404.*use load_checkpoint"):
        pretrained.fetch(f"{address}/absent-1-00c0ffee.pth.tar", progress=False, folder=tmp_path)
    with pytest.raises(InputError, match="no hash to check"):
        pretrained.fetch(f"{address}/name.pth.tar", progress=False, folder=tmp_path)


def test_what_was_never_published_is_refused() -> None:
    with pytest.raises(InputError, match="no published checkpoint"):
        pretrained.checkpoint_url("cheng2020_attn", "mse", 7)

"""The training loop: steps, rates, looks at held-out pictures, and a state on the disk that survives a kill.

A step depends on the seed, its number and the state alone, so a run that was resumed equals one that was not (on one
machine, device and number of threads). With a budget in minutes the rate depends on the clock, and so does the result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from intcodec import zoo
from intcodec.base.errors import InputError
from intcodec.train.data import batches
from intcodec.train.dataset import dataset_for
from intcodec.train.objective import Objective, objective_for
from intcodec.train.progress import Progress
from intcodec.train.settings import Settings
from intcodec.train.state import Log, load, log_path, resume_path, save
from intcodec.train.tables import fill_tables, settle_quantiles
from intcodec.train.warmstart import warm_start
from intcodec.zoo import EntropyBottleneck, GaussianConditional

#: Seconds between two states on the disk.
SAVE_SECONDS = 180.0
#: The plateau schedule: looks without a better loss before the rate is halved, and the part of lr where it ends.
PATIENCE, LAST_RATE = 4, 0.01
#: Processes that read pictures beside a GPU, unless the user says otherwise.
CUDA_WORKERS = 8
#: Steps in a row without a finite gradient before training gives up.
MAX_SKIPPED = 20

Figures = dict[str, float]


@dataclass(frozen=True)
class Result:
    """How a run ended: steps, seconds in all, and the held-out figures before the first step and after the last."""

    output: Path
    steps: int
    seconds: float
    before: Figures
    after: Figures


@dataclass
class Plateau:
    """A factor of the rate that is halved when the held-out loss stops falling."""

    factor: float = 1.0
    best: float = math.inf
    waited: int = 0

    def look(self, loss: float) -> None:
        """Take note of a held-out loss."""
        self.waited = 0 if loss < self.best else self.waited + 1
        self.best = min(self.best, loss)
        if self.waited > PATIENCE:
            self.factor, self.waited = self.factor / 2, 0


class Half:
    """Makes the transforms of a model compute in bfloat16 while `on`; what they return is float32.

    A transform is a part of the model without an entropy model in it. Entropy models stay outside: a likelihood is a
    difference of neighbours, which 8 bits of mantissa do not hold.
    """

    def __init__(self, net: nn.Module, device: str) -> None:
        self.on = True
        self._device = device
        for part in _transforms(net):
            part.forward = self._wrapped(part.forward)

    def _wrapped(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def lower(*args: Any) -> Any:
            with torch.autocast(self._device, torch.bfloat16, enabled=self.on):
                out = forward(*args)
            return out.float() if isinstance(out, Tensor) else out

        return lower


def _transforms(net: nn.Module) -> Iterator[nn.Module]:
    for child in net.children():
        if not any(isinstance(part, (EntropyBottleneck, GaussianConditional)) for part in child.modules()):
            yield child
        elif not isinstance(child, (EntropyBottleneck, GaussianConditional)):
            yield from _transforms(child)


def train(settings: Settings, resume: bool = False, progress: Progress | None = None) -> Result:
    """Train a model and write its checkpoint.

    Args:
        settings: what to train, on what, how long.
        resume: go on from the state beside the output, if there is one.
        progress: where to tell the user; None stays silent.

    Raises:
        InputError: data, checkpoint, device or output cannot be used; another run's state is there and `resume` is
            not set; or the loss is not finite any more.
        KeyboardInterrupt: the user stopped it; the state is on the disk.
    """
    pending = resume_path(settings.output)
    if pending.exists() and not resume:
        raise InputError(f"{pending} is the state of a run that has not ended: give --resume, or delete it")
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    run = _Run(settings, load(pending) if pending.exists() else None, progress or Progress(quiet=True))
    try:
        run.loop()
    except KeyboardInterrupt:
        run.save()
        run.progress.say(f"stopped at step {run.step}; go on with --resume")
        raise
    return run.finish()


class _Run:
    """The moving parts of a run.

    Invariant: `step` steps were taken in `seconds`, and `save` writes all that going on needs.
    """

    def __init__(self, settings: Settings, state: dict[str, Any] | None, progress: Progress) -> None:
        self.settings, self.progress = settings, progress
        self.device = _device(settings.device)
        cuda = self.device.type == "cuda"
        self.workers = settings.workers if settings.workers is not None else CUDA_WORKERS if cuda else 0
        dataset = dataset_for(settings)
        self.source, self.held_out = dataset.source, dataset.held_out
        progress.say(f"{dataset.summary}; device {self.device}")
        torch.manual_seed(settings.seed)
        net = zoo.build(settings.arch, settings.N, settings.M)
        self.net: nn.Module = net
        self.step, self.base_seconds, self.plateau = 0, 0.0, Plateau()
        self.before: Figures = {}
        if state is not None:
            settings.check_continues(state["settings"])
            self.net.load_state_dict(state["net"])
        elif settings.init is not None:
            progress.say(f"warm start from {warm_start(net, settings.init)}")
        self.layout = _layout(self.net, self.device)
        self.net.to(self.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.half = Half(self.net, self.device.type)
        self.bf16 = _has_bf16(self.device) if settings.bf16 is None else settings.bf16
        self.half.on = self.bf16
        self.objective: Objective = objective_for(self.net, settings.lmbda, settings.metric)
        named = list(self.net.named_parameters())
        self.main = [p for name, p in named if not name.endswith("quantiles")]
        self.optimizer = torch.optim.Adam(self.main, lr=settings.lr)
        self.aux = torch.optim.Adam([p for name, p in named if name.endswith("quantiles")], lr=settings.aux_lr)
        if state is not None:
            self._restore(state)
        self.started = self.saved = time.monotonic()
        self.skipped = 0
        self.log = Log(log_path(settings.output), self.step)
        if state is None:
            settle_quantiles(self.net)
            self.before = self.validate()

    def _restore(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        self.aux.load_state_dict(state["aux"])
        self.step, self.base_seconds = state["step"], state["seconds"]
        self.plateau, self.before = Plateau(**state["plateau"]), state["before"]
        self.progress.say(f"resumed at step {self.step}, after {self.base_seconds / 60:.1f} min")

    @property
    def seconds(self) -> float:
        """Time that the run has taken, over all its continuations."""
        return self.base_seconds + time.monotonic() - self.started

    @property
    def done(self) -> float:
        """How much of the budget is used, 1 at its end; 0 without a budget."""
        by_steps = self.step / self.settings.steps if self.settings.steps else 0.0
        by_clock = self.seconds / (60 * self.settings.minutes) if self.settings.minutes else 0.0
        return max(by_steps, by_clock)

    @property
    def rate(self) -> float:
        """The rate of the next step."""
        warm = min(1.0, (self.step + 1) / self.settings.warmup) if self.settings.warmup > 0 else 1.0
        cosine = self.settings.schedule == "cosine"
        return self.settings.lr * warm * (0.5 + 0.5 * math.cos(math.pi * self.done) if cosine else self.plateau.factor)

    def loop(self) -> None:
        """Take steps until the budget is used or the rate has fallen to its end."""
        self.net.train()
        sums, count, since = [0.0, 0.0, 0.0], 0, time.monotonic()
        stream = batches(self.source, self.step, self.workers, self.device.type == "cuda")
        while self.done < 1 and self.plateau.factor >= LAST_RATE:
            terms = self.take_step(next(stream))
            if terms is not None:
                sums, count = [a + b for a, b in zip(sums, terms, strict=True)], count + 1
            if self.step % self.settings.log_every == 0 and count:
                loss, bpp, distortion = (value / count for value in sums)
                crops = self.settings.batch_size * self.settings.log_every / (time.monotonic() - since)
                quality = self.objective.quality(distortion)
                self.note({"loss": loss, "bpp": bpp, **quality, "lr": self.rate, "crops_per_second": crops})
                sums, count, since = [0.0, 0.0, 0.0], 0, time.monotonic()
            if self.step % self.settings.validate_every == 0:
                settle_quantiles(self.net)
                self.plateau.look(self.validate()["loss"])
            if time.monotonic() - self.saved > SAVE_SECONDS:
                self.save()
            self.progress.at(self.step, self.seconds)

    def take_step(self, batch: Tensor) -> tuple[float, float, float] | None:
        """Take a step on a batch uint8[B, ...]; return loss, bpp and distortion, or None if the gradient is not finite.

        Raises:
            InputError: too many steps in a row had no finite gradient.
        """
        torch.manual_seed(self.settings.seed * 1_000_003 + self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.step += 1
        terms = self.objective(self.net, self._input(batch))
        self.optimizer.zero_grad(set_to_none=True)
        terms.loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.main, self.settings.clip)
        if not bool(torch.isfinite(norm)):
            self.skipped += 1
            if self.skipped >= MAX_SKIPPED:
                raise InputError(f"no finite gradient in {self.skipped} steps: give a smaller --lr")
            return None
        self.skipped = 0
        self.optimizer.step()
        self.aux.zero_grad(set_to_none=True)
        self.net.aux_loss().backward()  # type: ignore[operator]
        self.aux.step()
        return float(terms.loss.detach()), float(terms.bpp), float(terms.distortion)

    def validate(self) -> Figures:
        """Return the mean figures on the held-out pictures, with rounding in place of noise and all in float32."""
        self.net.eval()
        self.half.on = False
        sums, size = [0.0, 0.0, 0.0], self.settings.batch_size
        with torch.inference_mode():
            for part in torch.split(self.held_out, size):
                terms = self.objective(self.net, self._input(part))
                values = (terms.loss, terms.bpp, terms.distortion)
                sums = [a + float(b) * len(part) for a, b in zip(sums, values, strict=True)]
        self.half.on = self.bf16
        self.net.train()
        loss, bpp, distortion = (value / len(self.held_out) for value in sums)
        figures = {"loss": round(loss, 6), "bpp": round(bpp, 6), **self.objective.quality(distortion)}
        self.note({"held_out": figures, "lr": self.rate})
        return figures

    def note(self, line: dict[str, Any]) -> None:
        """Write a line to the log and show it."""
        self.log.write({"step": self.step, "seconds": round(self.seconds, 1), **line})
        self.progress.show(self.step, self.seconds, line)

    def save(self) -> None:
        """Put state and checkpoint on the disk."""
        settle_quantiles(self.net)
        state = {
            "settings": self.settings.as_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "plateau": asdict(self.plateau),
            "before": self.before,
            "net": _plain(self.net),
            "optimizer": self.optimizer.state_dict(),
            "aux": self.aux.state_dict(),
        }
        save(resume_path(self.settings.output), state)
        self.write_checkpoint({})
        self.saved = time.monotonic()

    def write_checkpoint(self, figures: Figures) -> None:
        """Write the checkpoint: a state dict with tables, and under "intcodec" how it was made."""
        fill_tables(self.net)
        record = {**self.settings.as_dict(), "trained_steps": self.step, "seconds": self.seconds, "held_out": figures}
        save(self.settings.output, {"state_dict": _plain(self.net), "intcodec": record})

    def finish(self) -> Result:
        """Write the final checkpoint and remove the state to resume from."""
        settle_quantiles(self.net)
        after = self.validate()
        self.write_checkpoint(after)
        resume_path(self.settings.output).unlink(missing_ok=True)
        self.progress.close()
        return Result(self.settings.output, self.step, self.seconds, self.before, after)

    def _input(self, batch: Tensor) -> Tensor:
        x = batch.to(self.device, non_blocking=True).float() / 255
        return x.contiguous(memory_format=self.layout) if x.ndim == 4 else x


def _layout(net: nn.Module, device: torch.device) -> torch.memory_format:
    """Return the layout of activations: channels_last where it works.

    On the CPU, PyTorch 2.13 crashes within a few steps of cheng2020 in channels_last and not in the plain layout. What
    sets these models apart is their sub-pixel convolutions.
    """
    shuffles = any(isinstance(module, nn.PixelShuffle) for module in net.modules())
    return torch.contiguous_format if shuffles and device.type == "cpu" else torch.channels_last


def _plain(net: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().cpu().contiguous().clone() for key, value in net.state_dict().items()}


def _has_bf16(device: torch.device) -> bool:
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {name}: PyTorch sees no CUDA device here")
    if not name.startswith(("cpu", "cuda")):
        raise InputError(f"device {name!r}: choose auto, cpu or cuda")
    return torch.device(name)

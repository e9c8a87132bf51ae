"""What a training run is: every choice that a user makes, checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from intcodec.base.errors import InputError

#: lambda of qualities 1 to 8 by metric. Source: CompressAI's model zoo page.
LAMBDAS: Final[dict[str, tuple[float, ...]]] = {
    "mse": (0.0018, 0.0035, 0.0067, 0.0130, 0.0250, 0.0483, 0.0932, 0.1800),
    "ms-ssim": (2.40, 4.58, 8.73, 16.64, 31.73, 60.50, 115.37, 220.00),
}
SCHEDULES: Final = ("plateau", "cosine")
#: What may differ between a run and its continuation: budgets, and what the machine is.
_FREE: Final = ("data", "stills", "output", "init", "steps", "minutes", "threads", "device", "workers")
#: Crops must be multiples of what the hyperprior's strides make of them.
_STRIDE, _CLIP_STRIDE = 64, 128
#: Architectures that are trained on clips.
CLIPS: Final = ("ssf2020",)
#: MS-SSIM halves a picture four times and needs more than ten pixels of the rest.
_MS_SSIM_SIDE: Final = 192


@dataclass(frozen=True)
class Settings:
    """A training run.

    Args:
        arch: a name of `intcodec.zoo.ARCHITECTURES`.
        data: a folder (searched to the bottom) or ZIP archive of pictures; for a video model a folder of folders of
            frames.
        output: the checkpoint to write; the log and the state to resume from lie beside it.
        lmbda: weight of the distortion, see `intcodec.train.objective`.
        metric: "mse" or "ms-ssim".
        N: channels inside the transforms.
        M: channels of y.
        init: a checkpoint to start from, of any architecture; None starts from random weights.
        steps: stop after so many optimiser steps; None does not.
        minutes: stop after so many minutes of wall-clock time; None does not.
        batch_size: crops a step.
        crop: side of a crop in pixels, a multiple of 64.
        lr: the first rate of Adam.
        aux_lr: rate of the auxiliary optimiser, which moves the bottleneck's quantiles.
        clip: largest norm of the gradient.
        warmup: steps over which the rate rises from 0.
        schedule: "cosine" (the budget is known: the rate falls to 0 at its end), or "plateau" (halved when the
            held-out loss stops falling; the run ends when the rate is below lr / 100).
        validate_every: steps between two looks at the held-out pictures.
        log_every: steps between two lines of the log.
        held_out: pictures that are never trained on.
        bf16: run the transforms in bfloat16; the entropy models stay in float32. None: where the device has it, for
            a processor without AVX-512 emulates it ten times slower than float32.
        device: "auto", "cpu" or "cuda".
        threads: threads of torch on the CPU; None leaves it to torch.
        workers: processes that read pictures, 0 reads them between the steps; None is 8 with cuda, else 0.
        seed: of weights, crops and noise.
        frames: frames of a piece of a clip, for a video model.
        stills: a folder or ZIP archive of pictures that are set in motion for half of each batch of a video model.
    """

    arch: str
    data: Path
    output: Path
    lmbda: float
    metric: str = "mse"
    N: int = 128
    M: int = 192
    init: Path | None = None
    steps: int | None = None
    minutes: float | None = None
    batch_size: int = 8
    crop: int = 256
    lr: float = 1e-4
    aux_lr: float = 1e-3
    clip: float = 1.0
    warmup: int = 100
    schedule: str = "cosine"
    validate_every: int = 500
    log_every: int = 50
    held_out: int = 32
    bf16: bool | None = None
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    seed: int = 0
    frames: int = 3
    stills: Path | None = None

    def __post_init__(self) -> None:
        """Check what can be checked without a model and data.

        Raises:
            InputError: a value makes no sense; the message says which.
        """
        if self.metric not in LAMBDAS:
            raise InputError(f"metric {self.metric!r}: choose one of {', '.join(LAMBDAS)}")
        if self.schedule not in SCHEDULES:
            raise InputError(f"schedule {self.schedule!r}: choose one of {', '.join(SCHEDULES)}")
        if self.schedule == "cosine" and self.steps is None and self.minutes is None:
            raise InputError("the cosine schedule needs a budget: give --steps or --minutes, or --schedule plateau")
        stride = _CLIP_STRIDE if self.clips else _STRIDE
        if self.crop < stride or self.crop % stride:
            raise InputError(f"crop {self.crop}: give a multiple of {stride}")
        if self.frames < 2:
            raise InputError(f"frames = {self.frames}: a piece of a clip has at least 2")
        if self.stills is not None and not self.clips:
            raise InputError(f"stills are for video models; give the pictures of {self.arch} as data")
        if self.metric == "ms-ssim" and self.crop < _MS_SSIM_SIDE:
            raise InputError(f"crop {self.crop}: MS-SSIM has five scales and needs at least {_MS_SSIM_SIDE}")
        positive = ("lmbda", "lr", "aux_lr", "clip", "batch_size", "validate_every", "log_every", "steps", "minutes")
        for name in (*positive, "held_out", "threads"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise InputError(f"{name} = {value}: give a positive number")

    @property
    def clips(self) -> bool:
        """Whether the model is trained on clips rather than on pictures."""
        return self.arch in CLIPS

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as JSON values."""
        return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(self).items()}

    def check_continues(self, other: dict[str, Any]) -> None:
        """Refuse to continue another run than this one.

        Args:
            other: what `as_dict` gave when the run was begun.

        Raises:
            InputError: they differ in more than budget and machine.
        """
        mine = self.as_dict()
        for name in mine:
            if name not in _FREE and mine[name] != other.get(name):
                raise InputError(
                    f"cannot resume {self.output}: it was begun with {name} = {other.get(name)}, not {mine[name]}"
                )

"""`intcodec train`: pictures or clips to a float checkpoint. Needs PyTorch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from intcodec.base.errors import InputError
from intcodec.cli.common import positive, say


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        help="train a float model on pictures or clips",
        description="Train a float model by CompressAI's recipe and write a checkpoint that CompressAI and "
        '`intcodec export` load. Needs PyTorch: pip install "intcodec[train]".',
    )
    parser.add_argument("--arch", required=True, metavar="NAME", help="architecture, such as mbt2018_mean")
    parser.add_argument("--data", required=True, metavar="DIR|ZIP", help="pictures; for ssf2020 a folder of clips")
    parser.add_argument("-o", "--output", required=True, metavar="OUT.pth.tar", help="checkpoint to write")
    parser.add_argument("--stills", metavar="DIR|ZIP", help="pictures to set in motion, beside the clips of ssf2020")
    parser.add_argument("--frames", type=positive, default=3, metavar="N", help="of a piece of a clip (default: 3)")
    weight = parser.add_mutually_exclusive_group(required=True)
    weight.add_argument("-q", "--quality", type=int, metavar="Q", help="lambda and channels of quality 1 to 8")
    weight.add_argument("--lmbda", type=number, metavar="L", help="weight of the distortion, such as 0.013")
    parser.add_argument("--metric", choices=("mse", "ms-ssim"), default="mse", help="distortion (default: mse)")
    parser.add_argument("--N", type=positive, help="channels inside (default: of --quality, of --init, or 128)")
    parser.add_argument("--M", type=positive, help="channels of y (default: of --quality, of --init, or 192)")
    parser.add_argument("--init", metavar="CKPT", help="checkpoint to start from; of any architecture and quality")
    parser.add_argument("--steps", type=positive, metavar="N", help="stop after N steps")
    parser.add_argument("--minutes", type=number, metavar="M", help="stop after M minutes of wall-clock time")
    parser.add_argument(
        "--schedule",
        choices=("plateau", "cosine"),
        help="of the rate (default: cosine with --steps or --minutes, else plateau)",
    )
    parser.add_argument("--batch-size", type=positive, default=8, metavar="N", help="crops a step (default: 8)")
    parser.add_argument("--crop", type=positive, default=256, metavar="N", help="side of a crop (default: 256)")
    parser.add_argument("--lr", type=number, default=1e-4, help="first rate (default: 1e-4)")
    parser.add_argument("--aux-lr", type=number, default=1e-3, help="rate of the auxiliary optimiser (default: 1e-3)")
    parser.add_argument("--clip", type=number, default=1.0, help="largest gradient norm (default: 1)")
    parser.add_argument("--validate-every", type=positive, default=500, metavar="N", help="steps (default: 500)")
    parser.add_argument("--log-every", type=positive, default=50, metavar="N", help="steps (default: 50)")
    parser.add_argument("--held-out", type=positive, default=32, metavar="N", help="pictures (default: 32)")
    parser.add_argument(
        "--bf16", action=argparse.BooleanOptionalAction, help="compute in bfloat16 (default: where the device has it)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--threads", type=positive, metavar="N", help="threads on the CPU")
    parser.add_argument("--workers", type=int, metavar="N", help="processes that read pictures (default: 8 with cuda)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, crops and noise (default: 0)")
    parser.add_argument("--resume", action="store_true", help="go on where a killed run stopped, if one did")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=run)


def number(text: str) -> float:
    """Parse a finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    training = _import_train()
    settings = settings_of(args, training)
    progress = training.Progress(args.quiet, args.steps, args.minutes)
    result = training.train(settings, args.resume, progress)
    before, after = (_figures(figures) for figures in (result.before, result.after))
    say(f"{args.output}: {result.steps} steps, {result.seconds / 60:.1f} min", args.quiet)
    say(f"held out: {before} -> {after}", args.quiet)
    return 0


def settings_of(args: argparse.Namespace, training: Any) -> Any:
    """Return the `intcodec.train.Settings` that the options describe."""
    lambdas = training.LAMBDAS[args.metric]
    if args.quality is not None and not 1 <= args.quality <= len(lambdas):
        raise InputError(f"quality {args.quality}: choose 1 to {len(lambdas)}, or give --lmbda")
    init = None if args.init is None else Path(args.init)
    N, M = training.choose_channels(args.arch, args.quality, init)
    budget = args.steps is not None or args.minutes is not None
    return training.Settings(
        arch=args.arch.replace("-", "_"),
        data=Path(args.data),
        output=Path(args.output),
        lmbda=args.lmbda if args.quality is None else lambdas[args.quality - 1],
        metric=args.metric,
        N=args.N or N,
        M=args.M or (args.N or N if args.arch.startswith("cheng2020") else M),
        init=init,
        steps=args.steps,
        minutes=args.minutes,
        batch_size=args.batch_size,
        crop=args.crop,
        lr=args.lr,
        aux_lr=args.aux_lr,
        clip=args.clip,
        schedule=args.schedule or ("cosine" if budget else "plateau"),
        validate_every=args.validate_every,
        log_every=args.log_every,
        held_out=args.held_out,
        bf16=args.bf16,
        device=args.device,
        threads=args.threads,
        workers=args.workers,
        seed=args.seed,
        frames=args.frames,
        stills=None if args.stills is None else Path(args.stills),
    )


def _import_train() -> Any:
    try:
        from intcodec import train
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "intcodec"):
            raise
        raise InputError(f'train needs {missing}, which is not installed: pip install "intcodec[train]"') from error
    return train


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in figures.items())

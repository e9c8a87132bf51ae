"""`intcodec export`: a float checkpoint to an integer model. Needs PyTorch."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from intcodec.base.errors import InputError
from intcodec.cli.common import say


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="turn a float checkpoint into an integer model",
        description='Turn a float checkpoint into an integer model. Needs PyTorch: pip install "intcodec[quantize]".',
    )
    parser.add_argument("--arch", required=True, metavar="NAME", help="architecture, such as bmshj2018_hyperprior")
    parser.add_argument("--checkpoint", metavar="FILE", help="float checkpoint in CompressAI's format")
    parser.add_argument("--pretrained", action="store_true", help="use published weights of --quality and --metric")
    parser.add_argument("--quality", type=int, metavar="Q", help="quality of the published weights, from 1")
    parser.add_argument("--metric", choices=("mse", "ms-ssim"), default="mse", help="metric of the published weights")
    parser.add_argument(
        "--calibration",
        metavar="DIR",
        help="pictures to calibrate on, for ssf2020 folders of frames (default: generated ones)",
    )
    parser.add_argument("--no-onnx", action="store_true", help="store no ONNX graphs: half the size, built when needed")
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="model file to write")
    parser.add_argument("--quiet", action="store_true", help="print errors only")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if (args.checkpoint is None) == (not args.pretrained):
        raise InputError("give either --checkpoint FILE, or --pretrained with --quality Q")
    if args.pretrained and args.quality is None:
        raise InputError("--pretrained needs --quality Q")
    checkpoint, calibration = _path(args.checkpoint), _path(args.calibration)
    model = _import_export()(
        arch=args.arch,
        checkpoint=checkpoint,
        quality=args.quality,
        metric=args.metric,
        pretrained=args.pretrained,
        calibration=calibration,
        output=Path(args.output),
        progress=sys.stderr.isatty() and not args.quiet,
        store_onnx=not args.no_onnx,
    )
    say(f"{args.output}: model {model.model_id}", args.quiet)
    return 0


def _import_export() -> Any:
    try:
        from intcodec.quantize.export import export_model
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "intcodec"):
            raise
        raise InputError(f'export needs {missing}, which is not installed: pip install "intcodec[quantize]"') from error
    return export_model


def _path(text: str | None) -> Path | None:
    if text is not None and not Path(text).exists():
        raise InputError(f"cannot read {text}: No such file or directory")
    return None if text is None else Path(text)

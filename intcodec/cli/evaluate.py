"""`intcodec eval`: rate and distortion of models on pictures, beside other codecs."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intcodec.base import files
from intcodec.base.errors import InputError
from intcodec.cli.common import ENGINE_NAMES, complain, positive, say
from intcodec.modelfile import embedded

if TYPE_CHECKING:
    from intcodec.evaluate.codecs import IntegerModel, PictureCodec
    from intcodec.evaluate.curves import Curve, Loss
    from intcodec.evaluate.floatmodel import FloatModel
    from intcodec.evaluate.report import Report
    from intcodec.evaluate.run import Results
    from intcodec.pictures.codec import Codec

_CODECS = ("jpeg", "webp", "avif")
#: Kodak's pictures, which published figures are about.
_KODAK = "kodim"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "eval",
        help="measure rate and distortion of models",
        description="Measure bits per pixel, PSNR, MS-SSIM and time of models on pictures, beside JPEG, WebP and AVIF. "
        'BD-rates and plots need pip install "intcodec[eval]".',
    )
    parser.add_argument("inputs", nargs="+", metavar="DIR|IMAGE", help="folder of pictures, or a picture")
    parser.add_argument(
        "-m", "--model", action="append", default=[], metavar="MODEL", help="model file (default: every embedded one)"
    )
    parser.add_argument(
        "--checkpoint",
        action="append",
        default=[],
        metavar="FILE",
        help="float checkpoint to put beside; needs PyTorch",
    )
    parser.add_argument(
        "--codecs", default=",".join(_CODECS), metavar="LIST", help="of jpeg, webp, avif, or none (default: all)"
    )
    parser.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        help="show CompressAI's published curves on Kodak (default: if the pictures are Kodak's)",
    )
    parser.add_argument("--plot", metavar="RD.png", help="draw the curves (.png, .svg, .pdf)")
    parser.add_argument("--csv", metavar="FILE", help="write every picture's figures; - is standard output")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    parser.add_argument("--per-picture", action="store_true", help="print every picture's figures too")
    parser.add_argument(
        "--cache", metavar="FILE", help="where results are kept (default: ~/.cache/intcodec/eval.jsonl)"
    )
    parser.add_argument("--no-cache", action="store_true", help="measure everything anew and keep nothing")
    parser.add_argument(
        "--engine", choices=ENGINE_NAMES, help="what computes the networks (default: the best one here)"
    )
    parser.add_argument("--threads", type=positive, metavar="N", help="threads to use")
    parser.add_argument("--max-pixels", type=positive, metavar="N", help="leave out larger pictures")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code: 2 if a picture was left out."""
    from intcodec.evaluate import plot, report
    from intcodec.evaluate.run import evaluate, find_pictures
    from intcodec.evaluate.store import Store, default_path
    from intcodec.pictures.codec import DEFAULT_MAX_PIXELS

    pictures = find_pictures(args.inputs)
    if args.plot:
        plot.check(args.plot)
    notes: list[str] = []
    others = _others(args.codecs, notes)
    models = _models(args)
    floats = _floats(args, models)
    codecs: list[PictureCodec] = [*models, *floats, *others]
    cache = None if args.no_cache else Path(args.cache) if args.cache else default_path()
    pixels = args.max_pixels or DEFAULT_MAX_PIXELS
    results = evaluate(pictures, codecs, Store(cache), pixels, progress=not args.quiet)
    for name, reason in results.failures:
        complain(f"{name}: {reason}; left out")
    if not results.pictures:
        raise InputError("no picture could be evaluated")
    if results.known:
        notes.append(f"{results.known} of {len(pictures) * len(codecs)} results, times included, are from {cache}")
    published = args.published
    if published is None:
        published = all(name.startswith(_KODAK) for name in results.pictures)
    found = _report(results, models, floats, others, published, notes)
    if args.plot:
        plot.draw(found, args.plot, f"Mean of {len(results.pictures)} pictures from {_where(pictures)}")
        say(f"{args.plot}: drawn", args.quiet)
    if args.csv:
        files.write_bytes(args.csv, report.as_csv(found).encode())
    if args.json:
        print(json.dumps(report.as_json(found), indent=1))
    elif args.csv != "-":
        print((report.per_picture(found) + "\n" if args.per_picture else "") + report.text(found), end="")
    return InputError.exit_code if results.failures else 0


def _report(
    results: Results,
    models: list[IntegerModel],
    floats: list[FloatModel],
    others: list[PictureCodec],
    with_published: bool,
    notes: list[str],
) -> Report:
    from intcodec.evaluate.published import published, source
    from intcodec.evaluate.report import Report

    codecs: list[PictureCodec] = [*models, *floats, *others]
    curves = _curves(codecs, results)
    names = {codec.series for codec in others}
    archs = list(dict.fromkeys(["bmshj2018_hyperprior", *(m.arch for m in models), *(f.arch for f in floats)]))
    known = [curve for curve in map(published, archs) if curve is not None] if with_published else []
    if known:
        notes.append(f"published: {source()}")
    if floats:
        notes.append(
            "float: our zoo in float32, latents rounded and coded by our range coder, with the tables of the integer "
            "model made of the checkpoint, if it is here; what CompressAI's tables would give is stated beside"
        )
    losses = _losses(models, floats, dict(zip(codecs, results.rows, strict=True)))
    return Report(
        results,
        codecs,
        [curve for name, curve in curves.items() if name not in names],
        [curve for name, curve in curves.items() if name in names],
        known,
        losses,
        notes,
    )


def _curves(codecs: list[PictureCodec], results: Results) -> dict[str, Curve]:
    from intcodec.evaluate.curves import Curve, Point, mean

    points: dict[str, list[Point]] = {}
    for codec, rows in zip(codecs, results.rows, strict=True):
        points.setdefault(codec.series, []).append(mean(codec.label, rows))
    return {name: Curve(name, found) for name, found in points.items()}


def _losses(models: list[IntegerModel], floats: list[FloatModel], rows: dict[Any, list[dict[str, Any]]]) -> list[Loss]:
    from intcodec.evaluate.curves import loss, mean, slope_at
    from intcodec.evaluate.published import published

    found = []
    for checkpoint in floats:
        for model in models:
            if model.source_sha256 == checkpoint.sha256:
                curve = published(checkpoint.arch)
                rate = mean("", rows[checkpoint]).bpp
                slope = None if curve is None else slope_at(curve, rate)
                found.append(loss(model.arch, model.label, rows[model], rows[checkpoint], slope))
    return found


def _models(args: argparse.Namespace) -> list[IntegerModel]:
    from intcodec.evaluate.codecs import IntegerModel
    from intcodec.pictures.codec import DEFAULT_MAX_PIXELS, load

    options = {"engine": args.engine, "threads": args.threads, "max_pixels": args.max_pixels or DEFAULT_MAX_PIXELS}
    if args.model:
        return [IntegerModel(_picture_codec(name, options), Path(name).name) for name in args.model]
    return [IntegerModel(load(quality=r.quality, **options), f"q{r.quality}") for r in embedded.rungs()]


def _picture_codec(path: str, options: dict[str, Any]) -> Codec:
    from intcodec.clips.framecodec import VideoCodec, load_either

    codec = load_either(path, **options)
    if isinstance(codec, VideoCodec):
        raise InputError(f"{path}: a {codec.model.arch} model codes clips, not pictures")
    return codec


def _floats(args: argparse.Namespace, models: list[IntegerModel]) -> list[FloatModel]:
    if not args.checkpoint:
        return []
    try:
        from intcodec.evaluate.floatmodel import FloatModel
    except ImportError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("", "intcodec"):
            raise
        advice = 'pip install "intcodec[quantize]"'
        raise InputError(f"--checkpoint needs {missing}, which is not installed: {advice}") from error
    converted = {m.source_sha256: m.codec.model.network for m in models if m.source_sha256 is not None}
    return [FloatModel(Path(name), args.threads, converted) for name in args.checkpoint]


def _others(names: str, notes: list[str]) -> list[PictureCodec]:
    from intcodec.evaluate.codecs import OTHERS, PillowCodec, has_codec

    chosen = [] if names == "none" else names.split(",")
    unknown = [name for name in chosen if name not in _CODECS]
    if unknown:
        raise InputError(f"unknown codec {unknown[0]!r}: choose of {', '.join(_CODECS)}, or none")
    found: list[PictureCodec] = []
    for name in chosen:
        if has_codec(name):
            found += [PillowCodec(name, quality) for quality in OTHERS[name][2]]
        else:
            notes.append(f"{name} is NOT measured: this Pillow cannot write it")
            print(f"intcodec: note: {notes[-1]}", file=sys.stderr)
    return found


def _where(pictures: list[Path]) -> str:
    folders = {path.resolve().parent.name for path in pictures}
    return folders.pop() if len(folders) == 1 else f"{len(folders)} folders"

"""Make the embedded models from trained checkpoints; scripts/export-ladder.sh says how to call it.

checkpoints -> export, verify -> intcodec/models/ -> intcodec eval on Kodak -> index, model cards, plot
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

REPO = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPO))

from intcodec.base.files import write_bytes  # noqa: E402
from intcodec.evaluate.curves import Curve, Point, psnr_at  # noqa: E402
from intcodec.evaluate.report import table  # noqa: E402
from intcodec.modelfile.model import Model  # noqa: E402
from intcodec.zoo import guess_architecture, read_state  # noqa: E402

MODELS, CARDS, OUT = REPO / "intcodec" / "models", REPO / "docs" / "models", REPO / "out" / "ladder"
LIMIT = 40_000_000


def intcodec(*args: str) -> str:
    """Run a command of ours and return its output; its messages go through.

    Raises:
        SystemExit: it failed.
    """
    env = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run([sys.executable, "-m", "intcodec", *args], env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"export-ladder: intcodec {' '.join(args)} failed: {done.stdout.strip()}")
    return done.stdout


def export(checkpoint: Path, quality: int) -> dict[str, Any]:
    """Export and verify a rung in out/; return its entry of the index."""
    arch = guess_architecture(read_state(checkpoint))
    if arch is None:
        raise SystemExit(f"export-ladder: {checkpoint} is a checkpoint of no known architecture")
    path = OUT / f"{arch}-{quality}.intm"
    intcodec("export", "--arch", arch, "--checkpoint", str(checkpoint), "--no-onnx", "-o", str(path))
    print(intcodec("verify", str(path)), end="", file=sys.stderr)
    model = Model.load(path)
    return {"quality": quality, "file": path.name, "model_id": model.model_id, "arch": arch, "bytes": len(model.data),
            "facts": {}}  # fmt: skip


def install(rungs: list[dict[str, Any]], default: int) -> None:
    """Put the rungs and their index in place of those that were there."""
    total = sum(rung["bytes"] for rung in rungs)
    if total >= LIMIT:
        raise SystemExit(f"export-ladder: {total} bytes in all, more than {LIMIT}")
    MODELS.mkdir(exist_ok=True)
    for rung in rungs:
        write_bytes(MODELS / rung["file"], (OUT / rung["file"]).read_bytes())
    write_index(rungs, default)
    for path in MODELS.glob("*.intm"):
        if path.name not in {rung["file"] for rung in rungs}:
            path.unlink()


def write_index(rungs: list[dict[str, Any]], default: int) -> None:
    """Write intcodec/models/index.json."""
    write_bytes(MODELS / "index.json", (json.dumps({"default": default, "rungs": rungs}, indent=1) + "\n").encode())


def card(rung: dict[str, Any], checkpoint: Path, measured: dict[str, Any], args: argparse.Namespace) -> str:
    """Return the model card of a rung."""
    import torch

    record = torch.load(checkpoint, map_location="cpu", weights_only=True).get("intcodec", {})
    point = point_of(rung, measured)
    size = f"{rung['bytes'] / 1e6:.1f} MB"
    facts = [
        ("architecture", f"{rung['arch']}, N = {record.get('N', '?')}, M = {record.get('M', '?')}"),
        ("embedded as", f"quality {rung['quality']}, `intcodec/models/{rung['file']}`, {size}"),
        ("model id", f"`{rung['model_id']}`"),
        ("made from", f"`{checkpoint.name}`, SHA-256 `{hashlib.sha256(checkpoint.read_bytes()).hexdigest()}`"),
    ]
    parts = [
        f"# {rung['arch']}, quality {rung['quality']}",
        listing(facts),
        "## Training",
        listing(training(record, args)),
        f"Kodak was used for nothing but the figures below. {len(measured['pictures'])} pictures, means over pictures.",
        "## On Kodak",
        table(
            ("bpp", "PSNR dB", "MS-SSIM"), [(f"{point['bpp']:.4f}", f"{point['psnr']:.3f}", f"{point['ms_ssim']:.5f}")]
        ),
    ]
    over = gains(point, measured)
    if over:
        parts += ["PSNR above other curves at this rate:", table(("", "dB"), over)]
    loss = next((x for x in measured["conversion"] if x["model"] == point["label"]), None)
    if loss:
        figures = (f"{loss['bytes_percent']:+.3f} %", f"{loss['psnr'] - loss['float_psnr']:+.4f}",
                   f"{loss['equivalent']:+.3f} %", f"{loss['worst_equivalent']:+.3f} % {loss['worst']}")  # fmt: skip
        parts += [
            "## Loss of conversion",
            "Against the float checkpoint, really coded; [eval.md](../eval.md) says how.",
            table(("bytes", "PSNR dB", "BD-rate-equivalent", "worst picture"), [figures]),
        ]
    return "\n\n".join(parts) + "\n"


def listing(rows: list[tuple[str, str]]) -> str:
    """Return rows as a Markdown list."""
    return "\n".join(f"- **{name}**: {value}" for name, value in rows)


def training(record: dict[str, Any], args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return what a checkpoint of `intcodec train` says about its training, in rows."""
    if not record:
        return [("recipe", "not recorded in the checkpoint")]
    loss = "lambda * 255^2 * MSE + R" if record["metric"] == "mse" else "lambda * (1 - MS-SSIM) + R"
    start = f"warm start from `{Path(record['init']).name}`" if record.get("init") else "random weights"
    batch = f"{record['batch_size']} crops of {record['crop']}x{record['crop']}"
    held_out = ", ".join(f"{name} {value}" for name, value in record.get("held_out", {}).items())
    return [
        ("loss", f"{loss}, lambda = {record['lmbda']}"),
        ("start", start),
        ("steps", f"{record['trained_steps']} of {batch}, {record['seconds'] / 60:.0f} minutes"),
        ("rate", f"Adam {record['lr']}, {record['schedule']}; gradient norm at most {record['clip']}"),
        ("numbers", "bfloat16 transforms, float32 entropy models" if record["bf16"] else "float32"),
        ("data", args.data),
        ("machine", args.machine),
        ("held out", held_out or "-"),
    ]


def main() -> int:
    """Do it all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--default", type=int, metavar="Q", help="default quality (default: the middle one)")
    parser.add_argument("--data", default="not described", help="what the models were trained on, for the cards")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores, {platform.machine()}", help="for the cards")
    parser.add_argument("--images", type=int, default=24, help="pictures of Kodak to measure on")
    args = parser.parse_args()
    shared = Path(os.environ.get("INTCODEC_SHARED") or REPO.parent / "shared")
    kodak = [str(shared / "data" / "kodak" / f"kodim{k:02}.png") for k in range(1, args.images + 1)]
    OUT.mkdir(parents=True, exist_ok=True)
    rungs = [export(path, k) for k, path in enumerate(args.checkpoints, 1)]
    default = args.default or (len(rungs) + 1) // 2
    install(rungs, default)

    floats = [word for path in args.checkpoints for word in ("--checkpoint", str(path))]
    # The float models measure the loss of conversion; they would only hide the integer ones in the plot.
    measured = json.loads(intcodec("eval", *kodak, *floats, "--json", "--cache", str(OUT / "eval.jsonl")))
    plot = ("--plot", str(REPO / "docs" / "rd.png"), "--cache", str(OUT / "eval.jsonl"))
    print(intcodec("eval", *kodak, *plot))
    for rung in rungs:
        point = point_of(rung, measured)
        rung["facts"] = {"kodak_bpp": round(point["bpp"], 4), "kodak_psnr": round(point["psnr"], 3)}
    write_index(rungs, default)
    CARDS.mkdir(parents=True, exist_ok=True)
    for old in CARDS.glob("*.md"):
        old.unlink()
    for rung, path in zip(rungs, args.checkpoints, strict=True):
        write_bytes(CARDS / f"{rung['arch']}-{rung['quality']}.md", card(rung, path, measured, args).encode())
    return 0


def point_of(rung: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Return a rung's means."""
    points = (p for curve in measured["models"] for p in curve["points"])
    return next(p for p in points if p["label"] == f"q{rung['quality']}")


def gains(point: dict[str, Any], measured: dict[str, Any]) -> list[tuple[str, str]]:
    """Return by how many dB a point lies above each other curve at its rate."""
    found = []
    for curve in measured["others"] + measured["published"]:
        there = psnr_at(Curve(curve["name"], [Point(**p) for p in curve["points"]]), point["bpp"])
        if there is not None:
            found.append((curve["name"], f"{point['psnr'] - there:+.2f}"))
    return found


if __name__ == "__main__":
    sys.exit(main())

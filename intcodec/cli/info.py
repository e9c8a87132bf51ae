"""`intcodec info`: what a compressed file or a model says about itself, and which models are embedded."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import Any

from intcodec.base import files
from intcodec.cli import clips
from intcodec.coding import bitstream
from intcodec.modelfile import embedded
from intcodec.modelfile.container import MODEL_ID_BYTES

#: A model is a ZIP file.
_MODEL_MAGIC = b"PK"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        help="describe a .intc file or a model, or list the embedded models",
        description="Describe a .intc file or a model. A .intc file needs no model for this. "
        "Without a file, list the embedded models.",
    )
    parser.add_argument("input", nargs="?", metavar="FILE.intc|MODEL", help="file to describe; - is standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    if args.input is None:
        return _list(args.json)
    with files.open_input(args.input) as source:
        if source.starts_with(clips.MAGIC):
            described = clips.describe(source)
        else:
            data = source.read_all()
            described = describe_model(data) if data.startswith(_MODEL_MAGIC) else describe_bitstream(data)
    if args.json:
        print(json.dumps(described, indent=2))
    else:
        print_facts(described)
    return 0


def print_facts(described: dict[str, Any]) -> None:
    """Print a line for each thing that `describe_model` or `describe_bitstream` returned."""
    # What the manifest repeats is left to --json.
    manifest = {k: v for k, v in described.get("manifest", {}).items() if k not in described and k != "sha256"}
    for key, value in {**described, **manifest}.items():
        if key != "manifest":
            print(f"{_plain(key).replace('_', ' '):<20} {_plain(value)}")


def _list(as_json: bool) -> int:
    """Print the embedded models."""
    default = embedded.by_quality(None)
    rungs = [{**asdict(rung), "default": rung == default} for rung in embedded.rungs()]
    if as_json:
        print(json.dumps(rungs, indent=2))
        return 0
    for rung in rungs:
        facts = "".join(f", {name.replace('_', ' ')} {value:g}" for name, value in rung["facts"].items())
        text = f"{rung['arch']}, {rung['bytes']} bytes, model {rung['model_id'][: 2 * MODEL_ID_BYTES]}{facts}"
        name = f"quality {rung['quality']}{' (default)' if rung['default'] else ''}"
        print(f"{name:<20} {text}")
    return 0


def describe_bitstream(data: bytes) -> dict[str, Any]:
    """Return what a compressed file says, in the order to print.

    Raises:
        BitstreamError: it is damaged.
    """
    stream = bitstream.parse(data)
    rung = embedded.by_id(stream.model_id)
    return {
        "kind": "intcodec bitstream",
        "version": bitstream.VERSION,
        "width": stream.width,
        "height": stream.height,
        "bytes": len(data),
        "bits_per_pixel": round(8 * len(data) / (stream.width * stream.height), 6),
        "section_bytes": [len(s) for s in stream.sections],
        "overhead_bytes": len(data) - stream.payload_bytes,
        "model_id": stream.model_id.hex(),
        "embedded_quality": rung.quality if rung else None,
        "latents_crc32": f"{stream.latents_crc:08x}",
        "pixels_crc32": None if stream.pixels_crc is None else f"{stream.pixels_crc:08x}",
    }


def describe_model(data: bytes) -> dict[str, Any]:
    """Return what a model says, in the order to print.

    Raises:
        ModelError: it is damaged.
    """
    from intcodec.modelfile.model import Model
    from intcodec.network.derived import DerivedGraphs

    model = Model.load(data)
    network = model.network
    return {
        "kind": "intcodec model",
        "model_id": model.model_id,
        "arch": model.arch,
        "bytes": len(data),
        "graphs": {name: len(graph.rows) for name, graph in network.graphs.items()},
        "latents": {name: latent.channels for name, latent in network.latents.items()},
        "self_test_vectors": len(model.vectors),
        "onnx": "built when needed" if isinstance(model.onnx, DerivedGraphs) else sorted(model.onnx),
        "manifest": dict(model.manifest),
    }


def _plain(value: Any) -> str:
    """Return a value as one line; what a terminal would obey is spelled out, as a manifest may hold any text."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    text = "-" if value is None else str(value)
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)

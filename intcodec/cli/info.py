"""`intcodec info`: what a compressed file or a model says about itself."""

from __future__ import annotations

import argparse
import json
from typing import Any

from intcodec import bitstream, files

#: A model is a ZIP file.
_MODEL_MAGIC = b"PK"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        help="describe a .intc file or a model",
        description="Describe a .intc file or a model. A .intc file needs no model for this.",
    )
    parser.add_argument("input", metavar="FILE.intc|MODEL", help="file to describe; - is standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    data = files.read_bytes(args.input)
    described = describe_model(data) if data.startswith(_MODEL_MAGIC) else describe_bitstream(data)
    if args.json:
        print(json.dumps(described, indent=2))
    else:
        # What the manifest repeats is left to --json.
        manifest = {k: v for k, v in described.pop("manifest", {}).items() if k not in described and k != "sha256"}
        for key, value in {**described, **manifest}.items():
            print(f"{key.replace('_', ' '):<20} {_plain(value)}")
    return 0


def describe_bitstream(data: bytes) -> dict[str, Any]:
    """Return what a compressed file says, in the order to print.

    Raises:
        BitstreamError: it is damaged.
    """
    stream = bitstream.parse(data)
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
        "latents_crc32": f"{stream.latents_crc:08x}",
        "pixels_crc32": None if stream.pixels_crc is None else f"{stream.pixels_crc:08x}",
    }


def describe_model(data: bytes) -> dict[str, Any]:
    """Return what a model says, in the order to print.

    Raises:
        ModelError: it is damaged.
    """
    from intcodec.model import Model

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
        "onnx": sorted(model.onnx),
        "manifest": dict(model.manifest),
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(_plain, value))
    return "-" if value is None else str(value)

"""`intcodec conformance run`: replay the conformance vectors on this machine."""

from __future__ import annotations

import argparse
import json
from typing import Any

from intcodec.base.errors import SelfTestError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "conformance",
        help="check this machine against the conformance vectors",
        description="Check every engine and instruction set of this machine against the conformance vectors.",
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    action = actions.add_parser("run", help="replay the vectors", description="Replay the vectors on this machine.")
    action.add_argument(
        "vectors", metavar="DIR|FILE.zip", nargs="?", help="folder or archive of vectors (default: the checkout's)"
    )
    action.add_argument("--engine", metavar="NAME", help="native, native/ISA, onnxruntime or reference (default: all)")
    action.add_argument("--json", action="store_true", help="print JSON")
    action.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from intcodec.conformance import report, vectors

    root = vectors.find(args.vectors)
    files = vectors.load(root)
    found = report.devices(args.engine)
    results = [report.run(files, device) for device in found if device.missing is None]
    made = report.as_json(root, files, results, [device for device in found if device.missing])
    print(json.dumps(made, indent=1) if args.json else report.as_text(made, files))
    return 0 if made["ok"] else SelfTestError.exit_code

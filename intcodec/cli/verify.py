"""`intcodec verify`: prove a model, from its own integers alone."""

from __future__ import annotations

import argparse
import json
from typing import Any

from intcodec.base import files
from intcodec.base.errors import ModelError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="check a model's integrity and proofs",
        description="Check a model: its hashes, the proof that no accumulator can overflow, that its graphs form a "
        "codec, its self-test vectors.",
    )
    parser.add_argument("model", metavar="MODEL", help="model file to check; - is standard input")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from intcodec.conformance.verify import verify

    report = verify(files.read_bytes(args.model))
    if args.json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        for name, status, detail in report.checks:
            print(f"{status:<8} {name:<22} {detail}")
        print(f"{'verified' if report.ok else 'NOT verified'}: {args.model}, model {report.model_id or 'unknown'}")
    return 0 if report.ok else ModelError.exit_code

"""`intcodec verify`: prove a model, from its own integers alone."""

from __future__ import annotations

import argparse
import json
from typing import Any

from intcodec.errors import ModelError


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "verify",
        help="check a model's integrity and proofs",
        description="Check a model: its hashes, the proof that no accumulator can overflow, its self-test vectors.",
    )
    parser.add_argument("model", metavar="MODEL", help="model file to check")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from intcodec.verify import verify

    report = verify(args.model)
    ok, checks = bool(report["ok"]), report["checks"]
    if args.json:
        rows = [{"name": name, "ok": bool(good), "detail": detail} for name, good, detail in checks]
        print(json.dumps({**report, "ok": ok, "checks": rows}, indent=2, default=str))
    else:
        for name, good, detail in checks:
            print(f"{'ok  ' if good else 'FAIL'} {name}{': ' if detail else ''}{detail}")
        print("verified" if ok else "NOT verified")
    return 0 if ok else ModelError.exit_code

"""The decoder of web/ in Node: the same C compiled to WebAssembly, everything above it written in JavaScript.

`node web/dist/cli.mjs conformance FOLDER` replays the vectors and prints a report of its own; it does not encode.
"""

from __future__ import annotations

import environment
from environment import ROOT, Command, Missing, do, need, once

PROGRAM = ROOT / "web" / "dist" / "cli.mjs"
BUILDER = ROOT / "scripts" / "build-web.sh"


@once
def build() -> None:
    """Build web/dist.

    Raises:
        Missing: it cannot be built, or must not be and is not there.
    """
    need("node")
    if not environment.may_make and not PROGRAM.is_file():
        raise Missing("web/dist is not built (make web)")
    if environment.may_make:
        do([BUILDER], "scripts/build-web.sh")


@once
def node(kind: str) -> Command:
    """Return the decoder with one build of the core, "simd128" or "scalar"."""
    build()
    return Command(("node", str(PROGRAM), "--build", kind, "conformance"))

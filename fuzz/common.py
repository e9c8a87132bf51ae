"""Where the targets in Python find the package and the tiny models of its tests."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import tiny  # noqa: E402
import tinyvideo  # noqa: E402

__all__ = ["ROOT", "tiny", "tinyvideo"]

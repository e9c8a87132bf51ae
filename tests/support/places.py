"""Where things are: the checkout, its tests' helpers, what a developer may have beside it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
SCRIPTS = ROOT / "scripts" / "conformance"
VECTORS = ROOT / "tests" / "conformance"

"""CompressAI's published curves on Kodak: facts to compare with, kept as numbers in published.json."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from intcodec.evaluate.curves import Curve, Point


@cache
def _content() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path(__file__).with_name("published.json").read_text("utf-8"))
    return loaded


def source() -> str:
    """Return where the figures come from."""
    return str(_content()["source"])


def published(arch: str) -> Curve | None:
    """Return the curve of an architecture, None where none was published."""
    found = _content()["curves"].get(arch)
    if found is None:
        return None
    rows = enumerate(zip(found["bpp"], found["psnr"], found["ms_ssim"], strict=True))
    points = [Point(f"{k + 1}", bpp, psnr, ms_ssim) for k, (bpp, psnr, ms_ssim) in rows]
    return Curve(f"CompressAI {arch}, published", points)

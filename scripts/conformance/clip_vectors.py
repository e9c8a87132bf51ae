"""The cases of clips: what is encoded, and each case as JSON with the files that it names.

What may live here: drawing the clips, and turning what the reference engine did with one into a case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import damage
import numpy as np

from intcodec.conformance import clips
from intcodec.conformance.trace import Call
from intcodec.conformance.vectors import read_ppms, write_ppms
from intcodec.engines.reference import ReferenceEngine
from intcodec.modelfile.model import Model
from intcodec.quantize import synthetic

Json = dict[str, Any]

#: Clips by name: what is special, flags, and every how many frames comes a key frame (0: the first only).
CLIPS = {
    "scene": ("a picture in motion, two key frames", ["normal", "odd-size"], 3),
    "pixel": ("frames of one pixel", ["odd-size"], 0),
    "column": ("70 pixels high, 1 wide", ["odd-size"], 0),
    "harsh": ("blocks at the ends of the range that change places", ["odd-size", "saturation"], 0),
    "noise": ("uniform noise: wild motion that leaves the frame, the widest latents", ["escape", "saturation"], 0),
}
#: The clip that is damaged.
DAMAGED = "harsh"


def draw() -> dict[str, np.ndarray]:
    """Return the clips uint8[n, H, W, 3] by name."""
    (scene,) = synthetic.clips(1, 128, 5, seed=3)
    moving = np.stack(scene)
    y, x = np.mgrid[:33, :50]
    blocks = [((x + 3 * t) // 5 + y // 7 + t // 2) % 2 for t in range(4)]
    return {
        "scene": moving[:, :75, :100],
        "pixel": moving[:3, 60:61, 60:61],
        "column": moving[:3, 10:80, 40:41],
        "harsh": np.where(np.stack(blocks)[..., None], [255, 0, 255], [0, 255, 0]).astype(np.uint8),
        "noise": np.random.default_rng(6).integers(0, 256, (3, 48, 64, 3)).astype(np.uint8),
    }


def cases(arch: str, model: Model, folder: Path) -> tuple[list[Json], dict[str, bytes]]:
    """Return the cases of a video model, valid ones first, and the files that they name.

    Args:
        arch: its name.
        model: the model.
        folder: has NAME.ppm for each of CLIPS.
    """
    found, files = list[Json](), dict[str, bytes]()
    for name, (comment, flags, interval) in CLIPS.items():
        data, pixels, frames = _coded(f"{arch}/{name}", model, (folder / f"{name}.ppm").read_bytes(), interval)
        paths = {
            "clip": f"clips/{name}.ppm",
            "stream": f"streams/{arch}/{name}.intc",
            "pixels": f"pixels/{arch}/{name}.ppm",
        }
        files[paths["stream"]], files[paths["pixels"]] = data, pixels
        case = {"id": f"{arch}/{name}", "comment": comment, "flags": flags, "result": "valid", "interval": interval}
        found.append({**case, **paths, "frames": frames})
    good, pixels_path = files[f"streams/{arch}/{DAMAGED}.intc"], f"pixels/{arch}/{DAMAGED}.ppm"
    for name, comment, error, data, options in damage.clips(good):
        case = {"id": f"{arch}/bad-{name}", "comment": comment, "flags": [_flag(name, error)], "result": "invalid"}
        found.append({**case, "error": error, "bytes": data.hex(), "pixels": pixels_path, **options})
    return found, files


def _flag(name: str, error: str) -> str:
    if error == "LimitError":
        return "limit"
    if error == "WrongModelError":
        return "model"
    hostile = ("latents-crc", "pixels-crc", "recoded", "longer", "shorter", "false-key", "wide", "index", "foreign")
    if name in hostile:
        return "hostile"
    return (
        "damaged-header" if name in ("empty", "magic", "version", "colour", "cut-header", "flipped-header") else "cut"
    )


def _coded(name: str, model: Model, given: bytes, interval: int) -> tuple[bytes, bytes, list[Json]]:
    """Encode and decode frames with the reference engine; return the clip, its pixels and the notes of each frame."""
    written = clips.encode(model, ReferenceEngine(model.network), read_ppms(given), interval)
    read = clips.decode(model, ReferenceEngine(model.network), written.data)
    if written.error or read.error:
        raise SystemExit(f"{name}: {written.error or read.error}")
    noted = clips.sections(model.network, written.data, read)
    frames = [
        {"key": len(made) == 2, "sections": made, "calls": _calls(f"{name}, frame {k}", *pair)}
        for k, (made, pair) in enumerate(zip(noted, zip(written.calls, read.calls, strict=True), strict=True))
    ]
    return written.data, write_ppms(read.pixels), frames


def _calls(name: str, encoder: list[Call], decoder: list[Call]) -> list[Json]:
    """Return the encoder's calls; those that the decoder makes, too, must be the same."""
    by_graph = {call.graph: call for call in decoder}
    shared = [call for call in encoder if call.graph in by_graph]
    if len(shared) != len(decoder) or any(by_graph[call.graph] != call for call in shared):
        raise SystemExit(f"{name}: encoder and decoder disagree")
    return [{**call.as_json(), "by": "both" if call in shared else "encoder"} for call in encoder]

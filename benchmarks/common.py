"""What the benchmarks share: where data, models and the peer are, and how a table is printed.

What may live here: finding, caching, formatting. Nothing that measures. Whatever is expensive and does not change goes
to out/, which git ignores, under a name that holds a hash of what it was made from.

INTCODEC_SHARED       folder with data/kodak and data/checkpoints; ../shared by default
INTCODEC_PEER_PYTHON  a Python that has CompressAI; .venv-peer/bin/python by default
INTCODEC_CHECKPOINTS  folder with checkpoints ARCH-*.pth.tar of architectures that the shared folder has none of
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

REPO = Path(__file__).resolve().parent.parent
OUT = REPO / "out"
DATA = Path(os.environ.get("INTCODEC_SHARED") or REPO.parent / "shared") / "data"
ARCHS = ("bmshj2018_factorized", "bmshj2018_hyperprior", "mbt2018_mean")
#: Slow to run, so measured only when asked for.
MORE_ARCHS = ("mbt2018", "cheng2020_anchor", "cheng2020_attn")
#: What a model's bytes are made by: a change here exports it again.
_MAKERS = (
    "quantize/**/*.py",
    "zoo/*.py",
    "onnxwriter/*.py",
    "rows/*.py",
    "network/*.py",
    "entropy/cdf.py",
    "modelfile/*.py",
)


class Missing(SystemExit):
    """Something that this machine lacks: Python prints it on standard error and exits with 1, unless it is caught."""


def require(path: Path) -> Path:
    """Return a path that exists.

    Raises:
        Missing: it does not.
    """
    if not path.exists():
        hint = "set INTCODEC_SHARED to the folder that has data/, or INTCODEC_CHECKPOINTS for a checkpoint"
        raise Missing(f"{Path(sys.argv[0]).name}: {path} is not here; {hint}")
    return path


def kodak(count: int = 24) -> list[Path]:
    """Return the paths of the first `count` Kodak pictures."""
    return [require(DATA / "kodak" / f"kodim{k:02}.png") for k in range(1, count + 1)]


def checkpoint(arch: str) -> Path:
    """Return the path of the trained float checkpoint of an architecture: the shared one, or one's own."""
    shared = DATA / "checkpoints" / f"{arch}-lambda0.013-N128-M192.pth.tar"
    own = os.environ.get("INTCODEC_CHECKPOINTS")
    found = sorted(Path(own).glob(f"{arch}-*.pth.tar")) if own and not shared.exists() else []
    return found[0] if found else require(shared)


def read(path: Path) -> np.ndarray:
    """Return a picture, uint8[H, W, 3]."""
    return np.asarray(Image.open(path).convert("RGB"))


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR in dB of two uint8 pictures."""
    mse = float(np.mean((a.astype(np.float64) - b) ** 2))
    return float("inf") if mse == 0 else 10 * float(np.log10(255**2 / mse))


@cache
def sha256(path: Path) -> str:
    """Return the first 12 hex digits of a file's SHA-256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.replace(path)


def model_path(arch: str, settings: dict[str, Any] | None = None) -> Path:
    """Return an integer model of the architecture's checkpoint, exported now unless it is in out/ already.

    Args:
        arch: the architecture.
        settings: fields of `intcodec.quantize.precision.Precision` that differ from its defaults; hedge=0 is
            CompressAI's choice of scale rows.
    """
    makers = sorted(p for pattern in _MAKERS for p in (REPO / "intcodec").glob(pattern))
    key = json.dumps([sha256(checkpoint(arch)), [sha256(p) for p in makers], settings or {}])
    path = OUT / f"{arch}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.intm"
    if not path.exists():
        print(f"exporting {path.relative_to(REPO)}", file=sys.stderr, flush=True)
        write_whole(path, export(arch, settings))
    return path


def export(arch: str, settings: dict[str, Any] | None, pictures: Iterable[np.ndarray] | None = None) -> bytes:
    """Return a model bundle of the architecture's checkpoint.

    Args:
        arch: the architecture.
        settings: see `model_path`.
        pictures: calibration pictures uint8[H, W, 3]; None is the generated set.
    """
    from intcodec import zoo
    from intcodec.modelfile.model import Model
    from intcodec.quantize import export, precision, synthetic

    chosen = pictures
    if pictures is None and arch in export.VIDEO_ARCHITECTURES:
        chosen = synthetic.clips(export.SYNTHETIC_CLIPS)
    elif pictures is None:
        chosen = synthetic.pictures(export.SYNTHETIC_COUNT)
    chosen_precision = precision.Precision(**settings) if settings else None
    model = zoo.load_checkpoint(arch, checkpoint(arch))
    return Model.build(export.quantize(arch, model, chosen, chosen_precision)).data


def peer_python() -> str:
    """Return the Python interpreter that has CompressAI.

    Raises:
        Missing: there is none.
    """
    fallback = REPO / ".venv-peer" / "bin" / "python"
    python = os.environ.get("INTCODEC_PEER_PYTHON") or (str(fallback) if fallback.exists() else "")
    if not python:
        raise Missing("no Python with CompressAI here: run `make peer`, or set INTCODEC_PEER_PYTHON")
    return python


class Peer:
    """CompressAI in a process of its own that stays alive; see peer_compressai.py.

    Example:
        with Peer("mbt2018_mean", threads=2) as peer:
            row = peer.measure(path)
    """

    def __init__(self, arch: str, threads: int, passive: bool = False) -> None:
        """Start it. With `passive`, its threads sleep at barriers instead of spinning: far faster on a busy machine."""
        script = Path(__file__).with_name("peer_compressai.py")
        command = [peer_python(), str(script), arch, str(checkpoint(arch)), str(threads)]
        env = {**os.environ, **({"OMP_WAIT_POLICY": "PASSIVE"} if passive else {})}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)

    def measure(self, picture: Path) -> dict[str, Any]:
        """Compress and decompress once: {"bytes", "psnr", "encode_s", "decode_s"}.

        Raises:
            Missing: the process ended; its message is on standard error.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            print(picture.resolve(), file=self._process.stdin, flush=True)
        except BrokenPipeError:
            raise Missing("CompressAI's process ended early") from None
        line = self._process.stdout.readline()
        if not line:
            raise Missing("CompressAI's process ended early")
        row: dict[str, Any] = json.loads(line)
        return row

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table, the first column to the left and the others to the right."""
    cells = [list(map(str, header)), *(list(map(str, row)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = [" | ".join(c.ljust(w) if k == 0 else c.rjust(w) for k, (c, w) in enumerate(zip(row, widths, strict=True)))
             for row in cells]  # fmt: skip
    rule = " | ".join("-" * w if k == 0 else "-" * (w - 1) + ":" for k, w in enumerate(widths))
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])

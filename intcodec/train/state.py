"""The files of a run: checkpoint, state to resume from, log.

mine.pth.tar           {"state_dict": ..., "intcodec": ...}: CompressAI and `intcodec export` load it
mine.pth.tar.resume    weights, optimisers and counters; gone when the run is finished
mine.pth.tar.log       JSON, a line for each interval and each look at the held-out pictures
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import torch

from intcodec.base.errors import InputError
from intcodec.base.files import atomic_output, write_bytes


def resume_path(output: Path) -> Path:
    """Return where the state to resume from lies."""
    return output.with_name(output.name + ".resume")


def log_path(output: Path) -> Path:
    """Return where the log lies."""
    return output.with_name(output.name + ".log")


def save(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain values so that the file appears whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    with atomic_output(path) as file:
        torch.save(content, file)


def load(path: Path) -> dict[str, Any]:
    """Read what `save` wrote, onto the CPU.

    Raises:
        InputError: it cannot be read or is something else.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises whatever the unpickler stumbles on
        raise InputError(f"{path}: not a training state, or a damaged one; delete it to begin anew") from error
    if not isinstance(content, dict) or "settings" not in content:
        raise InputError(f"{path}: not a training state; delete it to begin anew")
    return content


class Log:
    """A file of JSON lines. Opening it at a step drops the lines of later steps, which will be lived again."""

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = []
        if step and path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError, TypeError, KeyError):  # the last line of a killed run is cut
                    if json.loads(line)["step"] <= step:
                        kept.append(line)
        write_bytes(path, "".join(line + "\n" for line in kept).encode())

    def write(self, line: dict[str, Any]) -> None:
        """Append a line.

        Raises:
            InputError: the disk does not let it.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise InputError(f"cannot write {self._path}: {error.strerror or error}") from error

"""Results on the disk: one JSON line for each codec and picture, appended as soon as it is known.

A killed evaluation loses one line at most; lines that cannot be read are left out.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from intcodec.base.errors import InputError

Row = dict[str, Any]
#: A change here makes every older result unknown: for when a row's fields or a metric change.
_VERSION = 1


def default_path() -> Path:
    """Return where results are kept unless the user says otherwise: in XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "intcodec" / "eval.jsonl"


class Store:
    """Results by key.

    Args:
        path: the file; None keeps them in memory only.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._rows: dict[str, Row] = {}
        if path is None:
            return
        try:
            content = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        except OSError as error:
            raise InputError(f"cannot read {path}: {error.strerror or error}") from error
        for line in content.splitlines():
            with contextlib.suppress(ValueError, TypeError, KeyError):
                entry = json.loads(line)
                self._rows[entry["key"]] = dict(entry["row"])

    @staticmethod
    def key(codec: str, picture_sha256: str) -> str:
        """Return the key of a codec's result on a picture."""
        return hashlib.sha256(f"{_VERSION}\n{codec}\n{picture_sha256}".encode()).hexdigest()[:32]

    def get(self, key: str) -> Row | None:
        """Return a result, or None."""
        return self._rows.get(key)

    def put(self, key: str, row: Row) -> None:
        """Keep a result.

        Raises:
            InputError: the file cannot be written.
        """
        self._rows[key] = row
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as file:  # a line in one write, on a fresh line if the last one was cut
                start = b"" if file.tell() == 0 or _ends_in_newline(self.path) else b"\n"
                file.write(start + json.dumps({"key": key, "row": row}).encode() + b"\n")
        except OSError as error:
            raise InputError(f"cannot write {self.path}: {error.strerror or error}") from error


def _ends_in_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"

"""The conformance vectors as files: found, read, and pictures in and out of PPM.

What may live here: paths and parsing. What a case means is in `replay`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from intcodec.base.errors import InputError
from intcodec.conformance import archive

FORMAT = 1
#: Kinds of vector files, in the order they are replayed.
KINDS = ("rangecoder", "models", "pictures", "clips")
#: Those whose valid cases are encoded to a stream and decoded to pixels.
CODED = ("pictures", "clips")
Json = dict[str, Any]


@dataclass(frozen=True)
class VectorFile:
    """One JSON file of cases.

    Args:
        root: the folder or archive that it is in; paths inside are relative to it.
        name: its own name without the ending.
        content: what it says; its "kind" is one of KINDS.
        files: all files of an archive by name; None of a folder.
    """

    root: Path
    name: str
    content: Json
    files: Mapping[str, bytes] | None = None

    @property
    def kind(self) -> str:
        """What its cases test."""
        return str(self.content["kind"])

    @property
    def cases(self) -> list[Json]:
        """Its cases, in order."""
        cases: list[Json] = self.content["cases"]
        return cases

    def read(self, path: str) -> bytes:
        """Return a file that a case names.

        Raises:
            InputError: it cannot be read.
        """
        return _read(self.root, self.files, path)


def find(name: str | None) -> Path:
    """Return the vectors: the folder or archive named, or tests/conformance of the checkout that this code is in.

    Raises:
        InputError: there is none.
    """
    checkout = Path(__file__).resolve().parents[2] / "tests" / "conformance"
    root = checkout if name is None else Path(name)
    if not root.is_file() and not (root / "rangecoder.json").is_file():
        if name is None:
            raise InputError("this installation has no conformance vectors beside it: name the folder that has them")
        raise InputError(f"{root} holds no conformance vectors (rangecoder.json is missing)")
    return root


def load(root: Path) -> list[VectorFile]:
    """Return all vector files of a folder or an archive, in the order of KINDS, then by name.

    Raises:
        InputError: a file cannot be read or is of another format.
    """
    files = archive.read(root) if root.is_file() else None
    names = files if files is not None else [path.name for path in root.glob("*.json")]
    found = []
    for name in sorted(names):
        if name == "schema.json" or "/" in name or not name.endswith(".json"):
            continue
        data = _read(root, files, name)
        try:
            content = json.loads(data)
            known = content["format"] == FORMAT and content["kind"] in KINDS
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{root / name} is no file of conformance vectors") from error
        if not known:
            raise InputError(f"{root / name}: this intcodec knows format {FORMAT} of the kinds {', '.join(KINDS)}")
        found.append(VectorFile(root, name.removesuffix(".json"), content, files))
    if not found:
        raise InputError(f"{root} holds no conformance vectors")
    return sorted(found, key=lambda f: KINDS.index(f.kind))


def coded(files: list[VectorFile]) -> Iterator[tuple[VectorFile, Json]]:
    """Yield every valid case of a picture or a clip with its file."""
    for file in files:
        if file.kind in CODED:
            yield from ((file, case) for case in file.cases if case["result"] == "valid")


def read_ppm(data: bytes) -> NDArray[np.uint8]:
    """Return the picture uint8[H, W, 3] of a binary PPM with 255 levels and no comments.

    Raises:
        InputError: it is something else.
    """
    frames = read_ppms(data)
    if len(frames) != 1:
        raise InputError(f"a binary PPM of {len(frames)} pictures in place of one")
    return frames.reshape(frames.shape[1:])


def read_ppms(data: bytes) -> NDArray[np.uint8]:
    """Return the pictures uint8[n, H, W, 3] of binary PPMs of one size that follow each other without a gap.

    Raises:
        InputError: they are something else, or none.
    """
    words = data[:40].split(maxsplit=4)
    try:
        width, height = int(words[1]), int(words[2])
        head = _ppm_head(width, height)
        step = len(head) + 3 * width * height
        heads = {data[at : at + len(head)] for at in range(0, len(data), step)}
        if min(width, height) < 1 or len(data) % step or heads != {head}:
            raise ValueError
    except (ValueError, IndexError) as error:
        raise InputError("no binary PPM with 255 levels") from error
    frames = np.frombuffer(data, np.uint8).reshape(-1, step)[:, len(head) :]
    return frames.reshape(-1, height, width, 3)


def write_ppm(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture uint8[H, W, 3] as a binary PPM."""
    height, width, _ = picture.shape
    return _ppm_head(width, height) + picture.tobytes()


def write_ppms(frames: Iterable[NDArray[np.uint8]]) -> bytes:
    """Return pictures uint8[H, W, 3] as binary PPMs, one after the other."""
    return b"".join(map(write_ppm, frames))


def _ppm_head(width: int, height: int) -> bytes:
    return f"P6\n{width} {height}\n255\n".encode()


def _read(root: Path, files: Mapping[str, bytes] | None, name: str) -> bytes:
    if files is not None:
        if name not in files:
            raise InputError(f"{root} has no member {name}")
        return files[name]
    try:
        return (root / name).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {root / name}: {error.strerror or error}") from error

"""The corpus in the tree: one ZIP file of inputs for each target, so that a thousand tiny files are seven.

python fuzz/corpus.py unpack TARGET FOLDER           before fuzzing
python fuzz/corpus.py pack TARGET FOLDER [LIMIT]     after it: inputs of FOLDER, LIMIT bytes of them before packing
"""

from __future__ import annotations

import hashlib
import sys
import zipfile
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"
#: Bytes of a target's ZIP file, unless the caller says otherwise.
LIMIT = 70_000
_EPOCH = (1980, 1, 1, 0, 0, 0)


def inputs(target: str) -> list[bytes]:
    """Return a target's inputs."""
    with zipfile.ZipFile(CORPUS / f"{target}.zip") as archive:
        return [archive.read(name) for name in archive.namelist()]


def pack(target: str, folder: Path, limit: int = LIMIT) -> int:
    """Write a target's ZIP file; return how many inputs it holds."""
    found = sorted({path.read_bytes() for path in folder.iterdir()}, key=lambda data: (len(data), data))
    # Every k-th, so that long inputs are among them.
    size = sum(len(data) + 140 for data in found)
    chosen = found[:: max(1, -(-size // limit))]
    CORPUS.mkdir(exist_ok=True)
    with zipfile.ZipFile(CORPUS / f"{target}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for data in chosen:
            archive.writestr(zipfile.ZipInfo(hashlib.sha256(data).hexdigest()[:12], _EPOCH), data, zipfile.ZIP_DEFLATED)
    return len(chosen)


def unpack(target: str, folder: Path) -> int:
    """Write a target's inputs as files; return how many there are."""
    folder.mkdir(parents=True, exist_ok=True)
    for data in inputs(target):
        (folder / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(inputs(target))


if __name__ == "__main__":
    command, limits = {"pack": pack, "unpack": unpack}[sys.argv[1]], [int(limit) for limit in sys.argv[4:]]
    print(command(sys.argv[2], Path(sys.argv[3]), *limits), "inputs")

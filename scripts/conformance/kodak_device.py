"""What kodak.py runs on a device: pictures to streams with one model, or streams to pixels that are compared.

    python kodak_device.py encode MODEL ENGINE OUT WANTED PICTURE.ppm ..  OUT/NAME.intc, compared with WANTED/NAME.intc
    python kodak_device.py decode MODEL ENGINE OUT WANTED FILE.intc ..    OUT/NAME.ppm, compared with WANTED/NAME.ppm

Prints {"engine", "pictures": {NAME: difference}}: null if there is none; a number of bytes or of pixels that differ; or
a message, if the device refuses, or there is nothing to compare with. Pictures that are equal are not written again.
Needs numpy and intcodec alone, which is all that most devices have.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from intcodec.base.errors import IntCodecError
from intcodec.conformance.report import devices
from intcodec.conformance.vectors import read_ppm, write_ppm
from intcodec.modelfile.model import Model
from intcodec.modelfile.selftest import self_test
from intcodec.pictures.codec import Codec, check_proof

Difference = int | str | None


def differing_pixels(a: bytes, b: bytes) -> int:
    """Return how many pixels of two PPM files differ; all of the second's, if their sizes do."""
    first, second = read_ppm(a), read_ppm(b)
    if first.shape != second.shape:
        return second.shape[0] * second.shape[1]
    return int(np.count_nonzero((first != second).any(axis=2)))


def differing_bytes(a: bytes, b: bytes) -> int:
    """Return how many bytes of two files differ, those that one has more included."""
    return sum(x != y for x, y in zip(a, b, strict=False)) + abs(len(a) - len(b))


def work(action: str, codec: Codec, source: Path, out: Path, wanted: Path) -> Difference:
    """Encode or decode one file and compare."""
    try:
        if action == "encode":
            target, made = f"{source.stem}.intc", codec.encode(read_ppm(source.read_bytes()))
        else:
            target, made = f"{source.stem}.ppm", write_ppm(codec.decode(source.read_bytes()))
    except IntCodecError as error:
        return f"{type(error).__name__}: {error}"
    if not (wanted / target).is_file():
        (out / target).write_bytes(made)
        return "nothing to compare with"
    good = (wanted / target).read_bytes()
    if action == "encode" or made != good:
        (out / target).write_bytes(made)
    if made == good:
        return None
    return differing_bytes(made, good) if action == "encode" else differing_pixels(made, good)


def main(action: str, model_path: str, engine_name: str, out: str, wanted: str, *sources: str) -> None:
    """Load the model as `intcodec.load` does, with the engine named, and work through the files."""
    model = Model.load(model_path)
    check_proof(model)
    (device,) = devices(engine_name)
    engine = device.make(model)
    self_test(model, engine)
    codec = Codec(model, engine)
    found = {Path(s).stem: work(action, codec, Path(s), Path(out), Path(wanted)) for s in sources}
    print(json.dumps({"engine": device.name, "pictures": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])

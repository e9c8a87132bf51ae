"""Encode a photograph once, decode it on every engine, and compare bytes and pixels.

    python examples/demo.py [IMAGE] [--model MODEL]

Without IMAGE the photograph is scikit-image's coffee cup. Writes the compressed file and the decoded picture to out/.
The exit code is 1 if any byte or pixel differs between engines.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import intcodec
from intcodec.engines import ENGINES
from intcodec.pictures.images import read_picture, write_picture

OUT = Path(__file__).resolve().parent.parent / "out"
#: Pixels up to which the reference engine, slow on purpose, takes part.
REFERENCE_MAX = 1 << 20


@dataclass(frozen=True)
class Result:
    """What one engine made of the picture, and in how many seconds."""

    engine: str
    data: bytes
    picture: np.ndarray
    encode_s: float
    decode_s: float


def photograph() -> tuple[str, np.ndarray]:
    """Return the name and pixels of a picture to show: a sample photograph, or a generated one where there is none."""
    spec = find_spec("skimage")  # found, not imported: only its pictures are of interest
    for name in ("coffee.png", "astronaut.png", "chelsea.png"):
        path = Path(spec.origin).parent / "data" / name if spec is not None and spec.origin else None
        if path is not None and path.exists():
            return f"{name} of scikit-image", read_picture(path, intcodec.DEFAULT_MAX_PIXELS).picture
    from intcodec.quantize.synthetic import pictures

    print("note: no photograph here. `pip install --no-deps scikit-image` brings one, or name your own: demo.py IMAGE")
    return "a generated picture", next(pictures(count=1, side=384))


def run(engine: str, model: str | None, picture: np.ndarray) -> Result:
    """Encode and decode with one engine."""
    codec = intcodec.load(model, engine=engine)
    begin = time.perf_counter()
    data = codec.encode(picture)
    middle = time.perf_counter()
    decoded = codec.decode(data)
    return Result(engine, data, decoded, middle - begin, time.perf_counter() - middle)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Return the PSNR in dB of two uint8 pictures."""
    return 10 * float(np.log10(255**2 / np.mean((a.astype(np.float64) - b) ** 2)))


def digest(data: bytes | np.ndarray) -> str:
    """Return the start of the SHA-256 of bytes or of a picture's pixels."""
    return hashlib.sha256(np.ascontiguousarray(data) if isinstance(data, np.ndarray) else data).hexdigest()[:16]


def save(result: Result) -> tuple[Path, Path]:
    """Write the compressed file and the decoded picture."""
    OUT.mkdir(exist_ok=True)
    compressed, decoded = OUT / "photo.intc", OUT / "photo.png"
    compressed.write_bytes(result.data)
    with decoded.open("wb") as file:
        write_picture(file, result.picture, str(decoded))
    return compressed, decoded


def main() -> int:
    """Run the demonstration and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", nargs="?", help="a picture file")
    parser.add_argument("--model", help="a model file (default: the one that comes with intcodec)")
    args = parser.parse_args()
    if args.image:
        if not Path(args.image).is_file():
            parser.error(f"{args.image} is not a file")
        name, picture = args.image, read_picture(args.image, intcodec.DEFAULT_MAX_PIXELS).picture
    else:
        name, picture = photograph()
    height, width, _ = picture.shape
    print(f"picture   {name}, {width}x{height}, {picture.nbytes} bytes of pixels\n")

    print("engine          encode     decode   SHA-256 of file    SHA-256 of pixels")
    results: list[Result] = []
    for engine in ENGINES:
        if engine == "reference" and height * width > REFERENCE_MAX:
            print(f"{engine:12} left out: it would take minutes for more than {REFERENCE_MAX} pixels")
            continue
        results.append(run(engine, args.model, picture))
        r = results[-1]
        digests = f"{digest(r.data)}   {digest(r.picture)}"
        print(f"{engine:12} {r.encode_s:7.2f} s  {r.decode_s:7.2f} s   {digests}", flush=True)

    first = results[0]
    same = all(r.data == first.data and np.array_equal(r.picture, first.picture) for r in results)
    bits = 8 * len(first.data) / (height * width)
    print(f"\nresult    {'every byte and every pixel is equal' if same else 'THE ENGINES DIFFER'}")
    print(f"size      {len(first.data)} bytes, {bits:.3f} bits a pixel, PSNR {psnr(picture, first.picture):.2f} dB")
    compressed, decoded = save(first)
    print(f"written   {compressed}\n          {decoded}")
    return 0 if same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except intcodec.IntCodecError as error:
        sys.exit(f"demo: {error}")

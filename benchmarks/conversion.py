"""Loss of conversion: the integer model beside the float checkpoint that it was made from, on Kodak.

    python benchmarks/conversion.py [--images 24] [--arch A ...] [--engine native] [--precision NAME=VALUE ...] [--json]

Ours is exported here with the default calibration; every picture becomes a real file and is decoded from it. Bytes are
those of the entropy coder's sections, which is what CompressAI's strings are; the container's share (header, lengths,
checksums) is stated beside. CompressAI runs the same checkpoint with its own coder, and its picture is rounded to 8
bits as ours is. The exit code is 1 if a bar is missed.

A hyperprior model's bytes hold a gain that is no property of conversion: ours has tables that expect outliers, and its
borders between them where calibration pictures become smallest. `intcodec eval --checkpoint` gives the float model the
same, and shows the loss of conversion alone (docs/eval.md).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import ARCHS, MORE_ARCHS, OUT, Peer, checkpoint, kodak, model_path, psnr, read, sha256, table, write_whole

import intcodec
from intcodec.coding import bitstream

#: The bars: what conversion may cost at most, in percent of the bytes and in dB.
BYTES_BAR, PSNR_BAR = 0.1, -0.01


@dataclass(frozen=True)
class Row:
    """One picture: bytes of the coded sections, bytes of the file, PSNR in dB, and CompressAI's bytes and PSNR."""

    image: str
    bytes: int
    file_bytes: int
    psnr: float
    peer_bytes: int
    peer_psnr: float


@dataclass(frozen=True)
class Loss:
    """The means of an architecture; differences are ours less the peer's."""

    arch: str
    images: int
    bytes: float
    file_bytes: float
    peer_bytes: float
    bytes_percent: float
    psnr: float
    peer_psnr: float
    psnr_db: float
    worst_bytes_percent: float
    worst_bytes_image: str
    worst_psnr_db: float
    worst_psnr_image: str

    @property
    def ok(self) -> bool:
        """Whether both bars are kept."""
        return self.bytes_percent <= BYTES_BAR and self.psnr_db >= PSNR_BAR


def measure_peer(arch: str, pictures: Sequence[Path], threads: int) -> dict[str, dict[str, Any]]:
    """Return CompressAI's {"bytes", "psnr"} by picture; results are kept in out/, as they do not change."""
    path = OUT / f"peer-{arch}-{sha256(checkpoint(arch))}.json"
    known: dict[str, dict[str, Any]] = json.loads(path.read_text()) if path.exists() else {}
    missing = [p for p in pictures if p.name not in known]
    if missing:
        with Peer(arch, threads) as peer:
            for picture in missing:
                row = peer.measure(picture)
                known[picture.name] = {"bytes": row["bytes"], "psnr": row["psnr"]}
        write_whole(path, json.dumps(known, indent=1).encode())
    return known


def measure(codec: intcodec.Codec, pictures: Sequence[Path], peer: dict[str, dict[str, Any]]) -> list[Row]:
    """Encode and decode pictures with our codec and put CompressAI's figures beside."""
    rows = []
    for path in pictures:
        picture = read(path)
        data = codec.encode(picture)
        quality = psnr(picture, codec.decode(data))
        other = peer[path.name]
        payload = bitstream.parse(data).payload_bytes
        rows.append(Row(path.name, payload, len(data), quality, other["bytes"], other["psnr"]))
    return rows


def summarize(arch: str, rows: Sequence[Row]) -> Loss:
    """Return the means over pictures and the worst picture of each figure."""
    size, file_size, quality, peer_size, peer_quality = np.array([list(asdict(r).values())[1:] for r in rows]).T
    percent, db = 100 * (size / peer_size - 1), quality - peer_quality
    at_bytes, at_psnr = int(percent.argmax()), int(db.argmin())
    mean_percent = 100 * (size.mean() / peer_size.mean() - 1)
    means = (size.mean(), file_size.mean(), peer_size.mean(), mean_percent, quality.mean(), peer_quality.mean())
    worst = (float(percent[at_bytes]), rows[at_bytes].image, float(db[at_psnr]), rows[at_psnr].image)
    return Loss(arch, len(rows), *map(float, means), float(db.mean()), *worst)


def show(losses: Sequence[Loss]) -> str:
    """Return the table."""
    header = ("model", "bytes", "CompressAI", "difference", "PSNR dB", "CompressAI", "difference", "worst bytes",
              "worst PSNR", "file bytes", "bars")  # fmt: skip
    rows = []
    for x in losses:
        worst_bytes = f"{x.worst_bytes_percent:+.3f} % {x.worst_bytes_image.removesuffix('.png')}"
        worst_psnr = f"{x.worst_psnr_db:+.4f} {x.worst_psnr_image.removesuffix('.png')}"
        sizes = (f"{x.bytes:.0f}", f"{x.peer_bytes:.0f}", f"{x.bytes_percent:+.3f} %")
        quality = (f"{x.psnr:.3f}", f"{x.peer_psnr:.3f}", f"{x.psnr_db:+.4f}")
        file_size = f"{x.file_bytes:.0f} ({x.file_bytes - x.bytes:+.0f})"
        rows.append((x.arch, *sizes, *quality, worst_bytes, worst_psnr, file_size, "PASS" if x.ok else "FAIL"))
    return table(header, rows)


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Parse "weight_bits=14" and the like."""
    split = (pair.partition("=") for pair in pairs)
    return {name: float(value) if "." in value else int(value) for name, _, value in split}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=24, choices=range(1, 25), metavar="N", help="how many of Kodak")
    parser.add_argument("--arch", nargs="+", default=ARCHS, choices=ARCHS + MORE_ARCHS)
    parser.add_argument("--engine", help="native, onnxruntime or reference")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--precision", nargs="+", default=(), metavar="NAME=VALUE", help="activation_bits=13, hedge=0 ..."
    )
    parser.add_argument("--json", action="store_true", help="print JSON, every picture included")
    args = parser.parse_args()
    losses, details = [], {}
    pictures = kodak(args.images)
    for arch in args.arch:
        path = model_path(arch, settings_of(args.precision))
        codec = intcodec.load(path, engine=args.engine, threads=args.threads)
        rows = measure(codec, pictures, measure_peer(arch, pictures, args.threads))
        losses.append(summarize(arch, rows))
        details[arch] = {**asdict(losses[-1]), "rows": [asdict(row) for row in rows]}
    if args.json:
        print(json.dumps(details, indent=1))
    else:
        print(f"Mean of {len(pictures)} Kodak pictures; bars: bytes {BYTES_BAR:+} %, PSNR {PSNR_BAR:+} dB\n")
        print(show(losses))
    return 0 if all(loss.ok for loss in losses) else 1


if __name__ == "__main__":
    sys.exit(main())

"""Real pictures and real models between devices: encoded on one, decoded on another; every byte and pixel is compared.

    python scripts/conformance/kodak.py                      24 pictures, every model that there is, every pair
    python scripts/conformance/kodak.py --pictures 2 --only s390x --model mean     few of them; words may be repeated
    python scripts/conformance/kodak.py --markdown docs/kodak-devices.md
    python scripts/conformance/kodak.py --again              forget results of earlier runs

Models are the embedded default and the shared checkpoints, exported once to out/; pictures and checkpoints are where
benchmarks/common.py looks for them (INTCODEC_SHARED). Devices are those of `make conformance`, which sets them up. The
first encoder, this machine's fastest engine, makes the streams and the pixels that all others are compared with. A pair
that has run is not run again until the code, the model or the pictures change: a run that is interrupted goes on.

The exit code is 1 if anything differs or fails, 2 if nothing could run. What cannot be set up is skipped aloud.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import device_pairs
import devices
import environment
import local
from device_pairs import Place, Progress, Row, Subject
from devices import Device
from environment import HOME, ROOT, Missing, digest
from matrix import say
from verdicts import FAILED, OK

from intcodec.base.files import write_bytes
from intcodec.conformance.vectors import write_ppm
from intcodec.modelfile import embedded

sys.path.append(str(ROOT / "benchmarks"))
import common

FASTEST = f"this machine, native/{local.LEVELS[-1]}"
OLDEST, NEWEST = "this machine, onnxruntime 1.17.3", "this machine, onnxruntime newest"
ARM = "aarch64 neoverse-n1, native/neon"
#: Names of `devices.every`: (encoder, decoder), quick ones first. FASTEST becomes the best level that this machine has.
PAIRS = (
    (FASTEST, "this machine, native/avx2"),
    (FASTEST, "this machine, native/scalar"),
    (FASTEST, "WebAssembly in Node, simd128"),
    (FASTEST, NEWEST),
    (FASTEST, OLDEST),
    (OLDEST, FASTEST),
    (FASTEST, ARM),
    (FASTEST, "i386 (32 bits), native/scalar"),
    (FASTEST, "s390x (big-endian), native/scalar"),
    (ARM, FASTEST),
)


class Store:
    """Rows of earlier runs in a file, by all that they depend on."""

    def __init__(self, path: Path, again: bool) -> None:
        self._path, self._lock = path, threading.Lock()
        self._known = json.loads(path.read_text()) if path.is_file() and not again else {}
        kernels = (ROOT / "_ext").rglob("*.[ch]")
        self._code = digest([*(ROOT / "intcodec").rglob("*.py"), *(ROOT / "_ext").glob("*.pyx"), *kernels])

    def key(self, pair: str, subject: Subject, pictures: list[Path]) -> str:
        """Return the name of a row."""
        return digest([subject.path, *pictures], self._code, pair)

    def get(self, key: str) -> Row | None:
        """Return a row, if it is known."""
        return Row(**self._known[key]) if key in self._known else None

    def put(self, key: str, row: Row) -> None:
        """Keep a row that is ok; others are worth another try."""
        with self._lock:
            if row.status == OK:
                self._known[key] = dataclasses.asdict(row)
                write_bytes(self._path, json.dumps(self._known, indent=1).encode())


def subjects(words: list[str] | None, work: Path) -> list[Subject]:
    """Return the models whose name has a word, quick ones first; those without a checkpoint are named aloud."""
    rung = embedded.by_quality(None)
    found = [(f"embedded {rung.arch}, quality {rung.quality}", ROOT / "intcodec" / "models" / rung.file)]
    for arch in (*common.ARCHS, *common.MORE_ARCHS):
        if words and not any(word in arch for word in words):
            continue
        try:
            found.append((arch, common.model_path(arch)))
        except common.Missing as missing:
            say(f"*** SKIPPED: {arch}: no checkpoint: {missing}")
    chosen = [(name, path) for name, path in found if not words or any(word in name for word in words)]
    return [Subject(name, path, work / digest([path])[:16]) for name, path in chosen]


def kodak(number: int, work: Path) -> list[Path]:
    """Return Kodak's pictures as PPM files."""
    made = []
    for path in common.kodak(number):
        target = work / "pictures" / f"{path.stem}.ppm"
        if not target.is_file():
            common.write_whole(target, write_ppm(common.read(path)))
        made.append(target)
    return made


def ready(names: set[str], known: dict[str, Device]) -> dict[str, Place | str]:
    """Set devices up one after another; return each, or the reason why it cannot be had."""
    places: dict[str, Place | str] = {}
    for name in sorted(names):
        try:
            if name not in known:
                raise Missing("this machine has no such device")
            places[name] = Place(known[name], known[name].prepare())
        except Missing as missing:
            places[name] = str(missing)
            say(f"*** SKIPPED: {name}: {missing}")
    return places


def fastest(known: dict[str, Device]) -> Place:
    """Return this machine at the highest level that it has."""
    for level in reversed(local.LEVELS):
        device = known[f"this machine, native/{level}"]
        try:
            return Place(device, device.prepare())
        except Missing as missing:
            say(f"*** {device.name}: {missing}")
    raise SystemExit("the native engine is not built")


def run(
    places: dict[str, Place | str],
    home: Place,
    pair: tuple[str, str],
    subject: Subject,
    pictures: list[Path],
    batch: int,
    progress: Progress,
    store: Store,
) -> Row:
    """Return the row of a pair with a model: why it cannot be had, what an earlier run found, or what comes out now."""
    first, second, name = places[pair[0]], places[pair[1]], " -> ".join(pair)
    for place in (first, second):
        if isinstance(place, str):
            return Row(name, subject.name, note=place)
    assert isinstance(first, Place)
    assert isinstance(second, Place)
    key = store.key(name, subject, pictures)
    row = store.get(key)
    if row is not None:
        progress.add(len(pictures), f"{name}, {subject.name}: known from an earlier run")
        return row
    row = device_pairs.run(first, second, home, subject, pictures, batch, progress)
    store.put(key, row)
    return row


def main() -> int:
    """Set up, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", metavar="N", type=int, default=24, help="the first N of Kodak (default: all 24)")
    parser.add_argument("--only", metavar="WORD", action="append", help="pairs with this word")
    parser.add_argument("--model", metavar="WORD", action="append", help="models with this word")
    parser.add_argument("--no-set-up", action="store_true", help="skip devices that are not set up")
    parser.add_argument("--again", action="store_true", help="forget results of earlier runs")
    parser.add_argument("--batch", metavar="N", type=int, default=6, help="pictures for one process (default: 6)")
    parser.add_argument("--jobs", metavar="N", type=int, default=len(os.sched_getaffinity(0)), help="pairs at a time")
    parser.add_argument("--markdown", metavar="FILE", type=Path)
    args = parser.parse_args()
    environment.may_make = not args.no_set_up
    work = HOME / "kodak"
    known = {device.name: device for device in devices.every()}
    home = fastest(known)
    pictures, models = kodak(args.pictures, work), subjects(args.model, work)
    chosen = [tuple(home.device.name if name == FASTEST else name for name in pair) for pair in PAIRS]
    chosen = [pair for pair in chosen if not args.only or any(word in " -> ".join(pair) for word in args.only)]
    places = ready({name for pair in chosen for name in pair}, known)
    store, progress = Store(work / "rows.json", args.again), Progress(len(chosen) * len(models) * len(pictures))
    for subject in models:
        device_pairs.prepare(home, subject, pictures)
    begin, writing = time.monotonic(), threading.Lock()
    rows = {(pair, subject): Row(" -> ".join(pair), subject.name, note="not run yet")
            for pair in chosen for subject in models}  # fmt: skip

    def job(pair: tuple[str, str], subject: Subject) -> None:
        rows[pair, subject] = run(places, home, pair, subject, pictures, args.batch, progress, store)
        if args.markdown:
            with writing:
                write_bytes(args.markdown, device_pairs.as_markdown(list(rows.values())).encode())

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(job, *zip(*rows, strict=True)))
    done = list(rows.values())
    print(f"\n{device_pairs.table(done)}\n\n{device_pairs.summary(done)}\nrun in {time.monotonic() - begin:.0f} s")
    if any(row.status == FAILED for row in done):
        return 1
    return 0 if any(row.status == OK for row in done) else 2


if __name__ == "__main__":
    sys.exit(main())

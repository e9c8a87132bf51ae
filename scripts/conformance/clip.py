"""A long clip on every device: the same bytes from every encoder, the same pixels of every frame from every decoder.

    python scripts/conformance/clip.py -m ssf2020.intm                 set up what is missing in .conformance/, run all
    python scripts/conformance/clip.py -m ssf2020.intm --only native   devices whose name has a word; may be repeated
    python scripts/conformance/clip.py -m ssf2020.intm --no-set-up --json FILE -i clip.y4m

A hundred frames with one key frame, so that a difference in any of them reaches all that follow: Vid4's walk there and
back, then a cut to park_joy. This machine's best engine encodes them at two sizes. The small clip is decoded by every
device of the matrix; the engines and instruction sets of this machine, the native ones with 1, 2 and 3 threads, encode
it again as well. The large clip is for the native engine alone. All is compared here, digest by digest.

The exit code is 1 if anything differs, 2 if nothing could run. What cannot be set up is skipped aloud, with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import chain, cycle, islice
from pathlib import Path
from typing import Any

import clip_device
import devices
import environment
import local
import numpy as np
from clip_device import Frame
from environment import ROOT, Command, Missing
from verdicts import FAILED, OK, SKIPPED

from intcodec.clips.frames import ColourChoice
from intcodec.clips.sources import open_source
from intcodec.pictures.codec import DEFAULT_MAX_PIXELS

WORKER = Path(clip_device.__file__)
DATA = Path(os.environ.get("INTCODEC_SHARED") or ROOT.parent / "shared") / "data" / "video" / "test"
WALK, PARK_JOY = "walk", "park_joy_420_720p50_frm0to9_480x270.y4m"
THREADS = (1, 2, 3)
HERE = "this machine"
SLOWEST = 12 * 3600  # seconds that a device may take


@dataclass(frozen=True)
class Expected:
    """A clip as this machine's best engine makes it.

    Args:
        size: "WxH".
        clip: the file with the encoded clip.
        frames: the file with the frames, uint8[n, H, W, 3].
        digest: SHA-256 of the encoded clip.
        pictures: digests of the decoded frames.
    """

    size: str
    clip: Path
    frames: Path
    digest: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """What a device made of a clip. `seconds` is processor time."""

    name: str
    size: str
    status: str
    note: str = ""
    pictures: int = 0
    encoded: bool = False
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """One run of a device."""

    name: str
    command: Command
    engine: str
    threads: int
    want: Expected
    encodes: bool

    def run(self, model: Path, interval: int) -> Row:
        """Run it and judge it."""
        interpreter = self.command.argv[: -len(local.INTCODEC)]
        argv = [str(WORKER), str(model), str(self.want.clip), self.engine, str(self.threads)]
        argv += [str(self.want.frames), str(interval)] if self.encodes else []
        done, seconds = Command(interpreter, self.command.env, self.command.unset).run(*argv, timeout=SLOWEST)
        try:
            found = json.loads(done.stdout)
        except ValueError:
            words = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            found = {"pictures": [], "clip": None, "error": f"no report ({done.returncode}): {words[-1][:160]}"}
        return judge(self.name, self.want, found, self.encodes, seconds)


def judge(name: str, want: Expected, found: dict[str, Any], encodes: bool, seconds: float) -> Row:
    """Return the row of a device that has run."""
    same = [a == b for a, b in zip(found["pictures"], want.pictures, strict=False)]
    problems = [found["error"]] if found["error"] else []
    if not all(same):
        problems.append(f"frame {same.index(False)} has other pixels")
    if len(found["pictures"]) != len(want.pictures):
        problems.append(f"{len(found['pictures'])} frames, {len(want.pictures)} expected")
    if encodes and found["clip"] != want.digest:
        problems.append("the encoded clip has other bytes")
    return Row(name, want.size, FAILED if problems else OK, "; ".join(problems), sum(same), encodes, seconds)


def frames(source: Path | None, count: int, height: int, width: int) -> np.ndarray:
    """Return `count` frames uint8[n, height, width, 3]: the middle of `source`'s, or of the test clips'.

    Raises:
        Missing: the test clips are not here.
    """
    if source is None and not DATA.is_dir():
        raise Missing(f"{DATA} is not here: set INTCODEC_SHARED to the folder that has data/, or give -i CLIP")
    first = list(cropped(source or DATA / WALK, height, width))
    then = [] if source else cropped(DATA / PARK_JOY, height, width)
    made = list(islice(cycle(chain(first, first[-2:0:-1], then)), count))
    if not made:
        raise Missing(f"no frames of {width}x{height} in {source or DATA}")
    return np.stack(made)


def cropped(path: Path, height: int, width: int) -> Iterator[Frame]:
    """Yield the middle of a clip's frames; none if they are smaller."""
    with open_source(str(path), DEFAULT_MAX_PIXELS, ColourChoice()) as source:
        top, left = (source.format.height - height) // 2, (source.format.width - width) // 2
        if min(top, left) >= 0:
            for frame in source.frames:
                yield frame[top : top + height, left : left + width]


def expected(folder: Path, model: Path, given: np.ndarray, interval: int) -> Expected:
    """Encode frames with this machine's best engine, and decode them."""
    codec = clip_device.make_codec(str(model), "native", len(os.sched_getaffinity(0)))
    size = f"{given.shape[2]}x{given.shape[1]}"
    clip, stored = folder / f"{size}.intc", folder / f"{size}.npy"
    clip.write_bytes(clip_device.encode(codec, given, interval))
    np.save(stored, given)
    found = clip_device.report(str(model), clip.read_bytes(), "native", codec.engine.threads, (), 0)
    if found["error"] or len(found["pictures"]) != len(given):
        raise SystemExit(f"the best engine of this machine cannot decode its own clip: {found['error']}")
    digest = hashlib.sha256(clip.read_bytes()).hexdigest()
    return Expected(size, clip, stored, digest, tuple(found["pictures"]))


def plan(chosen: list[devices.Device], small: Expected, large: Expected | None) -> tuple[list[Job], list[Row]]:
    """Prepare devices; return what to run, and a row for each that cannot be had."""
    jobs, skipped = list[Job](), list[Row]()
    for device in chosen:
        try:
            if device.engine is None:
                raise Missing("this decoder knows no clips")
            command = device.prepare()
        except Missing as missing:
            skipped.append(Row(device.name, small.size, SKIPPED, str(missing)))
            print(f"*** SKIPPED: {device.name}: {missing}", flush=True)
            continue
        mine, native = device.name.startswith(HERE), device.engine.startswith("native")
        for threads in THREADS if mine and native else (1,):
            name = f"{device.name}, {threads} thread{'s' * (threads > 1)}"
            jobs.append(Job(name, command, device.engine, threads, small, mine))
            if mine and native and large is not None:
                jobs.append(Job(name, command, device.engine, threads, large, True))
    return jobs, skipped


def as_text(rows: Sequence[Row], count: int) -> str:
    """Return the table."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':<{width}}  {'clip':>8} {'frames':>7} {'encoded':>8} {'cpu s':>7}"]
    for row in rows:
        mark = row.status if row.status == OK else f"*** {row.status} *** {row.note}"
        encoded = "-" if not row.encoded else "differs" if "other bytes" in row.note else "same"
        lines.append(
            f"{row.name:<{width}}  {row.size:>8} {row.pictures:>3}/{count:<3} {encoded:>8} {row.seconds:>7.0f}  {mark}"
        )
    counts = [sum(row.status == status for row in rows) for status in (OK, FAILED, SKIPPED)]
    lines += ["", "{} runs agree on every byte and pixel of all {} frames, {} differ, {} skipped".format(
        counts[0], count, *counts[1:]
    )]  # fmt: skip
    return "\n".join(lines)


def size(text: str) -> tuple[int, int]:
    """Return (height, width) of "WxH"."""
    width, _, height = text.partition("x")
    return int(height), int(width)


def main() -> int:
    """Encode, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-m", "--model", type=Path, required=True)
    parser.add_argument("-i", "--input", type=Path, metavar="CLIP", help="frames to code in place of the test clips")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--small", type=size, default=(96, 128), metavar="WxH", help="128x96 unless said otherwise")
    parser.add_argument("--large", type=size, default=(480, 720), metavar="WxH", help="720x480; 0x0: none")
    parser.add_argument("--interval", type=int, default=0, help="a key frame every so many frames; 0: the first only")
    parser.add_argument("--only", metavar="WORD", action="append", help="devices whose name has this word")
    parser.add_argument("--no-set-up", action="store_true", help="skip devices that are not set up")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="devices at a time")
    parser.add_argument("--json", metavar="FILE", type=Path)
    args = parser.parse_args()
    environment.may_make = not args.no_set_up
    environment.HOME.mkdir(exist_ok=True)
    model, begin = args.model.resolve(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            sizes = [s for s in (args.small, args.large) if min(s) > 0]
            wanted = [expected(Path(folder), model, frames(args.input, args.frames, *s), args.interval) for s in sizes]
        except Missing as missing:
            print(f"*** SKIPPED: {missing}")
            return 2
        for want in wanted:
            print(f"{want.size}: {len(want.pictures)} frames in {want.clip.stat().st_size} bytes", flush=True)
        chosen = [d for d in devices.every() if not args.only or any(word in d.name for word in args.only)]
        jobs, rows = plan(chosen, wanted[0], wanted[1] if len(wanted) > 1 else None)

        def shown(job: Job) -> Row:
            row = job.run(model, args.interval)
            print(f"{row.status:<8} {row.name}, {row.size} {row.note}", flush=True)
            return row

        with ThreadPoolExecutor(args.jobs) as pool:
            rows += pool.map(shown, jobs)
    if rows:
        print(f"\n{as_text(rows, args.frames)}; {time.monotonic() - begin:.0f} s")
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    if not any(row.status == OK for row in rows):
        return 2
    return 1 if any(row.status == FAILED for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

"""Pairs of devices on real pictures: one encodes, another decodes, and what differs is counted.

What may live here: running a pair with one model, its row, and the tables of rows. Which pairs, models and pictures is
in kodak.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kodak_device
import local
from devices import Device
from environment import Command
from matrix import say
from verdicts import FAILED, OK, SKIPPED

from intcodec.conformance.vectors import read_ppm

#: Seconds after which a batch of pictures is given up: emulated devices take minutes a picture.
PATIENCE = 4 * 3600
Found = dict[str, Any]  # of each picture what differs, as kodak_device.py has it


@dataclass(frozen=True)
class Subject:
    """A model: its name in the tables, its file, and the folder of what was made with it."""

    name: str
    path: Path
    folder: Path


@dataclass
class Row:
    """A pair with a model. `seconds` is processor time, encoding only where `pictures` were encoded for this pair."""

    pair: str
    model: str
    pictures: int = 0
    failures: int = 0
    pixels: int = 0
    bytes: int = 0
    seconds: float = 0.0
    note: str = ""

    @property
    def status(self) -> str:
        """OK, FAILED or SKIPPED."""
        if self.failures or self.pixels or self.bytes:
            return FAILED
        return OK if self.pictures else SKIPPED


@dataclass(frozen=True)
class Place:
    """A device that is ready."""

    device: Device
    command: Command

    def code(self, action: str, model: Path, out: Path, wanted: Path, files: Sequence[Path]) -> tuple[Found, float]:
        """Encode or decode files on it; return differences by name, as kodak_device.py has them, and seconds."""
        out.mkdir(parents=True, exist_ok=True)
        if self.device.engine is None:
            return self._decode_in_node(model, out, wanted, files)
        argv = (
            *self.command.argv[: -len(local.INTCODEC)],
            kodak_device.__file__,
            action,
            str(model),
            self.device.engine,
        )
        command = dataclasses.replace(self.command, argv=argv)
        done, seconds = command.run(str(out), str(wanted), *map(str, files), timeout=PATIENCE)
        try:
            return json.loads(done.stdout)["pictures"], seconds
        except (ValueError, KeyError):
            words = [line for line in done.stderr.splitlines() if line.strip()] or ["no message"]
            problem = f"exit code {done.returncode}: {words[-1][:200]}"
            return {file.stem: problem for file in files}, seconds

    def _decode_in_node(self, model: Path, out: Path, wanted: Path, files: Sequence[Path]) -> tuple[Found, float]:
        found: Found = {}
        total = 0.0
        command = dataclasses.replace(self.command, argv=(*self.command.argv[:-1], "decode"))
        for file in files:
            made = out / f"{file.stem}.ppm"
            made.unlink(missing_ok=True)
            done, seconds = command.run(str(file), str(model), str(made))
            total += seconds
            if done.returncode:
                found[file.stem] = f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
            else:
                found[file.stem] = (
                    kodak_device.differing_pixels(made.read_bytes(), (wanted / made.name).read_bytes()) or None
                )
                made.unlink()
        return found, total


class Progress:
    """Counts pictures aloud."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._lock = total, 0, threading.Lock()

    def add(self, count: int, what: str) -> None:
        """Say that pictures are done."""
        with self._lock:
            self._done += count
            say(f"[{self._done}/{self._total}] {what}")


def count(row: Row, found: Found, wanted: Path, encoding: bool) -> None:
    """Add what a batch came to. A picture that does not decode counts with all of its pixels."""
    for name, difference in found.items():
        if isinstance(difference, str):
            row.failures += 1
            row.note = row.note or f"{name}: {difference}"
            if not encoding:
                height, width, _ = read_ppm((wanted / f"{name}.ppm").read_bytes()).shape
                row.pixels += height * width
        elif encoding:
            row.bytes += difference or 0
        else:
            row.pixels += difference or 0
            row.pictures += 1


def run(
    encoder: Place,
    decoder: Place,
    home: Place,
    subject: Subject,
    pictures: Sequence[Path],
    batch: int,
    progress: Progress,
) -> Row:
    """Encode on one device, decode on another, and compare with what `home` made of the pictures."""
    row = Row(f"{encoder.device.name} -> {decoder.device.name}", subject.name)
    streams, pixels = subject.folder / "streams", subject.folder / "pixels"
    mine = (
        streams
        if encoder.device.name == home.device.name
        else subject.folder / "of" / encoder.device.name.replace("/", "-")
    )
    out = subject.folder / "wrong" / row.pair.replace("/", "-")
    for at in range(0, len(pictures), batch):
        part = pictures[at : at + batch]
        left = list(part)
        if mine != streams:
            found, seconds = encoder.code("encode", subject.path, mine, streams, part)
            row.seconds += seconds
            count(row, found, pixels, encoding=True)
            left = [file for file in part if not isinstance(found[file.stem], str)]
        if left:
            files = [mine / f"{file.stem}.intc" for file in left]
            found, seconds = decoder.code("decode", subject.path, out, pixels, files)
            row.seconds += seconds
            count(row, found, pixels, encoding=False)
        wrong = f"  *** {row.failures} fail, {row.pixels} pixels and {row.bytes} bytes differ ***"
        verdict = wrong if row.status == FAILED else ""
        progress.add(len(part), f"{row.pair}, {row.model}: {row.seconds:.0f} s{verdict}")
    return row


def prepare(home: Place, subject: Subject, pictures: Sequence[Path]) -> None:
    """Let the first encoder make the streams and the pixels.

    Raises:
        SystemExit: it fails.
    """
    for action, folder, files in (
        ("encode", "streams", pictures),
        ("decode", "pixels", [subject.folder / "streams" / f"{p.stem}.intc" for p in pictures]),
    ):
        out = subject.folder / folder
        found, seconds = home.code(action, subject.path, out, subject.folder / "nothing", files)
        bad = {k: v for k, v in found.items() if v != "nothing to compare with"}
        if bad:
            raise SystemExit(f"{home.device.name} cannot {action} with {subject.name}: {bad}")
        say(f"{home.device.name} {action}s {len(files)} pictures with {subject.name}: {seconds:.0f} s")


HEAD = ("encoder -> decoder", "model", "pictures", "failures", "differing pixels", "differing bytes", "cpu s", "")


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|" + "--:|" * 5 + "---|"]
    for r in rows:
        note = r.status + (f": {r.note}" if r.note else "")
        cells = (r.pair, r.model, r.pictures, r.failures, r.pixels, r.bytes, f"{r.seconds:.0f}", note)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def summary(rows: Sequence[Row]) -> str:
    """Return the verdict in one line."""
    run = [r for r in rows if r.status != SKIPPED]
    pairs, models = len({r.pair for r in run}), len({r.model for r in run})
    total = [sum(values) for values in zip(*((r.pictures, r.failures, r.pixels, r.bytes) for r in run), strict=True)]
    if not run:
        return "nothing has run"
    text = f"{pairs} pairs of devices, {models} models, {total[0]} pictures decoded: {total[1]} failures, "
    return text + f"{total[2]} differing pixels, {total[3]} differing bytes; {len(rows) - len(run)} skipped"


def as_markdown(rows: Sequence[Row]) -> str:
    """Return docs/kodak-devices.md."""
    lines = [
        "# Kodak between devices",
        "",
        "Written by `scripts/conformance/kodak.py --markdown`; not by hand. Pictures of Kodak (768x512) are encoded on",
        "one device and decoded on another. All pixels are compared with those that this machine's fastest engine",
        "decodes; where another device encodes, all bytes are compared with those that this machine encodes. A picture",
        "that is refused counts as a failure, and all of its pixels as differing. Processor time is of one thread,",
        "encoding included where it is not this machine's; emulation takes most of it where a processor is emulated.",
        "",
        f"{summary(rows)}.",
        "",
        table(rows),
        "",
    ]
    return "\n".join(lines)

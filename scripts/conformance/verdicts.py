"""From reports to rows: what each device must show, and the tables.

What may live here: judging and writing. A row trusts no device's own verdict alone: digests of all streams that it
encoded and of all pictures that it decoded are compared with the files of the vectors.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from environment import VECTORS, digest

from intcodec.conformance import vectors
from intcodec.conformance.cases import sha256

Json = dict[str, Any]
OK, FAILED, SKIPPED = "ok", "FAILED", "SKIPPED"


@dataclass(frozen=True)
class Row:
    """One line of the matrix: a device, or a control. `seconds` is processor time."""

    name: str
    status: str
    note: str = ""
    engine: str = ""
    numpy: str = ""
    cases: int = 0
    streams: int = 0
    pictures: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Expected:
    """What every device must arrive at: number of cases, SHA-256 of streams and of pixels by case."""

    cases: int
    streams: Mapping[str, str]
    pixels: Mapping[str, str]


def expected(clips: bool = True) -> Expected:
    """Read it from the files of the vectors; without `clips`, for a decoder of pictures alone."""
    files = [file for file in vectors.load(VECTORS) if clips or file.kind != "clips"]
    valid = list(vectors.coded(files))
    return Expected(
        sum(len(file.cases) for file in files),
        {case["id"]: sha256(file.read(case["stream"])) for file, case in valid},
        {case["id"]: sha256(vectors.read_ppms(file.read(case["pixels"])).tobytes()) for file, case in valid},
    )


def parse(done: subprocess.CompletedProcess[str]) -> Json | str:
    """Return the only device of a report, with "numpy" and its name, or a line that says why there is none."""
    try:
        report = json.loads(done.stdout)
        if "devices" not in report:  # the decoder in Node
            return {"name": report["device"], "numpy": "", "streams": {}, **report}
        ((name, device),) = report["devices"].items()
        return {"name": name, "numpy": report["numpy"], **device}
    except (ValueError, KeyError):
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return f"no report (exit code {done.returncode}): {(lines or ['no message'])[-1][:200]}"


def judge(name: str, found: Json | str, want: Expected, encodes: bool, seconds: float) -> Row:
    """Return the row of a device that has run."""
    if isinstance(found, str):
        return Row(name, FAILED, found, seconds=seconds)
    problems = [f"{case}: {problem}" for case, problem in found["failures"].items()]
    if found["cases"] != want.cases:
        problems.append(f"{found['cases']} cases replayed, {want.cases} expected")
    if encodes and found["streams"] != want.streams:
        problems.append("the encoded streams are not those of the vectors")
    if found["pixels"] != want.pixels:
        problems.append("the decoded pixels are not those of the vectors")
    note = problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else "") if problems else ""
    counts = found["cases"], len(found["streams"]), len(found["pixels"])
    return Row(name, FAILED if problems else OK, note, found["name"], found["numpy"], *counts, seconds)


def judge_control(name: str, found: Json | str, seconds: float) -> Row:
    """Return the row of a negative control: ok if the vectors saw that it is wrong, from its pictures."""
    title = f"control: {name}"
    if isinstance(found, str):
        return Row(title, FAILED, found, seconds=seconds)
    seen = [case for case in found["failures"] if not case.endswith("/model")]
    if not seen:
        return Row(title, FAILED, "it is wrong on purpose, and no vector saw it", seconds=seconds)
    note = f"seen to be wrong in {len(seen)} of {found['cases']} cases"
    return Row(title, OK, note, cases=found["cases"], seconds=seconds)


def judge_trap(name: str, kind: str, done: subprocess.CompletedProcess[str], seconds: float) -> Row:
    """Return the row of a device's trap: ok if plain 8-bit products go wrong there."""
    title = f"control: plain 8-bit products on {name.partition(',')[0]}, {name.rpartition(' ')[2]}"
    try:
        wrong = json.loads(done.stdout)[kind]
    except (ValueError, KeyError):
        return Row(title, FAILED, f"no result: {done.stderr.strip()[-200:]}", seconds=seconds)
    if not wrong:
        return Row(title, FAILED, f"weights {kind}: none is wrong, so this is not the processor it claims to be")
    return Row(title, OK, f"weights {kind}: {wrong} sums saturate, as they must", seconds=seconds)


def as_text(rows: Sequence[Row]) -> str:
    """Return the matrix as text."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'':<{width}}  {'cases':>5} {'streams':>7} {'pictures':>8} {'cpu s':>6}"]
    for row in rows:
        numbers = f"{row.cases:>5} {row.streams:>7} {row.pictures:>8} {row.seconds:>6.1f}"
        mark = row.status if row.status == OK else f"*** {row.status} ***"
        lines.append(f"{row.name:<{width}}  {numbers}  {mark}{'  ' + row.note if row.note else ''}")
    return "\n".join([*lines, "", summary(rows)])


def summary(rows: Sequence[Row]) -> str:
    """Return the verdict in one line."""
    devices = [row for row in rows if not row.name.startswith("control")]
    count = {status: sum(row.status == status for row in devices) for status in (OK, FAILED, SKIPPED)}
    controls = [row for row in rows if row.name.startswith("control")]
    blind = sum(row.status == FAILED for row in controls)
    text = (
        f"{count[OK]} devices agree on every byte, tensor and pixel, {count[FAILED]} differ, {count[SKIPPED]} skipped; "
    )
    return text + f"{len(controls) - blind} of {len(controls)} negative controls are seen to be wrong"


def as_markdown(rows: Sequence[Row], want: Expected) -> str:
    """Return docs/matrix.md."""
    files = [path for path in VECTORS.rglob("*") if path.is_file()]
    lines = [
        "# The matrix of devices",
        "",
        "Written by `make conformance` (scripts/conformance/matrix.py); not by hand. Every device replays all",
        f"{want.cases} conformance vectors: {len(want.streams)} pictures and clips are encoded to the stored bytes",
        "and decoded to the stored pixels, with every tensor on the way, and invalid input is refused. The streams are",
        "equal on all devices, so each decodes what every other has encoded. WebAssembly in Node decodes no clips.",
        "",
        f"{summary(rows)}. Vectors {digest(files)[:16]}.",
        "",
        "| device | engine | numpy | cases | streams encoded | pictures decoded | |",
        "|---|---|---|--:|--:|--:|---|",
    ]
    for row in rows:
        if not row.name.startswith("control"):
            cells = (row.name, row.engine, row.numpy, row.cases, row.streams, row.pictures)
            lines.append(f"| {' | '.join(map(str, cells))} | {row.status}{': ' + row.note if row.note else ''} |")
    lines += ["", "Negative controls, which must be seen to be wrong:", "", "| control | |", "|---|---|"]
    for row in rows:
        if row.name.startswith("control"):
            lines.append(f"| {row.name.removeprefix('control: ')} | {row.status}: {row.note} |")
    return "\n".join(lines) + "\n"

"""The matrix: every device that can be set up here replays every conformance vector, and all must agree.

    python scripts/conformance/matrix.py               set up what is missing in .conformance/, run all, print a table
    python scripts/conformance/matrix.py --only s390x  devices whose name has a word; may be repeated
    python scripts/conformance/matrix.py --no-set-up   skip what is not set up yet (for tests)
    python scripts/conformance/matrix.py --json FILE --markdown docs/matrix.md

The exit code is 1 if a device differs or a negative control is not noticed, 2 if nothing could run. A device that
cannot be set up is skipped aloud, with the reason.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import controls
import devices
import environment
import local
import verdicts
from devices import Device
from environment import Command, Missing
from verdicts import FAILED, OK, SKIPPED, Row

CONTROLS = Path(controls.__file__)
Job = Callable[[], Row]
_printing = threading.Lock()


def say(text: str) -> None:
    """Print a line at once."""
    with _printing:
        print(text, flush=True)


def run_device(device: Device, command: Command) -> Row:
    """Replay all vectors on a device; those of clips only where it is not a program of its own."""
    ours = device.engine is not None
    done, seconds = command.run(*device.arguments())
    return verdicts.judge(device.name, verdicts.parse(done), verdicts.expected(clips=ours), ours, seconds)


def run_trap(device: Device, command: Command) -> Row:
    """Show that plain 8-bit products go wrong on a device."""
    interpreter = command.argv[: -len(local.INTCODEC)]
    done, seconds = dataclasses.replace(command, argv=(*interpreter, str(CONTROLS))).run("trap")
    return verdicts.judge_trap(device.name, device.trap, done, seconds)


def run_control(name: str) -> Row:
    """Run a negative control on this machine."""
    command = Command((sys.executable, str(CONTROLS)), local.ENV)
    done, seconds = command.run(name)
    return verdicts.judge_control(name, verdicts.parse(done), seconds)


def set_up(chosen: list[Device]) -> tuple[list[Job], dict[str, Row]]:
    """Prepare devices one after another; return what to run, and a row for each that cannot be had."""
    jobs: list[Job] = []
    skipped: dict[str, Row] = {}
    for device in chosen:
        try:
            command = device.prepare()
        except Missing as missing:
            skipped[device.name] = Row(device.name, SKIPPED, str(missing))
            say(f"*** SKIPPED: {device.name}: {missing}")
            continue
        jobs.append(lambda device=device, command=command: run_device(device, command))
        if device.trap:
            jobs.append(lambda device=device, command=command: run_trap(device, command))
    return jobs, skipped


def main() -> int:
    """Set up, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", metavar="WORD", action="append", help="devices whose name has this word")
    parser.add_argument("--no-set-up", action="store_true", help="skip devices that are not set up")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), help="devices at a time")
    parser.add_argument("--json", metavar="FILE", type=Path)
    parser.add_argument("--markdown", metavar="FILE", type=Path)
    args = parser.parse_args()
    environment.may_make = not args.no_set_up
    chosen = [d for d in devices.every() if not args.only or any(word in d.name for word in args.only)]
    begin = time.monotonic()
    jobs, rows = set_up(chosen)
    made = time.monotonic()

    def shown(job: Job) -> Row:
        row = job()
        say(f"{row.status:<8} {row.name}{': ' + row.note if row.note else ''}")
        return row

    with ThreadPoolExecutor(args.jobs) as pool:
        done = list(pool.map(shown, [*jobs, *(lambda name=name: run_control(name) for name in controls.NAMES)]))
    rows.update({row.name: row for row in done})
    order = [device.name for device in reversed(chosen)]
    table = [rows.pop(name) for name in order] + list(rows.values())
    end = time.monotonic()
    print(f"\n{verdicts.as_text(table)}\nset up in {made - begin:.0f} s, run in {end - made:.0f} s")
    if args.json:
        content = {"rows": [dataclasses.asdict(row) for row in table], "set_up": made - begin, "run": end - made}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    if args.markdown:
        args.markdown.write_text(verdicts.as_markdown(table, verdicts.expected()))
    if not any(row.status == OK and not row.name.startswith("control") for row in table):
        return 2
    return 1 if any(row.status == FAILED for row in table) else 0


if __name__ == "__main__":
    sys.exit(main())

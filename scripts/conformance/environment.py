"""The test environment: the ignored folder .conformance/, where devices are made from nothing and found again.

What may live here: folders, commands, and the words for what cannot be had.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

ROOT = Path(__file__).resolve().parents[2]
VECTORS = ROOT / "tests" / "conformance"
HOME = Path(os.environ.get("INTCODEC_CONFORMANCE", ROOT / ".conformance"))
P = ParamSpec("P")
R = TypeVar("R")
#: Whether `fresh` may make folders; matrix.py's --no-set-up turns it off.
may_make = True


class Missing(Exception):
    """A device cannot be set up here; the message is the reason, in one line."""


@dataclass(frozen=True)
class Command:
    """What to run: it prints a JSON report as `intcodec conformance run --json` does.

    Args:
        argv: the command, up to the arguments of `intcodec`.
        env: variables to set.
        unset: variables to remove, as they are meant for this machine's own programs.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ("LD_PRELOAD", "LD_LIBRARY_PATH", "PYTHONHOME")

    def run(self, *more: str, timeout: float = 1800) -> tuple[subprocess.CompletedProcess[str], float]:
        """Run it with more arguments.

        Returns:
            The end, with the output as text, and the processor time of the process in seconds: a busy machine does not
            change it. A process that does not end is killed.
        """
        HOME.mkdir(parents=True, exist_ok=True)
        env = {name: value for name, value in os.environ.items() if name not in self.unset} | dict(self.env)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            # Not in the repository: Python would find this machine's intcodec there before the device's.
            process = subprocess.Popen(
                [*self.argv, *more], env=env, cwd=HOME, stdout=out, stderr=err, stdin=subprocess.DEVNULL
            )
            alarm = threading.Timer(timeout, process.kill)
            alarm.start()
            _, status, usage = os.wait4(process.pid, 0)
            alarm.cancel()
            process.returncode = code = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            done = subprocess.CompletedProcess(process.args, code, out.read(), err.read())
        return done, usage.ru_utime + usage.ru_stime


def once(make: Callable[P, R]) -> Callable[P, R]:
    """Make a function remember its result by its arguments, a `Missing` as well."""
    known: dict[tuple[object, ...], R | Missing] = {}

    @wraps(make)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        key = (*args, *sorted(kwargs.items()))
        if key not in known:
            try:
                known[key] = make(*args, **kwargs)
            except Missing as missing:
                known[key] = missing
        found = known[key]
        if isinstance(found, Missing):
            raise found
        return found

    return wrapper


def need(*programs: str) -> None:
    """Raise `Missing` if a program is not installed."""
    absent = [name for name in programs if shutil.which(name) is None]
    if absent:
        raise Missing(f"not installed: {', '.join(absent)} (scripts/setup-emulators.sh matrix)")


def do(argv: Sequence[str | Path], what: str, **env: str) -> str:
    """Run a step of a set-up and return its output.

    Raises:
        Missing: it fails; the reason has its last words.
    """
    done = subprocess.run(
        [str(a) for a in argv], env={**os.environ, **env}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        words = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in words if "error" in line.lower()] or words or ["no message"]
        raise Missing(f"{what} failed: {errors[-1].strip()[:160]}")
    return done.stdout


def fresh(name: str, key: str, make: Callable[[Path], None]) -> Path:
    """Return the folder HOME/name as `make` fills it; made again if `key` has changed since, or it is not whole."""
    folder = HOME / name
    stamp = folder / ".made-from"
    if stamp.is_file() and stamp.read_text() == key:
        return folder
    if not may_make:
        raise Missing(f"{name} is not set up (make conformance does it)")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    make(folder)
    stamp.write_text(key)
    return folder


def digest(paths: Iterable[Path], *more: str) -> str:
    """Return a digest of files and words."""
    state = hashlib.sha256(repr(more).encode())
    for path in sorted(paths):
        state.update(path.name.encode() + b"\0" + path.read_bytes())
    return state.hexdigest()

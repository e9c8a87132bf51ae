"""The peak of memory of another program, whatever size the process that asks has.

run = peak.run([sys.executable, "-c", "..."])
run.code, run.stdout, run.stderr, run.megabytes

On Linux a process begins with the peak of the one that forked it, and keeps it through exec: under a pytest that holds
a gigabyte, ru_maxrss of any child is a gigabyte. So a small process in between starts the program and waits for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

_BETWEEN = """
import os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    file.write(f"{os.waitstatus_to_exitcode(status)} {usage.ru_maxrss}")
"""
_UNIT = 1 << 20 if sys.platform == "darwin" else 1 << 10


@dataclass(frozen=True)
class Run:
    """A program that has ended: exit code (negative: a signal), output, and the largest size that it had in memory."""

    code: int
    stdout: str
    stderr: str
    megabytes: int


def run(command: Sequence[object], timeout: float = 300) -> Run:
    """Run a program to its end.

    Args:
        command: program and arguments.
        timeout: seconds after which it is killed.

    Raises:
        subprocess.TimeoutExpired: it did not end in time.
        RuntimeError: it cannot be started.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report")
        process = subprocess.Popen(
            [sys.executable, "-S", "-E", "-c", _BETWEEN, report, *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            raise
        if process.returncode:
            raise RuntimeError(f"{command[0]} cannot be started: {stderr[-500:]}")
        with open(report) as file:
            code, size = map(int, file.read().split())
    return Run(code, stdout, stderr, size // _UNIT)

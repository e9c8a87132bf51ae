"""The measure of memory measures: not the process that asks, and all of the one that is asked about."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import peak
import pytest

#: A large process asks about a small one: through the helper, and by waiting for its own child.
LARGE = """
import os, subprocess, sys
import peak
held = b"x" * (600 << 20)
small = [sys.executable, "-S", "-c", "pass"]
child = subprocess.Popen(small)
print(peak.run(small).megabytes, os.wait4(child.pid, 0)[2].ru_maxrss >> 10)
"""


def test_the_size_of_the_process_that_asks_plays_no_role() -> None:
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
    done = subprocess.run([sys.executable, "-c", LARGE], env=env, capture_output=True, text=True, check=True)
    helper, direct = map(int, done.stdout.split())
    assert 1 < helper < 100
    if sys.platform == "linux":
        assert direct >= 600, "if this is small, the helper is not needed any more"


def test_what_a_program_holds_is_seen() -> None:
    run = peak.run([sys.executable, "-S", "-c", "x = b'x' * (200 << 20); print('out'); raise SystemExit('err')"])
    assert (run.code, run.stdout, run.stderr) == (1, "out\n", "err\n")
    assert 200 < run.megabytes < 300


def test_programs_that_do_not_start_or_do_not_end() -> None:
    with pytest.raises(RuntimeError, match="no-such-program"):
        peak.run(["no-such-program"])
    begin = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        peak.run([sys.executable, "-S", "-c", "import time; time.sleep(60)"], timeout=1)
    assert time.monotonic() - begin < 30
    assert peak.run([sys.executable, "-S", "-c", "import os; os.kill(os.getpid(), 9)"]).code == -9

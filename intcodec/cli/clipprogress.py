"""How far a clip is, and the first Ctrl-C, which ends it with what is there.

What may live here: what a person at a terminal sees and does while a clip is coded.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from types import FrameType
from typing import Final

from intcodec.cli.common import complain

#: The exit code of a command that was interrupted.
INTERRUPTED: Final = 130
_EVERY: Final = 0.2  # seconds between two lines


class Progress:
    """A line on a terminal that is written over: frames done, their rate, and the time that is left."""

    def __init__(self, count: int | None, quiet: bool) -> None:
        """Begin; `count` is the number of frames, where it is known."""
        self._on = not quiet and sys.stderr is not None and sys.stderr.isatty()
        self._count = count
        self._begin = self._last = time.monotonic()
        self._width = 0

    def step(self, done: int) -> None:
        """Say that `done` frames are coded."""
        now = time.monotonic()
        if not self._on or now - self._last < _EVERY:
            return
        self._last = now
        self._write(progress_line(done, self._count, now - self._begin))

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            self._write("")
            sys.stderr.write("\r")
            sys.stderr.flush()
            self._width = 0

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError):
            sys.stderr.write(f"\r{line:<{self._width}}")
            sys.stderr.flush()
        self._width = len(line)


def progress_line(done: int, count: int | None, seconds: float) -> str:
    """Return what a line says after `seconds`: "7/40 frames, 3.5 a second, 0:10 left"."""
    of = f"/{count}" if count else ""
    line = f"{done}{of} frames, {done / seconds:.1f} a second"
    if not count or count < done:
        return line
    left = round((count - done) * seconds / done)
    hours = f"{left // 3600}:{left // 60 % 60:02d}" if left >= 3600 else f"{left // 60}"
    return f"{line}, {hours}:{left % 60:02d} left"


class Stop:
    """True after the first Ctrl-C."""

    def __init__(self) -> None:
        self._asked = False

    def __bool__(self) -> bool:
        return self._asked

    def ask(self, *_: int | FrameType | None) -> None:
        """Note the first Ctrl-C; the second is the usual KeyboardInterrupt."""
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        complain("ending the clip after this frame; Ctrl-C again drops it")


@contextlib.contextmanager
def interruptible() -> Iterator[Stop]:
    """Let Ctrl-C ask to stop, in the main thread; elsewhere, and where it is ignored, it stays what it was."""
    stop, before = Stop(), signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:
        yield stop
        return
    try:
        signal.signal(signal.SIGINT, stop.ask)
    except ValueError:  # not the main thread
        yield stop
        return
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
